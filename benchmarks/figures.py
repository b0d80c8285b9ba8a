"""The arithmetic of the benchmarks: repeats against their floor, percentiles, gaps, and the JSON line.

Pure: what runs, and on which cluster, is other modules' business.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import mean, median

import msgspec

DIGITS = 4
#: Significant digits of a figure: more would be noise.


class Repeat(msgspec.Struct, frozen=True):
    """One measurement, and the floor before and after it, in the same unit."""

    measured: float
    before: float
    after: float

    @property
    def floor(self) -> float:
        """The floor of this repeat."""
        return (self.before + self.after) / 2

    @property
    def ratio(self) -> float:
        """The measurement in units of its floor."""
        return self.measured / self.floor


def measure_against(
    floor: Callable[[], float], measure: Callable[[], float], repeats: int, say: Callable[[str], None]
) -> list[Repeat]:
    """Measure in turn: floor, measurement, floor, measurement, …, floor.

    Args:
        floor: Measures the floor while nothing else runs.
        measure: Measures, and leaves nothing running.
        repeats: How often; one more comes first, as a warm-up, and is dropped.
        say: Takes a line for the person who waits.

    Returns:
        The repeats. The floor between two of them counts for both.
    """
    kept: list[Repeat] = []
    before = floor()
    for number in range(repeats + 1):
        measured = measure()
        after = floor()
        repeat = Repeat(measured, before, after)
        kept.append(repeat)
        name = f"repeat {number} of {repeats}" if number else "warm-up (dropped)"
        say(f"{name}: {measured:.4g}, floor {repeat.floor:.4g}, ratio {repeat.ratio:.3f}")
        before = after
    return kept[1:]


def against_floor(repeats: Sequence[Repeat]) -> dict[str, float]:
    """Return what every benchmark with a floor prints of it."""
    floors = [floor for repeat in repeats for floor in (repeat.before, repeat.after)]
    return {
        "ratio": median(repeat.ratio for repeat in repeats),
        "repeats": len(repeats),
        "floor_min": min(floors),
        "floor_max": max(floors),
    }


def measured_median(repeats: Sequence[Repeat]) -> float:
    """Return the median measurement."""
    return median(repeat.measured for repeat in repeats)


def floor_median(repeats: Sequence[Repeat]) -> float:
    """Return the median floor."""
    return median(repeat.floor for repeat in repeats)


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all values do not exceed (nearest rank).

    Raises:
        ValueError: There are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def longest_gap(times: Iterable[float], start: float, end: float) -> float:
    """Return the longest interval between two neighbouring times of which any part lies in a window.

    The neighbours may lie outside the window: what a window cuts off counts whole. Where nothing came before
    or after, the window's own edge stands in.

    Args:
        times: When something happened, in any order.
        start: Of the window.
        end: Of the window.
    """
    ordered = sorted(times)
    inside = [time for time in ordered if start < time < end]
    first = max((time for time in ordered if time <= start), default=start)
    last = min((time for time in ordered if time >= end), default=end)
    points = [first, *inside, last]
    return max(after - before for before, after in pairwise(points))


def mean_size(encoded: Iterable[bytes]) -> int:
    """Return the mean length, rounded."""
    return round(mean(len(each) for each in encoded))


def json_line(fields: Mapping[str, object]) -> str:
    """Return the last line of a benchmark: one JSON object, its figures rounded."""
    return json.dumps({name: _rounded(value) for name, value in fields.items()})


def _rounded(value: object) -> object:
    if not isinstance(value, float) or not value or not math.isfinite(value):
        return value
    return round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))
