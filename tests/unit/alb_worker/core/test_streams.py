"""Streams: what a reader granted is sent as it comes, the end once, and what is gone is said."""

from __future__ import annotations

from typing import Any

import pytest
from tests.worker_parts import attempt, of_kind, only

from alb_core import limits
from alb_core.messages import AttemptId, Grant, Reader, StreamName
from alb_core.tasks import Cause, Outcome, Stream
from alb_worker.core import streams as module
from alb_worker.core.actions import DropSpool, SendChunk
from alb_worker.core.events import OutputGrew, RunnerEnded
from alb_worker.core.streams import READERS_MAX, Kept, Streams

A1 = attempt(1, 1)
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
BIG = 3 * limits.INLINE_OUTPUT_BYTES
WINDOW = limits.WINDOW_BYTES_MAX


class _Desk:
    """Streams of one expected attempt, with their invariants checked after every step."""

    def __init__(self) -> None:
        self.newest: AttemptId | None = A1
        self.streams = Streams(lambda _task: self.newest, lambda _attempt: False)
        self.streams.expect(A1)

    def _checked(self, actions: list[Any]) -> list[SendChunk]:
        self.streams.check_invariants()
        return of_kind(SendChunk, actions)

    def run(self, *readers: Reader) -> list[SendChunk]:
        return self._checked(self.streams.on_readers(A1, readers))

    def grant(self, offset: int = 0, window: int = WINDOW, **fields: Any) -> list[SendChunk]:
        grant = {"task": A1.task, "attempt": 1, "stream": OUT, "reader": b"r1"} | fields
        return self._checked(self.streams.on_granted(Grant(offset=offset, window=window, **grant)))

    def grew(self, size: int, stream: StreamName = OUT) -> list[SendChunk]:
        return self._checked(
            self.streams.on_grew(OutputGrew(at=0.0, attempt=A1, stream=stream, size_bytes=size))
        )

    def ended(self, size: int = 0, *, of: AttemptId = A1, truncated: bool = False) -> list[SendChunk]:
        outcome = Outcome(cause=Cause.EXITED, stdout=Stream(size_bytes=size, truncated=truncated))
        event = RunnerEnded(at=0.0, attempt=of, outcome=outcome, stdout_bytes=size)
        return self._checked(self.streams.on_ended(event))


def spans(chunks: list[SendChunk]) -> list[tuple[int, int, bool]]:
    """Return offset, size and end of chunks."""
    return [(chunk.offset, chunk.size_bytes, chunk.end) for chunk in chunks]


def test_output_is_sent_as_it_comes_to_who_granted_it() -> None:
    """The first grants come with the order to run; each growth is sent on to the right reader and stream."""
    desk = _Desk()
    assert desk.run(Reader(reader=b"r1", window=WINDOW)) == []
    assert desk.grew(10) == [SendChunk(attempt=A1, stream=OUT, offset=0, size_bytes=10, reader=b"r1")]
    assert desk.grew(5, ERR) == [SendChunk(attempt=A1, stream=ERR, offset=0, size_bytes=5, reader=b"r1")]
    assert spans(desk.grew(30)) == [(10, 20, False)]


def test_nobody_granted_nothing_is_sent() -> None:
    """A growth without a reader, or with an empty window, stays in the spool."""
    desk = _Desk()
    desk.run(Reader(reader=b"r1", window=0))
    assert desk.grew(10) == []
    assert desk.ended(BIG) == []


def test_a_window_is_never_passed() -> None:
    """What is not granted waits for the next grant, which replaces the one before."""
    desk = _Desk()
    desk.run(Reader(reader=b"r1", window=10))
    assert spans(desk.grew(25)) == [(0, 10, False)]
    assert desk.grew(30) == []
    assert spans(desk.grant(10, 15)) == [(10, 15, False)]
    assert spans(desk.grant(5, 5)) == [(5, 5, False)]


def test_a_window_has_its_own_bound() -> None:
    """Whoever asks for more than WINDOW_BYTES_MAX gets that much."""
    desk = _Desk()
    desk.grew(WINDOW + 7)
    assert sum(chunk.size_bytes for chunk in desk.grant(0, 10 * WINDOW)) == WINDOW


def test_pieces_are_at_most_a_chunk() -> None:
    """A large window goes out in messages of CHUNK_BYTES_MAX."""
    desk = _Desk()
    desk.grew(limits.CHUNK_BYTES_MAX + 1)
    assert spans(desk.grant()) == [(0, limits.CHUNK_BYTES_MAX, False), (limits.CHUNK_BYTES_MAX, 1, False)]


