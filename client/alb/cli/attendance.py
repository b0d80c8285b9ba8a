"""Waiting for tasks in front of a terminal: output as it comes, Ctrl-C, and how it ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from alb.cli import out
from alb.cli.statuses import FAILED_STATUS, INTERRUPTED_STATUS, READER_GONE_STATUS
from alb.cli.story import Story
from alb_core.errors import TaskCancelled, TaskLost
from alb_core.messages import StreamName
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from alb.api.client import Client
    from alb.api.future import TaskFuture
    from alb.api.stream import TaskStream
    from alb_core.tasks import Result

POLL_S: Final = 0.1
#: Signals and patience are looked at so often; output and the end are noticed at once.
SECOND_INTERRUPT_S: Final = 2.0
CANCELS: Final = r"cancels it; Ctrl-\ leaves it running"
STUCK_S: Final = 1.0
#: After a cancellation, a reader of our output that takes nothing for so long is not waited for.


class Patience:
    """How long a person is left waiting for a leader's first answer. Before that nothing was submitted.

    Args:
        client: Knows what is wrong.
        story: Knows whether a leader answered yet.
        limit_s: How long to wait for a first answer, in seconds.
    """

    def __init__(self, client: Client, story: Story, limit_s: float) -> None:
        self._client = client
        self._story = story
        self._limit_s = limit_s
        self._started = time.monotonic()

    def check(self) -> None:
        """Say what is waited for; raises CoordinationError where no leader answered in time."""
        self._story.wait()
        if not self._story.connected and time.monotonic() - self._started > self._limit_s:
            raise self._client.explain_silence(self._limit_s)


class Pump:
    """Copies a task's output to descriptors, byte by byte as it is, in a thread of its own.

    Args:
        stream: The task.
        descriptors: Where each of its streams goes; one that is missing is dropped.
        attempt: Only output of this attempt is copied; 0: of whichever runs.
    """

    def __init__(
        self, stream: TaskStream, descriptors: Mapping[StreamName, int], *, attempt: int = 0
    ) -> None:
        self.stream = stream
        self.broken = False
        #: Whether somebody closed the other end of a descriptor.
        self.failure: OSError | None = None
        #: Why a descriptor takes no more, though somebody is there: a full disk. Nothing is copied any more.
        self.copied: Final = dict.fromkeys(StreamName, 0)
        #: Bytes so far, of each stream.
        self._attempt = attempt
        self._descriptors = dict(descriptors)
        self._writing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    @property
    def written(self) -> int:
        """Bytes so far."""
        return sum(self.copied.values())

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the output; tell whether it is here."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stuck(self) -> bool:
        """Tell whether the reader of a descriptor has taken nothing for a while."""
        since = self._writing_since
        return since is not None and time.monotonic() - since > STUCK_S

    def _run(self) -> None:
        for stream, data in self.stream:
            descriptor = self._descriptors.get(stream)
            if descriptor is None or self._attempt not in {0, self.stream.attempt}:
                continue
            self._writing_since = time.monotonic()
            try:
                out.write_all(descriptor, data)
            except out.ReaderGone:
                # Go on reading: the task's end comes behind its output.
                self.broken = True
                del self._descriptors[stream]
            except OSError as error:
                self.failure = error
                return
            self._writing_since = None
            self.copied[stream] += len(data)


class Attendance:
    """Stays with one task until it has ended, or the person leaves.

    Args:
        client: Cancels.
        future: The task.
        patience: Bounds the wait for a cluster that is not there.
        story: Knows where the task is.
        pump: Copies its output, if it is wanted.
        joined: Somebody else submitted the task: leave it alone, whatever happens here.
    """

    def __init__(  # noqa: PLR0913 (what a wait at the terminal needs)
        self,
        client: Client,
        future: TaskFuture,
        patience: Patience,
        story: Story,
        pump: Pump | None = None,
        *,
        joined: bool = False,
    ) -> None:
        self._client = client
        self._future = future
        self._patience = patience
        self._story = story
        self._pump = pump
        self._joined = joined
        self._signals: list[int] = []
        #: Caught and not yet acted upon.
        self._interrupted_at = -SECOND_INTERRUPT_S - 1
        self._cancelling: Future[Any] | None = None

    def attend(self) -> int:
        """Wait for the end; where nobody reads the output any more, bring it about, as SIGPIPE would here.

        A task that was joined is never ended, and output that cannot be written ends none either: a full disk
        here is no reason to throw away what runs there.

        Returns:
            The exit status to leave with.
        """
        if self._pump is not None:
            self._pump.start()
        with caught(self._signals.append):
            while not self._is_over():
                self._patience.check()
                for number in self._take_signals():
                    left = self._on_signal(number)
                    if left is not None:
                        return left
                if self._pump is not None and self._pump.failure is not None:
                    break
                if self._pump is not None and self._pump.broken:
                    if self._joined:
                        out.say(f"nobody reads the output any more: leaving; {self._whereabouts()}")
                        return READER_GONE_STATUS
                    self._on_broken_pipe()
            self._story.end()
            return self._conclude()

    def _is_over(self) -> bool:
        if self._pump is not None and not self._future.done():
            self._pump.join(POLL_S)
        else:
            wait({self._future}, POLL_S)
        if self._future.done():
            return (
                self._pump is None or self._pump.join(POLL_S) or (self._left_alone() and self._pump.stuck())
            )
        return self._left_alone() and self._pump is not None and self._pump.stuck()

    def _left_alone(self) -> bool:
        """Tell whether the cancellation is durable."""
        return self._cancelling is not None and self._cancelling.done()

    def _take_signals(self) -> list[int]:
        taken = self._signals[:]
        del self._signals[: len(taken)]
        return taken

    def _on_signal(self, number: int) -> int | None:
        """Act on a signal; return the exit status if that means to leave."""
        if number != signal.SIGINT:
            out.say(f"leaving; {self._whereabouts()}")
            return 128 + number
        now = time.monotonic()
        if self._cancelling is not None:
            out.say(f"leaving without waiting for the end; {self._whereabouts()}")
            return INTERRUPTED_STATUS
        again = now - self._interrupted_at <= SECOND_INTERRUPT_S
        if again and self._joined:
            out.say(f"leaving; {self._whereabouts()}")
            return INTERRUPTED_STATUS
        if again:
            out.say(f"cancelling task {self._future.id}")
            self._cancelling = self._client.start_cancel(self._future.id)
        else:
            self._interrupted_at = now
            what = "leaves it alone: it was under way before" if self._joined else CANCELS
            out.say(f"{self._where()}; still attached. Ctrl-C again within 2 s {what}")
        return None

    def _whereabouts(self) -> str:
        """Say where the task is, and how to come back to it."""
        if self._future.done():
            return f"task {self._future.id} has ended; its output: alb logs {self._future.id}"
        if self._story.placed is None and not self._joined:
            return self._where()
        return f"{self._where()} and goes on; attach again with: alb logs -f {self._future.id}"

    def _where(self) -> str:
        placed = self._story.placed
        if placed is None:
            return f"task {self._future.id} {'is under way' if self._joined else 'is not accepted yet'}"
        runs = placed.state is TaskState.RUNNING
        where = f"runs on {placed.worker}" if runs else f"is {placed.state.value.lower()}"
        return f"task {self._future.id} {where}"

    def _on_broken_pipe(self) -> None:
        if self._cancelling is None:
            out.say(f"nobody reads the output any more: cancelling task {self._future.id}")
            self._cancelling = self._client.start_cancel(self._future.id)

    def _conclude(self) -> int:
        if self._pump is not None and self._pump.failure is not None:
            why = self._pump.failure.strerror or self._pump.failure
            out.say(f"the output cannot be written: {why}; {self._whereabouts()}")
            return FAILED_STATUS
        if self._pump is not None and self._pump.broken:
            return READER_GONE_STATUS
        if self._cancelling is not None:
            out.say(f"task {self._future.id} was cancelled" if self._was_cancelled() else self._ending())
            return INTERRUPTED_STATUS
        return conclude(self._future)

    def _was_cancelled(self) -> bool:
        record = self._future.record
        return record is None or record.state is TaskState.CANCELLED

    def _ending(self) -> str:
        from alb.api.result import describe  # noqa: PLC0415

        record = self._future.record
        return f"task {self._future.id} had ended: {describe(record)}" if record is not None else ""


def conclude(future: TaskFuture) -> int:
    """Say how a task ended, where its exit status alone does not, and return that status."""
    from alb.api.result import describe  # noqa: PLC0415

    try:
        future.result()
    except (TaskCancelled, TaskLost):
        if future.record is None:
            raise
    record = future.record
    assert record is not None  # noqa: S101 (a future without an error has one)
    if not _is_plain(record):
        out.say(f"task {future.id}: {describe(record)}")
    if record.output_open:
        out.say("something that the command left behind held its output open; it was ended")
    return record.exit_status()


def _is_plain(record: Result) -> bool:
    """Tell whether the exit status says it all, as it would for a command run here."""
    return record.state is TaskState.SUCCEEDED or (
        record.state is TaskState.FAILED and not record.why and record.exit_code is not None
    )


@contextmanager
def caught(take: Callable[[int], None]) -> Iterator[None]:
    """Catch what asks a command to end, for the time of a block."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        take(number)

    before = {
        number: signal.signal(number, on_signal)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup stays nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
