"""The invariant of policies of somebody else's: who ends in one is followed by nobody who was not told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.violations import demand

from alb_broker.core.events import ClientSaid
from alb_core import zk, znodes
from alb_core.choices import PolicyNode
from alb_core.messages import SetPolicy

if TYPE_CHECKING:
    from tests.simulation.brokers import BrokerHost


class PolicyChecks:
    """Counts who chooses the policy that ends its leader, and whom it ends."""

    def __init__(self) -> None:
        self.ended = 0  #: Leaders that ended in a policy.
        self._chosen = 0  #: Times that somebody wanted it, or a try ended with it.
        self._since: set[float] = set()  #: Choices of it that the table had.
        self._in_table = False  #: It is what the table says.

    def on_broker_event(self, broker: BrokerHost, event: Any) -> None:
        """A broker is about to handle an event: somebody may want what is in force once more."""
        wish = event.message if isinstance(event, ClientSaid) else None
        if isinstance(wish, SetPolicy) and wish.policy == "fatal" and broker.leads and self._in_table:
            self._chosen += 1

    def on_applied(self, client: str, operations: tuple[zk.Operation, ...]) -> None:
        """A transaction was applied: there may be another choice in the table."""
        for operation in operations:
            if isinstance(operation, zk.SetData | zk.Create) and operation.path == znodes.POLICY:
                self._on_choice(client, operation.data)

    def _on_choice(self, client: str, data: bytes) -> None:
        try:
            node = znodes.decode(PolicyNode, znodes.POLICY, data)
        except znodes.UnreadableNode:
            return  # what was in force goes on
        self._in_table = node.policy == "fatal"
        if self._in_table and (client == "zkCli" or node.since not in self._since):
            self._since.add(node.since)
            self._chosen += 1

    def on_ended(self, broker: BrokerHost) -> None:
        """A policy ended the leader that asked it."""
        self.ended += 1
        demand(
            self.ended <= self._chosen,
            "nobody_follows_into_a_policy",
            "{} is the {}. that ended in a policy that was chosen {} times",
            broker.incarnation,
            self.ended,
            self._chosen,
        )
