"""The sockets to the leader: what gathers in a turn, what is merged, and what waits for room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import zmq
from tests.worker_parts import attempt

from alb.local.ports import Port
from alb_core import codec, limits
from alb_core.io.sockets import Router
from alb_core.messages import AttemptEnded, Chunk, Grant, Leaving, OutputMessage, StreamName
from alb_core.tasks import Cause, Outcome
from alb_worker.core.actions import SendChunk
from alb_worker.core.events import LinkClosed, LinkOpened
from alb_worker.shell.links import LeaderSocket, OutputSocket

A1 = attempt(1)
IDENTITY = b"w1/abc"
DEADLINE_S = 60.0


@pytest.fixture
def router() -> Iterator[Router]:
    """The leader's socket."""
    made = Router("127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def leader(router: Router) -> Iterator[LeaderSocket]:
    """A worker's link to it, open."""
    link = LeaderSocket(IDENTITY)
    link.connect(router.endpoint)
    wait_for(lambda: LinkOpened(at=0.0, endpoint=router.endpoint) in link.changes(0.0))
    yield link
    link.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def next_frames(router: Router) -> list[tuple[bytes, bytes]]:
    """Wait for frames at the leader."""
    assert router.socket.poll(int(DEADLINE_S * 1000))
    return router.receive(100)


def ended(of: object = A1) -> AttemptEnded:
    return AttemptEnded(attempt=of, outcome=Outcome(cause=Cause.EXITED, exit_code=0))  # type: ignore[arg-type]


def test_messages_of_a_turn_leave_as_one_frame(leader: LeaderSocket, router: Router) -> None:
    """One flush, one frame, under the worker's identity."""
    leader.add(ended(A1))
    leader.add(Leaving())
    leader.flush()
    leader.flush()
    ((peer, frame),) = next_frames(router)
    assert peer == IDENTITY
    assert codec.decode_from_worker(frame) == [ended(A1), Leaving()]


def test_ends_wait_for_company_while_there_is_more_to_go_on_with(
    leader: LeaderSocket, router: Router
) -> None:
    """Patience lasts while as many attempts wait as ends do; anything else takes them along at once."""
    leader.add(ended(A1))
    leader.flush(patient=True, ahead=1)
    leader.add(ended(A1))
    leader.flush(patient=True, ahead=1)
    leader.add(ended(A1))
    leader.flush(patient=True, ahead=1)
    leader.add(Leaving())
    leader.flush(patient=True, ahead=1)
    leader.add(ended(A1))
    leader.flush(patient=True, ahead=0)
    frames: list[bytes] = []
    while len(frames) < 3:
        frames += [frame for _, frame in next_frames(router)]
    assert [len(codec.decode_from_worker(frame)) for frame in frames] == [2, 2, 1]


def test_what_waits_is_forgotten_with_its_link(leader: LeaderSocket, router: Router) -> None:
    """Nothing meant for one leader reaches the next."""
    leader.add(ended(A1))
    leader.connect(router.endpoint)
    wait_for(lambda: bool(leader.changes(0.0)))
    leader.add(Leaving())
    leader.flush()
    ((_, frame),) = next_frames(router)
    assert codec.decode_from_worker(frame) == [Leaving()]


def test_a_refused_link_is_told(closed_port: Port) -> None:
    """Nobody listens: the core learns it, and libzmq tries on."""
    endpoint = f"tcp://127.0.0.1:{closed_port.number}"
    link = LeaderSocket(IDENTITY)
    link.connect(endpoint)
    told: list[object] = []
    wait_for(lambda: bool(told.extend(link.changes(1.0)) or told))
    assert told[0] == LinkClosed(at=1.0, endpoint=endpoint, refused=True)
    link.close()


def test_without_a_link_nothing_happens() -> None:
    """Every call is harmless before the first connect and after close."""
    link, output = LeaderSocket(IDENTITY), OutputSocket(IDENTITY, lambda _: b"")
    link.add(Leaving())
    link.flush()
    output.add(SendChunk(attempt=A1, stream=StreamName.STDOUT, offset=0))
    output.flush()
    assert (link.changes(0.0), link.receive(), output.receive()) == ([], [], [])
    assert (link.wanted(), output.wanted()) == ((), ())
    assert [link.stirred(()), link.spoke(()), output.stirred(())] == [False] * 3
    link.close()
    output.close()


SPOOL = bytes(range(256)) * 8192
#: Two MiB of one stream.


def read_spool(chunk: SendChunk) -> bytes:
    return SPOOL[chunk.offset : chunk.offset + chunk.size_bytes]


@pytest.fixture
def output(router: Router) -> Iterator[OutputSocket]:
    """A worker's output link; the reading side is the router."""
    link = OutputSocket(IDENTITY, read_spool)
    link.connect(router.endpoint)
    yield link
    link.close()


def piece(offset: int, size: int = limits.CHUNK_BYTES_MAX, *, end: bool = False) -> SendChunk:
    return SendChunk(
        attempt=A1, stream=StreamName.STDOUT, offset=offset, size_bytes=size, end=end, reader=b"r"
    )


def flushed(output: OutputSocket) -> Callable[[], bool]:
    """Return what tells whether everything has left, and lets it leave; the reader does not read."""

    def done() -> bool:
        output.receive()
        output.flush()
        return not output._waiting

    return done


def chunks(router: Router) -> list[Chunk]:
    """Take the chunks that have come."""
    found: list[OutputMessage] = []
    while router.socket.poll(200):
        for _, frame in router.receive(10):
            assert len(frame) < limits.FRAME_BYTES_SOFT
            found += codec.decode_output(frame)
    return [message for message in found if isinstance(message, Chunk)]


def test_pieces_are_read_when_they_leave_and_arrive_in_order(output: OutputSocket, router: Router) -> None:
    """What was added before the link was up waits for it; the bytes come from the spool."""
    for index in range(8):
        output.add(piece(index * limits.CHUNK_BYTES_MAX, end=index == 7))
    wait_for(flushed(output))
    found = chunks(router)
    assert b"".join(chunk.data for chunk in found) == SPOOL
    assert [chunk.end for chunk in found] == [False] * 7 + [True]
    assert {(chunk.task, chunk.attempt, chunk.reader) for chunk in found} == {(A1.task, 1, b"r")}


def test_small_pieces_share_a_frame(output: OutputSocket, router: Router) -> None:
    """Many streams that trickle cost few messages."""
    for index in range(100):
        output.add(piece(index, 1))
    wait_for(flushed(output))
    assert router.socket.poll(int(DEADLINE_S * 1000))
    ((_, frame),) = router.receive(10)
    assert len(codec.decode_output(frame)) == 100


def test_bytes_that_the_spool_lost_are_said(router: Router) -> None:
    """Between the core's decision and the sending the spool may let go: the stream ends there."""
    link = OutputSocket(IDENTITY, lambda _: b"short")
    link.connect(router.endpoint)
    link.add(piece(0, 10))
    wait_for(flushed(link))
    (chunk,) = chunks(router)
    assert (chunk.data, chunk.end) == (b"", True)
    assert "no longer keeps" in chunk.lost
    link.close()


def test_a_leader_that_does_not_read_holds_little() -> None:
    """Beyond what sockets hold, pieces wait as orders without bytes; later they all arrive."""
    router = Router("127.0.0.1", high_water=2)
    link = OutputSocket(IDENTITY, read_spool)
    link.connect(router.endpoint)
    count = 200
    for index in range(count):
        link.add(piece(index % 8 * limits.CHUNK_BYTES_MAX))
    stalled_at = time.monotonic() + 1.0
    done = flushed(link)
    wait_for(lambda: done() or time.monotonic() > stalled_at)
    assert len(link._waiting) > 0, "200 pieces of 256 KiB cannot all be in flight"
    received: list[Chunk] = []

    def drained() -> bool:
        done()
        for _, frame in router.receive(10):
            received.extend(m for m in codec.decode_output(frame) if isinstance(m, Chunk))
        return len(received) == count

    wait_for(drained)
    link.close()
    router.close()


def test_connecting_to_the_same_output_again_keeps_the_link(output: OutputSocket, router: Router) -> None:
    """Registering again with the same leader does not lose what waits; another leader does."""
    output.add(piece(0))
    output.connect(router.endpoint)
    assert len(output._waiting) == 1
    output.connect("tcp://127.0.0.1:9")
    assert len(output._waiting) == 0


def test_room_is_waited_for_only_while_something_waits(output: OutputSocket) -> None:
    """An idle output link wakes nobody."""
    (_, idle), _ = output.wanted()
    output.add(piece(0))
    (_, busy), _ = output.wanted()
    assert (idle, busy) == (zmq.POLLIN, zmq.POLLIN | zmq.POLLOUT)
    wait_for(flushed(output))
    assert output.wanted()[0][1] == zmq.POLLIN


def test_grants_are_heard(output: OutputSocket, router: Router) -> None:
    """The leader's frames come out as they were sent."""
    output.add(piece(0, 1))
    wait_for(flushed(output))
    ((peer, _),) = next_frames(router)
    grant = Grant(task=A1.task, stream=StreamName.STDOUT, offset=0, window=5)
    (frame,) = codec.encode_frames([grant])
    assert router.send(peer, frame)
    heard: list[bytes] = []
    wait_for(lambda: bool(heard.extend(output.receive()) or heard))
    assert codec.decode_output(heard[0]) == [grant]
