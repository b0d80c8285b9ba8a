"""What is to happen later: a heap of timers, which stays small although most of them are cancelled."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timer:
    """One thing to do at a time. ``Timers.at`` makes it."""

    __slots__ = ("action", "owner")

    def __init__(self, action: Callable[[], None], owner: Timers) -> None:
        self.action: Callable[[], None] | None = action
        #: None: done or cancelled.
        self.owner = owner

    def cancel(self) -> None:
        """Forget it; does nothing where it has fired."""
        if self.action is not None:
            self.action = None
            self.owner.cancelled()


class Timers:
    """All timers of a loop."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0
        self._cancelled = 0

    def __len__(self) -> int:
        """Return how many timers the heap holds, cancelled ones included."""
        return len(self._heap)

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Call `action` once `when` (monotonic seconds) is reached."""
        timer = Timer(action, self)
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, timer))
        return timer

    def next(self) -> float | None:
        """Return when the next timer is due, or None."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def fire(self, now: float) -> None:
        """Do everything that is due."""
        while (when := self.next()) is not None and when <= now:
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                action()

    def cancelled(self) -> None:
        """Count one; drop them when they are the most, as after many short commands with limits of hours."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
