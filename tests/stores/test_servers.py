"""The results store on real servers: the contract, and what happens when they refuse, hang or die."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import traceback

import pytest
from tests.store_contract import ALL, StoreContract
from tests.store_rows import Ear, output
from tests.store_servers import PASSWORD, QUOTED, Server

from alb.local.ports import Port
from alb_broker.store.events import StoreAway, StoreBack, StoreScanned
from alb_broker.store.interface import StoreUnavailable, StoreUnusable
from alb_broker.store.opening import open_store
from alb_broker.store.thread import StoreThread
from alb_core.io.clock import new_id
from alb_core.rows import Output, Span

CALL_S_MAX = 40.0
#: The longest that any call may take: a time-out of the network, and one more to let go.


class TestServers(StoreContract):
    """PostgreSQL, MariaDB and Redis keep the contract."""


def test_a_wrong_password_is_named_and_not_shown(place: Server) -> None:
    """It is a matter for a person, and no form of the password is in the error or its causes."""
    wrong = place.url.replace(QUOTED, "hush%3Ahush")
    with pytest.raises(StoreUnusable, match=r"(?i)password|denied") as caught:
        open_store(wrong, "t").open()
    story = "".join(traceback.format_exception(caught.value))
    assert not re.search(r"hush|sesame", story)


def test_nobody_listens(place: Server, closed_port: Port) -> None:
    """A refused connection is worth trying again, and shows no password."""
    url = place.url.replace(str(place.port), str(closed_port.number))
    with pytest.raises(StoreUnavailable) as caught:
        open_store(url, "t").open()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_never_answers(place: Server) -> None:
    """A connection that is taken and left alone ends in bounded time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = place.url.replace(str(place.port), str(listener.getsockname()[1]))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            open_store(url, "t").open()
        assert time.monotonic() - began < CALL_S_MAX


def test_a_frozen_server(own_server: Server) -> None:
    """A call on a server that hangs ends in bounded time; thawed, it serves again."""
    store = open_store(own_server.url, "t")
    store.open()
    store.write(1, [output("a")])
    own_server.signal(signal.SIGSTOP)
    _signal_children(own_server, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.write(1, [output("b")])
    store.close()
    taken = time.monotonic() - began
    _signal_children(own_server, signal.SIGCONT)
    own_server.signal(signal.SIGCONT)
    assert taken < CALL_S_MAX
    store.open()
    deadline = time.monotonic() + CALL_S_MAX
    while True:  # what hung may still hold the term for the time that an idle transaction has
        try:
            store.write(1, [output("c")])
            break
        except StoreUnavailable:
            assert time.monotonic() < deadline
            store.close()
            store.open()
    assert "c" in [row.task for row in store.scan(Output, ALL, 10)]
    store.close()


def _signal_children(server: Server, number: signal.Signals) -> None:
    for pid in server.children():
        os.kill(pid, number)


def test_a_server_killed_in_mid_write(own_server: Server) -> None:
    """What was acknowledged is there after the restart; in the end everything is, and is told once."""
    table = new_id()
    ear = Ear()
    thread = StoreThread(lambda: open_store(own_server.url, table), 1, ear.post)
    thread.start()
    tokens, rows = 600, 20
    for token in range(tokens):
        pieces = [output(f"t{token:04d}", number, b"%04d" % token * 256) for number in range(rows)]
        thread.put(token, pieces)
        if token == tokens // 2:
            ear.wait(lambda: len(ear.tokens()) > 20)
            own_server.kill()
    acknowledged = ear.tokens()
    ear.wait(lambda: bool(ear.of(StoreAway)))
    assert len(acknowledged) < tokens
    thread.scan(1, Output, ALL, 1)
    ear.wait(lambda: bool(ear.of(StoreScanned)))
    assert ear.of(StoreScanned)[0].error is not None
    acknowledged = ear.tokens()
    own_server.start()
    store = open_store(own_server.url, table)
    store.open()
    for token in acknowledged:
        assert store.count(Output, Span(prefix=(f"t{token:04d}",))) == rows
    ear.wait(lambda: len(ear.tokens()) == tokens)
    assert ear.tokens() == list(range(tokens))
    assert thread.stop(10)
    assert len(ear.of(StoreBack)) == 1
    assert store.count(Output, ALL) == tokens * rows
    for row in store.scan(Output, ALL, tokens * rows):
        assert row.data == row.task[1:].encode() * 256
    store.close()


def test_giving_up_while_the_server_is_away(own_server: Server) -> None:
    """`stop` waits no longer than it was told, and says that not everything is durable."""
    thread = StoreThread(lambda: open_store(own_server.url, "t"), 1, Ear().post)
    own_server.kill()
    thread.start()
    thread.put(1, [output("a")])
    began = time.monotonic()
    assert not thread.stop(1.0)
    assert time.monotonic() - began < CALL_S_MAX / 2
