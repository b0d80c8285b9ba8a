"""Moments at which something must be looked at again, the next one first."""

from __future__ import annotations

import heapq
from typing import Final

SLACK: Final = 1000
#: Moments that no longer count may linger.


class Alarms:
    """One moment for each name."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}  #: By name, when it is rung for.
        self._heap: list[tuple[float, str]] = []  #: May hold moments that were replaced or dropped.

    def set(self, name: str, time: float) -> None:
        """Ring for a name at this time; an earlier wish of the same name is forgotten."""
        if self.times.get(name) != time:
            self.times[name] = time
            heapq.heappush(self._heap, (time, name))
            self._tidy()

    def drop(self, name: str) -> None:
        """Do not ring for a name."""
        if self.times.pop(name, None) is not None:
            self._tidy()

    def due(self, now: float) -> list[str]:
        """Return, and forget, the names whose time has come."""
        names: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            time, name = heapq.heappop(self._heap)
            if self.times.get(name) == time:
                del self.times[name]
                names.append(name)
        return names

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self.times) + SLACK:
            self._heap = [(time, name) for name, time in self.times.items()]
            heapq.heapify(self._heap)
