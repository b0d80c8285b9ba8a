"""kazoo 2.11, changed where alb needs another behaviour; nobody else reaches into its inside.

- Nothing is ever sent late: kazoo queues what is asked while the connection is down and sends it after the
  reconnect; here a gate closes before kazoo fails what was under way, and opens with the next connection.
- One thread a client: kazoo hands answers and watch events to two more threads; here the connection's thread
  calls back itself. That saves two thread switches a commit, and keeps the order in which the server spoke.
- The caller sends its request itself, as far as the socket takes it without waiting, and the connection's
  thread reads all that has come at once: under load each wait for the interpreter between two threads costs
  more than the work.
- An owner that sleeps until ZooKeeper answers reads the answer itself: the connection is lent to it for a
  moment, again and again. The thread still pings, and has the connection back when the moment is over, or at
  once where the owner meets anything but whole answers.
- The session timeout that the server granted, which kazoo keeps in a local variable.
- A server that takes no connection costs at most a second, not the whole session.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionDropped
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect
from kazoo.protocol.states import Callback, KeeperState
from kazoo.retry import KazooRetry

from alb_core.io.clock import monotonic

CONNECT_S_MAX: Final = 1.0
RETRY_DELAY_S: Final = 0.05
#: Doubled after each round over the servers …
RETRY_DELAY_S_MAX: Final = 0.5
#: … up to this: a server that returns is found well within a session's timeout.
RECEIVE_BYTES: Final = 256 * 1024
LENT_S: Final = 0.25
#: A loan that is not renewed ends then: nobody waits longer for an owner that is stuck.

_LENGTH: Final = struct.Struct(">i")
_XID_AND_TYPE: Final = struct.Struct(">ii")
_ANSWER: Final = struct.Struct(">iiqi")
#: Length, xid, zxid and error, before what the request's type makes of it.


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
        handler.wait = self._connection.wait

    def submit(self, *requests: tuple[Any, Answer]) -> bool:
        """Queue requests, all or none.

        Returns:
            Whether they were queued: not while the connection is down. Then they are never sent.
        """
        with self._gate:
            if not self._gate_open:
                return False
            self._connection.send(requests)
        return True

    def lend(self, now: float) -> int:
        """Leave the answers to the caller's thread for `LENT_S`: it polls, and then calls `hear`.

        Args:
            now: Monotonic seconds.

        Returns:
            The descriptor to poll, good for this one time; -1: there is nothing to lend.
        """
        return self._connection.lend(now)

    def hear(self) -> None:
        """Take the answers that have come, if they are lent; never waits."""
        self._connection.hear()

    def _session_callback(self, state: str) -> None:
        if state == self._state:
            return
        if state == KeeperState.CONNECTED:
            super()._session_callback(state)
            with self._gate:  # so that nobody is answered before the owner knows of the connection
                self._gate_open = True
                self._on_connected(self._session_id, self._connection.granted_s)
            return
        self._connection.take_back()  # from here on nobody else takes answers: what is under way fails
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

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sending = threading.Lock()  #: Held for numbering and sending, never while waiting.
        self._outgoing = bytearray()  #: What the socket did not take yet.
        self._incoming = bytearray()  #: What was received and not read yet.
        self._receiving = threading.RLock()
        #: Held for receiving and answering; again by the same thread where an answer ends the session.
        self._shared = False  #: The handshake is over: the owner may take answers, too.
        self._lent_until = 0.0  #: Own clock: until then the owner waits for answers, this thread does not.
        self._trouble: Exception | None = None
        #: What the owner met when it took answers; this thread raises it, where kazoo expects it.

    def start(self) -> None:
        super().start()
        self._write_sock.setblocking(False)

    # --- sending --------------------------------------------------------------------------------------------

    def send(self, requests: Sequence[tuple[Any, Answer]]) -> None:
        """Send requests, from any thread, while connected; what the socket does not take now follows."""
        with self._sending:
            bodies = [request.serialize() for request, _ in requests]  # all, before one of them counts
            for (request, answer), body in zip(requests, bodies, strict=True):
                self._number(request, answer, body)
            self._push()
            rest = bool(self._outgoing)
        if rest:
            self.ring()

    def _number(self, request: Any, answer: Any, serialized: bytes) -> None:
        """Append a request to what is to be sent, and to what is to be answered."""
        self._xid: int = self._xid % 0x7FFF_FFFF + 1
        body = _XID_AND_TYPE.pack(self._xid, request.type) + serialized
        pending = self.client._pending  # noqa: SLF001 (that is this file's purpose)
        pending.append((request, answer, self._xid))
        self._outgoing += _LENGTH.pack(len(body)) + body

    def _push(self) -> None:
        """Send what the socket takes now."""
        try:
            while self._outgoing:
                sent = self._socket.send(self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()
            with suppress(OSError):  # the connection's thread then sees the end of the stream
                self._socket.shutdown(socket.SHUT_RDWR)

    def _write(self, msg: bytes, timeout: float) -> None:
        """Send something of kazoo's own, or only the rest (nothing), and wait until all is sent."""
        with self._sending:
            self._outgoing += msg
            self._push()
        with self._socket_error_handling():
            while self._outgoing:
                if not self.handler.select([], [self._socket], [], timeout)[1]:
                    raise self.handler.timeout_exception("socket time-out during write")
                with self._sending:
                    self._push()

    def _send_request(self, read_timeout: float, connect_timeout: float) -> None:  # noqa: ARG002 (its form)
        """Take a ring: send the rest of what was begun, and what kazoo asks for itself (its Close)."""
        self._read_sock.recv(4096)
        queue = self.client._queue  # noqa: SLF001
        with self._sending:
            while queue:
                request, answer = queue.popleft()
                self._number(request, answer, request.serialize())
        self._write(b"", connect_timeout)

    # --- receiving ------------------------------------------------------------------------------------------

    def _read(self, length: int, timeout: float) -> bytes:
        """Return so many bytes, and keep whatever came with them."""
        incoming = self._incoming
        with self._socket_error_handling():
            while len(incoming) < length:
                if not self._receive() and not self.handler.select([self._socket], [], [], timeout)[0]:
                    raise self.handler.timeout_exception("socket time-out during read")
        taken = bytes(incoming[:length])
        del incoming[:length]
        return taken

    def _receive(self) -> bool:
        """Receive what has come, without waiting; returns whether it was anything."""
        try:
            received = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        if not received:
            raise ConnectionDropped("socket connection broken")
        self._incoming += received
        return True

    def _read_socket(self, read_timeout: float) -> Any:
        """Handle every answer that has come whole: the socket will not tell of it again."""
        with self._receiving:
            if self._trouble is not None:
                raise self._trouble
            if not self._receive() and not self._incoming:
                return None  # the owner was quicker
            ended = None if self._answer() else super()._read_socket(read_timeout)
            while ended is None and self._holds_an_answer():
                ended = None if self._answer() else super()._read_socket(read_timeout)
            return ended

    def _answer(self) -> bool:
        """Answer the oldest request, if its answer is here and plain; kazoo's own way costs twice as much.

        Returns:
            Whether that was done; else it is kazoo's: errors, watches, pings, and what is not here whole.
        """
        pending, incoming = self.client._pending, self._incoming  # noqa: SLF001 (as above)
        if not pending or not self._holds_an_answer() or len(incoming) < _ANSWER.size:
            return False
        request, answer, expected = pending[0]
        length, xid, zxid, error = _ANSWER.unpack_from(incoming)
        if xid != expected or error or not getattr(request, "plain", False):
            return False
        try:
            value = request.deserialize(bytes(incoming[: length + 4]), _ANSWER.size)
        except Exception:  # noqa: BLE001 (kazoo does the same, and says what follows from it)
            return False
        pending.popleft()
        del incoming[: length + 4]
        if zxid > 0:
            self.client.last_zxid = zxid
        answer.set(value)
        return True

    def _holds_an_answer(self) -> bool:
        incoming = self._incoming
        return len(incoming) >= 4 and len(incoming) - 4 >= _LENGTH.unpack_from(incoming)[0]

    # --- answers taken by the owner's thread ----------------------------------------------------------------

    def lend(self, now: float) -> int:
        """Leave the answers to the owner for a moment; see `Client.lend`."""
        end = self._socket  # closed by its thread at any time: then it has no descriptor
        if end is None or not self._shared or self.client._stopped.is_set():  # noqa: SLF001 (as above)
            return -1
        self._lent_until = now + LENT_S
        descriptor: int = end.fileno()
        return descriptor

    def hear(self) -> None:
        """Handle every answer that has come whole, in the owner's thread; what is cut waits for its rest."""
        if monotonic() >= self._lent_until or not self._receiving.acquire(blocking=False):
            return
        try:
            if self._shared and self._receive():
                while self._holds_an_answer():
                    if not self._answer():
                        super()._read_socket(0.0)
        except Exception as error:  # noqa: BLE001 (whatever it is, kazoo's loop knows what follows from it)
            self._shared = False
            self._trouble = error
            self.ring()
        finally:
            self._receiving.release()

    def wait(self, timeout: float) -> list[Any]:
        """Wait for answers and rings, while answers are lent only for rings; returns which end is ready."""
        if not self._shared:
            with self._receiving:
                self._shared = self._trouble is None
        until = monotonic() + timeout
        while self._trouble is None:
            now = monotonic()
            lent_s = min(self._lent_until, until) - now
            # The answer to a ping, and to kazoo's Close, is this thread's in any case.
            if lent_s <= 0 or self.ping_outstanding.is_set() or self.client._stopped.is_set():  # noqa: SLF001
                return _poll([self._socket, self._read_sock], [], max(0.0, until - now))[0]
            if ready := _poll([self._read_sock], [], lent_s)[0]:
                return ready
            if monotonic() >= until:
                return []
        return [self._socket]

    def take_back(self) -> None:
        """End the loan and the sharing: the connection is over, or another one begins."""
        with self._receiving:
            self._shared = False
            self._lent_until = 0.0
            self._trouble = None

    # --- the connection -------------------------------------------------------------------------------------

    def _connect(self, host: str, hostip: str, port: int) -> Any:
        with self._sending:  # nothing of an earlier connection belongs into this one
            self._outgoing.clear()
        self.take_back()
        self._incoming.clear()
        return super()._connect(host, hostip, port)

    def zk_loop(self) -> None:
        with suppress(Exception):  # kazoo has logged it, and told the client that it gave up
            super().zk_loop()

    def ring(self) -> None:
        """Wake the thread, from any other."""
        with suppress(OSError, AttributeError):  # already rung often enough; or closed meanwhile
            self._write_sock.send(b"\0")

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        answer = super()._invoke(timeout, request, xid)
        if isinstance(request, Connect):
            self.granted_s = answer[0].time_out / 1000
        return answer


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo ships no types
    """kazoo's handler without its two threads of callbacks."""

    def __init__(self, connect_s_max: float) -> None:
        super().__init__()
        self._connect_s_max = connect_s_max
        self.wait: Callable[[float], list[Any]] | None = None
        #: How the connection's thread waits for both of its ends, between requests; the connection's own way.

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
        if self.wait is not None and timeout is not None and len(readers) == 2:
            return self.wait(timeout), [], []
        return _poll(readers, writers, timeout)

    def create_connection(self, *args: Any, timeout: float, **options: Any) -> Any:
        return super().create_connection(*args, timeout=min(timeout, self._connect_s_max), **options)


def _poll(
    readers: list[Any], writers: list[Any], timeout: float | None
) -> tuple[list[Any], list[Any], list[Any]]:
    waiting = select.poll()
    for end in readers:
        waiting.register(end, select.POLLIN)
    for end in writers:
        waiting.register(end, select.POLLOUT)
    ready = {fd for fd, _ in waiting.poll(None if timeout is None else math.ceil(timeout * 1000))}
    return (
        [end for end in readers if end.fileno() in ready],
        [end for end in writers if end.fileno() in ready],
        [],
    )
