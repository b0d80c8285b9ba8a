"""What became of arrays and of their tasks, as others that wait for them see it.

It answers from what ZooKeeper has: nobody acts on an end that is not in the table yet. An answer that is not
the last one is noted, and whoever waits is looked at again when it is another one.
"""

from __future__ import annotations

from typing import Final

from alb_broker.core.array import Array
from alb_broker.core.array_pages import ArrayPages
from alb_broker.core.arrays import is_skipped
from alb_broker.core.fates import Fate
from alb_broker.core.state import State
from alb_core import limits
from alb_core.arrays import state_of
from alb_core.tasks import TaskState

LOOK_EVERY_S: Final = 1.0
#: At tasks that are not in the table: no step of their own tells of them.


class ArrayFates:
    """Answers what became of arrays and of tasks that have left the table, or are not made yet.

    Args:
        state: The reign's parts.
        pages: Reads how tasks ended long ago.
    """

    def __init__(self, state: State, pages: ArrayPages) -> None:
        self._state: Final = state
        self._pages: Final = pages
        self._noted: Final[dict[str, Fate]] = {}  #: What was answered last, where that was not the end.
        self._looked_at = float("-inf")  #: Own clock.

    def of(self, name: str) -> Fate | None:
        """Return what became of an array or of one of its tasks; None: there is no such thing."""
        array = self._state.arrays.get(name)
        fate = self._of_array(array) if array is not None else self._of_task(name)
        before = self._noted.pop(name, fate)
        if fate is not None and fate not in _LAST:
            self._noted[name] = fate
        if fate is not before:
            self._state.holds.moved(name)
        return fate

    def tick(self) -> None:
        """Have those looked at of whom more is known, and forget what nobody waits for."""
        if self._state.at - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = self._state.at
        for name in list(self._noted):
            if self._state.holds.is_awaited(name):
                self.of(name)
            else:
                del self._noted[name]

    def _of_array(self, array: Array) -> Fate:
        record = array.written.record
        if array.in_table and record.finished:
            return _ended(state_of(record))
        begun = record.counts.over or self._noted.get(array.id) is Fate.STARTED
        if begun or any(
            task.attempts and not self._state.ledger.holds(task.id) for task in array.live.values()
        ):
            return Fate.STARTED
        return Fate.GOING

    def _of_task(self, name: str) -> Fate | None:
        array = self._state.arrays.of(name)
        if array is None:
            return None
        position = array.places.position_of(int(name.rpartition(".")[2]))
        record = array.written.record
        if position is None or (position >= record.total and record.whole):
            return None
        if position >= record.cursor:
            return Fate.FAILED if _is_given_up(array, position) else Fate.GOING
        state = array.written.state(position)
        if state is not None:
            return _ended(state)
        if position // limits.ARRAY_CHUNK in array.whole_chunks:
            state = self._pages.look_up(name)
            return Fate.NONE if state is None else _ended(state)
        return None if record.finished else Fate.GOING  # finished: its nodes are being deleted


_LAST: Final = frozenset({Fate.SUCCEEDED, Fate.FAILED})


def _ended(state: TaskState) -> Fate:
    return Fate.SUCCEEDED if state is TaskState.SUCCEEDED else Fate.FAILED


def _is_given_up(array: Array, position: int) -> bool:
    """Tell whether it is written that a position will never be made a task."""
    record = array.written.record
    return record.cancel or is_skipped(record.skips, array.places.index_at(position))
