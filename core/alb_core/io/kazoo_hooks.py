"""kazoo 2.11, changed where alb needs another behaviour; nobody else reaches into its inside.

- Nothing is ever sent late: kazoo queues what is asked while the connection is down and sends it after the
  reconnect; here a gate closes before kazoo fails what was under way, and opens with the next connection.
- One thread a client: kazoo hands answers and watch events to two more threads; here the connection's thread
  calls back itself. That saves two thread switches a commit, and keeps the order in which the server spoke.
- Everything that waits is sent at one wake-up, and waking never blocks the caller; waiting itself is cheap.
- The session timeout that the server granted, which kazoo keeps in a local variable.
- A server that swallows packets costs at most a second, not the whole session.
"""

from __future__ import annotations

import math
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect
from kazoo.protocol.states import Callback, KeeperState
from kazoo.retry import KazooRetry

CONNECT_S_MAX: Final = 1.0
RETRY_DELAY_S: Final = 0.05
#: Doubled after each round over the servers …
RETRY_DELAY_S_MAX: Final = 0.5
#: … up to this: a server that returns is found well within a session's timeout.


class Answer(Protocol):
    """What is told how a request ended, on the connection's thread. It must not block or raise."""

    def set(self, value: Any) -> None:
        """Take the decoded answer."""

    def set_exception(self, error: Exception) -> None:
        """Take the error: the server's, or that of the connection."""


class Client(KazooClient):  # type: ignore[misc]  # kazoo ships no types
    """A kazoo client for one `Session`.

    Args:
        hosts: ``host:port,host:port`` without a chroot.
        timeout_s: Session timeout to ask for.
        on_connected: Called with the session's id and its granted timeout in seconds.
        on_suspended: Called when the connection is gone, before requests under way fail.
        on_ended: Called when the session is over; with True when kazoo also stopped trying.

    The callbacks come from the connection's thread and must not block.
    """

    def __init__(
        self,
        hosts: str,
        timeout_s: float,
        *,
        on_connected: Callable[[int, float], None],
        on_suspended: Callable[[], None],
        on_ended: Callable[[bool], None],
    ) -> None:
        self._gate = threading.Lock()
        self._gate_open = False
        self._on_connected = on_connected
        self._on_suspended = on_suspended
        self._on_ended = on_ended
        servers = hosts.count(",") + 1
        handler = _Handler(min(CONNECT_S_MAX, timeout_s / (2 * servers)))
        retry = KazooRetry(
            max_tries=-1,  # endless: 0 and None mean other things in other versions of kazoo
            delay=RETRY_DELAY_S,
            backoff=2,
            max_delay=RETRY_DELAY_S_MAX,
            ignore_expire=True,
            sleep_func=handler.sleep_func,
        )
        super().__init__(hosts=hosts, timeout=timeout_s, handler=handler, connection_retry=retry)
        self._connection: _Connection = _Connection(self, self._connection.retry_sleeper, logger=self.logger)

    def submit(self, *requests: tuple[Any, Answer]) -> bool:
        """Queue requests, all or none.

        Returns:
            Whether they were queued: not while the connection is down. Then they are never sent.
        """
        with self._gate:
            if not self._gate_open:
                return False
            self._queue.extend(requests)
        self._connection.ring()
        return True

    def _session_callback(self, state: str) -> None:
        if state == self._state:
            return
        if state == KeeperState.CONNECTED:
            super()._session_callback(state)
            with self._gate:  # so that nobody is answered before the owner knows of the connection
                self._gate_open = True
                self._on_connected(self._session_id, self._connection.granted_s)
            return
        with self._gate:
            if self._gate_open:
                self._gate_open = False
                self._on_suspended()
        super()._session_callback(state)
        if state in (KeeperState.EXPIRED_SESSION, KeeperState.AUTH_FAILED, KeeperState.CLOSED):
            self._on_ended(state == KeeperState.CLOSED)


class _Connection(ConnectionHandler):  # type: ignore[misc]  # kazoo ships no types
    """The connection's thread."""

    granted_s = 0.0
    #: What the server granted in the last handshake.

    def start(self) -> None:
        super().start()
        self._write_sock.setblocking(False)

    def zk_loop(self) -> None:
        with suppress(Exception):  # kazoo has logged it, and told the client that it gave up
            super().zk_loop()

    def ring(self) -> None:
        """Wake the thread, from any other."""
        with suppress(BlockingIOError, AttributeError):  # already rung often enough; or closed meanwhile
            self._write_sock.send(b"\0")

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        answer = super()._invoke(timeout, request, xid)
        if isinstance(request, Connect):
            self.granted_s = answer[0].time_out / 1000
        return answer

    def _send_request(self, read_timeout: float, connect_timeout: float) -> None:  # noqa: ARG002 (kazoo's form)
        self._read_sock.recv(4096)
        queue, pending = self.client._queue, self.client._pending  # noqa: SLF001 (that is this file's purpose)
        while queue:
            request, answer = queue[0]
            self._xid: int = self._xid % 0x7FFF_FFFF + 1
            self._submit(request, connect_timeout, self._xid)
            queue.popleft()
            pending.append((request, answer, self._xid))


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo ships no types
    """kazoo's handler without its two threads of callbacks."""

    def __init__(self, connect_s_max: float) -> None:
        super().__init__()
        self._connect_s_max = connect_s_max

    def start(self) -> None:
        """Start nothing: kazoo calls back at once while its handler does not run."""

    def stop(self) -> None:
        """Nothing was started."""

    def dispatch_callback(self, callback: Callback) -> None:
        callback.func(*callback.args)

    def select(
        self, readers: list[Any], writers: list[Any], _errors: list[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Wait for sockets. kazoo makes an epoll object for each wait, five times a request."""
        waiting = select.poll()
        for socket in readers:
            waiting.register(socket, select.POLLIN)
        for socket in writers:
            waiting.register(socket, select.POLLOUT)
        ready = {fd for fd, _ in waiting.poll(None if timeout is None else math.ceil(timeout * 1000))}
        return (
            [socket for socket in readers if socket.fileno() in ready],
            [socket for socket in writers if socket.fileno() in ready],
            [],
        )

    def create_connection(self, *args: Any, timeout: float, **options: Any) -> Any:
        return super().create_connection(*args, timeout=min(timeout, self._connect_s_max), **options)
