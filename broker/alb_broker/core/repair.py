"""Tasks whose nodes somebody else changed: what ZooKeeper holds replaces what this leader thought."""

from __future__ import annotations

from collections import Counter
from typing import Final

from alb_broker.core.book import Book
from alb_broker.core.doubts import doubt
from alb_broker.core.state import State
from alb_broker.core.table import DoneTask
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core import ids, zk, znodes
from alb_core.messages import AttemptId, Rejected
from alb_core.notes import Level
from alb_core.tasks import TaskRecord, TaskState

REPAIRS_MAX: Final = 3
#: Of one task; then its nodes are set aside.


class Repair:
    """Reads tasks again after a refused write.

    Args:
        state: The reign's parts.
        book: Knows how reservations are given back.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._reads: dict[int, str] = {}  #: Reads under way: token to task id.
        self._unread: set[str] = set()
        self._times: Counter[str] = Counter()  #: How often each task was repaired in this reign.

    def read_again(self, key: str) -> None:
        """Look at a task's nodes; other keys are no tasks and need nothing."""
        if ids.is_task_id(key):
            self._unread.add(key)
            self._times[key] += 1

    def tick(self) -> None:
        """Ask for what was not read yet."""
        unread, self._unread = self._unread, set()
        for task_id in sorted(unread):
            token = self._state.tokens.next()
            self._reads[token] = task_id
            paths = (znodes.task_path(task_id), znodes.done_path(task_id))
            self._state.request(zk.ReadNodes(token=token, paths=paths, sync=True))

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take a task's nodes; returns whether they were asked here."""
        task_id = self._reads.pop(event.token, None)
        if task_id is None:
            return False
        if event.nodes is None:
            self._unread.add(task_id)
            return True
        live, done = (self._state.read_task(node) for node in event.nodes)
        self._forget(task_id)
        self._state.holds.ended(task_id)
        if self._times[task_id] > REPAIRS_MAX:
            path = znodes.task_path(task_id)
            self._state.set_aside(path, "writes to it are refused again and again; look at it with zkCli")
            live = None
        arrays = self._state.arrays
        if done is not None and done.result is not None:
            self._state.table.finish(DoneTask(task_id, done.result.finished, done))
            self._state.table.keep(task_id)
            self._state.table.free(task_id)
            arrays.on_vanished(task_id, done.result, "")
        elif live is not None and not doubt(live):
            self._know(live)
        else:
            arrays.on_vanished(task_id, None, "its nodes were deleted by somebody else")
            self._tell_gone(task_id)
        self._state.note(
            "task_repaired", Level.WARNING, task=task_id, live=live is not None, done=done is not None
        )
        return True

    def _forget(self, task_id: str) -> None:
        """Drop the task from memory; workers that run it are told to end it."""
        state = self._state
        state.table.done.pop(task_id, None)
        task = state.table.live.get(task_id)
        if task is None:
            return
        for attempt in task.live():
            worker = state.workers.find(attempt.worker, attempt.incarnation)
            if worker is not None:
                attempt_id = AttemptId(task.id, attempt.n)
                self._book.release(worker, attempt_id)
                worker.bar(attempt_id)
                worker.order_end(attempt_id)
        state.table.remove(task)
        state.holds.forget(task)
        task.state = TaskState.LOST  # whoever still holds the object (the queue) passes over it
        state.queue.stir()

    def _know(self, record: TaskRecord) -> None:
        state = self._state
        task = Task(record, len(znodes.encode(record)))
        state.table.add(task)
        state.holds.know(task)
        state.arrays.readopt(task)
        if task.state is TaskState.RUNNING:
            state.stragglers.watch(task)
        else:
            state.line_up(task)
        for attempt in task.live():
            worker = state.workers.find(attempt.worker, attempt.incarnation)
            if worker is None:  # not known here: judged like any other that is silent
                worker = Worker(attempt.worker, attempt.incarnation, state.at)
                if attempt.worker in state.workers.by_name:
                    self._book.lose(task, attempt.n, worker, state.at)
                    continue
                state.workers.add(worker)
            attempt_id = AttemptId(task.id, attempt.n)
            worker.unbar(attempt_id)
            worker.killing.pop(attempt_id, None)
            self._book.reserve(task, worker, attempt_id)
            worker.unconfirmed[attempt_id] = float("-inf")

    def _tell_gone(self, task_id: str) -> None:
        why = "its nodes were deleted from ZooKeeper by somebody else"
        for client in self._state.clients:
            if client.watching.pop(task_id, None) is not None:
                self._state.tell(client.peer, Rejected(id=task_id, code="gone", why=why))
