"""One greeting: a leader, a standby, somebody who refuses, somebody who is silent, and nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from alb.local.ports import Port
from alb.shell.greeting import greet
from alb_core import codec
from alb_core.io.sockets import Router
from alb_core.messages import Error, Heartbeat, Hello, Message, NotLeader, Welcome

WELCOME = Welcome(broker="b1", output="tcp://h:1")
NOT_LEADER = NotLeader(where="tcp://h:2", broker="b2")


@contextmanager
def answering(*replies: Message, garbage: bytes = b"") -> Iterator[str]:
    """Run a broker that answers every frame so; yields its endpoint."""
    router, stop = Router("127.0.0.1"), threading.Event()

    def run() -> None:
        while not stop.is_set():
            router.socket.poll(20)
            for peer, frame in router.receive(10):
                if any(isinstance(message, Hello) for message in codec.decode_from_client(frame)):
                    if garbage:
                        router.send(peer, garbage)
                    for answer in codec.encode_broker_frames(1, "t", replies) if replies else ():
                        router.send(peer, answer)
        router.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield router.endpoint
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("replies", "answer"),
    [
        ((WELCOME,), WELCOME),
        ((Heartbeat(), NOT_LEADER), NOT_LEADER),
        ((Error(code="version", why="too old"),), None),
        ((), None),
    ],
)
def test_what_a_broker_answers(replies: Sequence[Message], answer: Message | None) -> None:
    """A greeting is a yes, a no, or no answer; heartbeats are none."""
    with answering(*replies) as endpoint:
        assert greet(endpoint, "ann", 5.0 if replies else 0.3) == answer


def test_nonsense_is_passed_over() -> None:
    """What cannot be read is no answer; what follows may be one."""
    with answering(WELCOME, garbage=b"\xc1") as endpoint:
        assert greet(endpoint, "ann", 5.0) == WELCOME


def test_nobody_listens(closed_port: Port) -> None:
    """A closed port and an impossible address end in time, without an exception."""
    assert greet(f"tcp://127.0.0.1:{closed_port.number}", "ann", 0.3) is None
    assert greet("nonsense", "ann", 0.3) is None
