"""What alb relies on in the pinned kazoo, and what it changes there."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kazoo.exceptions import ConnectionDropped, ConnectionLoss
from kazoo.handlers.threading import AsyncResult
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Sync
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
