"""The leader's copy of the task table: live tasks, finished ones, and who may add more.

It owns the indexes and the counts; what may happen to one task is ``task.py``'s, what is written is
``book.py``'s.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from alb_broker.core.task import Task
from alb_core.tasks import TaskRecord, TaskState

BUSY_DELAY_S: Final = 1.0


class DoneTask:
    """A finished task that is still in ``/done``."""

    __slots__ = ("acknowledged", "finished", "id", "record")

    def __init__(self, task_id: str, finished: float, record: TaskRecord | None) -> None:
        self.id: Final = task_id
        self.finished = finished  #: Cluster time; of a task found at takeover, the claim's.
        self.record = record  #: None until it is read: a takeover lists ids only.
        self.acknowledged = False  #: A client has the result; not persisted.


class Table:
    """All tasks of the cluster.

    Args:
        pending_max: Bound of tasks without a result.
        pending_bytes_max: Bound of their specifications.
    """

    def __init__(self, *, pending_max: int, pending_bytes_max: int) -> None:
        self.live: dict[str, Task] = {}
        self.done: dict[str, DoneTask] = {}
        self.set_aside: dict[str, str] = {}  #: Path to reason: nodes that cannot be read.
        self.counts: Counter[TaskState] = Counter()  #: Of live tasks, by state.
        self.reserved_cpus: dict[str, float] = {}  #: By user, of attempts that hold a reservation.
        self.acknowledged: deque[str] = deque()  #: Ids, in the order of acknowledgement.
        self.unacknowledged: deque[str] = deque()  #: Ids in the order of finishing; acknowledged ones too.
        self._pending_max: Final = pending_max
        self._pending_bytes_max: Final = pending_bytes_max
        self._pending_bytes = 0
        self._pending_by_user: Counter[str] = Counter()

    def admits(self, user: str, size_bytes: int) -> bool:
        """Tell whether a user may add a task: never beyond the room that is left for the others."""
        room = self._pending_max - len(self.live)
        return (
            room > 0
            and self._pending_by_user[user] < room
            and self._pending_bytes + size_bytes <= self._pending_bytes_max
        )

    def add(self, task: Task) -> None:
        """Know a live task."""
        self.live[task.id] = task
        self.counts[task.state] += 1
        self._pending_bytes += task.size_bytes
        self._pending_by_user[task.user] += 1

    def moved(self, task: Task, before: TaskState) -> None:
        """A live task changed its state."""
        if task.state is not before:
            self.counts[before] -= 1
            self.counts[task.state] += 1

    def remove(self, task: Task) -> None:
        """Forget a live task."""
        if self.live.pop(task.id, None) is None:
            return
        self.counts[task.state] -= 1
        self._pending_bytes -= task.size_bytes
        self._pending_by_user[task.user] -= 1
        if not self._pending_by_user[task.user]:
            del self._pending_by_user[task.user]

    def finish(self, done: DoneTask) -> None:
        """Know a finished task."""
        self.done[done.id] = done
        self.unacknowledged.append(done.id)

    def acknowledge(self, task_id: str) -> None:
        """A client has the result."""
        done = self.done.get(task_id)
        if done is not None and not done.acknowledged:
            done.acknowledged = True
            self.acknowledged.append(task_id)

    def share(self, user: str) -> float:
        """Return the processors that a user's attempts hold."""
        return self.reserved_cpus.get(user, 0.0)
