"""What leaves in one turn: few frames for each peer, in order, under the right epoch."""

from __future__ import annotations

from alb_broker.shell.outbox import ACKS_MAX, Outbox, OutputBox
from alb_broker.shell.process import TICK_S
from alb_core import codec, limits
from alb_core.messages import AttemptAck, AttemptId, Busy, Chunk, Heartbeat, NotLeader, StreamName


class Wire:
    """Stands for a socket: keeps what is sent, and may refuse a peer."""

    def __init__(self, *gone: bytes) -> None:
        self.gone = gone
        self.frames: list[tuple[bytes, bytes]] = []

    def send(self, peer: bytes, frame: bytes) -> bool:
        """Send a frame, unless the peer is gone."""
        if peer in self.gone:
            return False
        self.frames.append((peer, frame))
        return True


def busy(number: int) -> Busy:
    """Return a message that can be told from others."""
    return Busy(id=str(number), delay_s=1.0)


def test_a_turns_messages_share_a_frame() -> None:
    """One for each peer and epoch, in the order in which they were put."""
    wire = Wire()
    box = Outbox(wire, "table-1")  # type: ignore[arg-type]
    for number, (peer, epoch) in enumerate(((b"a", 4), (b"b", 4), (b"a", 4), (b"a", 0))):
        box.put(peer, epoch, busy(number) if epoch else NotLeader())
    box.flush()
    sent = [(peer, codec.decode_to_client(frame)) for peer, frame in wire.frames]
    assert [(peer, each.epoch, each.table, each.messages) for peer, each in sent] == [
        (b"a", 4, "table-1", [busy(0), busy(2)]),
        (b"b", 4, "table-1", [busy(1)]),
        (b"a", 0, "table-1", [NotLeader()]),
    ]
    box.flush()
    assert len(wire.frames) == 3


def test_a_peer_that_is_gone_holds_up_nobody() -> None:
    """What was for it is dropped; the core's timers send it again."""
    wire = Wire(b"a")
    box = Outbox(wire, "table-1")  # type: ignore[arg-type]
    box.put(b"a", 1, busy(1))
    box.put(b"b", 1, busy(2))
    box.flush()
    assert [peer for peer, _ in wire.frames] == [b"b"]


def test_output_is_cut_into_frames_of_bounded_size() -> None:
    """A flood of chunks does not make one enormous message."""
    wire = Wire(b"gone")
    box = OutputBox(wire)  # type: ignore[arg-type]
    chunk = Chunk(task="t", attempt=1, stream=StreamName.STDOUT, offset=0, data=b"x" * limits.CHUNK_BYTES_MAX)
    for _ in range(12):
        box.put(b"a", chunk)
        box.put(b"gone", chunk)
    box.flush()
    box.flush()
    assert all(len(frame) < limits.MESSAGE_BYTES_MAX for _, frame in wire.frames)
    assert sum(len(codec.decode_output(frame)) for _, frame in wire.frames) == 12
    assert len(wire.frames) > 1


def ack(task: str) -> AttemptAck:
    """Return the acknowledgement of a task's first attempt."""
    return AttemptAck(attempt=AttemptId(task, 1))


def said(wire: Wire) -> list[tuple[bytes, int, list[object]]]:
    """Return what workers were sent: the peer, the epoch, the messages."""
    decoded = [(peer, codec.decode_to_worker(frame)) for peer, frame in wire.frames]
    return [(peer, each.epoch, list(each.messages)) for peer, each in decoded]


def test_acknowledgements_leave_together() -> None:
    """They wake no worker, nor stand before what it is to run; the flush of a tick sends them."""
    wire = Wire()
    box = Outbox(wire, "table-1")  # type: ignore[arg-type]
    box.put(b"a", 4, ack("one"))
    box.flush()
    assert not wire.frames
    box.put(b"a", 4, Heartbeat())
    box.put(b"a", 4, ack("two"))
    box.put(b"b", 4, ack("three"))
    box.flush()
    assert said(wire) == [(b"a", 4, [Heartbeat()])]
    box.put(b"a", 4, Heartbeat())
    box.flush(patient=False)
    assert said(wire)[1:] == [(b"a", 4, [Heartbeat(), ack("one"), ack("two")]), (b"b", 4, [ack("three")])]
    box.flush(patient=False)
    assert len(wire.frames) == 3


def test_acknowledgements_come_before_a_worker_reports_again() -> None:
    """Else each report would be sent and handled twice."""
    assert TICK_S < limits.RESEND_S / 2


def test_no_more_than_so_many_acknowledgements_gather() -> None:
    """They are bounded: then they are a frame worth sending."""
    wire = Wire()
    box = Outbox(wire, "table-1")  # type: ignore[arg-type]
    acks = [ack(f"t{number}") for number in range(ACKS_MAX + 1)]
    for each in acks:
        box.put(b"a", 4, each)
        box.flush()
    assert said(wire) == [(b"a", 4, acks[:ACKS_MAX])]
