"""What was known when an attempt was placed: the newest are remembered."""

from __future__ import annotations

from tests.broker_parts import attempt

from alb_broker.core.decisions import DECISIONS_MAX, Decided, Decisions


def test_the_newest_are_kept() -> None:
    """And no more than so many: each is a kilobyte."""
    decisions = Decisions()
    for number in range(DECISIONS_MAX + 3):
        decisions.keep(attempt(number), Decided((), float(number), 0.0))
    assert decisions.get(attempt(2)) is None
    assert decisions.get(attempt(3)) == Decided((), 3.0, 0.0)
    assert decisions.get(attempt(DECISIONS_MAX + 2)) is not None
