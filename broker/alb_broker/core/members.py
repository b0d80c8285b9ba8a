"""What each broker says of itself in ``/brokers``, of all of them together, as this one knows it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from alb_core.znodes import BrokerNode


class Members(msgspec.Struct, frozen=True):
    """All brokers that are registered, this one first."""

    endpoints: tuple[str, ...] = ()
    #: For requests.
    policies: Mapping[str, Mapping[str, str]] = {}
    #: What is installed on each broker.
    depots: tuple[str, ...] = ()
    #: Of those that have one.
    depot_keys: Mapping[str, str] = {}
    #: By which each depot believes a leader.

    @classmethod
    def of(cls, *nodes: BrokerNode) -> Members:
        """Return what these nodes say; the own one comes first."""
        return cls(
            tuple(node.clients for node in nodes),
            {node.broker: node.policies for node in nodes},
            tuple(node.depot for node in nodes if node.depot),
            {node.depot: node.depot_key for node in nodes if node.depot},
        )
