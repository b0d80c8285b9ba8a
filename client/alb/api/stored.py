"""What a client reads from the results store, through the leader: increments, and output that is kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from alb_core import ids
from alb_core.errors import InvalidTask, TaskGone
from alb_core.messages import IncrementsPage, OutputPage, QueryIncrements, QueryOutput, StreamName, ToClient

if TYPE_CHECKING:
    from alb.core.events import Query
    from alb_core.rows import Increment
    from alb_core.tasks import TaskRecord

FOLLOW_S: Final = 0.5
#: Between two looks at a task that reports increments.
PAGE: Final = 200
TAIL_BYTES: Final = 64 * 1024
#: How far back the last lines are looked for at first; then twice as far, and so on.

Page = TypeVar("Page", bound=ToClient)


class StoredData(ABC):
    """The part of a client that reads what the results store keeps."""

    @abstractmethod
    def _ask(self, query: Query, page: type[Page], timeout: float | None = None) -> Page:
        """Ask the leader, and wait for its answer; no longer than `timeout` seconds."""

    @abstractmethod
    def task(self, task_id: str) -> TaskRecord:
        """Return everything that is known of a task."""

    def increments(self, task_id: str, *, after: int = 0) -> Iterator[Increment]:
        """List what a task reported while it ran, in its order.

        Args:
            task_id: The task.
            after: Only increments with a greater number.

        Raises:
            InvalidTask: The cluster has no results store, or this is no task id.
            CoordinationError: Nobody answered in time, or the store does not.
        """
        while True:
            query = QueryIncrements(seq=0, id=checked(task_id), after=after, limit=PAGE)
            page = self._ask(query, IncrementsPage)
            yield from page.increments
            if not page.more or not page.increments:
                return
            after = page.increments[-1].seq

    def newest_increments(self, task_id: str, count: int) -> list[Increment]:
        """Return what a task reported last, in its order; raises as `increments` does."""
        query = QueryIncrements(seq=0, id=checked(task_id), newest=True, limit=count)
        return list(reversed(self._ask(query, IncrementsPage).increments))

    def follow_increments(self, task_id: str, *, after: int = 0) -> Iterator[Increment]:
        """Yield what a task reports, as it is stored, until the task has ended; raises like `increments`."""
        over = False
        while True:
            for increment in self.increments(task_id, after=after):
                after = increment.seq
                yield increment
            if over:
                return
            over = self._has_ended(task_id)  # everything is stored before the end is recorded
            if not over:
                time.sleep(FOLLOW_S)

    def _has_ended(self, task_id: str) -> bool:
        try:
            return self.task(task_id).state.terminal
        except TaskGone:
            return True

    def stored_output(
        self, task_id: str, stream: StreamName, *, attempt: int = 0, offset: int = 0
    ) -> Iterator[OutputPage]:
        """Read a stream of an attempt as far as it is stored, piece by piece.

        Args:
            task_id: The task, in the table or not.
            stream: Which of its streams.
            attempt: Which attempt; 0: the one that delivered the result, or runs.
            offset: From this byte on; below 0: so many bytes before the end.

        Yields:
            Pages in the order of their offsets; the last one has `end` set, and says what is `lost`.

        Raises:
            TaskGone: Nobody holds the task.
            InvalidTask: The cluster has no results store.
            CoordinationError: Nobody answered in time, or the store does not.
        """
        while True:
            query = QueryOutput(seq=0, id=checked(task_id), stream=stream, attempt=attempt, offset=offset)
            page = self._ask(query, OutputPage)
            yield page
            if page.end:
                return
            attempt, offset = page.attempt, page.offset + len(page.data)

    def last_lines(self, task_id: str, stream: StreamName, lines: int, *, attempt: int = 0) -> int:
        """Return the offset at which the last lines of what is stored of a stream begin."""
        back = TAIL_BYTES
        while True:
            begin, data = None, bytearray()
            for page in self.stored_output(task_id, stream, attempt=attempt, offset=-back):
                begin = page.offset if begin is None else begin
                data += page.data
            start = begin or 0
            if not lines:
                return start + len(data)
            found = _line_before(data, lines)
            if found >= 0 or start == 0:
                return start + max(found, 0)
            back *= 2


def _line_before(data: bytes | bytearray, lines: int) -> int:
    """Return where the last lines begin; below 0: further back."""
    position = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return -1
    return position + 1


def checked(task_id: str) -> str:
    """Return a task id; raises InvalidTask where it is none."""
    if not ids.is_task_id(task_id):
        raise InvalidTask("", f"{task_id[:80]!r} is no task id: those have 32 lower-case hex digits")
    return task_id
