"""The ZooKeeper ensemble of a simulated cluster: the model of the tree, its sessions and its clock.

It expires sessions that it does not hear, applies what arrives, tells watchers, and may answer reads from a
follower that lags behind. How requests get here is the business of ``sessions.py``.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.simulation.zookeeper_model import ZooKeeperModel

from alb_core import znodes
from alb_core.bounds import SHIPPED
from alb_core.zk import Applied, Create, Multi, MultiEnded, NodeRead, Operation, Request, SessionEvent

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.sessions import SessionModel

ZK: Final = "zk"
#: The ensemble's name in the network.
WALL_ZERO_S: Final = 1_700_000_000.0
TABLE: Final = "simulated"


class Ensemble:
    """The servers.

    Args:
        cluster: Its timeline, network and invariants.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._timeline = cluster.timeline
        self.draws = random.Random(f"{cluster.seed}/ensemble")
        self.jump_s = 0.0  #: By how much the servers' wall clock is wrong.
        self.slow_s = 0.0  #: Longest extra time of a request.
        self.lag_s = 0.0  #: How far the followers that answer reads without a sync are behind.
        self.model = ZooKeeperModel(self.wall)
        self.sessions: dict[str, SessionModel] = {}  #: By incarnation, those whose watches may fire.
        self.heard: dict[int, float] = {}  #: When a session was last heard; no entry: it is over.
        self.counts: Counter[str] = Counter()
        self._leaders: list[tuple[float, NodeRead | None]] = [(0.0, None)]
        #: What ``/leader`` held since when: the one node that is read without a sync.
        self._root = self.model.connect("bootstrap")
        first = {
            znodes.META: znodes.encode(znodes.MetaNode(table=TABLE)),
            znodes.EPOCH: znodes.encode(znodes.EpochNode()),
            znodes.COMMIT: znodes.encode(znodes.CommitNode()),
            **dict.fromkeys(znodes.permanent_paths(), b""),
            znodes.POLICY: znodes.encode(znodes.PolicyNode(policy=cluster.knobs.policy)),
            znodes.DRAINED: znodes.encode(znodes.DrainedNode()),
            znodes.LIMITS: znodes.encode(SHIPPED),
        }
        self.model.apply(self._root, Multi(0, tuple(Create(path, data) for path, data in first.items())), 0.0)

    def wall(self) -> float:
        """Return the servers' wall clock, in seconds since 1970."""
        return WALL_ZERO_S + self._timeline.now + self.jump_s

    def read(self, path: str) -> NodeRead | None:
        """Return a node as it is."""
        return self.model._read(path)

    def read_leader(self, seen: float) -> NodeRead | None:
        """Return ``/leader`` as a lagging follower has it, but never older than what the reader has seen."""
        view = max(seen, self._timeline.now - self.lag_s)
        index = len(self._leaders) - 1
        while self._leaders[index][0] > view:
            index -= 1
        self.counts["stale reads"] += index < len(self._leaders) - 1
        return self._leaders[index][1]

    def _note_leader(self) -> None:
        node = self.read(znodes.LEADER)
        if node is not self._leaders[-1][1]:
            self._leaders.append((self._timeline.now, node))

    def children(self, path: str) -> list[str]:
        """Return the names of a node's children, sorted."""
        node = self.model._nodes.get(path)
        return sorted(node.children) if node is not None else []

    # --- sessions -------------------------------------------------------------------------------------------

    def open(self, client: str, timeout_s: float) -> int:
        """Make a session, which lives as long as it is heard."""
        session = self.model.connect(client)
        self.hear(session)
        self._timeline.after(timeout_s, self._watch, session, timeout_s)
        return session

    def hear(self, session: int) -> None:
        """Note a sign of life."""
        self.heard[session] = self._timeline.now

    def hear_if_lives(self, session: int) -> None:
        """Note a sign of life of a session that may be over."""
        if session in self.heard:
            self.hear(session)

    def lives(self, session: int) -> bool:
        """Tell whether a session is not over."""
        return session in self.heard

    def _watch(self, session: int, timeout_s: float) -> None:
        heard = self.heard.get(session)
        if heard is None:
            return
        if self._timeline.now - heard >= timeout_s:
            self.expire(session)
        else:
            self._timeline.at(heard + timeout_s + 1e-6, self._watch, session, timeout_s)

    def expire(self, session: int) -> None:
        """End a session; its client hears of it when it reconnects."""
        if self.heard.pop(session, None) is None:
            return
        self.model.expire(session, self._timeline.now)
        self._note_leader()
        self._tell_watchers()
        for client in list(self.sessions.values()):
            if client.session == session:
                client.on_server_closed()

    # --- requests -------------------------------------------------------------------------------------------

    def apply(self, session: int, request: Request, client: str) -> SessionEvent:
        """Apply what arrived."""
        answer = self.model.apply(session, request, self._timeline.now)
        if (
            isinstance(answer, MultiEnded)
            and isinstance(answer.verdict, Applied)
            and isinstance(request, Multi)
        ):
            self._cluster.invariants.on_applied(client, request.operations)
            self._note_leader()
        self._tell_watchers()
        return answer

    def operate(self, operations: tuple[Operation, ...]) -> None:
        """Let an operator change nodes with zkCli."""
        self.apply(self._root, Multi(0, operations), "zkCli")

    def _tell_watchers(self) -> None:
        for client, event in self.model.take_events():
            session = self.sessions.get(client)
            if session is not None:
                session.on_watch(event)
