"""Whole messages pass over a stream socket in any pieces, and nothing ever waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from alb_core.messages import AttemptId, StreamName
from alb_worker.runner.link import FrameLink
from alb_worker.runner.messages import FromRunner, Kill, Output, Start, Started, ToRunner

ATTEMPT = AttemptId("0" * 32, 1)


@pytest.fixture
def pair() -> Iterator[tuple[FrameLink[FromRunner], FrameLink[ToRunner]]]:
    one, other = socket.socketpair()
    agent: FrameLink[FromRunner] = FrameLink(one, FromRunner)
    runner: FrameLink[ToRunner] = FrameLink(other, ToRunner)
    yield agent, runner
    agent.close()
    runner.close()


Pair = tuple[FrameLink[FromRunner], FrameLink[ToRunner]]


def test_messages_arrive_whole_and_in_order(pair: Pair) -> None:
    """What is sent in one go arrives as the same messages, and nothing is left to send."""
    agent, runner = pair
    start = Start(
        attempt=ATTEMPT,
        command=("a", "b"),
        env={"K": "ä"},
        cwd=None,
        time_limit_s=None,
        grace_s=5.0,
        cpus=0.5,
        memory_bytes=1,
        marks={},
    )
    kill = Kill(attempt=ATTEMPT, grace_s=0.0)
    agent.send(start)
    agent.send(kill)
    assert agent.flush()
    assert agent.pending_bytes == 0
    assert runner.receive() == [start, kill]
    assert runner.receive() == []


def test_messages_may_come_in_any_pieces() -> None:
    """A frame that is cut anywhere is put together again."""
    one, other = socket.socketpair()
    probe: FrameLink[FromRunner] = FrameLink(one, FromRunner)
    sent = [Started(attempt=AttemptId("0" * 32, n), pid=n) for n in range(1, 4)]
    for message in sent:
        probe.send(message)
    raw = bytes(probe._out)
    probe.close()
    other.close()
    one, other = socket.socketpair()
    link: FrameLink[FromRunner] = FrameLink(other, FromRunner)
    received: list[FromRunner] = []
    for byte in raw:
        one.send(bytes((byte,)))
        received += link.receive()
    assert received == sent
    one.close()
    link.close()


def test_a_full_socket_does_not_block(pair: Pair) -> None:
    """What the other end does not take waits here, and passes when it reads."""
    agent, runner = pair
    message = Output(attempt=ATTEMPT, stream=StreamName.STDOUT, offset=0, data=b"x" * 100_000)
    for _ in range(50):
        runner.send(message)
    assert not runner.flush()
    assert runner.pending_bytes > 0
    received: list[FromRunner] = []
    while len(received) < 50:
        received += agent.receive()
        runner.flush()
    assert all(one == message for one in received)
    assert runner.pending_bytes == 0


def test_the_other_ends_last_words_are_heard(pair: Pair) -> None:
    """What was said before the end can be read after it; sending to nobody is no error."""
    agent, runner = pair
    runner.send(Started(attempt=ATTEMPT, pid=1))
    runner.flush()
    runner.close()
    agent.send(Kill(attempt=ATTEMPT, grace_s=1.0))
    assert agent.flush()
    assert agent.receive() == [Started(attempt=ATTEMPT, pid=1)]
    assert not agent.ended
    assert agent.receive() == []
    assert agent.ended


def test_a_message_of_another_kind_is_an_error(pair: Pair) -> None:
    """The two ends are of one version: what cannot be decoded is a defect, and is not passed over."""
    agent, runner = pair
    agent.send(Started(attempt=ATTEMPT, pid=1))
    agent.flush()
    with pytest.raises(msgspec.ValidationError):
        runner.receive()
