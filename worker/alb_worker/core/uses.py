"""What attempts were seen to use: together, and each on its way to the leader, a few with each heartbeat.

Nothing depends on it: what is lost is measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from alb_core.messages import AttemptId, AttemptUse

USES_A_BEAT: Final = 16
#: So a heartbeat stays below a kilobyte or two, however many attempts run: with more each is told less often.


class Uses:
    """What is measured, the newest of each attempt."""

    def __init__(self) -> None:
        self._untold: dict[AttemptId, AttemptUse] = {}
        self._cpus: dict[AttemptId, float] = {}
        #: Processors that each one keeps busy.

    def see(self, uses: Iterable[AttemptUse]) -> None:
        """Take what was measured as a part of what all use together."""
        self._cpus.update({use.attempt: use.cpus for use in uses})

    def cpus(self, runs: Callable[[AttemptId], bool]) -> float:
        """Return how many processors all those together keep busy that still run; others are forgotten."""
        self._cpus = {attempt: cpus for attempt, cpus in self._cpus.items() if runs(attempt)}
        return sum(self._cpus.values())

    def note(self, uses: Iterable[AttemptUse]) -> None:
        """Have what was measured told; where some of an attempt waits already, it keeps that one's turn."""
        self._untold.update({use.attempt: use for use in uses})

    def take(self) -> tuple[AttemptUse, ...]:
        """Return what a heartbeat carries."""
        taken = tuple(islice(self._untold.values(), USES_A_BEAT))
        for use in taken:
            del self._untold[use.attempt]
        return taken

    def forget(self) -> None:
        """Nobody listens: what is measured when somebody does will be newer."""
        self._untold.clear()
