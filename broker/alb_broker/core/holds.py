"""The indexes of tasks and arrays that wait for something else than room: other tasks, a time, or somebody.

It knows who has to be looked at again when something happens (`woken`); whether a task may go on then is
judged by ``start_desk.py``. Nothing here is in the table: a new leader makes it again from the records.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol, TypeAlias

from alb_broker.core.alarms import Alarms
from alb_core import ids
from alb_core.spec import TaskSpec

Name: TypeAlias = tuple[str, str]
MICROSECOND: Final = 1e-6
#: Cluster time is told no finer.


class Waiting(Protocol):
    """Something with a start: a task, or an array as one thing."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def user(self) -> str:
        """Whose it is."""

    @property
    def spec(self) -> TaskSpec:
        """Its specification; of an array, that of its tasks."""

    @property
    def submitted(self) -> float:
        """Cluster time of its acceptance."""

    @property
    def held_by(self) -> str:
        """Who holds it; empty: nobody."""

    @property
    def released(self) -> bool:
        """Whether somebody released it, should it have been submitted to be held."""

    @property
    def not_before(self) -> float:
        """Cluster time before which it does not go on."""

    @property
    def met(self) -> tuple[int, ...]:
        """Places of its dependencies that came true."""


class Holds:
    """Who waits for what."""

    def __init__(self) -> None:
        self.woken: dict[str, None] = {}  #: Tasks to be looked at, in the order of what happened.
        self.alarms: Final = Alarms()
        self._waiting: Final[dict[str, dict[str, None]]] = {}  #: HELD tasks by the id that they wait for.
        self._singles: Final[set[str]] = set()  #: HELD tasks that wait for their likes to end.
        self._named: Final[dict[Name, OrderedDict[str, float]]] = {}
        #: Tasks with a name, by user and name, the earliest first, and when each was submitted: until their
        #: ends are in the table.
        self._names: Final[dict[str, Name]] = {}  #: The same by id.

    # --- tasks come and go ----------------------------------------------------------------------------------

    def moment(self, user: str, name: str, now: float) -> float:
        """Return when a task is submitted that comes now: later than any other of its user and name.

        The table keeps it, and so every leader has the same order of singletons.
        """
        likes = self._named.get((user, name))
        return max(now, round(likes[next(reversed(likes))] + MICROSECOND, 6)) if likes else now

    def know(self, task: Waiting) -> None:
        """A live task or array is in the table; they come in the order of their submission, but for repairs.

        Among its likes an array is one, and its tasks, which have its name, are none.
        """
        if task.spec.name and not ids.array_of(task.id):
            key = (task.user, task.spec.name)
            likes = self._named.get(key)
            if likes is None:
                likes = self._named[key] = OrderedDict()
            self._names[task.id] = key
            late = likes and likes[next(reversed(likes))] > task.submitted
            likes[task.id] = task.submitted
            if late:
                self._named[key] = OrderedDict(sorted(likes.items(), key=lambda like: like[1]))
        self.moved(task.id)

    def forget(self, task: Waiting) -> None:
        """A task or array is not live any more, as far as its leader knows."""
        if self._waiting or self._singles or self.woken or self.alarms.times:  # mostly nobody waits
            self.unwatch(task)
            self.woken.pop(task.id, None)

    def ended(self, task_id: str) -> None:
        """That a task is not live is in the table: the next of its name, and who waits for it, may go on."""
        key = self._names.pop(task_id, None)
        likes = self._named.get(key) if key is not None else None
        if key is not None and likes is not None:
            was_first = next(iter(likes)) == task_id
            del likes[task_id]
            if not likes:
                del self._named[key]
            elif was_first and (first := next(iter(likes))) in self._singles:
                self.woken[first] = None
        self.moved(task_id)

    def earlier(self, task_id: str, user: str, name: str) -> str:
        """Return the earliest task of a user and name that has not ended, if not this one; empty: it is."""
        likes = self._named.get((user, name))
        first = next(iter(likes)) if likes else task_id
        return "" if first == task_id else first

    # --- who waits ------------------------------------------------------------------------------------------

    def watch(self, task: Waiting) -> None:
        """A task is HELD: look at it, and again whenever something moves that it waits for."""
        start = task.spec.start
        for place, dependency in enumerate(start.dependencies):
            if place not in task.met:
                self._waiting.setdefault(dependency.task, {})[task.id] = None
        if start.singleton:
            self._singles.add(task.id)
        self.woken[task.id] = None

    def unwatch(self, task: Waiting) -> None:
        """A task is not HELD any more, and waits for no time."""
        for dependency in task.spec.start.dependencies:
            self.settle(task.id, dependency.task)
        self._singles.discard(task.id)
        self.alarms.drop(task.id)

    def settle(self, task_id: str, target: str) -> None:
        """A task does not wait for another one any more."""
        waiting = self._waiting.get(target)
        if waiting is not None:
            waiting.pop(task_id, None)
            if not waiting:
                del self._waiting[target]

    def moved(self, target: str) -> None:
        """Something happened to a task or an array: look at who waits for it."""
        waiting = self._waiting.get(target)
        if waiting is not None:
            self.woken.update(waiting)

    def concerned(self, task_id: str, array: str) -> tuple[str, ...]:
        """Return for which of a task and its array, if it has one, somebody may wait.

        They may go on once what happened to the task is in the table.
        """
        if not self._names and not self._waiting:
            return ()  # as nearly always: this is asked at each placement, and at each end
        if array and array in self._waiting:
            return (task_id, array) if self.concerns(task_id) else (array,)
        return (task_id,) if self.concerns(task_id) else ()

    def concerns(self, task_id: str) -> bool:
        """Tell whether anybody may wait for this task, itself or as the next of its name."""
        return task_id in self._waiting or task_id in self._names

    def is_awaited(self, target: str) -> bool:
        """Tell whether anybody waits for this task or array."""
        return target in self._waiting

    def awaits_part_of(self, array_id: str) -> bool:
        """Tell whether anybody waits for an array, or for one of its tasks."""
        return any(array_id in (target, ids.array_of(target)) for target in self._waiting)

    def ring(self, now: float) -> None:
        """Look at those whose time has come."""
        self.woken.update(dict.fromkeys(self.alarms.due(now)))
