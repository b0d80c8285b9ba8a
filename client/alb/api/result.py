"""What became of a task, as its user sees it."""

from __future__ import annotations

import msgspec

from alb.core.notices import OutputMissing
from alb_core.errors import CommandFailed
from alb_core.messages import StreamName
from alb_core.tasks import Result, Stream, TaskState


class Captured(msgspec.Struct, frozen=True):
    """What was kept of one stream."""

    data: bytes
    cut: bool = False
    #: Whether earlier bytes were dropped to bound the memory.


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """The one outcome of a task. An exit status other than 0 is a result, not an error: see `check`."""

    id: str
    record: Result
    #: As the cluster keeps it.
    captured: tuple[Captured | None, Captured | None] = (None, None)
    #: Output that was fetched or read live; None: `record` holds all there is.
    missing: tuple[OutputMissing, ...] = ()
    #: Output that was wanted and is gone.

    @property
    def state(self) -> TaskState:
        """How it ended."""
        return self.record.state

    @property
    def exit_code(self) -> int | None:
        """The command's own exit code; None where a signal or alb ended it."""
        return self.record.exit_code

    @property
    def signal(self) -> int | None:
        """The signal that ended it, or None."""
        return self.record.signal

    @property
    def exit_status(self) -> int:
        """What a shell would report: the exit code, 128 + signal, 124 time limit, 125 alb itself."""
        return self.record.exit_status()

    @property
    def why(self) -> str:
        """A sentence where the numbers do not say it."""
        return self.record.why

    @property
    def stdout(self) -> bytes:
        """Standard output; its last bytes where `stdout_cut`."""
        return self._bytes(StreamName.STDOUT)

    @property
    def stderr(self) -> bytes:
        """Standard error; its last bytes where `stderr_cut`."""
        return self._bytes(StreamName.STDERR)

    @property
    def stdout_cut(self) -> bool:
        """Whether `stdout` is not all that the command wrote."""
        return self._is_cut(StreamName.STDOUT)

    @property
    def stderr_cut(self) -> bool:
        """Whether `stderr` is not all that the command wrote."""
        return self._is_cut(StreamName.STDERR)

    @property
    def worker(self) -> str:
        """Where it ran; empty if it never did."""
        return self.record.worker

    @property
    def attempt(self) -> int:
        """Which attempt delivered; 0 if none did."""
        return self.record.attempt

    @property
    def wall_s(self) -> float:
        """How long it ran, in seconds."""
        return self.record.wall_s

    @property
    def cpu_s(self) -> float:
        """Processor time that it used, in seconds."""
        return self.record.cpu_s

    @property
    def memory_bytes(self) -> int:
        """Peak resident memory of its largest process, in bytes."""
        return self.record.memory_bytes

    @property
    def started(self) -> float:
        """When its command started, in cluster time (seconds since 1970); 0: it never did."""
        return self.record.started

    @property
    def finished(self) -> float:
        """When its end was recorded, in cluster time."""
        return self.record.finished

    @property
    def read_bytes(self) -> int:
        """What its processes read from storage."""
        return self.record.read_bytes

    @property
    def written_bytes(self) -> int:
        """What its processes wrote to storage."""
        return self.record.written_bytes

    @property
    def limit(self) -> str:
        """The limit that it broke, as `alb_core.bounds.Bounds` calls it, or ``time_limit_s``; empty: none."""
        return self.record.limit

    @property
    def mechanism(self) -> str:
        """What held it to its limits: ``cgroup2``, ``cgroup1`` or ``sampling``; empty: nothing had to."""
        return self.record.mechanism

    def check(self) -> TaskResult:
        """Return this result if the command succeeded.

        Raises:
            CommandFailed: It did not.
        """
        if self.record.state is TaskState.SUCCEEDED:
            return self
        raise CommandFailed(self.id, self.exit_status, self.describe())

    def describe(self) -> str:
        """Say in one line how it ended."""
        return describe(self.record)

    def _stream(self, name: StreamName) -> Stream:
        return self.record.stdout if name is StreamName.STDOUT else self.record.stderr

    def _bytes(self, name: StreamName) -> bytes:
        captured = self.captured[name - 1]
        return self._stream(name).tail() if captured is None else captured.data

    def _is_cut(self, name: StreamName) -> bool:
        stream, captured = self._stream(name), self.captured[name - 1]
        if stream.truncated or any(missing.stream is name for missing in self.missing):
            return True
        return not stream.complete if captured is None else captured.cut


def describe(result: Result) -> str:
    """Say in one line how a task ended, for example ``FAILED with exit status 3 on w1 after 2.1 s``."""
    text = result.state.value
    if result.signal is not None:
        text += f" by signal {result.signal}"
    elif result.exit_code:
        text += f" with exit status {result.exit_code}"
    if result.worker:
        text += f" on {result.worker} after {result.wall_s:.1f} s"
    return f"{text} ({result.why})" if result.why else text
