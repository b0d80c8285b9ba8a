"""What alb relies on in the pinned kazoo, and what it changes there."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from kazoo.exceptions import ConnectionLoss
from kazoo.handlers.threading import AsyncResult
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
    assert time.monotonic() - begun < 1
    reading.close()
    connection._write_sock.close()
