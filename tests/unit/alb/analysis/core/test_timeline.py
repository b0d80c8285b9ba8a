"""Timelines: sums stay whole, whatever the slices."""

from __future__ import annotations

from alb.analysis.core.timeline import SLICES_MAX, Timeline


def test_sums_by_slice() -> None:
    """What falls into a slice is added there."""
    line = Timeline("a", "b")
    for time, amount in ((0.0, 1.0), (59.0, 2.0), (60.0, 4.0), (200.0, 8.0)):
        line.add(time, a=amount, b=1)
    assert line.slices(60.0, 0.0, 200.0) == {"a": [3.0, 4.0, 0.0, 8.0], "b": [2.0, 1.0, 0.0, 1.0]}
    assert line.slices(120.0, 0.0, 200.0)["a"] == [7.0, 8.0]


def test_what_lies_outside_counts_at_the_edge() -> None:
    """What was submitted before the beginning still waits in the first slice."""
    line = Timeline("a")
    for time in (0.0, 300.0, 900.0):
        line.add(time, a=1)
    assert line.slices(60.0, 240.0, 480.0)["a"] == [1.0, 1.0, 0.0, 0.0, 1.0]


def test_a_long_time_has_wider_slices_and_the_same_sums() -> None:
    """A year of minutes would be half a million slices."""
    line = Timeline("a")
    for day in range(365):
        for hour in range(24):
            line.add((day * 24 + hour) * 3600.0, a=1)
    assert len(line._slices) <= SLICES_MAX
    assert line.slice_s > 60.0
    assert sum(line.slices(86_400.0, 0.0, 365 * 86_400.0)["a"]) == 365 * 24
