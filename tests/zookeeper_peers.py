"""Clients of ZooKeeper for the tests, real ones and such of the model, with one way to use both."""

from __future__ import annotations

import queue
import select
import time
from types import TracebackType
from typing import Protocol, Self, TypeVar

from tests.simulation.zookeeper_model import ZooKeeperModel
from tests.zookeeper_servers import Wire, ZooKeeperAt

from alb_core.io.zookeeper import Session
from alb_core.zk import (
    Applied,
    ChildrenChanged,
    ChildrenListed,
    ListChildren,
    Multi,
    MultiEnded,
    NodeChanged,
    NodeRead,
    NodesRead,
    Operation,
    ReadNodes,
    Request,
    SessionConnected,
    SessionEvent,
    SessionSuspended,
    Stat,
    Verdict,
)

WAIT_S = 30.0

Answer = MultiEnded | NodesRead | ChildrenListed
E = TypeVar("E", bound=SessionEvent)


class Peer(Protocol):
    """A client with a session of its own."""

    session: int

    def ask(self, request: Request) -> Answer:
        """Carry out a request and return its answer; events before it are kept."""

    def next_event(self) -> SessionEvent:
        """Return the next event that answers nothing."""

    def quiet(self) -> bool:
        """Tell whether no event is waiting."""

    def end(self) -> None:
        """End the session, and wait until that is true."""

    def cut(self) -> None:
        """Break the connection (of a frail peer), and wait until the peer knows."""

    def mend(self) -> None:
        """Let it connect again, and wait until it has."""

    def ask_and_lose_answer(self, request: Request) -> Answer:
        """Have the server carry out a request whose answer is lost with the connection."""


class Connect(Protocol):
    """Makes peers of one ZooKeeper."""

    def __call__(self, *, frail: bool = False) -> Peer:
        """Return one more peer; the connection of a frail one can be cut."""


class RealPeer:
    """A peer on a real server. It is not connected yet where `wait` is false.

    One that `listens` takes its answers itself while it waits, as a leader does.
    """

    def __init__(
        self,
        place: ZooKeeperAt,
        timeout_s: float = 3.0,
        wire: Wire | None = None,
        *,
        wait: bool = True,
        listens: bool = False,
    ) -> None:
        self._listens = listens
        self._inbox: queue.SimpleQueue[SessionEvent] = queue.SimpleQueue()
        self._events: list[SessionEvent] = []
        self._wire = wire
        hosts = place.hosts if wire is None else wire.address
        self.zookeeper = Session(hosts, place.chroot, timeout_s, self._inbox.put)
        self.zookeeper.start()
        self.session = self.wait_for(SessionConnected).session if wait else 0

    def ask(self, request: Request) -> Answer:
        """Carry out a request and return its answer; events before it are kept."""
        self.zookeeper.request(request)
        return self.answer()

    def answer(self) -> Answer:
        """Return the next answer to an earlier request; events before it are kept."""
        while True:
            event = self._take(WAIT_S)
            if isinstance(event, MultiEnded | NodesRead | ChildrenListed):
                return event
            self._events.append(event)

    def next_event(self, within_s: float = WAIT_S) -> SessionEvent:
        """Return the next event that answers nothing."""
        return self._events.pop(0) if self._events else self._take(within_s)

    def _take(self, within_s: float) -> SessionEvent:
        deadline = time.monotonic() + within_s
        while self._listens and self._inbox.empty() and time.monotonic() < deadline:
            waiting = select.poll()
            lent = self.zookeeper.lend(time.monotonic())
            if lent >= 0:
                waiting.register(lent, select.POLLIN)
            if waiting.poll(20):
                self.zookeeper.hear()
        return self._inbox.get(timeout=max(deadline - time.monotonic(), 0.001))

    def wait_for(self, form: type[E], within_s: float = WAIT_S) -> E:
        """Return the next event of a form, past others."""
        while not isinstance(event := self.next_event(within_s), form):
            pass
        return event

    def quiet(self) -> bool:
        """Tell whether no event is waiting."""
        return not self._events and self._inbox.empty()

    def end(self) -> None:
        """End the session, and wait until that is true."""
        self.zookeeper.stop(WAIT_S)

    def cut(self) -> None:
        """Break the connection, and wait until the session knows."""
        assert self._wire is not None
        self._wire.cut()
        self.wait_for(SessionSuspended)

    def mend(self) -> None:
        """Let it connect again, and wait until it has."""
        assert self._wire is not None
        self._wire.mend()
        self.session = self.wait_for(SessionConnected).session

    def ask_and_lose_answer(self, request: Request) -> Answer:
        """Have the server carry out a request whose answer is lost with the connection."""
        assert self._wire is not None
        self._wire.swallow_answers()
        self.zookeeper.request(request)
        assert self._wire.swallowed.wait(WAIT_S)
        self._wire.cut()
        answer = self.answer()
        assert isinstance(self._events.pop(), SessionSuspended), "told before the answer"
        return answer


