"""The leader's copy of the task table: live tasks, finished ones, and who may add more.

It owns the indexes and the counts; what may happen to one task is ``task.py``'s, what is written is
``book.py``'s.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from alb_broker.core.inventory import Inventory
from alb_broker.core.task import Task
from alb_core import ids
from alb_core.tasks import Result, TaskRecord, TaskState

BUSY_DELAY_S: Final = 1.0
DONE_SLACK: Final = 1000
#: Ids of removed tasks that may linger in the order of finishing.


class DoneTask(msgspec.Struct, eq=False, gc=False):
    """A finished task that is still in ``/done``."""

    id: str
    finished: float
    #: Cluster time; of a task found at takeover, the claim's.
    _known: Task | TaskRecord | None
    #: None until it is read: a takeover lists ids only.
    submitter: bytes = b""
    #: The only client that submitted it; empty: unknown, or several.
    acknowledged: bool = False
    #: A client has the result; not persisted.
    archived: bool = False
    #: The results store has it; not persisted.
    owed: set[bytes] | None = None
    #: Of a task of an array: followers that do not have the result.

    @property
    def record(self) -> TaskRecord | None:
        """The task as its znode holds it; made when it is first asked for, as mostly nobody does."""
        if isinstance(self._known, Task):
            self._known = self._known.record()
        return self._known

    @property
    def result(self) -> Result | None:
        """Its result; None until it is read."""
        return None if self._known is None else self._known.result

    def know(self, record: TaskRecord, result: Result) -> None:
        """Keep the record that was read, and with it the true time of its end."""
        self._known = record
        self.finished = result.finished


class _Pending:
    """What one user has in the table without a result."""

    __slots__ = ("bytes", "tasks")

    def __init__(self) -> None:
        self.tasks = 0
        self.bytes = 0


_NOTHING: Final = _Pending()


class Table:
    """All tasks of the cluster.

    Args:
        pending_max: Bound of tasks without a result.
        pending_bytes_max: Bound of their specifications.
        done_kept_max: Finished tasks beyond these take the room of others while they wait for their clients.
        archives: There is a results store, which is to have every finished task.
    """

    def __init__(
        self, *, pending_max: int, pending_bytes_max: int, done_kept_max: int, archives: bool = False
    ) -> None:
        self.live: dict[str, Task] = {}
        self.done: dict[str, DoneTask] = {}
        self.set_aside: dict[str, str] = {}  #: Path to reason: nodes that cannot be read.
        self.counts: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        #: Of live tasks without a result, by state.
        self.acknowledged: deque[str] = deque()  #: Ids, in the order of acknowledgement.
        self.unacknowledged: deque[str] = deque()  #: Ids in the order of finishing; acknowledged ones too.
        self.archives: Final = archives
        self.files: Final = Inventory()  #: Which files these tasks need.
        self.kept: deque[str] = deque()
        #: Finished tasks whose results are in ZooKeeper for sure: the archive takes them.
        self.archiving = 0  #: Tasks that the archive took, and the results store does not have yet.
        self._pending_max: Final = pending_max
        self._pending_bytes_max: Final = pending_bytes_max
        self._done_kept_max: Final = done_kept_max
        self._pending_bytes = 0
        self.children = 0  #: Live tasks that belong to arrays: admitted with them, they take nobody's room.
        self._pending: dict[str, _Pending] = {}  #: By user, of those who have live tasks.

    @property
    def unarchived(self) -> int:
        """How many finished tasks wait for the results store: they take room, too."""
        return len(self.kept) + self.archiving

    def keep(self, task_id: str) -> None:
        """A finished task's result is in ZooKeeper for sure."""
        if self.archives:
            self.kept.append(task_id)

    def on_kept(self, task_id: str) -> None:
        """A finished task's result is in ZooKeeper for sure, and it was this leader who wrote it."""
        self.keep(task_id)
        self.free(task_id)

    def free(self, task_id: str) -> None:
        """The result of a task of an array is in ZooKeeper for sure: it may go, unless it is waited for."""
        done = self.done.get(task_id) if ids.array_of(task_id) else None
        if done is not None and done.owed is None:
            self.let_go(done)

    def pending_of(self, user: str) -> int:
        """Return how many tasks of a user have no result, those of arrays apart."""
        return self._pending.get(user, _NOTHING).tasks

    def users(self) -> list[str]:
        """Return who has tasks without a result, those of arrays apart."""
        return list(self._pending)

    def admits(self, user: str, size_bytes: int) -> bool:
        """Tell whether a user may add a task: never beyond the room that is left for the others."""
        waiting = len(self.done) - len(self.acknowledged)  # results that wait for their clients
        held = max(0, max(waiting, self.unarchived) - self._done_kept_max)
        room = self._pending_max - (len(self.live) - self.children) - held
        bytes_left = self._pending_bytes_max - self._pending_bytes
        pending = self._pending.get(user, _NOTHING)
        return pending.tasks < room and pending.bytes < bytes_left and size_bytes <= bytes_left

    def add(self, task: Task) -> None:
        """Know a live task."""
        self.live[task.id] = task
        self.counts[task.state] += 1
        if task.array:
            self.children += 1
        else:
            pending = self._pending.get(task.user)
            if pending is None:
                pending = self._pending[task.user] = _Pending()
            pending.tasks += 1
            pending.bytes += task.size_bytes
            self._pending_bytes += task.size_bytes
        if luggage := task.luggage:
            self.files.add(luggage)
        if task.spec.checkpoints and task.attempts:
            self.files.sought[task.id] = None

    def moved(self, task: Task, before: TaskState) -> None:
        """A live task changed its state."""
        self.counts[before] -= 1
        if task.result is None:
            self.counts[task.state] += 1

    def remove(self, task: Task) -> None:
        """Forget a live task."""
        if self.live.pop(task.id, None) is None:
            return
        if task.result is None:
            self.counts[task.state] -= 1
        if task.array:
            self.children -= 1
        else:
            pending = self._pending[task.user]
            pending.tasks -= 1
            pending.bytes -= task.size_bytes
            if not pending.tasks:
                del self._pending[task.user]
            self._pending_bytes -= task.size_bytes
        if luggage := task.luggage:
            self.files.remove(luggage)
        if task.incremental:
            self.files.forget(task.id)

    def end(self, task: Task, result: Result) -> None:
        """A live task has its result now: it is a finished one."""
        self.remove(task)
        self._finish(DoneTask(task.id, result.finished, task, task.submitter), result)

    def finish(self, done: DoneTask) -> None:
        """Know a finished task."""
        self._finish(done, done.result)

    def _finish(self, done: DoneTask, result: Result | None) -> None:
        self.done[done.id] = done
        if result is not None and result.returned:
            self.files.finish(done.id, result.returned)
        self.unacknowledged.append(done.id)
        if len(self.unacknowledged) > 2 * len(self.done) + DONE_SLACK:
            self.unacknowledged = deque(
                task_id
                for task_id in self.unacknowledged
                if (known := self.done.get(task_id)) is not None and not known.acknowledged
            )

    def acknowledge(self, task_id: str, peer: bytes) -> None:
        """A client has the result.

        It counts if this client is known to be the only one that submitted the task: anybody else may be
        waiting for the answer to a submission of the same id, and would run it again if it were forgotten.
        Nobody submits a task of an array: there it counts when no follower waits for it any more.
        """
        done = self.done.get(task_id)
        if done is None:
            return
        if done.owed is not None:
            done.owed.discard(peer)
            if not done.owed:
                done.owed = None
                self.let_go(done)
        elif done.submitter == peer:
            self.let_go(done)

    def let_go(self, done: DoneTask) -> None:
        """Nobody needs a finished task in the table any more."""
        if not done.acknowledged:
            done.acknowledged = True
            self.acknowledged.append(done.id)

    def owe(self, task_id: str, peer: bytes) -> None:
        """A follower waits for the result of a task of an array, which stays until it has it."""
        done = self.done.get(task_id)
        if done is not None and ids.array_of(task_id):
            if done.owed is None:
                done.owed = set()
            done.owed.add(peer)
