"""An array under way, as its user holds it: its progress, and the results of its tasks as they come."""

from __future__ import annotations

import heapq
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import msgspec

from alb.api.future import TaskFuture
from alb.api.result import TaskResult, describe
from alb.core import actions, events
from alb_core.arrays import ArrayLine, ArraySpec, Counts, Stretch, Stride, parse_indexes
from alb_core.errors import InvalidTask, OutputLost, TaskCancelled, TaskLost
from alb_core.io.clock import monotonic
from alb_core.places import Places
from alb_core.tasks import TaskState

REPORT_COUNT: Final = 32
#: The consumer's progress is reported at least so often, and whenever it has taken everything.
GIVEN_LINES_MAX: Final = 4000
GIVEN_BYTES_MAX: Final = 1024 * 1024
#: Inputs that are on their way and not counted: whoever has more waits.


class ArrayTask(msgspec.Struct, frozen=True, kw_only=True):
    """One task of an array that has ended."""

    id: str
    index: int
    position: int
    #: From 0, in the order of the array.
    state: TaskState
    exit_status: int
    #: As a shell would say it.
    future: TaskFuture | None = None
    #: Its future, which is done; None: its record and output are no longer kept, or it never was a task.

    def result(self) -> TaskResult:
        """Return its result.

        Raises:
            TaskCancelled: It was cancelled.
            TaskLost: Its worker was lost.
            OutputLost: How it ended is known, and nothing else is kept of it.
        """
        if self.future is not None:
            return self.future.result()
        if self.state is TaskState.CANCELLED:
            raise TaskCancelled(self.id, "CANCELLED")
        if self.state is TaskState.LOST:
            raise TaskLost(self.id, "LOST")
        raise OutputLost(self.id, f"its result and output are no longer kept; it ended {self.describe()}")

    def describe(self) -> str:
        """Say in one line how it ended."""
        if self.future is not None and self.future.record is not None:
            return describe(self.future.record)
        status = f" with exit status {self.exit_status}" if self.exit_status and self._ran else ""
        return f"{self.state.value}{status}"

    @property
    def _ran(self) -> bool:
        return self.state not in (TaskState.CANCELLED, TaskState.LOST)

    def fetch(self, directory: str | os.PathLike[str] = ".") -> list[Path]:
        """Fetch the files that the task brought back; see `TaskFuture.fetch`."""
        return [] if self.future is None else self.future.fetch(directory)


