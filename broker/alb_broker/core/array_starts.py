"""Where arrays meet those who wait: what keeps an array back itself, and what others hear of it.

An array whose specification has a `Start` is kept back as one thing: none of its tasks is made until nothing
keeps it any more. It is judged like a held task (``start_desk.py``). Others may wait for an array, or for one
of its tasks, made or not.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_broker.core.array import Array
from alb_broker.core.array_pages import ArrayPages
from alb_broker.core.array_progress import Kept
from alb_broker.core.fates import Fate
from alb_broker.core.start_desk import StartDesk
from alb_broker.core.state import State
from alb_core import ids
from alb_core.arrays import ArrayRecord
from alb_core.tasks import TaskRecord, TaskState

LOOK_S: Final = 1.0
#: Between two looks at those who wait for tasks of arrays: not all that befalls such a task rings a bell.

_FATES: Final = {
    TaskState.HELD: Fate.GOING,
    TaskState.QUEUED: Fate.GOING,
    TaskState.RUNNING: Fate.STARTED,
    TaskState.SUCCEEDED: Fate.SUCCEEDED,
}
#: All other states are ends that are not good.


class ArrayStarts:
    """Keeps arrays back, lets them go, and answers for them.

    Args:
        state: The reign's parts.
        starts: Judges what keeps something back; it is told of arrays.
        pages: Reads how tasks ended long ago.
    """

    def __init__(self, state: State, starts: StartDesk, pages: ArrayPages) -> None:
        self._state: Final = state
        self._starts: Final = starts
        self._pages: Final = pages
        self._looked_at = float("-inf")  #: Own clock.
        starts.fates.sources.append(self.fate)
        starts.holders.append(state.arrays)
        starts.others.append(self.look)

    def begin(self, record: ArrayRecord) -> ArrayRecord | str:
        """Return the record of a new array as it is accepted; or what is wrong with its start."""
        task = TaskRecord(
            id=record.id,
            state=TaskState.QUEUED,
            user=record.user,
            digest=record.digest,
            spec=record.spec.task,
            submitted=record.submitted,
        )
        begun = self._starts.begin(task)
        if isinstance(begun, str):
            return begun
        kept = begun.state is TaskState.HELD
        return msgspec.structs.replace(record, kept=kept, met=begun.met, not_before=begun.not_before)

    def know(self, array: Array) -> None:
        """An array goes on: others of its name come after it; while something keeps it, it is looked at."""
        task = array.waiting_task()
        self._state.holds.know(task)
        if array.record.kept:
            self._state.holds.watch(task)

    def look(self, array_id: str) -> None:
        """Something moved for an array that is kept back: let it go, or end it, where that is due."""
        array = self._state.arrays.going.get(array_id)
        if array is None or not array.record.kept or array.record.cancel:
            return
        task = array.waiting_task()
        judged = self._starts.judge(task)
        holds, arrays = self._state.holds, self._state.arrays
        if judged.doomed:
            arrays.stop(array, judged.doomed)
            return
        for place in judged.met:
            holds.settle(array_id, task.spec.start.dependencies[place].task)
        kept = bool(judged.reasons)
        array.kept_why = "; ".join(judged.reasons)
        array.changed = True
        if judged.met != task.met or not kept:
            arrays.change(array, (Kept(judged.met, kept),))
        if not kept:
            holds.unwatch(task)
            arrays.awake[array_id] = array
        elif judged.look_at < float("inf"):
            holds.alarms.set(array_id, judged.look_at)

    def fate(self, name: str) -> Fate | None:
        """Return what became of an array, or of a task of one that the table does not hold."""
        arrays = self._state.arrays
        array = arrays.get(name)
        if array is not None:
            written = array.ended_in_table or not array.record.finished
            return _FATES.get(array.state, Fate.FAILED) if written else Fate.STARTED
        array = arrays.of(name)
        if array is None or array.position(name) is None:
            return None
        known = arrays.fate(name) or self._pages.look_up(name)
        return Fate.NONE if known is None else _FATES.get(known, Fate.FAILED)

    def tick(self) -> None:
        """Have those looked at who wait for tasks of arrays."""
        if self._state.at - self._looked_at < LOOK_S:
            return
        self._looked_at = self._state.at
        for target in self._state.holds.awaited():
            if ids.array_of(target):
                self._state.holds.moved(target)
