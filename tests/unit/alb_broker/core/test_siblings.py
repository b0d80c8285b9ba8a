"""What run times of siblings tell of one that runs, and what its own reports tell."""

from __future__ import annotations

import pytest

from alb_broker.core.siblings import (
    OVERDUE,
    SIBLINGS_MIN,
    STALE_S,
    Advance,
    Siblings,
    percentile,
)
from alb_core.spec import TaskSpec

PLAIN = TaskSpec(command="x")
STEPS = TaskSpec(command="x", steps=40)


def siblings(*walls_s: float, speed: float = 1.0, increments: float = 0.0) -> Siblings:
    """Return siblings that took so long."""
    each = Siblings()
    for wall_s in walls_s:
        each.end(wall_s, speed, increments)
    return each


def test_too_few_tell_nothing() -> None:
    """Before `SIBLINGS_MIN` are over nothing is expected of the others."""
    assert siblings(*[2.0] * (SIBLINGS_MIN - 1)).standing(PLAIN, 99.0, 1.0, None, 99.0) is None
    assert siblings(*[2.0] * SIBLINGS_MIN).standing(PLAIN, 1.0, 1.0, None, 1.0) == (2.0, 1.0)


def test_times_are_corrected_by_speed() -> None:
    """What took 2 s at speed 4 takes 8 s at speed 1."""
    each = siblings(2.0, 2.0, 2.0, speed=4.0)
    assert each.work() == 8.0
    assert each.standing(PLAIN, 2.0, 1.0, None, 2.0) == (8.0, 6.0)


def test_what_is_overdue_lasts_as_long_again() -> None:
    """Until it is overdue it is about to end; from then on it is taken to last as long again."""
    each = siblings(2.0, 2.0, 2.0)
    assert each.standing(PLAIN, 2.0 * OVERDUE, 1.0, None, 3.0) == (3.0, 0.0)
    assert each.standing(PLAIN, 4.0, 1.0, None, 4.0) == (8.0, 4.0)


def test_steps_tell_the_rate() -> None:
    """4 of 40 steps in 2 s: 18 s are left, whatever siblings did."""
    standing = siblings(2.0, 2.0, 2.0).standing(STEPS, 2.0, 0.5, Advance(4, 4, 12.0), 12.0)
    assert standing is not None
    assert standing == pytest.approx((20.0, 18.0))


def test_increments_tell_the_rate() -> None:
    """Half of what siblings reported in the end is half of the way."""
    each = siblings(2.0, 2.0, 2.0, increments=10.0)
    assert each.standing(PLAIN, 6.0, 1.0, Advance(5, 0, 6.0), 6.0) == pytest.approx((12.0, 6.0))


def test_what_was_told_lately_is_not_older_than_it_is() -> None:
    """A report that is a second old counts for that moment; one that is old means that nothing moves."""
    each = Siblings()
    assert each.standing(STEPS, 3.0, 1.0, Advance(0, 20, 2.0), 3.0) == pytest.approx((4.0, 1.0))
    now = 2.0 + 4 * STALE_S
    assert each.standing(STEPS, now, 1.0, Advance(0, 20, 2.0), now) == pytest.approx((2 * now, now))


@pytest.mark.parametrize(
    ("values", "part", "found"),
    [([3.0], 0.25, 3.0), ([1.0, 2.0], 0.25, 1.25), ([4, 1, 2, 3], 0.25, 1.75), ([1, 2, 3, 4, 5], 1.0, 5)],
)
def test_percentiles_lie_between_values(values: list[float], part: float, found: float) -> None:
    """So that of four workers the one slow one is below the quarter, and of equal ones none is."""
    assert percentile(values, part) == pytest.approx(found)
