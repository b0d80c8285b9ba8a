"""Taking over: from a granted claim to a table in memory.

``/done`` is listed, ``/tasks`` is listed and read; whatever got no answer is asked again. Records that
cannot be read are set aside. Finished tasks are known by their ids only; their records are read afterwards,
in the background.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import Final

from alb_broker.core.state import State
from alb_broker.core.table import DoneTask
from alb_broker.core.task import Task, consistent
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


class Takeover:
    """Loads the table.

    Args:
        state: The reign's parts; its table and queue are filled.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._asked: dict[int, zk.Request] = {}  #: Requests under way, by token.
        self._unanswered: list[zk.Request] = []  #: To be asked again.
        self._paths: deque[str] = deque()  #: Of tasks, not asked yet.
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
            self._plan(request.path, event.names)
        self._read_on()
        return True

    def _know_done(self, path: str, names: tuple[str, ...]) -> None:
        state = self._state
        for name in names:
            state.table.finish(DoneTask(name, state.clock.claimed, None))
            self._done_paths.append(f"{path}/{name}")

    def _plan(self, path: str, names: tuple[str, ...]) -> None:
        self._paths.extend(f"{path}/{name}" for name in names)

    def _read_on(self) -> None:
        """Keep some reads under way; a small rest waits until the lists are complete."""
        while (
            self._paths
            and self._reading() < READS_AHEAD
            and (not self._listings or len(self._paths) >= self._chunk)
        ):
            count = min(self._chunk, len(self._paths))
            paths = tuple(self._paths.popleft() for _ in range(count))
            self._ask(zk.ReadNodes(token=self._state.tokens.next(), paths=paths, stats=False))
        if not (self._listings or self._paths or self._asked or self._unanswered):
            self._complete()

    def _reading(self) -> int:
        return (
            len(self._asked)
            - self._listings
            + sum(isinstance(request, zk.ListChildren) for request in self._unanswered)
        )

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take tasks' records; returns whether they were asked here."""
        request = self._asked.pop(event.token, None)
        if not isinstance(request, zk.ReadNodes):
            return False
        if event.nodes is None:
            self._unanswered.append(request)
            return True
        take = self._take_done if self.complete else self._take_live
        for node in event.nodes:
            if node is not None:
                take(node)
        self._size_next(event.nodes)
        if self.complete:
            self.recollect()
        else:
            self._read_on()
        return True

    def _size_next(self, nodes: tuple[zk.NodeRead | None, ...]) -> None:
        """Fit the next reads to the size of what came."""
        size = sum(len(node.data) for node in nodes if node is not None)
        if size:
            self._chunk = max(1, min(READ_CHUNK, CHUNK_BYTES * len(nodes) // size))

    def _take_live(self, node: zk.NodeRead) -> None:
        try:
            record = znodes.decode_task(node.path, node.data)
        except znodes.UnreadableNode as error:
            self._state.set_aside(error.path, error.why)
            return
        if consistent(record):
            self._state.table.add(Task(record, len(node.data)))
        else:
            why = f"a live task in state {record.state.value} without what belongs to it"
            self._state.set_aside(node.path, why)

    def _take_done(self, node: zk.NodeRead) -> None:
        state = self._state
        record = state.read_task(node)
        if record is None:
            state.table.done.pop(node.path.rpartition("/")[2], None)
            return
        known = state.table.done.get(record.id)
        if known is not None and record.result is not None:
            known.know(record, record.result)
            state.table.files.finish(record)
            state.table.keep(record.id)

    def _complete(self) -> None:
        """Queue what waits, oldest first."""
        state = self._state
        live = list(state.table.live.values())
        live.sort(key=attrgetter("id"))  # two stable sorts by one key each take a quarter of one by both
        live.sort(key=attrgetter("submitted"))
        for task in live:
            state.holds.know(task)
            if task.state is not TaskState.RUNNING:
                state.line_up(task)
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
        paths = tuple(self._done_paths[: self._chunk])
        del self._done_paths[: self._chunk]
        self._ask(zk.ReadNodes(token=self._state.tokens.next(), paths=paths, stats=False))
