"""A task under way, as its user holds it: a `concurrent.futures.Future` that can also be awaited."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from alb.api.latch import Latch
from alb.api.result import Captured, TaskResult
from alb_core.kinds import VALUE_FILE
from alb_core.messages import StreamName

if TYPE_CHECKING:
    from alb.core.actions import DeliverOutput
    from alb.core.notices import OutputMissing, TaskPlaced
    from alb_core.messages import TaskLine
    from alb_core.tasks import Result


Bring: TypeAlias = "Callable[[Result, str | os.PathLike[str]], list[Path]]"
#: Fetches the files of a result into a directory.

_NOTHING: Final = (None, None)
#: Of either stream: most tasks write little, which rides in their results.


class Capture:
    """Keeps the last bytes of a stream, within a bound.

    Args:
        limit_bytes: How many at most.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._cut = False

    def add(self, data: bytes) -> None:
        """Append to the stream."""
        self._pieces.append(data)
        self._size += len(data)
        while self._size > self._limit_bytes:
            first = self._pieces.popleft()
            over = self._size - self._limit_bytes
            self._cut = True
            if len(first) > over:
                self._pieces.appendleft(first[over:])
            self._size -= min(len(first), over)

    def captured(self) -> Captured:
        """Return what was kept."""
        return Captured(b"".join(self._pieces), self._cut)


class TaskFuture(Future[TaskResult]):
    """One task under way.

    `result` waits and returns the `TaskResult`, whatever the exit status; it raises a ``TaskError`` where the
    task has no outcome of its own (cancelled, lost, rejected). ``await future`` does the same in asyncio.
    Callbacks run on the client's thread and must not block.

    Args:
        task_id: The task.
        cancel: Asks the cluster to end it.
        capture_bytes: How much of each stream is kept.
        bring: Fetches the files of a result.
    """

    def __init__(
        self,
        task_id: str,
        cancel: Callable[[str], None],
        capture_bytes: int,
        bring: Bring,
    ) -> None:
        super().__init__()
        self._condition = Latch()  # type: ignore[assignment]  # what the standard library's own asks of it
        self.id = task_id
        self.record: Result | None = None
        #: The recorded result, also where `result` raises.
        self.missing: tuple[OutputMissing, ...] = ()
        #: Output that was wanted and is gone, known with the result.
        self.earlier: TaskLine | None = None
        #: The task was there before it was asked for incrementally, and stood so then.
        self._on_moved: Callable[[TaskPlaced], None] | None = None
        self._placed: TaskPlaced | None = None
        #: What was last heard of where it runs.
        self._pid = os.getpid()
        #: Where its client lives.
        self._ask_cancel = cancel
        self._bring = bring
        self._capture_bytes = capture_bytes
        self._captures: tuple[Capture | None, Capture | None] = _NOTHING
        self._attempt = 0

    def result(self, timeout: float | None = None) -> TaskResult:
        """Wait for the end, at most so many seconds, and return the result; see `TaskFuture`."""
        self._expect_client()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, at most so many seconds, and return what `result` raises; None: nothing."""
        self._expect_client()
        return super().exception(timeout)

    def _expect_client(self) -> None:
        """Raise RuntimeError where nobody is here to end this future: it would wait for ever."""
        if os.getpid() != self._pid and not self.done():
            raise RuntimeError(
                f"the client of task {self.id} does not survive a fork: attach with a Client of this process"
            )

    def cancel(self) -> bool:
        """Ask the cluster to end the task. `result` raises TaskCancelled once it is done.

        Returns:
            Whether it made sense to ask: the task has no result yet.
        """
        if self.done():
            return False
        self._ask_cancel(self.id)
        return True

    def fetch(self, directory: str | os.PathLike[str] = ".") -> list[Path]:
        """Wait for the end, and fetch the files that the task brought back (`returns`), however it ended.

        Args:
            directory: Where they go; made where it is missing. A file of the same name is replaced.

        Returns:
            Where they are.

        Raises:
            TaskError: The task has no result.
            TransferError: No depot has a file.
        """
        wait({self})
        if self.record is None:
            self.result()
            return []
        return self._bring(self.record, directory)

    def value(self) -> bytes:
        """Wait for the end, and return what the task's kind returned; large values come from the depots.

        Returns:
            The bytes, empty where there is no value: a plain command has none.

        Raises:
            TaskError: The task has no result.
            TransferError: No depot has the value.
        """
        wait({self})
        if self.record is None:
            self.result()
            return b""
        large = tuple(file for file in self.record.returned if file.name == VALUE_FILE)
        if self.record.value or not large:
            return self.record.value
        with TemporaryDirectory(prefix="alb-") as directory:
            (path,) = self._bring(msgspec.structs.replace(self.record, returned=large), directory)
            return path.read_bytes()

    def call_when_moved(self, hear: Callable[[TaskPlaced], None]) -> None:
        """Have told where the task runs, and whether it does; needs ``moves=True`` when it is submitted.

        Args:
            hear: Called on the client's thread, and at once with what is known; must not block.
        """
        self._on_moved = hear
        if self._placed is not None:
            hear(self._placed)

    def move(self, notice: TaskPlaced) -> None:
        """Take where the task runs, on the client's thread."""
        self._placed = notice
        if self._on_moved is not None:
            self._on_moved(notice)

    def __await__(self) -> Generator[Any, None, TaskResult]:
        """Wait in asyncio; cancelling the waiting coroutine cancels the task on the cluster."""
        import asyncio  # noqa: PLC0415 (most users of a client never need it, and it is slow to import)

        return asyncio.wrap_future(self).__await__()

    def receive(self, action: DeliverOutput) -> None:
        """Take output, on the client's thread."""
        if action.attempt != self._attempt:
            self._captures = _NOTHING
            self._attempt = action.attempt
        capture = self._captures[action.stream - 1]
        if capture is None:
            capture = Capture(self._capture_bytes)
            stdout, stderr = self._captures
            self._captures = (capture, stderr) if action.stream == StreamName.STDOUT else (stdout, capture)
        capture.add(action.data)

    def captured(self) -> tuple[Captured | None, Captured | None]:
        """Return what was received of each stream."""
        if self._captures is _NOTHING:
            return _NOTHING
        stdout, stderr = self._captures
        return (
            None if stdout is None else stdout.captured(),
            None if stderr is None else stderr.captured(),
        )

    def __repr__(self) -> str:
        return f"<TaskFuture {self.id} {'done' if self.done() else 'under way'}>"