class ArrayFuture(Future[ArrayLine]):
    """One array under way: iterate to get an `ArrayTask` of each of its tasks that has ended.

    They come as tasks end, or in the order of the array if that was asked for. A consumer that stops
    iterating holds the array back after some thousand tasks. `wait` and ``await`` are content with the end:
    results that nobody has taken by then are dropped.

    Args:
        array_id: The array.
        spec: What it runs.
        ordered: Whether results come in the order of the array.
        results: Whether they come at all.
        ask_cancel: Asks the cluster to end it, or some of it.
        post: Gives the client's thread an event.
        make_child: Makes the future of a task of it.
    """

    def __init__(  # noqa: PLR0913 (what it is, and whom it asks)
        self,
        array_id: str,
        spec: ArraySpec,
        *,
        ordered: bool,
        results: bool,
        ask_cancel: Callable[[str, tuple[Stride, ...]], None],
        post: Callable[[events.ClientEvent], None],
        make_child: Callable[[str], TaskFuture],
    ) -> None:
        super().__init__()
        self.id = array_id
        self.spec = spec
        self.line: ArrayLine | None = None
        #: How it was when last heard of.
        self.wants_results = results
        self.accepted = False
        #: Whether it is known to be in the table.
        self.refused = ""
        #: Why it takes no more inputs.
        self.error: Exception | None = None
        #: What the iterable of its inputs raised: the array ends with it, once what was given has run.
        self._ordered = ordered
        self._ask_cancel = ask_cancel
        self._post = post
        self._make_child = make_child
        self._places = Places(spec.strides)
        self._children: dict[str, TaskFuture] = {}
        #: Of which output has come, and no result yet.
        self._arrived = threading.Condition()
        self._ready: deque[ArrayTask | Stretch] = deque()
        self._early: dict[int, ArrayTask | Stretch] = {}
        self._next: list[int] = []
        #: Of an ordered array: what came before its turn, and a heap of its positions.
        self._reached = 0
        self._taken: list[int] = []
        #: Positions taken since the last report.
        self._over = False
        self._counted = threading.Condition()
        self._kept = 0
        self._whole = False
        self.add_done_callback(self._end)

    # --- the client's thread --------------------------------------------------------------------------------

    def child(self, task_id: str) -> TaskFuture:
        """Return the future of a task, to take its output."""
        future = self._children.get(task_id)
        if future is None:
            future = self._children[task_id] = self._make_child(task_id)
        return future

    def add(self, child: TaskFuture) -> None:
        """Take a task that has ended."""
        self._children.pop(child.id, None)
        index = int(child.id.partition(".")[2])
        position = self._places.position_of(index)
        record = child.record
        if position is None or record is None:
            return
        done = ArrayTask(
            id=child.id,
            index=index,
            position=position,
            state=record.state,
            exit_status=record.exit_status(),
            future=child,
        )
        self._put(position, done)

    def on_action(self, action: actions.CountInputs | actions.RefuseInputs | actions.SkipResults) -> None:
        """Take what the core says of it."""
        match action:
            case actions.SkipResults(stretch=stretch):
                self._put(stretch.first, stretch)
            case actions.CountInputs(count=count, whole=whole):
                with self._counted:
                    self.accepted = True
                    self._kept = count
                    self._whole = whole
                    self._counted.notify_all()
            case actions.RefuseInputs(why=why):
                with self._counted:
                    self.refused = why
                    self._counted.notify_all()

    def on_line(self, line: ArrayLine) -> None:
        """Take how it is."""
        self.line = line

    def settle(self, line: ArrayLine) -> None:
        """It has ended, and everything was taken."""
        self.line = line
        if self.error is not None:
            self.set_exception(self.error)
        else:
            self.set_result(line)

    def _put(self, position: int, item: ArrayTask | Stretch) -> None:
        with self._arrived:
            if not self._ordered:
                self._ready.append(item)
            else:
                self._early[position] = item
                heapq.heappush(self._next, position)
                while self._next and self._next[0] == self._reached:
                    turn = self._early.pop(heapq.heappop(self._next))
                    self._ready.append(turn)
                    self._reached += turn.count if isinstance(turn, Stretch) else 1
            self._arrived.notify_all()

    def _end(self, _future: object) -> None:
        with self._arrived:
            self._over = True
            self._arrived.notify_all()
        with self._counted:
            self._counted.notify_all()

    # --- results --------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[ArrayTask]:
        """Yield tasks that have ended, until there are no more; raises the array's error at its end."""
        while (task := self.next_task()) is not None:
            yield task

    def next_task(self, timeout_s: float | None = None) -> ArrayTask | None:
        """Return the next task that has ended, or None at the end.

        Args:
            timeout_s: How long to wait, in seconds; None: for ever.

        Raises:
            TimeoutError: None came in time.
        """
        if not self.wants_results:
            raise InvalidTask(self.id, "this array was asked for without results")
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._ready or self._over, timeout_s):
                raise TimeoutError
            if not self._ready:
                self.result()
                return None
            item = self._ready.popleft()
            if isinstance(item, Stretch):
                if item.count > 1:
                    rest = msgspec.structs.replace(item, first=item.first + 1, count=item.count - 1)
                    self._ready.appendleft(rest)
                task = self._told(item)
            else:
                task = item
                self._taken.append(item.position)
            drained = not self._ready
            reached = task.position + 1 if self._ordered else 0
        if drained or len(self._taken) >= REPORT_COUNT:
            self._report(reached)
        return task

    def _told(self, stretch: Stretch) -> ArrayTask:
        index = self._places.index_at(stretch.first)
        return ArrayTask(
            id=f"{self.id}.{index}",
            index=index,
            position=stretch.first,
            state=stretch.state,
            exit_status=stretch.exit_status,
        )

    def _report(self, reached: int) -> None:
        taken, self._taken = tuple(self._taken), []
        self._post(events.ResultsTaken(at=monotonic(), id=self.id, positions=taken, reached=reached))

    def drop_results(self) -> None:
        """Want no more results. The array goes on, and is not held back."""
        self.wants_results = False
        self._post(events.ResultsDropped(at=monotonic(), id=self.id))

    # --- the end --------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """How many of its tasks ended how, when last heard of."""
        return Counts() if self.line is None else self.line.counts

    def cancel(self, indexes: str | Sequence[int] | None = None) -> bool:
        """Ask the cluster to end the array, or some of it.

        Args:
            indexes: These, as ``5-10,20`` or numbers; None: all.

        Returns:
            Whether it made sense to ask: the array has not ended.

        Raises:
            InvalidTask: These are no indexes.
        """
        if self.done():
            return False
        self._ask_cancel(self.id, strides_of(indexes))
        return True

    def wait(self, timeout: float | None = None) -> ArrayLine:
        """Wait until the array has ended; results that were not taken are dropped.

        Args:
            timeout: In seconds; None: for ever.

        Raises:
            TimeoutError: It has not ended in time.
            TaskError: It has no end: it was refused, or is gone.
        """
        if self.wants_results and not self.done():
            self.drop_results()
        return self.result(timeout)

    def __await__(self) -> Generator[Any, None, ArrayLine]:
        """Wait in asyncio as `wait` does; cancelling the waiting coroutine cancels the array there, too."""
        import asyncio  # noqa: PLC0415 (most users of a client never need it, and it is slow to import)

        if self.wants_results and not self.done():
            self.drop_results()
        return asyncio.wrap_future(self).__await__()

    # --- inputs ---------------------------------------------------------------------------------------------

    def feed(self, batches: Iterator[Sequence[str]], given: int) -> None:
        """Give inputs until there are no more, as fast as the cluster takes them. Blocks.

        Args:
            batches: Some at a time: they are sent as they come.
            given: How many the array has been given already.
        """
        sizes: deque[tuple[int, int]] = deque()  # how many were given after each batch, and its bytes
        under_way_bytes = 0
        try:
            for lines in batches:
                given += len(lines)
                size = sum(map(len, lines))
                sizes.append((given, size))
                under_way_bytes += size
                self._give(tuple(lines), whole=False)
                under_way_bytes -= self._wait_for_room(sizes, given, under_way_bytes)
                if self.refused or self.done():
                    break
        except Exception as error:  # noqa: BLE001 (whatever the user's iterable raises, the user is to get)
            self.error = error
        self.close_inputs()

    def _give(self, lines: tuple[str, ...], *, whole: bool) -> None:
        self._post(events.InputsGiven(at=monotonic(), id=self.id, lines=lines, whole=whole))

    def _wait_for_room(self, sizes: deque[tuple[int, int]], given: int, under_way_bytes: int) -> int:
        """Wait until few inputs are under way; returns how many bytes were counted meanwhile."""
        freed = 0
        with self._counted:
            while True:
                while sizes and sizes[0][0] <= self._kept:
                    freed += sizes.popleft()[1]
                few = given - self._kept < GIVEN_LINES_MAX and under_way_bytes - freed < GIVEN_BYTES_MAX
                if few or self.refused or self.done():
                    return freed
                self._counted.wait()

    def close_inputs(self) -> None:
        """Say that there are no more inputs: the array ends when those that were given have run."""
        self._give((), whole=True)

    def wait_given(self, timeout_s: float) -> bool:
        """Wait until the array is in the table with all its inputs; tells whether it is."""
        with self._counted:
            return self._counted.wait_for(lambda: self._whole or self.done(), timeout_s)

    def __repr__(self) -> str:
        return f"<ArrayFuture {self.id} {'done' if self.done() else 'under way'}>"


def strides_of(indexes: str | Sequence[int] | None) -> tuple[Stride, ...]:
    """Read indexes as users write them; raises InvalidTask."""
    if indexes is None:
        return ()
    if not isinstance(indexes, str):
        return tuple(ranges_of(indexes))
    try:
        strides, at_once = parse_indexes(indexes)
    except ValueError as error:
        raise InvalidTask("", str(error)) from None
    if at_once:
        raise InvalidTask("", f"{indexes!r} names a bound with %; here only indexes make sense")
    return strides


def ranges_of(indexes: Sequence[int]) -> list[Stride]:
    """Return indexes as ranges, in their order; neighbours share one."""
    ranges: list[list[int]] = []
    for index in indexes:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return [Stride(first, last) for first, last in ranges]
