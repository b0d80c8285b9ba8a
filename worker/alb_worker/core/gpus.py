"""Which GPUs of this machine each attempt has: indexes, of which no two attempts share one.

The leader counts GPUs; which ones an attempt gets is decided here, where they are given back, too: only when
its processes are gone.
"""

from __future__ import annotations

import heapq
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

    def take(self, count: int) -> tuple[int, ...]:
        """Give an attempt so many; there must be room for it."""
        return tuple(heapq.heappop(self._free) for _ in range(count))

    def give_back(self, indexes: tuple[int, ...]) -> None:
        """An attempt that had these is over."""
        for index in indexes:
            heapq.heappush(self._free, index)
