"""Whether the queue stands still although something would fit: then something is wrong with this leader."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alb_broker.core.state import State

LOOK_EVERY_S: Final = 1.0
HEADS_MAX: Final = 64
#: Of unplaced groups looked at: the check must not cost what it watches over.


class Standstill:
    """Looks now and then whether a task that fits stays unplaced while nothing else is placed either.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._looked = float("-inf")  #: Own clock of the newest look.
        self._began: tuple[float, int] | None = None
        #: Own clock, since when a task that fits waits, and how many had been placed then.

    def lasts_s(self) -> float:
        """Return how long nothing was placed that would fit, in seconds, by the newest look."""
        state = self._state
        if state.at - self._looked >= LOOK_EVERY_S:
            self._looked = state.at
            self._began = self._look()
        return 0.0 if self._began is None else state.at - self._began[0]

    def _look(self) -> tuple[float, int] | None:
        state, began = self._state, self._began
        if not any(
            state.placer.find_room(task, state.workers, state.now(), state.gate)
            for task in islice(state.queue.unplaced(), HEADS_MAX)
        ):
            return None
        placed = state.counters.get("tasks_placed", 0)
        return began if began is not None and began[1] == placed else (state.at, placed)