def test_the_end_is_told_once_with_the_last_bytes() -> None:
    """When the attempt is over and all was sent, the last piece carries the end."""
    desk = _Desk()
    desk.run(Reader(reader=b"r1", window=WINDOW))
    desk.grew(10)
    assert spans(desk.ended(BIG)) == [(10, BIG - 10, True)]
    assert desk.ended(BIG) == []


def test_the_end_is_told_alone_where_all_was_sent_before() -> None:
    """The bytes are out, the end has none."""
    desk = _Desk()
    desk.run(Reader(reader=b"r1", window=WINDOW))
    desk.grew(BIG)
    assert spans(desk.ended(BIG)) == [(BIG, 0, True)]


def test_the_end_waits_for_the_grant_of_the_last_byte() -> None:
    """A slow reader gets the end when its windows reach it."""
    desk = _Desk()
    desk.grant(0, 100)
    assert spans(desk.ended(BIG)) == [(0, 100, False)]
    assert spans(desk.grant(100, WINDOW)) == [(100, BIG - 100, True)]


def test_short_output_rides_in_the_result() -> None:
    """A stream that fits the result is not sent at its end to who asked only with the order to run."""
    desk = _Desk()
    desk.run(Reader(reader=b"r1", window=WINDOW))
    assert desk.ended(limits.INLINE_OUTPUT_BYTES) == []


def test_short_output_is_sent_to_who_asked_for_it() -> None:
    """A grant over the output link is served to its end, however short the stream."""
    desk = _Desk()
    desk.grant()
    assert spans(desk.ended(5)) == [(0, 5, True)]
    desk.grant(stream=ERR)
    assert spans(desk.grant(0)) == [(0, 5, True)]
    assert spans(desk.grant(stream=ERR)) == [(0, 0, True)]


def test_a_finished_attempt_is_served_at_any_offset() -> None:
    """Whoever comes later reads the spool from where it wants, beyond the end too."""
    desk = _Desk()
    desk.ended(BIG)
    assert spans(desk.grant(BIG - 3)) == [(BIG - 3, 3, True)]
    assert spans(desk.grant(BIG)) == [(BIG, 0, True)]
    assert spans(desk.grant(BIG + 5)) == [(BIG + 5, 0, True)]
    assert spans(desk.grant(-5, 10)) == [(0, 10, False)]


def test_the_output_of_an_earlier_life_is_served() -> None:
    """It is over, as long as its files are, and whether it was cut is told; the same attempt may run anew."""
    kept = Kept(attempt=A1, sizes=(BIG, 0), truncated=(True, False))
    streams = Streams(lambda _task: None, lambda _attempt: False, [kept])
    streams.check_invariants()
    grant = Grant(task=A1.task, attempt=1, stream=OUT, offset=BIG - 3, window=WINDOW, reader=b"r1")
    data, end = of_kind(SendChunk, streams.on_granted(grant))
    assert (data.offset, data.size_bytes, end.end) == (BIG - 3, 3, True)
    assert "more than its worker keeps" in end.lost
    assert streams.expect(A1) == [DropSpool(attempt=A1)]
    assert streams.open(A1)


def test_a_truncated_stream_ends_by_saying_so() -> None:
    """What the spool did not keep is reported as lost from its first byte on."""
    desk = _Desk()
    desk.ended(BIG, truncated=True)
    *_, data, end = desk.grant()
    assert (data.size_bytes, data.end) == (BIG, False)
    assert (end.offset, end.end) == (BIG, True)
    assert "more than its worker keeps" in end.lost


def test_attempt_0_is_the_newest_here() -> None:
    """A reader that does not name the attempt gets the newest one of the task."""
    desk = _Desk()
    desk.grew(4)
    assert only(SendChunk, desk.grant(attempt=0)).attempt == A1


@pytest.mark.parametrize(("newest", "named", "told"), [(None, 0, 0), (A1, 9, 9), (None, 9, 9)])
def test_unknown_output_is_answered_with_its_loss(newest: AttemptId | None, named: int, told: int) -> None:
    """An attempt that is not, or no longer, here gets one answer that ends the stream and says why."""
    desk = _Desk()
    desk.newest = newest
    chunk = only(SendChunk, desk.grant(7, attempt=named))
    assert (chunk.attempt.n, chunk.offset, chunk.end, chunk.reader) == (told, 7, True, b"r1")
    assert "keep" in chunk.lost


