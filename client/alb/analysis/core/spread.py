"""A spread: how values are distributed, in bounded memory.

Values are counted in classes that are 2 % wide, so that a quantile is right to 1 %; the greatest is exact.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

STEP: Final = math.log(1.02)
SMALLEST: Final = 1e-6
#: Below, a value counts as 0. With 64-bit values above, there are fewer than 4,000 classes.


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """What a spread says."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Spread:
    """Counts values that are not negative."""

    __slots__ = ("_classes", "count", "max", "total")

    def __init__(self) -> None:
        self._classes: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.max = 0.0

    def add(self, value: float) -> None:
        """Count a value; a negative one as 0."""
        kind = math.floor(math.log(value) / STEP) if value > SMALLEST else -(10**6)
        self._classes[kind] = self._classes.get(kind, 0) + 1
        self.count += 1
        if value > 0:
            self.total += value
            self.max = max(self.max, value)

    def quantile(self, share: float) -> float:
        """Return the value that so large a share does not exceed, to 1 %; 0 where nothing was counted."""
        wanted = math.ceil(share * self.count)
        seen = 0
        for kind in sorted(self._classes):
            seen += self._classes[kind]
            if seen >= wanted:
                value = math.exp((kind + 0.5) * STEP) if kind > -(10**6) else 0.0
                return min(value, self.max)
        return 0.0

    def quantiles(self) -> Quantiles:
        """Return what it says."""
        if not self.count:
            return Quantiles()
        return Quantiles(
            count=self.count,
            mean=self.total / self.count,
            p50=self.quantile(0.5),
            p90=self.quantile(0.9),
            p99=self.quantile(0.99),
            max=self.max,
        )
