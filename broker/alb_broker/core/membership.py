"""This broker among the brokers: its own ephemeral node, and the list of all."""

from __future__ import annotations

from typing import Final

from alb_broker.core.actions import Action, Exit
from alb_broker.core.events import ProbeVerdict
from alb_broker.core.inquest import Finding, Inquest, give_way
from alb_broker.core.members import Members
from alb_broker.core.state import Tokens
from alb_core import zk, znodes
from alb_core.notes import Level, Note
from alb_core.znodes import BrokerNode

LIST_EVERY_S: Final = 5.0
LIST_SOON_S: Final = 0.5
#: While the own registration is not confirmed.
NAME_PATIENCE_S: Final = 10.0
#: The longest session that ZooKeeper grants as it should be set up: who is registered for longer, lives.


class Membership:
    """Keeps ``/brokers/<name>`` and knows the others.

    Args:
        node: This broker.
        tokens: For requests.
    """

    def __init__(self, node: BrokerNode, tokens: Tokens) -> None:
        self.node: Final = node
        self.members = Members.of(node)  #: What is known of all brokers.
        self._tokens: Final = tokens
        self._online = False
        self._registered = False  #: The own node was read with this incarnation once.
        self._write_token = 0
        self._list_token = 0
        self._read_token = 0
        self._listed_at = float("-inf")
        self._names: tuple[str, ...] = ()
        self._inquest: Final = Inquest(node, tokens)
        self._namesake = ""  #: Incarnation of another life that has the own name.
        self._namesake_at = 0.0  #: Own clock, when it was first seen in this session.
        self._dead = ""  #: Incarnation of a namesake that was proved dead.

    def on_connected(self, at: float) -> list[Action]:
        """The session is usable: the node may be gone, or be another's."""
        self._online = True
        self._write_token = 0
        self._namesake = ""  # while ZooKeeper was away, nobody's session ended
        return self._list(at)

    def on_interrupted(self) -> None:
        """The session is not usable."""
        self._online = False

    def tick(self, at: float) -> list[Action]:
        """List the brokers from time to time."""
        if not self._online:
            return []
        pause = LIST_EVERY_S if self._registered else LIST_SOON_S
        return self._inquest.tick(at) + (self._list(at) if at - self._listed_at >= pause else [])

    def on_probe(self, token: int, verdict: ProbeVerdict, at: float) -> None:
        """Take a probe's answer: what a dead life left is taken over with the next list."""
        if self._inquest.on_probe(token, verdict, at) is Finding.DEAD:
            self._dead = self._namesake
            self._listed_at = float("-inf")

    def _list(self, at: float) -> list[Action]:
        self._listed_at = at
        self._list_token = self._tokens.next()
        return [zk.ListChildren(token=self._list_token, path=znodes.BROKERS)]

    def on_children(self, event: zk.ChildrenListed) -> list[Action] | None:
        """Take the list; None when it was not asked here."""
        if event.token != self._list_token:
            return None
        if event.names is None:
            return []
        self._names = tuple(sorted({*event.names, self.node.broker}))
        self._read_token = self._tokens.next()
        paths = tuple(znodes.broker_path(name) for name in self._names)
        return [zk.ReadNodes(token=self._read_token, paths=paths, sync=True)]

    def on_nodes(self, event: zk.NodesRead) -> list[Action] | None:
        """Take the brokers' nodes; None when they were not asked here."""
        if event.token != self._read_token or not event.token:
            return None
        self._read_token = 0
        if event.nodes is None or len(event.nodes) != len(self._names):
            return []
        nodes = dict(zip(self._names, event.nodes, strict=True))
        found = {name: _decode(node) for name, node in nodes.items()}
        others = [node for name, node in found.items() if node and name != self.node.broker]
        self.members = Members.of(self.node, *others)
        return self._own(nodes[self.node.broker], found[self.node.broker], event.at)

    def _own(self, read: zk.NodeRead | None, node: BrokerNode | None, at: float) -> list[Action]:
        """Keep the own node: make it, take it over from an earlier life, or give way to one that lives."""
        if node is not None and node.incarnation == self.node.incarnation:
            self._registered = True
            return []
        if read is not None and self._registered:
            why = f"another broker took the name {self.node.broker}; give each broker its own --name"
            return [Note("broker_replaced", {"why": why}, Level.ERROR), Exit(1, why)]
        if node is not None and node.incarnation != self._dead and not self._inquest.inherits(node):
            return self._examine(node, at)
        if self._write_token:
            return []
        self._write_token = self._tokens.next()
        path = znodes.broker_path(self.node.broker)
        removal: tuple[zk.Operation, ...] = (zk.Delete(path, read.stat.version),) if read is not None else ()
        create = zk.Create(path, znodes.encode(self.node), ephemeral=True)
        return [zk.Multi(self._write_token, (*removal, create))]

    def _examine(self, namesake: BrokerNode, at: float) -> list[Action]:
        """Another life has the name: find out whether it is dead, and wait for the end of its session."""
        if namesake.incarnation != self._namesake:
            self._namesake, self._namesake_at = namesake.incarnation, at
            return self._inquest.begin(namesake)
        if at - self._namesake_at < NAME_PATIENCE_S:
            return []
        return give_way(namesake, "its session in ZooKeeper lives on")

    def on_verdict(self, event: zk.MultiEnded) -> bool:
        """Take the answer to the registration; the next list confirms it. Returns whether it was ours."""
        if event.token != self._write_token or not event.token:
            return False
        self._write_token = 0
        self._listed_at = float("-inf")
        return True


def _decode(read: zk.NodeRead | None) -> BrokerNode | None:
    if read is None:
        return None
    try:
        return znodes.decode(BrokerNode, read.path, read.data)
    except znodes.UnreadableNode:
        return None
