"""Which GPUs of this machine each attempt has: indexes, of which no two attempts share one.

The leader counts GPUs; which ones an attempt gets is decided here, where they are given back, too: only when
its processes are gone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final


class Gpus:
    """The GPUs that the worker offers, by index.

    Args:
        count: They have the indexes below this.
    """

    def __init__(self, count: int) -> None:
        self.count: Final = count
        self._free = list(range(count))
        #: A heap: the lowest go first, so that what is idle stays idle.

    @property
    def free(self) -> int:
        """How many nobody has."""
        return len(self._free)

    def take(self, count: int) -> tuple[int, ...] | None:
        """Give an attempt so many, of which there must be as many; None: the worker offers none at all."""
        if not self.count:
            return None
        return tuple(heapq.heappop(self._free) for _ in range(count))

    def give_back(self, indexes: tuple[int, ...] | None) -> None:
        """An attempt that had these is over."""
        for index in indexes or ():
            heapq.heappush(self._free, index)

    def check(self, had: Iterable[tuple[int, ...] | None]) -> None:
        """Raise AssertionError unless what attempts have and what is free make the whole, each once."""
        indexes = [index for each in had for index in each or ()]
        assert sorted(indexes + self._free) == list(range(self.count))  # noqa: S101 (states an invariant)