def test_a_dropped_spool_is_lost_to_later_readers() -> None:
    """When the spool lets go of an attempt, so do the streams."""
    desk = _Desk()
    desk.ended(BIG)
    desk.streams.on_dropped(A1)
    assert only(SendChunk, desk.grant()).lost


def test_known_readers_keep_their_window_when_run_is_repeated() -> None:
    """Run is sent again until answered; its first grants must not turn a reader back."""
    desk = _Desk()
    reader = Reader(reader=b"r1", window=WINDOW)
    desk.run(reader)
    desk.grew(10)
    assert desk.run(reader) == []
    assert spans(desk.grew(12)) == [(10, 2, False)]


def test_readers_of_something_over_or_unknown_are_left_to_the_result() -> None:
    """First grants that come too late are not served: the report carries or names the output."""
    desk = _Desk()
    desk.ended(BIG)
    assert desk.run(Reader(reader=b"r1", window=WINDOW)) == []
    assert desk.streams.on_readers(attempt(9), (Reader(reader=b"r1", window=1),)) == []


def test_two_readers_do_not_disturb_each_other() -> None:
    """Each has its own window."""
    desk = _Desk()
    desk.grant(reader=b"r1", window=3)
    desk.grant(reader=b"r2")
    assert [(chunk.reader, chunk.size_bytes) for chunk in desk.grew(10)] == [(b"r1", 3), (b"r2", 10)]


def test_readers_are_bounded_and_the_one_given_up_is_told() -> None:
    """One more than the bound takes the place of the one whose grant is oldest."""
    desk = _Desk()
    for number in range(2 * READERS_MAX):
        assert desk.grant(3, reader=b"%d" % number) == []
    desk.grant(3, reader=b"0")
    told = only(SendChunk, desk.grant(reader=b"new"))
    assert (told.reader, told.offset, told.end) == (b"1", 3, True)
    assert "ask again" in told.lost


def test_a_new_leader_knows_none_of_the_readers() -> None:
    """Grants that came through the old one are forgotten."""
    desk = _Desk()
    desk.grant()
    desk.streams.forget_readers()
    assert desk.grew(10) == []


def test_an_attempt_that_never_came_to_the_runner_ends_its_streams() -> None:
    """However an attempt ends, whoever asked for its output hears the end."""
    desk = _Desk()
    desk.grant()
    chunks = desk._checked(desk.streams.on_over(A1))
    assert spans(chunks) == [(0, 0, True)]
    assert desk.streams.on_over(A1) == []
    assert not desk.streams.open(A1)


def test_growth_after_the_end_or_of_something_unknown_is_nothing() -> None:
    """Only expected output grows."""
    desk = _Desk()
    desk.ended(BIG)
    assert desk.grew(BIG + 1) == []
    assert desk.streams.on_grew(OutputGrew(at=0.0, attempt=attempt(9), stream=OUT, size_bytes=1)) == []
    assert desk.ended(of=attempt(9)) == []


def test_what_wrote_nothing_leaves_nothing() -> None:
    """No place among the outputs that are kept; one that was cut short keeps it, for that is to be told."""
    streams = Streams(lambda _task: None, lambda _attempt: False)
    for of, truncated in ((attempt(1), False), (attempt(2), True)):
        streams.expect(of)
        outcome = Outcome(cause=Cause.EXITED, stdout=Stream(truncated=truncated))
        assert streams.on_ended(RunnerEnded(at=0.0, attempt=of, outcome=outcome)) == []
        streams.check_invariants()
    again = [streams.expect(attempt(number)) for number in (1, 2)]
    assert again == [[], [DropSpool(attempt=attempt(2))]]


def test_finished_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond FINISHED_KEPT_MAX the oldest finished attempt lets go of its spool."""
    monkeypatch.setattr(module, "FINISHED_KEPT_MAX", 2)
    streams = Streams(lambda _task: None, lambda _attempt: False)
    dropped: list[AttemptId] = []
    for number in range(1, 5):
        of = attempt(number)
        streams.expect(of)
        actions = streams.on_ended(
            RunnerEnded(at=0.0, attempt=of, outcome=Outcome(cause=Cause.EXITED), stdout_bytes=1)
        )
        dropped += [action.attempt for action in of_kind(DropSpool, actions)]
        streams.check_invariants()
    assert dropped == [attempt(1), attempt(2)]
