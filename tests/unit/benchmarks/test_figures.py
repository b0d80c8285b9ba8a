"""The arithmetic of the benchmarks: what they print must follow from what they measured."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from figures import (
    Repeat,
    against_floor,
    floor_median,
    json_line,
    longest_gap,
    mean_size,
    measure_against,
    measured_median,
    percentile,
)


def test_a_repeat_is_held_against_the_mean_of_the_floors_around_it() -> None:
    """The ratio's floor is the average of the one before and the one after."""
    repeat = Repeat(measured=60.0, before=100.0, after=140.0)
    assert repeat.floor == 120.0
    assert repeat.ratio == 0.5


def test_the_warm_up_is_dropped_and_floors_lie_around_each_repeat() -> None:
    """Floor and measurement take turns; the first measurement counts nowhere."""
    calls: list[str] = []
    floors: Iterator[float] = iter([1.0, 2.0, 4.0, 8.0])
    values: Iterator[float] = iter([100.0, 30.0, 60.0])

    def floor() -> float:
        calls.append("floor")
        return next(floors)

    def measure() -> float:
        calls.append("measure")
        return next(values)

    lines: list[str] = []
    repeats = measure_against(floor, measure, 2, lines.append)
    assert repeats == [Repeat(30.0, 2.0, 4.0), Repeat(60.0, 4.0, 8.0)]
    assert calls == ["floor", "measure", "floor", "measure", "floor", "measure", "floor"]
    assert ["warm-up" in line for line in lines] == [True, False, False]


def test_the_ratio_is_the_median_of_the_repeats_ratios() -> None:
    """Not the ratio of the medians: one odd floor must not move it."""
    repeats = [Repeat(10.0, 10.0, 10.0), Repeat(30.0, 10.0, 50.0), Repeat(80.0, 100.0, 60.0)]
    assert against_floor(repeats) == {"ratio": 1.0, "repeats": 3, "floor_min": 10.0, "floor_max": 100.0}
    assert measured_median(repeats) == 30.0
    assert floor_median(repeats) == 30.0


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.1, 100), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """Nearest rank: the smallest value that so many percent do not exceed, in any order of the values."""
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, percent) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    """An empty measurement is an error, not a zero."""
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([1.0, 2.0, 2.5, 6.0, 9.0], 3.5),  # the longest lies inside
        ([6.0, 9.0, 1.0, 2.5, 2.0], 3.5),  # in any order
        ([-30.0, 4.0, 6.0, 9.0], 34.0),  # it began before the window
        ([0.0, 2.0, 4.0, 5.0, 50.0], 45.0),  # it ended after the window
        ([-9.0, -1.0, 0.5, 3.0, 6.0, 9.0, 11.0, 99.0], 3.0),  # pauses outside do not count
        ([-2.0, 12.0], 14.0),  # nothing happened inside
        ([], 10.0),  # nothing ever happened
    ],
)
def test_the_longest_gap_touches_the_window(times: list[float], expected: float) -> None:
    """A pause counts whole if any part of it lies in the window, and not at all otherwise."""
    assert longest_gap(times, 0.0, 10.0) == expected


def test_the_mean_size_is_rounded() -> None:
    """Record sizes average to whole bytes."""
    assert mean_size([b"", b"12345", b"12345678"]) == 4


def test_the_last_line_is_one_json_object_with_rounded_figures() -> None:
    """Four digits, whole numbers untouched, one line."""
    line = json_line({"benchmark": "x", "rate": 1234.5678, "ms": 0.000123456, "n": 100000, "zero": 0.0})
    assert json.loads(line) == {"benchmark": "x", "rate": 1235.0, "ms": 0.0001235, "n": 100000, "zero": 0.0}
    assert "\n" not in line
