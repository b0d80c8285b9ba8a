"""How far attempts have come, by what they reported, on its way to the leader: a few with each heartbeat.

Nothing depends on it, and it is told whether increments are stored or not: who lags is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from alb_core.increments import Line, step_of
from alb_core.messages import AttemptId, AttemptProgress

PROGRESS_A_BEAT: Final = 16
#: As many as are told of their use.


class Progress:
    """What attempts have reported, and who is not told of it yet."""

    def __init__(self) -> None:
        self._reported: dict[AttemptId, AttemptProgress] = {}
        self._untold: dict[AttemptId, None] = {}  #: In turns.

    def note(self, attempt: AttemptId, lines: Sequence[Line]) -> None:
        """A command reported more."""
        before = self._reported.get(attempt)
        increments, step = (before.increments, before.step) if before is not None else (0, 0)
        for line in lines:
            step = max(step, step_of(line))
        self._reported[attempt] = AttemptProgress(
            attempt=attempt, increments=increments + len(lines), step=step
        )
        self._untold[attempt] = None

    def take(self) -> tuple[AttemptProgress, ...]:
        """Return what a heartbeat carries."""
        taken = tuple(islice(self._untold, PROGRESS_A_BEAT))
        for attempt in taken:
            del self._untold[attempt]
        return tuple(self._reported[attempt] for attempt in taken)

    def tell_again(self) -> None:
        """Another leader listens, who knows nothing of it."""
        self._untold = dict.fromkeys(self._reported)

    def forget(self, attempt: AttemptId) -> None:
        """The leader has the attempt's report."""
        if self._reported.pop(attempt, None) is not None:
            self._untold.pop(attempt, None)
