"""What a client reads from the results store, through the leader: increments, and output that is kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from alb_core import ids
from alb_core.errors import InvalidTask, TaskError, TaskGone
from alb_core.messages import IncrementsPage, OutputPage, QueryIncrements, QueryOutput, StreamName, ToClient

if TYPE_CHECKING:
    from alb.core.events import Query
    from alb_core.rows import Increment
    from alb_core.tasks import TaskRecord

FOLLOW_S: Final = 0.5
#: Between two looks at a task that reports increments.
PAGE: Final = 200
ASK_AGAIN_S: Final = 0.5
#: Between two questions to a store that is away for a moment.
TAIL_BYTES: Final = 64 * 1024
#: The last lines are looked for in windows of this size, from the end backwards; one is held at a time.
LOOK_BYTES_MAX: Final = 64 * 1024 * 1024
#: No further back: it takes as long as reading it, and who wants more lines reads from an offset.
NUMBER_MAX: Final = 2**62
#: Greater offsets and numbers do not fit into what goes over the wire, and nothing is there.

Page = TypeVar("Page", bound=ToClient)


class StoredData(ABC):
    """The part of a client that reads what the results store keeps."""

    _timeout: float
    #: How long an answer is waited for, and a store that is away, in seconds.

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
            InvalidTask: The cluster has no results store, this is no task id, or no such number can be.
            TaskError: The store was away for longer than the client's timeout.
            CoordinationError: Nobody answered in time.
        """
        bounded("the number of an increment", after, 0)
        while True:
            query = QueryIncrements(seq=0, id=checked(task_id), after=after, limit=PAGE)
            page = self._ask_again(query, IncrementsPage)
            yield from page.increments
            if not page.more or not page.increments:
                return
            after = page.increments[-1].seq

    def newest_increments(self, task_id: str, count: int) -> list[Increment]:
        """Return what a task reported last, in its order; raises as `increments` does."""
        bounded("a number of increments", count, 0)
        query = QueryIncrements(seq=0, id=checked(task_id), newest=True, limit=count)
        return list(reversed(self._ask_again(query, IncrementsPage).increments))

    def follow_increments(self, task_id: str, *, after: int = 0) -> Iterator[Increment]:
        """Yield what a task reports, as it is stored, until the task has ended; raises like `increments`.

        A store that is away is waited for as long as the task lives.
        """
        over = False
        while True:
            try:
                for increment in self.increments(task_id, after=after):
                    after = increment.seq
                    yield increment
            except TaskError as error:
                if over or not _passes(error):
                    raise
            if over:
                return
            over = self._has_ended(task_id)  # everything is stored before the end is recorded
            if not over:
                time.sleep(FOLLOW_S)

    def _ask_again(self, query: Query, page: type[Page]) -> Page:
        """Ask the leader; while it says that the store is away, again, for as long as the timeout is."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._ask(query, page)
            except TaskError as error:
                if not _passes(error) or time.monotonic() + ASK_AGAIN_S > deadline:
                    raise
            time.sleep(ASK_AGAIN_S)

    def _has_ended(self, task_id: str) -> bool:
        try:
            return self.task(task_id).state.terminal
        except TaskError as error:
            if isinstance(error, TaskGone) or _passes(error):  # the table does not hold it any more
                return True
            raise

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
            InvalidTask: The cluster has no results store, or no such attempt or offset can be.
            TaskError: The store was away for longer than the client's timeout.
            CoordinationError: Nobody answered in time.
        """
        bounded("an attempt", attempt, 0)
        bounded("an offset", offset, -NUMBER_MAX)
        while True:
            query = QueryOutput(seq=0, id=checked(task_id), stream=stream, attempt=attempt, offset=offset)
            page = self._ask_again(query, OutputPage)
            yield page
            if page.end:
                return
            attempt, offset = page.attempt, page.offset + len(page.data)

    def last_lines(
        self,
        task_id: str,
        stream: StreamName,
        lines: int,
        *,
        attempt: int = 0,
        on_bound: Callable[[int], None] | None = None,
    ) -> int:
        """Find where the last lines begin of what is stored of a stream, however long that is.

        Args:
            task_id: As in `stored_output`.
            stream: As there.
            lines: How many; 0: the offset of the end.
            attempt: As there.
            on_bound: Called with how many bytes were looked at, where the lines begin before those.

        Returns:
            The offset in bytes; where the lines begin more than `LOOK_BYTES_MAX` before the end, that of the
            first byte that was looked at.

        Raises:
            As `stored_output`.
        """
        bounded("a number of lines", lines, 0)
        window = self._window(task_id, stream, attempt, -TAIL_BYTES, NUMBER_MAX)
        end = window.begin + len(window.data)
        if not lines:
            return end
        missing = lines + window.data.endswith(b"\n")
        while True:
            found = window.data.count(b"\n")
            if found >= missing:
                return window.begin + _newline_before_end(window.data, missing) + 1
            missing -= found
            begin = window.begin
            if begin == 0:
                return 0
            if end - begin >= LOOK_BYTES_MAX:
                if on_bound is not None:
                    on_bound(end - begin)
                return begin
            window = self._window(task_id, stream, window.attempt, max(0, begin - TAIL_BYTES), begin)

    def _window(self, task_id: str, stream: StreamName, attempt: int, offset: int, end: int) -> _Window:
        """Read a stream from an offset to another or to its end."""
        begin, data = None, bytearray()
        for page in self.stored_output(task_id, stream, attempt=attempt, offset=offset):
            begin = page.offset if begin is None else begin
            attempt = page.attempt
            data += page.data[: max(0, end - page.offset)]
            if begin + len(data) >= end:
                break
        return _Window(begin or 0, data, attempt)


class _Window(NamedTuple):
    """Some bytes of a stream."""

    begin: int
    data: bytearray
    attempt: int


def _newline_before_end(data: bytearray, number: int) -> int:
    """Return where the newline is that is so many newlines before the end; there are as many."""
    position = len(data)
    for _ in range(number):
        position = data.rfind(b"\n", 0, position)
    return position


def _passes(error: TaskError) -> bool:
    """Tell whether an error may be over in a moment: the store does not answer."""
    return error.code == TaskError.code


def bounded(what: str, number: int, least: int) -> None:
    """Check a number that goes over the wire; raises InvalidTask where it is out of bounds."""
    if not least <= number <= NUMBER_MAX:
        raise InvalidTask("", f"{what} must be between {least} and {NUMBER_MAX}, not {number}")


def checked(task_id: str) -> str:
    """Return a task id; raises InvalidTask where it is none."""
    if not ids.is_task_id(task_id):
        raise InvalidTask("", f"{task_id[:80]!r} is no task id: those have 32 lower-case hex digits")
    return task_id
