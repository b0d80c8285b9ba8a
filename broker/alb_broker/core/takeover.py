"""Taking over: from a granted claim to a table in memory.

``/done`` is listed, ``/tasks`` is listed and read; whatever got no answer is asked again. Records that
cannot be read are set aside. Finished tasks are known by their ids only; their records are read afterwards,
in the background.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import Final

from alb_broker.core.doubts import doubt
from alb_broker.core.state import State
from alb_broker.core.table import DoneTask
from alb_broker.core.task import Task
from alb_broker.core.task_reader import TaskReader
from alb_core import ids, zk, znodes
from alb_core.notes import Level
from alb_core.tasks import TaskState

READ_CHUNK: Final = 1000
CHUNK_BYTES: Final = 2 * 1024 * 1024
#: An answer should not be larger: the session sends no ping while it arrives.
FIRST_CHUNK: Final = 100
#: Before the size of records is known.
READS_AHEAD: Final = 4
#: Reads under way at once: enough to keep ZooKeeper busy while this broker decodes.

_NAME: Final = itemgetter(slice(len(f"{znodes.TASKS}/{ids.buckets()[0]}/"), None))
#: The last part of a task's path.


class Takeover:
    """Loads the table.

    Args:
        state: The reign's parts; its table and queue are filled.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._asked: dict[int, zk.Request] = {}  #: Requests under way, by token.
        self._unanswered: list[zk.Request] = []  #: To be asked again.
        self._reader: Final = TaskReader()
        self._paths: list[str] = []  #: Of tasks, not asked yet.
        self._chunk = FIRST_CHUNK  #: Nodes of one read.
        self._listings = 0  #: Listings without an answer.
        self._done_paths: list[str] = []
        self.complete = False  #: The table is in memory.

    def start(self) -> None:
        """Ask for the lists."""
        for parent in (znodes.DONE, znodes.TASKS):
            for bucket in ids.buckets():
                self._listings += 1
                self._ask(zk.ListChildren(token=self._state.tokens.next(), path=f"{parent}/{bucket}"))

    def _ask(self, request: zk.ListChildren | zk.ReadNodes) -> None:
        self._asked[request.token] = request
        self._state.request(request)

    def tick(self) -> None:
        """Ask again what got no answer."""
        again, self._unanswered = self._unanswered, []
        for request in again:
            assert not isinstance(request, zk.Multi)  # noqa: S101 (only reads are asked here)
            self._ask(request)

    def on_children(self, event: zk.ChildrenListed) -> bool:
        """Take a list; returns whether it was asked here."""
        request = self._asked.pop(event.token, None)
        if not isinstance(request, zk.ListChildren):
            return False
        if event.names is None:
            self._unanswered.append(request)
            return True
        self._listings -= 1
        if request.path.startswith(znodes.DONE):
            self._know_done(request.path, event.names)
        else:
            self._paths += [f"{request.path}/{name}" for name in event.names]
        if not self._listings:
            # By the time of their ids, across the buckets: so they come about as old as they are queued.
            self._paths.sort(key=_NAME)
            self._read_on()
        return True

    def _know_done(self, path: str, names: tuple[str, ...]) -> None:
        state = self._state
        for name in names:
            state.table.finish(DoneTask(name, state.clock.claimed, None))
            self._done_paths.append(f"{path}/{name}")

    def _read_on(self) -> None:
        """Keep some reads under way."""
        while self._paths and len(self._asked) < READS_AHEAD:
            self._ask_next(self._paths)
        if not (self._paths or self._asked or self._unanswered):
            self._complete()

    def _ask_next(self, paths: list[str]) -> None:
        """Read the next portion of these nodes."""
        portion = tuple(paths[: self._chunk])
        del paths[: self._chunk]
        self._ask(zk.ReadNodes(token=self._state.tokens.next(), paths=portion, stats=False))

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take tasks' records; returns whether they were asked here."""
        request = self._asked.pop(event.token, None)
        if not isinstance(request, zk.ReadNodes):
            return False
        if event.nodes is None:
            self._unanswered.append(request)
            return True
        found = [node for node in event.nodes if node is not None]
        take = self._take_done if self.complete else self._take_live
        for node in found:
            take(node)
        self._size_next(found)
        if self.complete:
            self.recollect()
        else:
            self._read_on()
        return True

    def _size_next(self, nodes: list[zk.NodeRead]) -> None:
        """Fit the next reads to the size of what came."""
        size = sum([len(node.data) for node in nodes])
        if size:
            self._chunk = max(1, min(READ_CHUNK, CHUNK_BYTES * len(nodes) // size))

    def _take_live(self, node: zk.NodeRead) -> None:
        try:
            record = self._reader.read(node.path, node.data)
        except znodes.UnreadableNode as error:
            self._state.set_aside(error.path, error.why)
            return
        why = doubt(record)
        if why:
            self._state.set_aside(node.path, why)
        else:
            self._state.table.add(Task(record, len(node.data)))

    def _take_done(self, node: zk.NodeRead) -> None:
        state = self._state
        record = state.read_task(node)
        if record is None:
            state.table.done.pop(node.path.rpartition("/")[2], None)
            return
        known = state.table.done.get(record.id)
        if known is not None and record.result is not None:
            known.know(record, record.result)
            state.table.files.finish(record.id, record.result.returned)
            state.table.keep(record.id)

    def _complete(self) -> None:
        """Queue what waits, oldest first."""
        state = self._state
        live = list(state.table.live.values())
        live.sort(key=attrgetter("id"))  # two stable sorts by one key each take a quarter of one by both
        live.sort(key=attrgetter("submitted"))
        for task in live:
            state.holds.know(task)
        state.line_up_all(task for task in live if task.state is not TaskState.RUNNING)
        counts = state.table.counts
        self.complete = True
        state.note(
            "table_loaded",
            Level.INFO,
            epoch=state.epoch,
            held=counts[TaskState.HELD],
            queued=counts[TaskState.QUEUED],
            running=counts[TaskState.RUNNING],
            done=len(state.table.done),
            set_aside=len(state.table.set_aside),
        )

    def recollect(self) -> None:
        """Read a portion of the finished tasks' records, so that lists and clients find them in memory."""
        if self._asked or self._unanswered:
            return
        if not self._done_paths:
            self._state.recollected = True
            return
        self._ask_next(self._done_paths)
