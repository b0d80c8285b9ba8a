"""How far an array is: each change happens to memory and to what is written alike."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.array_parts import array_spec, record, stretch

from alb_broker.core.array_progress import (
    Change,
    Draft,
    Ended,
    Ends,
    Expanded,
    Grown,
    Held,
    Over,
    Progress,
    Skipped,
    Stopped,
)
from alb_core import limits
from alb_core.arrays import Counts, Stride
from alb_core.tasks import TaskState

SPEC = array_spec(Stride(1, 2500))
GOOD, BAD = TaskState.SUCCEEDED, TaskState.FAILED


def progress(**fields: object) -> Progress:
    """Return an array of 2,500 tasks."""
    return Progress(record(SPEC, **fields))


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from([GOOD, BAD, TaskState.LOST]), st.integers(0, 255))
    )
)
def test_ends_come_back_from_their_stretches(marks: list[tuple[int, TaskState, int]]) -> None:
    """Whatever ended in whatever order; neighbours that ended alike are one stretch."""
    before, after = Ends(), Ends()
    for mark in marks:
        before.mark(*mark)
    stretches = list(before.stretches(3))
    after.take(stretches, 3)
    assert [after.state(place) for place in range(1000)] == [before.state(place) for place in range(1000)]
    assert after.ended == before.ended == len({place for place, _, _ in marks})
    assert list(after.stretches(3)) == stretches
    assert all(
        (one.state, one.exit_status) != (two.state, two.exit_status) or one.first + one.count < two.first
        for one, two in pairwise(stretches)
    )


def test_a_chunk_is_whole_when_all_of_it_ended() -> None:
    """Then nothing changes any more."""
    ends = Ends()
    ends.take([stretch(0, limits.ARRAY_CHUNK - 1)], 0)
    assert not ends.whole
    ends.mark(limits.ARRAY_CHUNK - 1, BAD, 1)
    assert ends.whole
    ends.unmark(0)
    assert not ends.whole
    assert not ends.has(0)


def test_an_end_is_counted_and_marked() -> None:
    """In the chunk of its position."""
    each = progress(cursor=2000)
    each.apply(Ended(1500, BAD, 3))
    assert each.record.counts == Counts(failed=1)
    assert each.state(1500) is BAD
    assert each.state(0) is None
    assert list(each.ends[1].stretches(1)) == [stretch(1500, 1, BAD, 3)]


def test_an_end_that_could_not_be_written_is_taken_back() -> None:
    """Once; other changes stay."""
    each = progress(cursor=10)
    for change in (Ended(5, GOOD, 0), Over(7.0)):
        each.apply(change)
    for _ in range(2):
        each.undo(Over(7.0))
        each.undo(Ended(5, GOOD, 0))
        each.undo(Stopped("x"))
    assert each.record == progress(cursor=10).record
    assert each.state(5) is None


def test_what_is_not_made_is_cancelled_with_the_array() -> None:
    """At once, and no inputs follow."""
    each = progress(cursor=100, whole=False)
    each.apply(Stopped("enough"))
    assert each.record.counts == Counts(cancelled=2400)
    assert (each.record.cancel, each.record.whole, each.record.why) == (True, True, "enough")


def test_skipped_positions_end_when_the_cursor_passes_them() -> None:
    """They are marked like any other end."""
    each = progress(cursor=998)
    each.apply(Expanded(1002, (999, 1000)))
    assert each.record.counts == Counts(cancelled=2)
    assert (each.state(999), each.state(1000), each.state(1001)) == (TaskState.CANCELLED,) * 2 + (None,)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (Grown(7, whole=True), "total", 7),
        (Skipped((Stride(1, 2),)), "skips", (Stride(1, 2),)),
        (Held("ann"), "held_by", "ann"),
        (Over(3.0), "finished", 3.0),
    ],
)
def test_other_changes_are_in_the_record(change: Change, field: str, value: object) -> None:
    """Each in its field."""
    each = progress()
    each.apply(change)
    assert getattr(each.record, field) == value


def test_it_is_over_when_all_that_will_ever_be_has_ended() -> None:
    """Not while inputs may follow."""
    each = progress(total=1, cursor=1, whole=False)
    each.apply(Ended(0, GOOD, 0))
    assert not each.is_over
    each.apply(Grown(1, whole=True))
    assert each.is_over


def test_too_many_failures_are_more_than_may() -> None:
    """And none is too many where nobody counts."""
    for most, failed, expected in ((None, 9, False), (2, 2, False), (2, 3, True), (0, 1, True)):
        spec = array_spec(Stride(1, 10), max_fails=most)
        assert Progress(record(spec, counts=Counts(failed=failed))).fails_too_often is expected


def test_a_draft_leaves_its_base_alone_until_it_is_settled() -> None:
    """Then the base is what the draft was, without the chunks that are whole."""
    base = progress(cursor=1001)
    base.apply(Ended(1000, GOOD, 0))
    before = base.record
    draft = Draft(base)
    for position in range(1000):
        draft.apply(Ended(position, GOOD, 0))
    draft.apply(Ended(1002, BAD, 1))
    assert base.record == before
    assert base.state(0) is None
    assert sorted(draft.touched) == [0, 1]
    assert draft.settle() == [0]
    assert base.record.counts == Counts(succeeded=1001, failed=1)
    assert sorted(base.ends) == [1]
    assert (base.state(1000), base.state(1002)) == (GOOD, BAD)
