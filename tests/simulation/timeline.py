"""Virtual time: what happens when, in one order. It knows nothing of what happens."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

Call = Callable[..., None]


class Timeline:
    """A heap of calls. Those of the same moment happen in the order in which they were planned."""

    __slots__ = ("_heap", "_planned", "happened", "now")

    def __init__(self) -> None:
        self.now = 0.0  #: Seconds of true time: no host sees them, each has a clock of its own.
        self.happened = 0  #: Calls made so far.
        self._heap: list[tuple[float, int, Call, tuple[Any, ...]]] = []
        self._planned = 0

    def at(self, when: float, call: Call, *arguments: Any) -> None:
        """Plan a call for a moment; one of the past happens next."""
        self._planned += 1
        heapq.heappush(self._heap, (max(when, self.now), self._planned, call, arguments))

    def after(self, delay_s: float, call: Call, *arguments: Any) -> None:
        """Plan a call for later."""
        self._planned += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._planned, call, arguments))

    def run(self, until: float) -> None:
        """Let everything happen that is planned up to a moment."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call, arguments = heapq.heappop(heap)
            self.happened += 1
            call(*arguments)
        self.now = until
