"""Tasks that do the same, as far as their run times tell: what is expected of one of them, and how one fares.

Siblings are the tasks of one array, or those of one user with one command. The rules are those of the LATE
scheduler (Zaharia et al., OSDI 2008): from the progress of an attempt follows its rate, from that when it
will end. Where nothing is reported, the run times of siblings that are over tell how far an attempt should
be; times are compared as work: seconds times the speed of the worker. Pure values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from statistics import median
from typing import Final, NamedTuple

from alb_core.spec import TaskSpec

SIBLINGS_MIN: Final = 3
#: Fewer tell nothing.
SIBLINGS_KEPT: Final = 32
#: The newest that are over: what they say must be sure, and may change.
OVERDUE: Final = 1.5
#: Of what reports nothing, and has taken so many times as long as expected, nobody knows how far it is: it is
#: taken to last as long again as it has lasted.
STALE_S: Final = 2.5
#: What was reported longer ago says no more how far an attempt is now: it has stood still since.


class Advance(NamedTuple):
    """What an attempt has reported of its progress."""

    increments: int
    step: int
    at: float
    #: Cluster time, when the leader heard of it.


class Standing(NamedTuple):
    """How an attempt that runs fares."""

    total_s: float
    #: It will have taken so long.
    left_s: float


class Siblings:
    """What is known of tasks that do the same."""

    __slots__ = ("_increments", "_works", "rates")

    def __init__(self) -> None:
        self.rates: deque[float] = deque(maxlen=SIBLINGS_KEPT)  #: Of those that are over: one by their time.
        self._works: deque[float] = deque(maxlen=SIBLINGS_KEPT)  #: Seconds times speed of the same.
        self._increments: deque[float] = deque(maxlen=SIBLINGS_KEPT)  #: How many each reported.

    def end(self, wall_s: float, speed: float, increments: float = 0.0) -> None:
        """One of them is over.

        Args:
            wall_s: How long it ran, above 0.
            speed: Of its worker.
            increments: About how many it reported; 0: none, or nobody knows.
        """
        self.rates.append(1.0 / wall_s)
        self._works.append(wall_s * speed)
        if increments:
            self._increments.append(increments)

    def work(self) -> float:
        """Return what one of them costs, as seconds at speed 1; 0: too few are over to know."""
        return median(self._works) if len(self._works) >= SIBLINGS_MIN else 0.0

    def standing(
        self, spec: TaskSpec, elapsed_s: float, speed: float, advance: Advance | None, now: float
    ) -> Standing | None:
        """Return how an attempt fares, or None: nobody knows.

        Args:
            spec: Of its task.
            elapsed_s: Since it was placed.
            speed: Of its worker.
            advance: What it reported last.
            now: Cluster time.
        """
        progress = self._progress(spec, advance)
        if advance is not None and progress:
            silent_s = now - advance.at
            seen_s = elapsed_s - silent_s if silent_s <= STALE_S else elapsed_s
            total_s = max(elapsed_s, seen_s / progress)
            return Standing(total_s, total_s - elapsed_s)
        expected_s = self.work() / speed
        if not expected_s:
            return None
        total_s = max(expected_s, elapsed_s) if elapsed_s <= OVERDUE * expected_s else 2 * elapsed_s
        return Standing(total_s, total_s - elapsed_s)

    def _progress(self, spec: TaskSpec, advance: Advance | None) -> float:
        """Return which part is done, from what was reported; 0: nothing that tells it."""
        if advance is None:
            return 0.0
        if spec.steps:
            return min(1.0, advance.step / spec.steps)
        if advance.increments and len(self._increments) >= SIBLINGS_MIN:
            return min(1.0, advance.increments / median(self._increments))
        return 0.0


def percentile(values: Collection[float], part: float) -> float:
    """Return the value below which this part of all lies, between two of them where it falls there.

    Args:
        values: At least one.
        part: From 0 to 1.
    """
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
