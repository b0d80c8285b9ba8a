"""What alb relies on in the pinned kazoo, and what it changes there."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kazoo.exceptions import ConnectionDropped, ConnectionLoss, NoNodeError
from kazoo.handlers.threading import AsyncResult
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Sync
from kazoo.protocol.states import KeeperState
from kazoo.retry import KazooRetry, RetryFailedError

from alb_core.io.kazoo_hooks import RETRY_DELAY_S, RETRY_DELAY_S_MAX, Client


class Sleeps:
    """A `sleep` that only counts."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        """Count a sleep."""
        self.seconds.append(seconds)


def attempts(max_tries: int, give_up_after: int = 50) -> int:
    """Count how often a failing call is tried."""
    count = 0

    def fail() -> None:
        nonlocal count
        count += 1
        if count >= give_up_after:
            raise KeyboardInterrupt
        raise ConnectionLoss

    with pytest.raises((RetryFailedError, KeyboardInterrupt)):
        KazooRetry(max_tries=max_tries, sleep_func=Sleeps())(fail)
    return count


@pytest.mark.parametrize(("max_tries", "tried"), [(1, 1), (2, 2), (5, 5), (-1, 50), (0, 50)])
def test_retry_counts_of_this_kazoo(max_tries: int, tried: int) -> None:
    """N means N attempts, -1 without end; 0 too, which other versions read as none."""
    assert attempts(max_tries) == tried


def make_client(hosts: str = "127.0.0.1:1", timeout_s: float = 6.0) -> Client:
    """Return a client that nobody started."""
    return Client(
        hosts,
        timeout_s,
        on_connected=lambda _session, _granted: None,
        on_suspended=lambda: None,
        on_ended=lambda _gave_up: None,
    )


def test_client_tries_for_ever_and_often() -> None:
    """The connection is retried without end, at first at once, and never rarer than the longest delay."""
    retry = make_client()._connection.retry_sleeper
    assert (retry.max_tries, retry.delay) == (-1, RETRY_DELAY_S)
    retry.sleep_func = sleeps = Sleeps()
    retry.interrupt = None
    left = iter(range(100))

    def fail() -> None:
        if next(left, None) is not None:
            raise ConnectionLoss

    retry(fail)
    assert len(sleeps.seconds) == 100
    assert sleeps.seconds[0] <= 1.4 * RETRY_DELAY_S
    assert max(sleeps.seconds) <= 1.4 * RETRY_DELAY_S_MAX


@pytest.mark.parametrize(
    ("hosts", "timeout_s", "cap"),
    [
        ("127.0.0.1:1", 30.0, 1.0),
        ("127.0.0.1:1", 1.0, 0.5),
        ("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", 3.0, 0.5),
    ],
)
def test_one_server_never_costs_the_session(
    hosts: str, timeout_s: float, cap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection attempt lasts a second, or less where the session is short or the servers are many."""
    waited: list[float] = []

    def connect(_address: Any, timeout: float) -> socket.socket:
        waited.append(timeout)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    handler = make_client(hosts, timeout_s).handler
    handler.create_connection(address=("127.0.0.1", 1), timeout=timeout_s).close()
    assert waited == [pytest.approx(cap, abs=0.05)]


def test_nothing_is_queued_before_a_connection() -> None:
    """A request made while the connection is down is refused, and kazoo's queue stays empty."""
    client = make_client()
    assert not client.submit((Sync("/"), AsyncResult(client.handler)))
    assert not client._queue


def test_waking_never_blocks() -> None:
    """Thousands of wake-ups that nobody hears do not stop the caller."""
    client = make_client()
    connection = client._connection
    reading, connection._write_sock = socket.socketpair()
    connection._write_sock.setblocking(False)
    begun = time.monotonic()
    for _ in range(5000):
        connection.ring()
    assert time.monotonic() - begun < 20
    reading.close()
    connection._write_sock.close()


# --- sending and receiving ----------------------------------------------------------------------------------


