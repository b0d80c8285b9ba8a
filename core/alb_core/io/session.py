"""The ZooKeeper session: carries out the requests of `alb_core.zk` and tells its events.

It owns the connection, the session and every request under way, and answers each request exactly once. It
knows nothing of brokers or tasks. Requests and answers keep ZooKeeper's order; watch events come in between
exactly where the server sent them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, assert_never

from kazoo.exceptions import (
    BadArgumentsError,
    KazooException,
    NoAuthError,
    NoNodeError,
    UnimplementedError,
)
from kazoo.protocol.serialization import Exists, GetData, Sync
from kazoo.protocol.states import EventType, WatchedEvent, ZnodeStat

from alb_core.io.clock import monotonic
from alb_core.io.kazoo_hooks import Client
from alb_core.io.multi_read import ListNames, MultiRead
from alb_core.io.multi_write import MultiWrite, error_name, full_path
from alb_core.zk import (
    ChildrenChanged,
    ChildrenListed,
    ListChildren,
    Multi,
    MultiEnded,
    NodeChanged,
    NodeRead,
    NodesRead,
    ReadNodes,
    Refused,
    Request,
    SessionConnected,
    SessionEvent,
    SessionExpired,
    SessionSuspended,
    Stat,
    Unknown,
    Verdict,
)

CHUNK_PATHS: Final = 500
#: Nodes in one multiRead.
RESTART_DELAY_S: Final = 0.5
#: Before a client that gave up is started again.

_REFUSALS: Final = (BadArgumentsError, NoAuthError)
#: Errors of a whole transaction which prove that it was not applied. After any other nobody knows.


class Session:
    """One ZooKeeper session after another, until stopped.

    Args:
        hosts: ``host:port,host:port``.
        chroot: Prefix of every path, for example ``/alb``; the empty text for none.
        timeout_s: Session timeout to ask for; `SessionConnected` tells what was granted.
        post: Takes every event, on a thread of the session (or the caller of `request` and `hear`). It must
            only enqueue: no request, no blocking, no exception.
    """

    def __init__(
        self, hosts: str, chroot: str, timeout_s: float, post: Callable[[SessionEvent], None]
    ) -> None:
        self._chroot = chroot.rstrip("/")
        self._post = post
        self._session_id: int | None = None
        self._stopping = False
        self._restart: threading.Timer | None = None
        self.multi_read_known = True
        #: False once a server older than 3.6 refused it: from then on nodes are read one by one.
        self._answers: set[_Answer] = set()
        #: Of the requests under way.
        self._client = Client(
            hosts,
            timeout_s,
            on_connected=self._on_connected,
            on_suspended=self._on_suspended,
            on_ended=self._on_ended,
        )

    # --- the owner's side ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, and return at once."""
        self._client.start_async()

    def request(self, request: Request) -> None:
        """Carry out a request; its answer is posted. While the connection is down it is Unknown, at once."""
        match request:
            case Multi():
                write = MultiWrite(self._chroot, request.operations)
                self._submit(writing := _MultiAnswer(self, request.token), (write, writing))
            case ReadNodes():
                self._read_nodes(request)
            case ListChildren():
                watcher = self._on_child_event if request.watch else None
                children = ListNames(full_path(self._chroot, request.path), watcher)
                self._submit(listing := _ListAnswer(self, request.token), (children, listing))
            case _:
                assert_never(request)

    def lend(self, now: float) -> int:
        """Leave the answers to the caller's thread, for a moment that each call begins anew.

        It polls what is returned, then calls `hear`; so no other thread lies between it and ZooKeeper.

        Args:
            now: Monotonic seconds.

        Returns:
            The descriptor to poll, once: later it may be anybody's. -1: not connected.
        """
        return self._client.lend(now)

    def hear(self) -> None:
        """Post the answers that have come, if they are lent to the caller; never waits."""
        self._client.hear()

    def stop(self, within_s: float = 2.0) -> None:
        """Close the session and with it its ephemeral nodes; requests under way are not waited for.

        Args:
            within_s: How long to wait for ZooKeeper to confirm. Later the session ends by its timeout.
        """
        self._stopping = True
        closer = threading.Thread(target=self._close, name="zookeeper-close", daemon=True)
        closer.start()
        closer.join(within_s)

    def _close(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart.join()
        with suppress(KazooException, OSError):  # kazoo could not reach its thread in time: it ends by itself
            self._client.stop()
            self._client.close()

    # --- requests ------------------------------------------------------------------------------------------

    def _submit(self, answer: _Answer, *parts: tuple[Any, Any]) -> None:
        """Send the parts of one request, in order, or answer that nobody will."""
        self._answers.add(answer)
        if not self._client.submit(*parts):
            answer.lose("not connected to ZooKeeper: nothing was sent")

    def _read_nodes(self, request: ReadNodes) -> None:
        answer = _NodesAnswer(self, request.token, request.paths)
        if not request.paths:
            self._answers.add(answer)
            answer.finish(())
            return
        parts: list[tuple[Any, Any]] = []
        if request.sync:
            parts.append((Sync(self._chroot or "/"), _NO_ANSWER))
        if request.watch:
            # `exists` arms the watch whether or not there is a node; the read that follows tells which.
            watcher = self._on_data_event
            parts += ((Exists(full_path(self._chroot, path), watcher), _NO_ANSWER) for path in request.paths)
        for start in range(0, len(request.paths), CHUNK_PATHS):
            paths = request.paths[start : start + CHUNK_PATHS]
            if self.multi_read_known:
                read = MultiRead(self._chroot, paths, stats=request.stats)
                parts.append((read, _Chunk(answer, start)))
            else:
                parts += self._single_reads(answer, start, paths)
        answer.waiting = sum(part is not _NO_ANSWER for _, part in parts)
        self._submit(answer, *parts)

    def _single_reads(
        self, answer: _NodesAnswer, start: int, paths: Sequence[str]
    ) -> list[tuple[Any, _SingleRead]]:
        return [
            (GetData(full_path(self._chroot, path), None), _SingleRead(answer, start + index, path))
            for index, path in enumerate(paths)
        ]

    # --- called on the connection's thread -----------------------------------------------------------------

    def _on_connected(self, session: int, granted_s: float) -> None:
        self._session_id = session
        self._post(SessionConnected(at=monotonic(), session=session, timeout_s=granted_s))

    def _on_suspended(self) -> None:
        if not self._stopping:
            self._post(SessionSuspended(at=monotonic()))

    def _on_ended(self, gave_up: bool) -> None:  # noqa: FBT001 (the hook's form)
        for answer in list(self._answers):
            answer.lose("the session ended")  # kazoo fails what it knows of; this is for what it lost
        if self._stopping:
            return
        if self._session_id is not None:
            self._session_id = None
            self._post(SessionExpired(at=monotonic()))
        if gave_up:
            self._restart = threading.Timer(RESTART_DELAY_S, self._start_again)
            self._restart.daemon = True
            self._restart.start()

    def _start_again(self) -> None:
        if not self._stopping:
            self._client.start_async()

    def _on_data_event(self, event: WatchedEvent) -> None:
        if event.type != EventType.NONE:  # NONE: the connection broke, and with it went the watch
            self._post(NodeChanged(at=monotonic(), path=self._relative(event.path)))

    def _on_child_event(self, event: WatchedEvent) -> None:
        if event.type != EventType.NONE:
            self._post(ChildrenChanged(at=monotonic(), path=self._relative(event.path)))

    def _relative(self, path: str) -> str:
        return path.removeprefix(self._chroot) or "/"

    def end(self, answer: _Answer, event: SessionEvent) -> None:
        """Post the answer of a request, once."""
        try:
            self._answers.remove(answer)  # one step: the owner's thread and the connection's may both be here
        except KeyError:
            return
        self._post(event)


class _Answer:
    """What a request under way still owes its asker."""

    __slots__ = ("session", "token")

    def __init__(self, session: Session, token: int) -> None:
        self.session = session
        self.token = token

    def lose(self, why: str) -> None:
        """Answer that the outcome is unknown."""
        raise NotImplementedError


class _MultiAnswer(_Answer):
    __slots__ = ()

    def lose(self, why: str) -> None:
        self._end(Unknown(why))

    def set(self, value: list[Verdict]) -> None:
        self._end(value[0])

    def set_exception(self, error: Exception) -> None:
        if isinstance(error, _REFUSALS):
            self._end(Refused(0, error_name(error.code)))
        else:
            self._end(Unknown(type(error).__name__))

    def _end(self, verdict: Verdict) -> None:
        self.session.end(self, MultiEnded(at=monotonic(), token=self.token, verdict=verdict))


class _ListAnswer(_Answer):
    __slots__ = ()

    def lose(self, why: str) -> None:  # noqa: ARG002 (the asker learns only that it must ask again)
        self._end(None)

    def set(self, value: list[str]) -> None:
        self._end(tuple(sorted(value)))

    def set_exception(self, error: Exception) -> None:  # noqa: ARG002
        self._end(None)

    def _end(self, names: tuple[str, ...] | None) -> None:
        self.session.end(self, ChildrenListed(at=monotonic(), token=self.token, names=names))


class _NodesAnswer(_Answer):
    """Gathers the chunks of one `ReadNodes`."""

    __slots__ = ("nodes", "waiting")

    def __init__(self, session: Session, token: int, paths: Sequence[str]) -> None:
        super().__init__(session, token)
        self.nodes: list[NodeRead | None] = [None] * len(paths)
        self.waiting = 0
        #: Chunks, or single reads, that are still under way.

    def lose(self, why: str) -> None:  # noqa: ARG002
        self.finish(None)

    def take(self, start: int, nodes: Sequence[NodeRead | None]) -> None:
        """Keep one chunk; the last one completes the answer."""
        self.nodes[start : start + len(nodes)] = nodes
        self.waiting -= 1
        if not self.waiting:
            self.finish(tuple(self.nodes))

    def finish(self, nodes: tuple[NodeRead | None, ...] | None) -> None:
        """Answer."""
        self.session.end(self, NodesRead(at=monotonic(), token=self.token, nodes=nodes))


class _Chunk:
    """The answer of one multiRead."""

    __slots__ = ("answer", "start")

    def __init__(self, answer: _NodesAnswer, start: int) -> None:
        self.answer = answer
        self.start = start

    def set(self, nodes: list[NodeRead | None]) -> None:
        self.answer.take(self.start, nodes)

    def set_exception(self, error: Exception) -> None:
        if isinstance(error, UnimplementedError):  # such a server also closes the connection
            self.answer.session.multi_read_known = False
        self.answer.lose(str(error))


class _SingleRead:
    """The answer of one `get`, where multiRead is not known."""

    __slots__ = ("answer", "index", "path")

    def __init__(self, answer: _NodesAnswer, index: int, path: str) -> None:
        self.answer = answer
        self.index = index
        self.path = path

    def set(self, value: tuple[bytes | None, ZnodeStat]) -> None:
        data, stat = value
        read = Stat(version=stat.version, mtime_s=stat.mtime / 1000, owner=stat.ephemeralOwner)
        self.answer.take(self.index, (NodeRead(path=self.path, data=data or b"", stat=read),))

    def set_exception(self, error: Exception) -> None:
        if isinstance(error, NoNodeError):
            self.answer.take(self.index, (None,))
        else:
            self.answer.lose(str(error))


class _NoAnswer:
    """For requests whose answer says nothing: the one behind them is waited for."""

    def set(self, value: Any) -> None:
        """Ignore it."""

    def set_exception(self, error: Exception) -> None:
        """Ignore it: the request behind it fails too, or tells more."""


_NO_ANSWER: Final = _NoAnswer()