class RealPeers:
    """The peers of one test on a real server; ends them after the block."""

    def __init__(self, place: ZooKeeperAt, *, listen: bool = False) -> None:
        self._place = place
        self._listen = listen
        self._peers: list[RealPeer] = []
        self._wires: list[Wire] = []

    def connect(self, *, frail: bool = False) -> RealPeer:
        """Return one more peer."""
        wire = None
        if frail:
            wire = Wire(self._place.hosts).__enter__()
            self._wires.append(wire)
        self._peers.append(RealPeer(self._place, wire=wire, listens=self._listen))
        return self._peers[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self._peers:
            peer.end()
        for wire in self._wires:
            wire.__exit__(kind, error, trace)


class ModelPeer:
    """A peer on the model."""

    def __init__(self, peers: ModelPeers, name: str) -> None:
        self._peers = peers
        self._model = peers.model
        self._name = name
        self._connected = True
        self.session = self._model.connect(name)

    def ask(self, request: Request) -> Answer:
        """Carry out a request and return its answer."""
        if not self._connected:
            return _answer(self._model.lost(request, 0.0))
        answer = self._model.apply(self.session, request, 0.0)
        self._peers.deliver()
        return _answer(answer)

    def next_event(self) -> SessionEvent:
        """Return the next event that answers nothing."""
        return self._peers.events[self._name].pop(0)

    def quiet(self) -> bool:
        """Tell whether no event is waiting."""
        return not self._peers.events[self._name]

    def end(self) -> None:
        """End the session."""
        self._model.expire(self.session, 0.0)
        self._peers.deliver()

    def cut(self) -> None:
        """Break the connection."""
        self._connected = False
        self._model.disconnect(self.session)

    def mend(self) -> None:
        """Connect again."""
        self._connected = True
        self.session = self._model.connect(self._name, self.session)

    def ask_and_lose_answer(self, request: Request) -> Answer:
        """Have the model carry out a request whose answer is lost with the connection."""
        self.ask(request)
        self.cut()
        return _answer(self._model.lost(request, 0.0))


class ModelPeers:
    """The peers of one test on the model."""

    def __init__(self, model: ZooKeeperModel) -> None:
        self.model = model
        self.events: dict[str, list[SessionEvent]] = {}
        #: By the name of the peer.

    def connect(self, *, frail: bool = False) -> ModelPeer:  # noqa: ARG002 (all of them are)
        """Return one more peer."""
        name = f"client {len(self.events)}"
        self.events[name] = []
        return ModelPeer(self, name)

    def deliver(self) -> None:
        """Hand watch events to their peers."""
        for client, event in self.model.take_events():
            self.events[client].append(event)


def _answer(event: SessionEvent) -> Answer:
    assert isinstance(event, MultiEnded | NodesRead | ChildrenListed)
    return event


def verdict(peer: Peer, *operations: Operation) -> Verdict:
    """Apply a transaction and return its verdict."""
    answer = peer.ask(Multi(7, operations))
    assert isinstance(answer, MultiEnded)
    assert answer.token == 7
    return answer.verdict


def applied(peer: Peer, *operations: Operation) -> tuple[Stat | None, ...]:
    """Apply a transaction that must succeed."""
    found = verdict(peer, *operations)
    assert isinstance(found, Applied), found
    return found.stats


def read(peer: Peer, *paths: str, watch: bool = False, sync: bool = False) -> tuple[NodeRead | None, ...]:
    """Read nodes."""
    answer = peer.ask(ReadNodes(token=8, paths=paths, watch=watch, sync=sync))
    assert isinstance(answer, NodesRead)
    assert answer.token == 8
    assert answer.nodes is not None
    return answer.nodes


def data(peer: Peer, *paths: str) -> list[bytes | None]:
    """Read the data of nodes."""
    return [None if node is None else node.data for node in read(peer, *paths)]


def names(peer: Peer, path: str, *, watch: bool = False) -> tuple[str, ...] | None:
    """List children."""
    answer = peer.ask(ListChildren(token=9, path=path, watch=watch))
    assert isinstance(answer, ChildrenListed)
    assert answer.token == 9
    return answer.names


def told(peer: Peer, count: int) -> list[tuple[str, str]]:
    """Take watch events, sorted: ZooKeeper promises no order between nodes."""
    events = [peer.next_event() for _ in range(count)]
    return sorted(
        (type(event).__name__, event.path)
        for event in events
        if isinstance(event, NodeChanged | ChildrenChanged)
    )