class Wire:
    """A connection with a test at its other end, and little room on the way."""

    def __init__(self) -> None:
        self.client = make_client()
        self.connection = self.client._connection
        ours, self.theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        self.connection._socket = ours
        self.connection._xid = 0
        self.connection._read_sock, self.connection._write_sock = socket.socketpair()
        self.answered: list[int] = []

    def requests(self, *sizes: int) -> list[tuple[Any, Any]]:
        """Return requests of so many bytes."""
        return [(Payload(bytes([number]) * size), None) for number, size in enumerate(sizes, start=1)]

    def drain(self) -> bytes:
        """Take all that is on the way."""
        self.theirs.settimeout(0.2)
        taken = bytearray()
        try:
            while data := self.theirs.recv(65536):
                taken += data
        except TimeoutError:
            pass
        return bytes(taken)

    def close(self) -> None:
        """Close every end."""
        for end in (
            self.connection._socket,
            self.theirs,
            self.connection._read_sock,
            self.connection._write_sock,
        ):
            end.close()


class Payload:
    """A request of ZooKeeper's, as far as the wire sees."""

    type = 14

    def __init__(self, body: bytes) -> None:
        self.body = body

    def serialize(self) -> bytes:
        """Return its bytes."""
        return self.body


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A wire."""
    made = Wire()
    yield made
    made.close()


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Split what was sent into xids and bodies."""
    found = []
    while data:
        length, xid, _ = struct.unpack_from(">iii", data)
        found.append((xid, data[12 : 4 + length]))
        data = data[4 + length :]
    return found


def test_a_large_request_is_sent_in_pieces_and_in_order(wire: Wire) -> None:
    """The caller never waits: the connection's thread is rung, and sends the rest before anything else."""
    requests = wire.requests(100_000, 10, 50_000)
    wire.connection.send(requests[:2])
    assert wire.connection._outgoing
    assert wire.connection._read_sock.recv(10) == b"\0"
    wire.connection.send(requests[2:])
    reader = ThreadPoolExecutor(1)
    taken = reader.submit(wire.drain)
    wire.connection._write(b"", 2.0)
    assert not wire.connection._outgoing
    sent = frames(taken.result(timeout=60))
    assert [xid for xid, _ in sent] == [1, 2, 3]
    assert [body for _, body in sent] == [request.body for request, _ in requests]
    assert [xid for _, _, xid in wire.client._pending] == [1, 2, 3]


def test_what_kazoo_asks_itself_waits_behind_what_was_begun(wire: Wire) -> None:
    """A ping in the middle of a frame would end the session."""
    (begun,) = wire.requests(100_000)
    wire.connection.send([begun])
    wire.client._queue.append((Payload(b"close"), None))
    wire.connection.ring()
    reader = ThreadPoolExecutor(1)
    taken = reader.submit(wire.drain)
    wire.connection._send_request(1.0, 2.0)
    assert [body[:5] for _, body in frames(taken.result(timeout=60))] == [b"\1" * 5, b"close"]


def test_a_request_that_cannot_be_written_takes_none_with_it(wire: Wire) -> None:
    """All are written before one of them counts."""

    class Broken(Payload):
        def serialize(self) -> bytes:
            raise ValueError("no bytes")

    with pytest.raises(ValueError, match="no bytes"):
        wire.connection.send([*wire.requests(10), (Broken(b""), None)])
    assert not wire.client._pending
    assert not wire.connection._outgoing


def test_a_broken_connection_is_left_to_its_thread(wire: Wire) -> None:
    """The caller hears nothing of it: the thread sees the end of the stream, and fails what was asked."""
    wire.theirs.close()
    for _ in range(2):
        wire.connection.send(wire.requests(10))
    assert not wire.connection._outgoing
    with pytest.raises(ConnectionDropped):
        wire.connection._read(4, 1.0)


