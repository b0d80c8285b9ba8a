"""A model of one ZooKeeper ensemble: a tree in memory that does what a server does, faults left to its owner.

It owns nodes, sessions, ephemerals and watches, and answers the requests of `alb_core.zk` as the kazoo
session does; ``tests/integration/test_zookeeper_contract.py`` holds both to the same behaviour. It loses
nothing by itself. The owner makes faults of its parts: a request that never arrives is not applied; an answer
that is lost is thrown away, and `lost` says what the asker learns instead; a request that arrives late, or
twice, is applied late, or again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from alb_core.zk import (
    Applied,
    Check,
    ChildrenChanged,
    ChildrenListed,
    Create,
    Delete,
    ListChildren,
    Multi,
    MultiEnded,
    NodeChanged,
    NodeRead,
    NodesRead,
    Operation,
    ReadNodes,
    Refused,
    Request,
    SessionEvent,
    SetData,
    Stat,
    Unknown,
    Verdict,
)

Undo = Callable[[], None]


class _Refusal(Exception):
    """An operation that cannot be applied; carries ZooKeeper's name of the reason."""


class _Node:
    __slots__ = ("children", "data", "mtime_s", "owner", "path", "read", "version")

    def __init__(self, path: str, data: bytes, owner: int, mtime_s: float) -> None:
        self.path = path
        self.data = data
        self.owner = owner
        #: Session of an ephemeral node, else 0.
        self.mtime_s = mtime_s
        self.version = 0
        self.children: set[str] = set()
        self.read: NodeRead | None = None
        #: What a reader gets, made once for each version.

    def stat(self) -> Stat:
        return Stat(version=self.version, mtime_s=self.mtime_s, owner=self.owner)


class _Session:
    __slots__ = ("client", "connected", "ephemerals")

    def __init__(self, client: str) -> None:
        self.client = client
        self.connected = True
        self.ephemerals: dict[str, None] = {}
        #: Paths, in the order of their creation.


