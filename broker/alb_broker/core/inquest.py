"""The proof that another broker is dead: its own endpoint refuses a connection, twice, 200 ms apart.

Owns the probes of one endpoint. Silence and resets prove nothing, nor does a connection that was accepted:
the kernel accepts for a process that is frozen. What follows from the proof is the business of who asked.
"""

from __future__ import annotations

import enum
from ipaddress import ip_address
from typing import Final

from alb_broker.core.actions import Action, Exit, Probe
from alb_broker.core.events import ProbeVerdict
from alb_broker.core.state import Tokens
from alb_core import limits
from alb_core.notes import Level, Note
from alb_core.znodes import BrokerNode


class Finding(enum.Enum):
    """What is known of a process."""

    PENDING = "pending"  #: The answer was somebody else's, or another probe is to come.
    DEAD = "dead"  #: Refused twice.
    UNPROVED = "unproved"  #: Somebody accepted, or nothing came back.


class Inquest:
    """Asks of one broker at a time whether it is dead.

    Args:
        node: The broker that asks.
        tokens: For probes.
    """

    def __init__(self, node: BrokerNode, tokens: Tokens) -> None:
        self._node: Final = node
        self._tokens: Final = tokens
        self._other: BrokerNode | None = None
        self._token = 0
        self._again_at = float("inf")  #: Own clock of the next probe.
        self._refusals = 0

    def inherits(self, other: BrokerNode) -> bool:
        """Tell whether the other's address is this process's now: then the other has ended."""
        return other.clients == self._node.clients and not self._out_of_reach(other)

    def begin(self, other: BrokerNode) -> list[Action]:
        """Probe this broker from now on, and no other."""
        self.drop()
        self._other = other
        return self._probe()

    def drop(self) -> None:
        """Ask no more."""
        self._other = None
        self._token = self._refusals = 0
        self._again_at = float("inf")

    def tick(self, at: float) -> list[Action]:
        """Let time pass: probe again."""
        return self._probe() if at >= self._again_at else []

    def on_probe(self, token: int, verdict: ProbeVerdict, at: float) -> Finding:
        """Take a probe's answer."""
        if not token or token != self._token or self._other is None:
            return Finding.PENDING
        self._token = 0
        if verdict is not ProbeVerdict.REFUSED or self._out_of_reach(self._other):
            return Finding.UNPROVED
        self._refusals += 1
        if self._refusals < limits.DEPOSE_REFUSALS:
            self._again_at = at + limits.DEPOSE_PROBE_GAP_S
            return Finding.PENDING
        return Finding.DEAD

    def _probe(self) -> list[Action]:
        if self._other is None:
            return []
        self._again_at = float("inf")
        self._token = self._tokens.next()
        return [Probe(self._token, self._other.clients)]

    def _out_of_reach(self, other: BrokerNode) -> bool:
        """Tell whether the other listens on the loopback of another host, which is not ours."""
        return other.host != self._node.host and _is_loopback(other.clients)


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def give_way(holder: BrokerNode, how: str) -> list[Action]:
    """Return how a broker ends whose name another one has.

    Args:
        holder: Who has it.
        how: Why it is known to live.
    """
    why = (
        f"the name {holder.broker} is held by a living broker on {holder.host or 'an unknown host'} "
        f"(pid {holder.pid}): {how}; end that one first, or give each broker its own --name"
    )
    return [Note("name_held", {"why": why, "holder": holder.incarnation}, Level.ERROR), Exit(1, why)]
