"""How long commands run: the median of what history knows of each form of command. Pure.

A median is a fine learner: it needs no tuning, is not misled by one run that hung, and anybody can check it.
Commands are the same when only numbers and paths differ (``form_of``, by which `alb analyze` counts them).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Final

import msgspec

from alb.analysis.core.commands import form_of

RUNS_MIN: Final = 3
#: Fewer say little.
RUNS_KEPT: Final = 200
#: Of one form, the newest: programs change.
LONG_SHARE: Final = 0.8
#: The forms that together take so much of all run time, the longest first, are long.
PRIORITY_MAX: Final = 10
STEPS: Final = 2.0
#: Of priority, for each doubling of the run time.


class Medians(msgspec.Struct, frozen=True, kw_only=True):
    """What was learnt."""

    seconds: dict[str, float] = {}
    #: By form of command.
    long_s: float = 0.0
    #: From this on a command is long.

    def is_long(self, key: str) -> bool:
        """Tell whether a command runs long; one that is unknown may."""
        return self.seconds.get(key, math.inf) >= self.long_s

    def priority(self, key: str) -> int:
        """Return a priority by which short commands go first; 0 for what is unknown or long."""
        seconds = self.seconds.get(key)
        if seconds is None:
            return 0
        return max(0, PRIORITY_MAX - int(STEPS * math.log2(1.0 + seconds)))


def key_of(command: str | tuple[str, ...]) -> str:
    """Return what stands for a command and its likes."""
    return form_of(command if isinstance(command, str) else " ".join(command))[1]


def learn(runs: Iterable[tuple[str, float]]) -> Medians:
    """Learn from commands and their run times in seconds, the oldest first."""
    seen: dict[str, list[float]] = defaultdict(list)
    for key, seconds in runs:
        if key and seconds > 0:
            seen[key].append(seconds)
    known = {key: median(times[-RUNS_KEPT:]) for key, times in seen.items() if len(times) >= RUNS_MIN}
    return Medians(seconds=known, long_s=_long_from(known, seen))


def dumps(medians: Medians) -> bytes:
    """Return what was learnt as JSON, for people too."""
    return msgspec.json.format(msgspec.json.encode(medians), indent=1)


def loads(data: bytes) -> Medians:
    """Return what was learnt; raises ValueError where it is something else."""
    return msgspec.json.decode(data, type=Medians)


def _long_from(known: dict[str, float], seen: dict[str, list[float]]) -> float:
    """Return the shortest median of those that together take `LONG_SHARE` of the time."""
    left = LONG_SHARE * sum(sum(seen[key]) for key in known)
    for key in sorted(known, key=known.__getitem__, reverse=True):
        left -= sum(seen[key])
        if left <= 0:
            return known[key]
    return 0.0
