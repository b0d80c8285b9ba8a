"""What is owed to the results store: what is sent when, how much at once, and when it is let go of."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.worker_parts import attempt, of_kind, only

from alb_core import limits
from alb_core.increments import LINES_BYTES_MAX, LINES_MAX, VALUE_BYTES_MAX, Line, size_bytes
from alb_core.messages import AttemptId, Increments, Stored, StreamName
from alb_core.notes import Level, Note
from alb_worker.core.actions import SendChunk
from alb_worker.core.keeping import AGAIN_S, SEND_BYTES, SEND_S, Keeping

A1, A2 = attempt(1), attempt(2)
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
BLOCK = limits.CHUNK_BYTES_MAX
SMALL = limits.INLINE_OUTPUT_BYTES
ONE = Line("epoch", "1")
TWO = Line("epoch", "2")


class _Desk:
    """What one worker keeps, with the invariants checked after every step."""

    def __init__(self, *, stores: bool | None = True) -> None:
        self.keeping = Keeping()
        if stores is not None:
            self.register(stores=stores)

    def _checked(self, actions: list[Any]) -> list[Any]:
        self.keeping.check_invariants()
        return actions

    def register(self, at: float = 0.0, *, stores: bool = True) -> list[Any]:
        return self._checked(self.keeping.on_registered(at, stores=stores))

    def grew(self, size: int, stream: StreamName = OUT, *, of: AttemptId = A1, at: float = 0.0) -> list[Any]:
        return self._checked(self.keeping.on_grew(at, of, stream, size))

    def report(self, *lines: Line, of: AttemptId = A1, at: float = 0.0) -> list[Any]:
        return self._checked(self.keeping.on_reported(at, of, lines))

    def ended(self, out: int = 0, err: int = 0, *, of: AttemptId = A1, at: float = 0.0) -> list[Any]:
        return self._checked(self.keeping.on_ended(at, of, (out, err)))

    def over(self, of: AttemptId = A1, at: float = 0.0) -> list[Any]:
        return self._checked(self.keeping.on_over(at, of))

    def stored(self, of: AttemptId = A1, at: float = 0.0, **fields: Any) -> list[Any]:
        return self._checked(self.keeping.on_stored(at, Stored(attempt=of, **fields)))

    def tick(self, at: float) -> list[Any]:
        return self._checked(self.keeping.tick(at))

    def owes(self, of: AttemptId = A1) -> bool:
        return self.keeping.owes(of)


def spans(actions: list[Any]) -> list[tuple[int, int]]:
    """Return offset and size of the pieces of output."""
    return [(chunk.offset, chunk.size_bytes) for chunk in of_kind(SendChunk, actions)]


def numbers(actions: list[Any]) -> list[tuple[int, int]]:
    """Return the first number and the count of the increments that are sent."""
    return [(message.first, len(message.lines)) for message in of_kind(Increments, actions)]


# --- output -------------------------------------------------------------------------------------------------


def test_short_output_rides_in_the_result() -> None:
    """Most commands owe nothing, and nothing of them is sent."""
    desk = _Desk()
    assert desk.ended(SMALL, SMALL) == []
    assert not desk.owes()
    desk.grew(SMALL, of=A2)
    assert desk.ended(SMALL, of=A2, at=0.5) == []
    assert not desk.owes(A2)


def test_longer_output_is_owed_from_its_first_byte() -> None:
    """Also where the worker hears of it with the end only; the short stream beside it is not."""
    desk = _Desk()
    actions = desk.ended(SMALL + 1, SMALL)
    assert actions == [SendChunk(attempt=A1, stream=OUT, offset=0, size_bytes=SMALL + 1)]
    assert desk.owes()
    desk.stored(stdout=SMALL)
    assert desk.owes()
    desk.stored(stdout=SMALL + 1)
    assert not desk.owes()
    assert spans(desk.ended(0, SMALL + 1, of=A2)) == [(0, SMALL + 1)]
    assert desk.owes(A2)
    desk.stored(A2, stderr=SMALL + 1)
    assert not desk.owes(A2)


def test_output_of_a_command_that_runs_is_sent_after_a_second() -> None:
    """Or as soon as there is much of it; each byte once, with what the store is known to have."""
    desk = _Desk()
    assert desk.grew(10) == []
    assert desk.grew(20, at=SEND_S - 0.1) == []
    assert spans(desk.tick(SEND_S)) == [(0, 20)]
    assert desk.tick(SEND_S + 1) == []
    desk.stored(stdout=20, at=SEND_S + 1)
    (chunk,) = desk.grew(20 + SEND_BYTES, at=SEND_S + 1)
    assert (chunk.offset, chunk.size_bytes, chunk.stored) == (20, SEND_BYTES, 20)
    assert desk.grew(19 + 2 * SEND_BYTES, at=SEND_S + 1) == []


def test_what_was_sent_while_the_command_ran_is_owed_after_its_end() -> None:
    """Though it is short: the store has a part of it, and whoever reads there must find the rest."""
    desk = _Desk()
    desk.grew(10)
    desk.tick(SEND_S)
    assert spans(desk.ended(15)) == [(10, 5)]
    assert desk.owes()
    desk.stored(stdout=15)
    assert not desk.owes()


def test_pieces_never_cross_a_multiple_of_their_greatest_size() -> None:
    """Readers look for what covers an offset between two of them."""
    desk = _Desk()
    assert spans(desk.grew(BLOCK - 10)) == [(0, BLOCK - 10)]
    assert spans(desk.ended(2 * BLOCK + 5)) == [(BLOCK - 10, 10), (BLOCK, BLOCK), (2 * BLOCK, 5)]


def test_so_much_is_under_way_and_no_more() -> None:
    """Of all attempts together; what is stored makes room for as much."""
    desk = _Desk()
    size = 3 * limits.STORE_WINDOW_BYTES
    first = spans(desk.ended(size))
    assert sum(piece for _, piece in first) == limits.STORE_WINDOW_BYTES
    assert desk.ended(size, of=A2) == []
    actions = desk.stored(stdout=BLOCK)
    assert sum(piece for _, piece in spans(actions)) == BLOCK


def test_attempts_and_streams_take_turns() -> None:
    """One message of each: a long stream does not keep the others from the store."""
    desk = _Desk()
    window = limits.STORE_WINDOW_BYTES
    desk.ended(2 * window)
    desk.ended(2 * window, of=A2)
    desk.report(ONE, of=attempt(3))
    actions = desk.stored(stdout=4 * BLOCK)
    assert [chunk.attempt for chunk in of_kind(SendChunk, actions)] == [A1, A2, A1, A2]
    assert only(Increments, actions).attempt == attempt(3)


def test_increments_go_first() -> None:
    """They are few, and others wait for them."""
    desk = _Desk(stores=None)
    desk.grew(SEND_BYTES)
    desk.report(ONE)
    actions = desk.register()
    assert (numbers(actions[:1]), spans(actions[1:])) == ([(1, 1)], [(0, SEND_BYTES)])


def test_an_increment_takes_no_output_along() -> None:
    """Of a command that reports after each line the store would have a row for each; it keeps its second."""
    desk = _Desk()
    desk.grew(10)
    assert spans(desk.report(ONE, at=0.1)) == []
    assert spans(desk.stored(increments=1, at=0.2)) == []
    assert spans(desk.tick(SEND_S)) == [(0, 10)]
    desk.grew(20, at=SEND_S)
    assert spans(desk.report(TWO, at=SEND_S)) == []
    assert spans(desk.tick(2 * SEND_S)) == [(10, 10)]


# --- increments ---------------------------------------------------------------------------------------------


def test_increments_are_numbered_and_sent_at_once() -> None:
    """One message at a time: the next begins behind what is stored."""
    desk = _Desk()
    (action,) = desk.report(ONE, TWO)
    assert action.message == Increments(attempt=A1, first=1, lines=(ONE, TWO))
    assert desk.report(TWO) == []
    assert numbers(desk.stored(increments=2)) == [(3, 1)]
    desk.stored(increments=3)
    desk.ended()
    assert not desk.owes()


def test_an_attempt_goes_on_with_the_numbers_of_those_before_it() -> None:
    """The order to run says which is the newest that is stored."""
    desk = _Desk()
    desk.keeping.expect(A1, 41)
    assert numbers(desk.report(ONE)) == [(42, 1)]
    desk.stored(increments=42)
    assert numbers(desk.report(ONE)) == [(43, 1)]


def test_an_attempt_that_is_expected_anew_owes_nothing_of_before() -> None:
    """After a restore of the table a number comes a second time."""
    desk = _Desk()
    desk.keeping.expect(A1, 41)
    desk.report(ONE)
    desk.ended(2 * BLOCK)
    desk.keeping.expect(A1, 0)
    assert not desk.owes()
    assert numbers(desk.report(TWO)) == [(1, 1)]


def test_a_part_of_what_was_sent_may_be_stored() -> None:
    """What is not confirmed keeps its number, and stays on its way; late answers count nothing."""
    desk = _Desk()
    desk.report(ONE, TWO, ONE)
    assert desk.stored(increments=2) == []
    assert desk.stored(increments=1) == []
    assert numbers(desk.register(1.0)) == [(3, 1)]


@pytest.mark.parametrize(
    ("size", "most"),
    [(1, LINES_MAX), (VALUE_BYTES_MAX, LINES_BYTES_MAX // size_bytes(Line("", "x" * VALUE_BYTES_MAX)))],
)
def test_a_message_takes_a_bounded_number_of_lines(size: int, most: int) -> None:
    """And of bytes; the rest follows."""
    desk = _Desk()
    line = Line("", "x" * size)
    assert numbers(desk.report(*[line] * (most + 2))) == [(1, most)]
    assert numbers(desk.stored(increments=most)) == [(most + 1, 2)]


def test_an_end_is_held_back_for_increments() -> None:
    """Until the last is stored."""
    desk = _Desk()
    desk.report(ONE)
    assert desk.ended() == []
    assert desk.owes()
    desk.stored(increments=1)
    assert not desk.owes()


# --- what may be lost ---------------------------------------------------------------------------------------


def test_what_is_not_stored_in_time_is_sent_again() -> None:
    """From where the store has it; the next time after twice as long, for the store may be away."""
    desk = _Desk()
    desk.report(ONE)
    desk.ended(2 * BLOCK)
    desk.stored(stdout=BLOCK, at=1.0)
    assert desk.tick(AGAIN_S - 0.1) == []
    actions = desk.tick(AGAIN_S)  # the increments were sent at 0.0
    assert (numbers(actions), spans(actions)) == ([(1, 1)], [(BLOCK, BLOCK)])
    assert desk.tick(AGAIN_S + 1) == []
    assert desk.tick(3 * AGAIN_S - 0.1) == []
    assert numbers(desk.tick(3 * AGAIN_S)) == [(1, 1)]


def test_what_was_begun_is_sent_to_its_end_also_after_a_late_answer() -> None:
    """Another leader registers, so all is sent again; then an answer to what was sent before comes late."""
    desk = _Desk()
    desk.grew(5)
    assert spans(desk.tick(SEND_S)) == [(0, 5)]
    desk.ended(10, at=2.0)
    assert desk.owes()
    desk.register(3.0)
    assert desk.owes(), "it was begun: it does not ride in the result"
    desk.stored(stdout=5, at=4.0)
    assert desk.owes()
    assert desk.stored(stdout=10, at=5.0) == []
    assert not desk.owes()


def test_patience_has_an_end_and_begins_anew() -> None:
    """At most a minute passes; an answer, or another leader, makes it short again."""
    desk = _Desk()
    desk.report(ONE, TWO)
    sent = [at for at in range(1, 600) if numbers(desk.tick(float(at)))]
    assert sent[:4] == [5, 15, 35, 75]
    assert {later - earlier for earlier, later in itertools.pairwise(sent[3:])} == {60}
    desk.stored(increments=1, at=600.0)
    assert numbers(desk.tick(605.0)) == [(2, 1)]


def test_output_that_the_spool_lost_is_owed_no_more_but_increments_are() -> None:
    """They never were in the spool."""
    desk = _Desk()
    desk.report(ONE)
    desk.ended(2 * BLOCK)
    desk.keeping.give_up_output(1.0, A1)
    assert desk.keeping.owes(A1)
    desk.stored(increments=1, at=1.0)
    assert not desk.keeping.owes(A1)


def test_numbers_go_on_after_a_leader_without_a_store() -> None:
    """Else the next increment would have the number of one that is stored, and be dropped as known."""
    desk = _Desk()
    desk.report(ONE, TWO)
    desk.stored(increments=2)
    desk.keeping.on_registered(1.0, stores=False)
    desk.keeping.on_registered(2.0, stores=True)
    assert numbers(desk.report(ONE, at=3.0)) == [(3, 1)]


def test_what_gets_on_is_not_sent_again() -> None:
    """A store that is slow is no loss: every answer gives the rest its time anew."""
    desk = _Desk()
    desk.ended(2 * BLOCK)
    desk.report(*[ONE] * 3, of=A2)
    desk.stored(stdout=BLOCK, at=AGAIN_S - 1)
    desk.stored(A2, increments=1, at=AGAIN_S - 1)
    assert desk.tick(2 * AGAIN_S - 1.1) == []
    actions = desk.tick(2 * AGAIN_S - 1)
    assert (spans(actions), numbers(actions)) == ([(BLOCK, BLOCK)], [(2, 2)])


def test_a_lost_piece_comes_again_while_its_command_writes_on() -> None:
    """The pieces behind it leave every second, and none of them can be taken before it."""
    desk = _Desk()
    desk.grew(10)
    desk.tick(SEND_S)
    again = []
    for second in range(2, 8):
        desk.grew(10 * second, at=float(second))
        again += [chunk for chunk in of_kind(SendChunk, desk.tick(second + SEND_S)) if chunk.offset == 0]
    assert len(again) == 1


def test_a_lost_piece_comes_again_while_others_of_its_attempt_are_stored() -> None:
    """Its increments and its other stream take other ways, or were luckier."""
    desk = _Desk()
    desk.grew(10)
    desk.tick(SEND_S)
    again = []
    for second in range(2, 8):
        desk.report(ONE, at=float(second))
        desk.grew(10 * second, ERR, at=float(second))
        desk.stored(increments=second - 1, stderr=10 * (second - 1), at=float(second))
        again += [chunk for chunk in of_kind(SendChunk, desk.tick(float(second))) if chunk.stream is OUT]
    assert spans(again) == [(0, 10)]


def test_what_the_leader_had_no_room_for_is_sent_again_at_once() -> None:
    """It says so once there is room."""
    desk = _Desk()
    desk.ended(2 * BLOCK)
    assert desk.stored(stdout=BLOCK) == []
    assert spans(desk.stored(stdout=BLOCK, again=True)) == [(BLOCK, BLOCK)]


def test_another_leader_is_sent_all_that_is_not_stored() -> None:
    """What the one before had heard may have died with it."""
    desk = _Desk()
    desk.report(ONE)
    desk.grew(SEND_BYTES)
    desk.stored(stdout=100)
    actions = desk.register(1.0)
    assert (numbers(actions), spans(actions)) == ([(1, 1)], [(100, SEND_BYTES - 100)])
    assert only(SendChunk, actions).stored == 100


def test_an_answer_beyond_what_there_is_counts_no_further() -> None:
    """Nobody can have stored it; and an answer about nobody changes nothing."""
    desk = _Desk()
    desk.grew(SEND_BYTES)
    desk.report(ONE)
    desk.stored(stdout=10 * SEND_BYTES, stderr=5, increments=9)
    assert spans(desk.grew(2 * SEND_BYTES)) == [(SEND_BYTES, SEND_BYTES)]
    assert numbers(desk.report(TWO)) == [(2, 1)]
    assert desk.stored(of=A2, stdout=5, increments=5) == []


def test_before_a_leader_spoke_nothing_is_sent_and_nothing_forgotten() -> None:
    """It is unknown whether there is a store."""
    desk = _Desk(stores=None)
    assert desk.report(ONE) == []
    assert desk.ended(2 * BLOCK) == []
    assert desk.tick(10.0) == []
    assert desk.owes()


# --- letting go ---------------------------------------------------------------------------------------------


def test_without_a_store_nothing_is_owed() -> None:
    """The end is not held back for what nobody keeps; that increments are dropped is told."""
    desk = _Desk(stores=False)
    (note,) = desk.report(ONE, TWO)
    assert isinstance(note, Note)
    assert (note.event, note.level, note.fields["lines"]) == ("increments_dropped", Level.WARNING, 2)
    assert desk.grew(2 * SEND_BYTES) == []
    assert desk.ended(2 * SEND_BYTES) == []
    assert not desk.owes()


def test_a_leader_without_a_store_ends_what_was_owed() -> None:
    """Else the ends of those attempts would never be told."""
    desk = _Desk()
    desk.report(ONE)
    desk.ended(2 * BLOCK)
    desk.ended(2 * BLOCK, of=A2)
    (note,) = desk.register(1.0, stores=False)
    assert note.fields["lines"] == 1
    assert not desk.owes()
    assert desk.tick(20.0) == []
    assert desk.register(21.0) == []


def test_what_was_waived_is_not_owed() -> None:
    """Nobody wants it any more; what others owe goes on in its room."""
    desk = _Desk()
    desk.ended(2 * limits.STORE_WINDOW_BYTES)
    desk.ended(2 * BLOCK, of=A2)
    desk.keeping.waive(A1)
    assert not desk.owes()
    assert spans(desk.tick(0.1)) == [(0, BLOCK), (BLOCK, BLOCK)]


def test_what_runs_cannot_be_waived() -> None:
    """Its end is still to come, and then it is owed."""
    desk = _Desk()
    desk.report(ONE)
    desk.keeping.waive(A1)
    assert desk.owes()


def test_attempts_whose_runner_died_owe_what_they_had_written() -> None:
    """Their last piece does not wait for its second."""
    desk = _Desk()
    desk.grew(SMALL + 1)
    assert spans(desk.over()) == [(0, SMALL + 1)]
    assert desk.over() == []
    assert desk.owes()
    assert desk.over(A2) == []
    assert not desk.owes(A2)


def test_what_the_leader_has_the_report_of_is_forgotten() -> None:
    """With its room in the window."""
    desk = _Desk()
    desk.ended(2 * limits.STORE_WINDOW_BYTES)
    desk.keeping.forget(A1)
    desk.keeping.check_invariants()
    assert not desk.owes()
    assert spans(desk.ended(BLOCK, of=A2)) == [(0, BLOCK)]