def test_answers_that_came_together_are_all_read(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket does not tell of them again; one that is cut waits for its rest."""
    taken: list[bytes] = []

    def read_one(connection: Any, timeout: float) -> None:
        length = int.from_bytes(connection._read(4, timeout), "big")
        taken.append(connection._read(length, timeout))

    monkeypatch.setattr(ConnectionHandler, "_read_socket", read_one)
    answers = [b"one", b"two", b"three"]
    stream = b"".join(len(answer).to_bytes(4, "big") + answer for answer in answers)
    wire.theirs.sendall(stream[:-2])
    wire.connection._read_socket(1.0)
    assert taken == answers[:2]
    wire.theirs.sendall(stream[-2:])
    wire.connection._read_socket(1.0)
    assert taken == answers


def test_nothing_of_an_earlier_connection_enters_the_next(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the rest of a request, nor the beginning of an answer."""
    monkeypatch.setattr(ConnectionHandler, "_connect", lambda *_: (1, 1))
    wire.connection.send(wire.requests(100_000))
    wire.connection._incoming += b"half an answer"
    wire.connection._connect("localhost", "127.0.0.1", 1)
    assert not wire.connection._outgoing
    assert not wire.connection._incoming


# --- answers that are lent to the owner ---------------------------------------------------------------------

LONG_S = 1000.0
#: A loan of this length does not end in a test.


class Asker:
    """Takes what becomes of a request."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def set(self, value: Any) -> None:
        """Keep the answer."""
        self.told.append(value)

    def set_exception(self, error: Exception) -> None:
        """Keep the error."""
        self.told.append(error)


class Echo(Payload):
    """A request whose answer is what the server says."""

    type = 22
    plain = True

    def deserialize(self, buffer: bytes, offset: int) -> bytes:
        """Return what came behind the header."""
        if buffer[offset:] == b"garbled":
            raise ValueError("no answer")
        return buffer[offset:]


class Odd(Echo):
    """A request that kazoo answers in its own way."""

    plain = False


@pytest.fixture
def lent(wire: Wire) -> Wire:
    """A wire whose answers are lent; its thread would wait for rings now."""
    wire.client._stopped.clear()
    assert wire.connection.wait(0.0) == []
    assert wire.client.lend(time.monotonic() + LONG_S) == wire.connection._socket.fileno()
    return wire


def ask(wire: Wire, count: int = 1, form: type[Payload] = Echo) -> list[Asker]:
    """Send so many requests, numbered from where the connection stands."""
    askers = [Asker() for _ in range(count)]
    wire.connection.send([(form(b"?"), asker) for asker in askers])
    return askers


def answer(xid: int, body: bytes, *, error: int = 0, zxid: int = 70) -> bytes:
    """Return an answer as the server sends it."""
    return struct.pack(">iiqi", 16 + len(body), xid, zxid + xid, error) + body


PING = answer(-2, b"")


def test_an_owner_takes_lent_answers(lent: Wire) -> None:
    """Its thread does not wake for them, and they are told whole, each once and in order."""
    first, second = ask(lent, 2)
    lent.theirs.sendall(answer(1, b"one") + answer(2, b"two")[:-1])
    assert lent.connection.wait(0.02) == []
    lent.client.hear()
    assert (first.told, second.told) == ([b"one"], [])
    lent.theirs.sendall(answer(2, b"two")[-1:])
    lent.client.hear()
    lent.client.hear()
    assert (first.told, second.told) == ([b"one"], [b"two"])
    assert lent.client.last_zxid == 72
    assert not lent.client._pending


@pytest.mark.parametrize("form", [Echo, Odd])
@pytest.mark.parametrize(
    ("said", "told"), [(answer(1, b"yes"), [b"yes"]), (answer(1, b"", error=-101), [NoNodeError])]
)
@pytest.mark.parametrize("taker", ["owner", "thread"])
def test_an_answer_is_the_same_in_any_way(
    lent: Wire, form: type[Payload], said: bytes, told: list[Any], taker: str
) -> None:
    """Whoever takes it, and whether it goes kazoo's way or the short one."""
    (asker,) = ask(lent, form=form)
    lent.theirs.sendall(said)
    if taker == "owner":
        lent.client.hear()
    else:
        lent.connection._read_socket(1.0)
    assert [each if isinstance(each, bytes) else type(each) for each in asker.told] == told
    assert lent.client.last_zxid == 71


def test_a_garbled_answer_goes_kazoos_way(lent: Wire) -> None:
    """It is the error of the one who asked, and the connection lives."""
    first, second = ask(lent, 2)
    lent.theirs.sendall(answer(1, b"garbled") + answer(2, b"fine"))
    lent.client.hear()
    assert isinstance(first.told[0], ValueError)
    assert second.told == [b"fine"]
    assert lent.connection._trouble is None


def test_a_thread_rests_only_while_answers_are_lent(wire: Wire) -> None:
    """Not after the loan, not while a ping is out, and not while the client stops: then all are its own."""
    wire.client._stopped.clear()
    socket_ready = [wire.connection._socket]
    assert wire.client.lend(time.monotonic()) == -1, "the handshake may be under way"
    assert wire.connection.wait(0.0) == []
    wire.theirs.sendall(PING)
    assert wire.connection.wait(LONG_S) == socket_ready
    assert wire.client.lend(time.monotonic() - LONG_S) >= 0, "it ends at once"
    assert wire.connection.wait(LONG_S) == socket_ready
    assert wire.client.lend(time.monotonic() + LONG_S) >= 0
    assert wire.connection.wait(0.02) == []
    wire.connection.ping_outstanding.set()
    assert wire.connection.wait(LONG_S) == socket_ready
    wire.connection._read_socket(1.0)
    assert not wire.connection.ping_outstanding.is_set()
    assert wire.connection.wait(0.02) == []
    wire.client._stopped.set()
    wire.theirs.sendall(PING)
    assert wire.connection.wait(LONG_S) == socket_ready
    assert wire.client.lend(time.monotonic() + LONG_S) == -1


def test_a_ring_wakes_the_thread_at_any_time(lent: Wire) -> None:
    """What kazoo asks for itself, its Close, does not wait for the end of a loan."""
    lent.connection.ring()
    assert lent.connection.wait(LONG_S) == [lent.connection._read_sock]


def test_an_owner_may_answer_the_ping(lent: Wire) -> None:
    """Then kazoo does not take the connection for dead."""
    lent.connection.ping_outstanding.set()
    lent.theirs.sendall(PING)
    lent.client.hear()
    assert not lent.connection.ping_outstanding.is_set()


def test_a_thread_that_comes_too_late_does_not_wait(lent: Wire) -> None:
    """Both may wake for one answer: who finds nothing goes on, and finishes what the other found half of."""
    first, second = ask(lent, 2)
    lent.theirs.sendall(answer(1, b"one"))
    lent.client.hear()
    assert lent.connection._read_socket(LONG_S) is None
    lent.theirs.sendall(answer(2, b"two")[:9])
    lent.client.hear()
    lent.theirs.sendall(answer(2, b"two")[9:])
    assert lent.connection._read_socket(LONG_S) is None
    assert (first.told, second.told) == ([b"one"], [b"two"])


def test_an_owner_does_not_wait_for_the_thread(lent: Wire) -> None:
    """While the thread is at it, the owner goes on: the answers are posted all the same."""
    ask(lent)
    lent.theirs.sendall(answer(1, b"one"))
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lent.connection._receiving.acquire).result(timeout=60)
        lent.client.hear()
        thread.submit(lent.connection._receiving.release).result(timeout=60)
    assert lent.client._pending


