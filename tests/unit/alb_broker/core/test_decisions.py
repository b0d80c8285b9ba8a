"""What was known when an attempt was placed: the newest are remembered."""

from __future__ import annotations

from tests.broker_parts import attempt

from alb_broker.core.decisions import DECISIONS_MAX, Decided, Decisions, Lent


def test_the_newest_are_kept() -> None:
    """And no more than so many: each is a kilobyte."""
    decisions = Decisions()
    for number in range(DECISIONS_MAX + 3):
        decisions.keep(attempt(number), Decided("mine", (), float(number), 0.0))
    assert decisions.get(attempt(2)) is None
    assert decisions.get(attempt(3)) == Decided("mine", (), 3.0, 0.0)
    assert decisions.get(attempt(DECISIONS_MAX + 2)) is not None


def test_who_gave_way_to_whom_is_kept_as_long() -> None:
    """To both of them; of who gave way for a task elsewhere, that is no reason why it went here."""
    decisions = Decisions()
    for number in range(DECISIONS_MAX + 1):
        decisions.note_lent(attempt(number), Lent("w1" if number % 2 else "w2", "head"))
    assert [decisions.lent(attempt(number)) for number in (0, 1)] == ["", "head"]
    there = decisions.lenders("head", "w1")
    assert (len(there), attempt(1).task in there, attempt(2).task in there) == (
        DECISIONS_MAX // 2,
        True,
        False,
    )
    assert decisions.lenders("other", "w1") == ()


def test_who_was_ended_for_whom_is_told_apart() -> None:
    """One may have given its processors to one task, and its memory to another one."""
    decisions = Decisions()
    decisions.note_lent(attempt(1), Lent("w1", "first"))
    decisions.note_lent(attempt(1), Lent("w1", "second", whole=True))
    assert (decisions.lent(attempt(1)), decisions.lent(attempt(1), whole=True)) == ("first", "second")
    assert decisions.lenders("second", "w1") == decisions.lenders("first", "w1", whole=True) == ()
    assert decisions.lenders("second", "w1", whole=True) == (attempt(1).task,)
