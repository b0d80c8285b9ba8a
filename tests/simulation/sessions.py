"""A process's way to ZooKeeper, as kazoo makes it.

Pings, suspicion after two thirds of the timeout, reconnection, a new session after an expiry, and answers
that get lost with the connection. A request whose answer was lost may have been applied, or not, or is
applied later (kazoo sends after a reconnect what its caller gave up).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.ensemble import ZK, Ensemble
from tests.simulation.hosts import Host, Source

from alb_core import znodes
from alb_core.zk import (
    Multi,
    NodesRead,
    Request,
    SessionConnected,
    SessionEvent,
    SessionExpired,
    SessionSuspended,
)

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

RETRANSMIT_S: Final = 0.1


class Pipe:
    """One direction of a connection: keeps the order, and holds all while the path is blocked, as TCP does.

    Args:
        cluster: Its timeline and network.
        source: The sending host.
        target: The receiving host.
        deliver: Takes what arrives.
    """

    def __init__(self, cluster: Cluster, source: str, target: str, deliver: Callable[..., None]) -> None:
        self._cluster = cluster
        self._source = source
        self._target = target
        self._deliver = deliver
        self._last = 0.0
        self._held: deque[tuple[Any, ...]] = deque()

    def send(self, delay_s: float, *arguments: Any) -> None:
        """Let something arrive after all that was sent before."""
        timeline = self._cluster.timeline
        self._last = max(self._last, timeline.now + delay_s)
        timeline.at(self._last, self._arrive, arguments)

    def _arrive(self, arguments: tuple[Any, ...]) -> None:
        if self._held or not self._cluster.network.passes(self._source, self._target):
            if not self._held:
                self._cluster.timeline.after(RETRANSMIT_S, self._flush)
            self._held.append(arguments)
        else:
            self._deliver(*arguments)

    def _flush(self) -> None:
        if not self._cluster.network.passes(self._source, self._target):
            self._cluster.timeline.after(RETRANSMIT_S, self._flush)
            return
        while self._held:
            self._deliver(*self._held.popleft())


class SessionModel:
    """One process's way to the ensemble.

    Args:
        host: Whose it is.
        ensemble: The servers.
        timeout_s: Of the session.
    """

    def __init__(self, host: Host, ensemble: Ensemble, timeout_s: float) -> None:
        self._host = host
        self._ensemble = ensemble
        self._cluster = host.cluster
        self._timeline = host.cluster.timeline
        self._client = host.incarnation
        self._timeout_s = timeout_s
        self._draws = random.Random(f"{host.cluster.seed}/{host.incarnation}/session")
        self.session = 0  #: 0: none was ever made.
        self.connection = 0  #: Rises with every connection made or lost.
        self.connected = False
        self._told_expired = True
        self._answered = 0.0  #: True time of the last answer of a server.
        self._seen = 0.0  #: True time of the newest state that the session has seen.
        self._up = Pipe(self._cluster, host.name, ZK, self._arrive)
        self._down = Pipe(self._cluster, ZK, host.name, self._receive)
        self._pending: dict[int, Request] = {}
        self._numbers = 0
        self.cut_next = (
            ""  #: Fault: end the connection at the next commit, ``before`` or ``after`` it is applied.
        )
        self.replay_next = False  #: Fault: the next lost transaction is sent again after the reconnect.
        self._given_up: list[Multi] = []
        ensemble.sessions[self._client] = self
        self._timeline.after(host.cluster.network.latency(), self._connect)
        self._timeline.after(timeout_s / 6, self._ping)

    @property
    def _gone(self) -> bool:
        return not self._host.alive or self._host.incarnation != self._client

    def _reaches(self) -> bool:
        network = self._cluster.network
        return network.passes(self._host.name, ZK) and network.passes(ZK, self._host.name)

    # --- the connection -------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._gone or self.connected:
            return
        if self._host.stopped or not self._reaches():
            self._timeline.after(self._draws.uniform(0.1, 0.5), self._connect)
            return
        over = self.session and not self._ensemble.lives(self.session)
        if over and not self._told_expired:
            self._told_expired = True
            self._post(SessionExpired)
            self._timeline.after(self._draws.uniform(0.01, 0.1), self._connect)
            return
        if over or not self.session:
            self.session = self._ensemble.open(self._client, self._timeout_s)
            self._told_expired = False
        else:
            self._ensemble.model.connect(self._client, self.session)
            self._ensemble.hear(self.session)
        self.connected = True
        self.connection += 1
        self._answered = self._timeline.now
        self._post(SessionConnected, session=self.session, timeout_s=self._timeout_s)
        self._replay()

    def _ping(self) -> None:
        if self._gone:
            return
        self._timeline.after(self._timeout_s / 6, self._ping)
        if self._host.stopped or not self.connected:
            return
        network = self._cluster.network
        if network.passes(self._host.name, ZK):
            if not self._ensemble.lives(self.session):
                self.on_server_closed()
                return
            self._ensemble.hear(self.session)
            if network.passes(ZK, self._host.name):
                self._answered = self._timeline.now
        if self._timeline.now - self._answered > self._timeout_s * 2 / 3:
            self.lose_connection()

    def lose_connection(self) -> None:
        """End the connection: what is under way ends Unknown, and it connects again."""
        if not self.connected:
            return
        self.connected = False
        self.connection += 1
        self._ensemble.model.disconnect(self.session)
        pending, self._pending = self._pending, {}
        if self.replay_next:
            self._given_up = [request for request in pending.values() if isinstance(request, Multi)]
            self.replay_next = not self._given_up
        suspended_first = self._draws.random() < 0.5
        if suspended_first:
            self._post(SessionSuspended)
        for request in pending.values():
            self._post_lost(request)
        if not suspended_first:
            self._post(SessionSuspended)
        self._timeline.after(self._draws.uniform(0.02, 0.6), self._connect)

    def on_server_closed(self) -> None:
        """The server ended the session and closed the connection; the news needs a way."""
        if self.connected and not self._host.stopped and self._reaches():
            self.lose_connection()

    def leave(self) -> None:
        """The process is gone; the server hears nothing more and lets the session run out."""
        self.connected = False
        self.connection += 1
        self._ensemble.sessions.pop(self._client, None)
        if self.session:
            self._ensemble.model.disconnect(self.session)

    # --- requests -------------------------------------------------------------------------------------------

    def request(self, request: Request) -> None:
        """Send a request; its answer, or that there is none, is posted."""
        if not self.connected:
            self._post_lost(request)
            return
        self._numbers += 1
        self._pending[self._numbers] = request
        travel = self._cluster.network.latency()
        if self._ensemble.slow_s:
            travel += self._draws.uniform(0.0, self._ensemble.slow_s)
        self._up.send(travel, self.connection, self.session, self._numbers, request)

    def _arrive(self, connection: int, session: int, number: int, request: Request) -> None:
        """A request reaches the server, perhaps after its client gave the connection up."""
        current = connection == self.connection
        if not current and (self.connected or self._draws.random() < 0.5):
            return
        commits = isinstance(request, Multi) and current and self._host.working
        if commits and self.cut_next:
            when, self.cut_next = self.cut_next, ""
            self._ensemble.counts[f"cut {when}"] += 1
            if when == "after":
                self._ensemble.apply(session, request, self._client)
            self.lose_connection()
            return
        self._ensemble.hear_if_lives(session)
        answer = self._ensemble.apply(session, request, self._client)
        if isinstance(answer, NodesRead) and not getattr(request, "sync", False):
            answer = self._as_seen(answer)
        else:
            self._seen = self._timeline.now
        if current:
            self._return(number, answer)

    def _as_seen(self, answer: NodesRead) -> NodesRead:
        """Return what a follower that lags behind answers; a session never sees the past of what it saw."""
        if not self._ensemble.lag_s or answer.nodes is None or len(answer.nodes) != 1:
            return answer
        node = answer.nodes[0]
        if node is not None and node.path != znodes.LEADER:
            return answer
        self._seen = max(self._seen, self._timeline.now - self._ensemble.lag_s)
        stale = self._ensemble.read_leader(self._seen)
        return NodesRead(at=answer.at, token=answer.token, nodes=(stale,)) if node is not None else answer

    def _return(self, number: int, answer: SessionEvent) -> None:
        self._down.send(self._cluster.network.latency(), self.connection, number, answer)

    def _receive(self, connection: int, number: int, answer: SessionEvent) -> None:
        if connection != self.connection:
            return
        self._answered = self._timeline.now
        if number:
            del self._pending[number]
        self._post_event(answer)

    def on_watch(self, event: SessionEvent) -> None:
        """A watch fired."""
        if self.connected:
            self._return(0, event)

    def _replay(self) -> None:
        given_up, self._given_up = self._given_up, []
        for request in given_up:
            self._timeline.after(self._draws.uniform(0.0, 0.3), self._send_late, request)

    def _send_late(self, request: Multi) -> None:
        if self._gone or not self.connected or not self._cluster.network.passes(self._host.name, ZK):
            return
        self._ensemble.counts["replayed"] += 1
        self._ensemble.apply(self.session, request, self._client)

    # --- events ---------------------------------------------------------------------------------------------

    def _post(self, kind: Callable[..., SessionEvent], **fields: object) -> None:
        self._host.post(Source.ZOOKEEPER, lambda at: kind(at=at, **fields))

    def _post_lost(self, request: Request) -> None:
        self._post_event(self._ensemble.model.lost(request, 0.0))

    def _post_event(self, event: SessionEvent) -> None:
        kind = type(event)
        fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "at"}
        self._host.post(Source.ZOOKEEPER, lambda at: kind(at=at, **fields))