@pytest.mark.parametrize(
    ("said", "error"), [(b"", ConnectionDropped), (answer(9, b"not asked for"), RuntimeError)]
)
def test_what_an_owner_meets_is_raised_by_the_thread(lent: Wire, said: bytes, error: type[Exception]) -> None:
    """Where kazoo expects it: the end of the stream, an answer to nothing. The owner hears of it as ever."""
    ask(lent)
    lent.drain()
    lent.theirs.sendall(said)
    lent.theirs.close()
    lent.client.hear()
    assert lent.connection.wait(LONG_S) == [lent.connection._socket]
    lent.client.hear()
    assert lent.client.lend(time.monotonic()) == -1
    with pytest.raises(error):
        lent.connection._read_socket(1.0)
    lent.connection.take_back()
    assert lent.connection._trouble is None


def test_nothing_is_answered_once_the_connection_is_over(lent: Wire) -> None:
    """What is under way fails then, and must not be answered, too; the next connection is lent anew."""
    (asker,) = ask(lent)
    lent.theirs.sendall(answer(1, b"late"))
    lent.client._state = KeeperState.CONNECTED
    lent.client._session_callback(KeeperState.CONNECTING)
    lent.client.hear()
    assert [type(each) for each in asker.told] == [ConnectionLoss]
    assert lent.client.lend(time.monotonic()) == -1