class ZooKeeperModel:
    """The ensemble.

    Args:
        now: Its wall clock, in seconds since 1970.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._nodes: dict[str, _Node] = {"/": _Node("/", b"", 0, 0.0)}
        self._sessions: dict[int, _Session] = {}
        self._last_session = 1 << 40
        self._data_watches: dict[str, dict[int, None]] = {}
        self._child_watches: dict[str, dict[int, None]] = {}
        self._events: list[tuple[str, SessionEvent]] = []

    # --- sessions ------------------------------------------------------------------------------------------

    def connect(self, client: str, session: int | None = None) -> int:
        """Connect a client.

        Args:
            client: Who gets the watch events.
            session: The session that it had; continued if it lives.

        Returns:
            The session; another id than `session` where that one is over.
        """
        if session is not None and session in self._sessions:
            self.disconnect(session)
            self._sessions[session].connected = True
            return session
        self._last_session += 1
        self._sessions[self._last_session] = _Session(client)
        return self._last_session

    def disconnect(self, session: int) -> None:
        """End a connection: the session lives on, its watches do not."""
        if (lost := self._sessions.get(session)) is not None:
            lost.connected = False
            self._drop_watches(session)

    def expire(self, session: int, at: float) -> None:
        """End a session, and with it its ephemeral nodes; others' watches see that."""
        ended = self._sessions.pop(session, None)
        if ended is None:
            return
        self._drop_watches(session)
        for path in list(ended.ephemerals):
            self._remove(self._nodes[path])
            self._deleted(path, at)

    def lives(self, session: int) -> bool:
        """Tell whether a session is not over."""
        return session in self._sessions

    # --- requests ------------------------------------------------------------------------------------------

    def apply(self, session: int, request: Request, at: float) -> SessionEvent:
        """Apply a request that has arrived, and return its answer.

        Args:
            session: The asker's; one that is over gets nothing applied.
            request: What to do.
            at: Time stamp of the answer and of the watch events.
        """
        if session not in self._sessions:
            return self.lost(request, at)
        match request:
            case Multi():
                verdict = self._apply_multi(session, request.operations, at)
                return MultiEnded(at=at, token=request.token, verdict=verdict)
            case ReadNodes():
                if request.watch:
                    for path in request.paths:
                        self._watch(self._data_watches, path, session)
                nodes = tuple(self._read(path) for path in request.paths)
                return NodesRead(at=at, token=request.token, nodes=nodes)
            case ListChildren():
                node = self._nodes.get(request.path)
                if node is None:
                    return ChildrenListed(at=at, token=request.token, names=None)
                if request.watch:
                    self._watch(self._child_watches, request.path, session)
                return ChildrenListed(at=at, token=request.token, names=tuple(sorted(node.children)))
            case _:
                assert_never(request)

    def lost(self, request: Request, at: float) -> SessionEvent:
        """Return what the asker of a request learns when its connection breaks first."""
        match request:
            case Multi():
                return MultiEnded(at=at, token=request.token, verdict=Unknown("ConnectionLoss"))
            case ReadNodes():
                return NodesRead(at=at, token=request.token, nodes=None)
            case ListChildren():
                return ChildrenListed(at=at, token=request.token, names=None)
            case _:
                assert_never(request)

    def take_events(self) -> list[tuple[str, SessionEvent]]:
        """Take the watch events since the last call, as client and event; they precede the answer."""
        events, self._events = self._events, []
        return events

    # --- the tree ------------------------------------------------------------------------------------------

    def _read(self, path: str) -> NodeRead | None:
        node = self._nodes.get(path)
        if node is None:
            return None
        if node.read is None:
            node.read = NodeRead(path=path, data=node.data, stat=node.stat())
        return node.read

    def _apply_multi(self, session: int, operations: tuple[Operation, ...], at: float) -> Verdict:
        undo: list[Undo] = []
        stats: list[Stat | None] = []
        for index, operation in enumerate(operations):
            try:
                stats.append(self._apply_operation(session, operation, undo))
            except _Refusal as refusal:
                for step in reversed(undo):
                    step()
                return Refused(index, str(refusal))
        for operation in operations:
            self._tell(operation, at)
        return Applied(tuple(stats))

    def _apply_operation(self, session: int, operation: Operation, undo: list[Undo]) -> Stat | None:
        match operation:
            case Create():
                node = self._create(session, operation)
                undo.append(lambda: self._remove(node))
                return None
            case SetData():
                node = self._existing(operation.path, operation.version)
                before = node.data, node.version, node.mtime_s
                undo.append(lambda: _set(node, *before))
                _set(node, operation.data, node.version + 1, self._mtime())
                return node.stat()
            case Delete():
                node = self._existing(operation.path, operation.version)
                if node.children:
                    raise _Refusal("NotEmpty")
                self._remove(node)
                undo.append(lambda: self._insert(node))
                return None
            case Check():
                self._existing(operation.path, operation.version)
                return None
            case _:
                assert_never(operation)

    def _create(self, session: int, operation: Create) -> _Node:
        parent = self._nodes.get(_parent(operation.path))
        if parent is None:
            raise _Refusal("NoNode")
        if operation.path in self._nodes:
            raise _Refusal("NodeExists")
        if parent.owner:
            raise _Refusal("NoChildrenForEphemerals")
        node = _Node(operation.path, operation.data, session if operation.ephemeral else 0, self._mtime())
        self._insert(node)
        return node

    def _existing(self, path: str, version: int) -> _Node:
        node = self._nodes.get(path)
        if node is None:
            raise _Refusal("NoNode")
        if version not in (-1, node.version):
            raise _Refusal("BadVersion")
        return node

    def _insert(self, node: _Node) -> None:
        self._nodes[node.path] = node
        self._nodes[_parent(node.path)].children.add(node.path.rpartition("/")[2])
        if node.owner:
            self._sessions[node.owner].ephemerals[node.path] = None

    def _remove(self, node: _Node) -> None:
        del self._nodes[node.path]
        self._nodes[_parent(node.path)].children.discard(node.path.rpartition("/")[2])
        if node.owner in self._sessions:
            del self._sessions[node.owner].ephemerals[node.path]

    def _mtime(self) -> float:
        return int(self._now() * 1000) / 1000

    # --- watches -------------------------------------------------------------------------------------------

    def _watch(self, watches: dict[str, dict[int, None]], path: str, session: int) -> None:
        if self._sessions[session].connected:
            watches.setdefault(path, {})[session] = None

    def _drop_watches(self, session: int) -> None:
        for watches in (self._data_watches, self._child_watches):
            for path in [path for path, watchers in watches.items() if session in watchers]:
                del watches[path][session]
                if not watches[path]:
                    del watches[path]

    def _tell(self, operation: Operation, at: float) -> None:
        """Spend the watches that an applied operation triggers."""
        match operation:
            case Create():
                self._spend_data(operation.path, at)
                self._spend_children(_parent(operation.path), at)
            case SetData():
                self._spend_data(operation.path, at)
            case Delete():
                self._deleted(operation.path, at)
            case Check():
                pass
            case _:
                assert_never(operation)

    def _deleted(self, path: str, at: float) -> None:
        self._spend_data(path, at)
        self._spend_children(path, at)
        self._spend_children(_parent(path), at)

    def _spend_data(self, path: str, at: float) -> None:
        for session in self._data_watches.pop(path, ()):
            self._events.append((self._sessions[session].client, NodeChanged(at=at, path=path)))

    def _spend_children(self, path: str, at: float) -> None:
        for session in self._child_watches.pop(path, ()):
            self._events.append((self._sessions[session].client, ChildrenChanged(at=at, path=path)))


def _set(node: _Node, data: bytes, version: int, mtime_s: float) -> None:
    node.data = data
    node.version = version
    node.mtime_s = mtime_s
    node.read = None


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
