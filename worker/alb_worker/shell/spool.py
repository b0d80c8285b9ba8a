"""The output of commands, kept from their first byte until somebody has it or their retention is over.

A stream stays in memory up to 64 KiB, then it has a file; so a command that says little costs no disk
operation. What finished commands left in memory is bounded too: the oldest moves to files. Everything is
bounded: one stream, all finished ones together (bytes, number, age). A full disk truncates a stream and
never stops the worker.

What finished commands left in files outlives the process: the next life of the worker finds it, and keeps it
as long as this one would have. A worker that stops writes down what is in memory still, but for what the
result of its command holds whole.

Of a command with a bound on its output half of that is kept from the head of each stream and half from its
tail. While it runs, what is kept is the head; with its end follow a line that says how much was left out, and
the tail. So what was once kept never changes, and readers need to know nothing of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alb_core import limits
from alb_core.config import WorkerConfig
from alb_core.io.clock import monotonic, wall
from alb_core.messages import AttemptId, StreamName
from alb_worker.core.streams import Kept
from alb_worker.shell.left_output import find_left
from alb_worker.shell.spooled_stream import SpooledStream

MEMORY_FINISHED_BYTES: Final = 32 * 1024 * 1024
#: Of all finished attempts; beyond it the oldest get files.
FINISHED_MAX: Final = 100_000
#: Finished attempts that are kept, however small.


class _Entry:
    """The streams of one attempt that ever had a byte, and their bound where the attempt has one."""

    __slots__ = ("bytes_max", "finished_at", "streams")

    def __init__(self, bytes_max: int | None = None) -> None:
        self.bytes_max = bytes_max
        #: Of each stream, half from its head and half from its tail; None: as the worker bounds all of them.
        self.streams: dict[StreamName, SpooledStream] = {}
        self.finished_at: float | None = None
        #: Monotonic seconds; None: it runs.

    def size(self) -> int:
        return sum(stream.size for stream in self.streams.values())

    def memory(self) -> int:
        return sum(len(stream.memory) for stream in self.streams.values())


class Spool:
    """All output that this worker keeps.

    Args:
        work_dir: The worker's directory; what an earlier life kept there of finished commands is kept on.
        config: The bounds.
        clock: Monotonic seconds.
        wall_clock: By which files have their times.

    Raises:
        OSError: The directory cannot be made.
    """

    def __init__(
        self,
        work_dir: str,
        config: WorkerConfig,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = wall,
    ) -> None:
        self._directory = Path(work_dir) / "spool"
        self._config = config
        self._clock = clock
        self._running: dict[AttemptId, _Entry] = {}
        self._finished: OrderedDict[AttemptId, _Entry] = OrderedDict()
        #: The oldest end first.
        self._in_memory: OrderedDict[AttemptId, int] = OrderedDict()
        #: Finished ones that are in memory, and their bytes; the oldest end first.
        self._finished_bytes = 0
        self._finished_memory = 0
        self._dropped: list[AttemptId] = []
        #: By a full disk; told with the next ``expire``.
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_over(wall_clock())

    def _take_over(self, wall_now: float) -> None:
        """Keep what an earlier life of the worker left, as long as that would have."""
        now = self._clock()
        for left in find_left(self._directory, wall_now, limits.DONE_KEPT_MAX):
            entry = self._finished[left.attempt] = _Entry()
            entry.streams, entry.finished_at = left.streams, now - left.age_s
            self._finished_bytes += entry.size()

    def kept(self) -> list[Kept]:
        """Return what is kept of attempts that are over, the oldest first."""
        return [
            Kept(
                attempt=attempt,
                sizes=(self.length(attempt, StreamName.STDOUT), self.length(attempt, StreamName.STDERR)),
                truncated=(
                    self.truncated(attempt, StreamName.STDOUT),
                    self.truncated(attempt, StreamName.STDERR),
                ),
            )
            for attempt in self._finished
        ]

    def bound(self, attempt: AttemptId, bytes_max: int) -> None:
        """Keep no more of each stream of an attempt that starts: half from its head, half from its tail."""
        self._running[attempt] = _Entry(min(bytes_max, self._config.stream_bytes_max))

    def append(self, attempt: AttemptId, stream: StreamName, data: bytes) -> int:
        """Keep more of a stream, as far as its bound and the disk allow.

        Returns:
            How many bytes of the stream are kept now, and can be read.
        """
        entry = self._running.get(attempt)
        if entry is None:
            entry = self._running[attempt] = _Entry()
        kept = entry.streams.get(stream)
        if kept is None:
            kept = entry.streams[stream] = SpooledStream(self._path(attempt, stream))
        if entry.bytes_max is None:
            kept.append(data, self._config.stream_bytes_max)
        else:
            kept.append_bounded(data, entry.bytes_max)
        return kept.size

    def seal(self, attempt: AttemptId, stream: StreamName) -> tuple[int, int]:
        """Nothing more of a stream will come.

        Returns:
            How many bytes of it are kept, and how many were left out in their midst.
        """
        kept = self._stream(attempt, stream)
        if kept is None:
            return 0, 0
        kept.seal()
        return kept.size, kept.left_out

    def _path(self, attempt: AttemptId, stream: StreamName) -> str:
        name = f"{attempt.task}.{attempt.n}.{stream.name.lower()}"
        return f"{self._directory}/{name.replace('/', '_')}"

    def _stream(self, attempt: AttemptId, stream: StreamName) -> SpooledStream | None:
        entry = self._running.get(attempt) or self._finished.get(attempt)
        return None if entry is None else entry.streams.get(stream)

    def read(self, attempt: AttemptId, stream: StreamName, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on; empty beyond what is kept."""
        kept = self._stream(attempt, stream)
        return b"" if kept is None else kept.read(offset, size)

    def tail(self, attempt: AttemptId, stream: StreamName, size: int) -> bytes:
        """Return the last bytes that are kept of a stream, at most `size`."""
        kept = self._stream(attempt, stream)
        return b"" if kept is None else kept.read(max(0, kept.size - size), size)

    def length(self, attempt: AttemptId, stream: StreamName) -> int:
        """Return how many bytes of a stream are kept."""
        kept = self._stream(attempt, stream)
        return 0 if kept is None else kept.size

    def truncated(self, attempt: AttemptId, stream: StreamName) -> bool:
        """Tell whether the command wrote more than is kept, because of the bound or the disk."""
        kept = self._stream(attempt, stream)
        return kept is not None and kept.truncated

    def finish(self, attempt: AttemptId) -> None:
        """Nothing more of this attempt will come: its retention begins. Unknown ones had no output."""
        entry = self._running.pop(attempt, None)
        if entry is None or not entry.streams:
            return
        for stream in entry.streams.values():
            stream.finish()
        if any(stream.in_file for stream in entry.streams.values()):
            _publish(entry)
        entry.finished_at = self._clock()
        self._finished[attempt] = entry
        self._finished_bytes += entry.size()
        if memory := entry.memory():
            self._in_memory[attempt] = memory
            self._finished_memory += memory
            self._bound_memory()

    def finish_running(self) -> None:
        """Nothing more of any attempt will come: what ran is dead."""
        for attempt in list(self._running):
            self.finish(attempt)

    def _bound_memory(self) -> None:
        """Move the oldest finished streams to files; where the disk is full, drop them."""
        while self._finished_memory > MEMORY_FINISHED_BYTES:
            attempt = next(iter(self._in_memory))
            if _publish(self._finished[attempt]):
                self._finished_memory -= self._in_memory.pop(attempt)
            else:
                self.drop(attempt)
                self._dropped.append(attempt)

    def expire(self, now: float, owed: Callable[[AttemptId], bool]) -> list[AttemptId]:
        """Drop finished attempts whose retention is over, the oldest first.

        Args:
            now: Monotonic seconds.
            owed: Tells which must stay, for the results store does not have all of them.

        Returns:
            The dropped ones, for those who still read them; also those that a full disk has cost.
        """
        dropped, self._dropped = self._dropped, []
        count, size_bytes = len(self._finished), self._finished_bytes
        spare: list[AttemptId] = []
        for attempt, entry in self._finished.items():
            over = entry.finished_at is not None and now - entry.finished_at >= self._config.spool_kept_s
            too_much = size_bytes > self._config.spool_bytes_max or count > FINISHED_MAX
            if not over and not too_much:
                break
            if not owed(attempt):
                spare.append(attempt)
                count -= 1
                size_bytes -= entry.size()
        for attempt in spare:
            self.drop(attempt)
        return dropped + spare

    def drop(self, attempt: AttemptId) -> None:
        """Forget an attempt's output, running or finished."""
        entry = self._running.pop(attempt, None)
        if entry is None:
            entry = self._finished.pop(attempt, None)
            if entry is None:
                return
            self._finished_bytes -= entry.size()
            self._finished_memory -= self._in_memory.pop(attempt, 0)
        for stream in entry.streams.values():
            stream.drop()

    def close(self) -> None:
        """Leave to the next life of the worker what has ended, but for what results hold whole."""
        for attempt in list(self._running):
            self.drop(attempt)
        for attempt, entry in list(self._finished.items()):
            longest = max(stream.size for stream in entry.streams.values())
            if longest <= limits.INLINE_OUTPUT_BYTES or not _publish(entry):
                self.drop(attempt)


def _publish(entry: _Entry) -> bool:
    """Put all streams of a finished attempt into files that a later life finds; False: the disk is full."""
    streams = entry.streams.values()
    if not all(stream.in_file or stream.move_to_file() for stream in streams):
        return False
    for stream in streams:
        stream.finish()
    for stream in streams:  # none before all are there: a later life takes over all of an attempt, or nothing
        stream.publish()
    return True
