"""The output of commands, kept from their first byte until somebody has it or their retention is over.

A stream stays in memory up to 64 KiB, then it has a file; so a command that says little costs no disk
operation. What finished commands left in memory is bounded too: the oldest moves to files. Everything is
bounded: one stream, all finished ones together (bytes, number, age). A full disk truncates a stream and
never stops the worker.

Of a command with a bound on its output half of that is kept from the head of each stream and half from its
tail. While it runs, what is kept is the head; with its end follow a line that says how much was left out, and
the tail. So what was once kept never changes, and readers need to know nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alb_core.config import WorkerConfig
from alb_core.io.clock import monotonic
from alb_core.messages import AttemptId, StreamName
from alb_worker.shell.tails import Tail, marker

_NO_BOUND: Final = 1 << 62
MEMORY_STREAM_BYTES: Final = 64 * 1024
#: A longer stream has a file.
MEMORY_FINISHED_BYTES: Final = 32 * 1024 * 1024
#: Of all finished attempts; beyond it the oldest get files.
FINISHED_MAX: Final = 100_000
#: Finished attempts that are kept, however small.


class _Stream:
    """The kept bytes of one stream: in memory, or in a file that is open while the command runs."""

    __slots__ = ("descriptor", "in_file", "left_out", "memory", "path", "size", "tail", "truncated")

    def __init__(self, path: str) -> None:
        self.path = path
        #: Where its file is, or would be.
        self.in_file = False
        self.descriptor = -1
        #: Of its file, open for writing; -1: it is not.
        self.memory = bytearray()
        #: Empty where there is a file.
        self.size = 0
        #: Bytes kept.
        self.truncated = False
        #: No more is kept: the bound was reached, or the disk was full.
        self.tail: Tail | None = None
        #: What came after the head, where the command's output is bounded.
        self.left_out = 0
        #: Bytes that are kept neither of the head nor of the tail; known with the end.

    def append_bounded(self, data: bytes, bytes_max: int) -> None:
        """Keep the head; what comes after it goes to the tail."""
        if self.tail is None:
            room = bytes_max // 2 - self.size
            if room >= len(data):
                self.append(data, bytes_max)
                return
            if room > 0:
                self.append(data[:room], bytes_max)
                data = data[room:]
            self.tail = Tail(f"{self.path}.tail", bytes_max - bytes_max // 2)
        self.tail.append(data)

    def seal(self) -> None:
        """Nothing more will come: put the tail behind the head; if they do not meet, a line between them."""
        tail, self.tail = self.tail, None
        if tail is None:
            return
        self.left_out = tail.left_out
        if self.left_out:
            self.append(marker(self.left_out), _NO_BOUND)
        for piece in tail.pieces():
            self.append(piece, _NO_BOUND)
        self.truncated = self.truncated or tail.broken
        tail.close()

    def append(self, data: bytes, bytes_max: int) -> None:
        """Keep as much of `data` as there is room for."""
        if self.truncated:
            return
        room = bytes_max - self.size
        if len(data) > room:
            data = data[:room]
            self.truncated = True
        if not self.in_file and self.size + len(data) <= MEMORY_STREAM_BYTES:
            self.memory += data
            self.size += len(data)
        elif self.in_file or self.move_to_file():
            self.size += self._write(data)

    def move_to_file(self) -> bool:
        """Put what is in memory into a file; False: it stays in memory, for the disk is full."""
        try:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError:
            self.truncated = True
            return False
        self.in_file = True
        if self._write(self.memory) < self.size:
            self._remove_file()
            return False
        self.memory = bytearray()
        return True

    def _write(self, data: bytes | bytearray) -> int:
        """Append to the file; returns how much the disk took, and marks the stream where that is not all."""
        written = 0
        with memoryview(data) as view:
            while written < len(view):
                try:
                    written += os.write(self.descriptor, view[written:])
                except OSError:  # no space, a quota, a broken disk: the command runs on
                    self.truncated = True
                    break
        return written

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on; fewer only at the end, or where the disk fails."""
        size = max(0, min(size, self.size - offset))
        if not self.in_file:
            return bytes(self.memory[offset : offset + size])
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, size, offset)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Nothing will be appended any more: close the file."""
        self.seal()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def drop(self) -> None:
        """Forget the bytes."""
        if self.tail is not None:
            self.tail.close()
            self.tail = None
        self.memory = bytearray()
        if self.in_file:
            self._remove_file()

    def _remove_file(self) -> None:
        self.finish()
        self.in_file = False
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 (a path as text)


class _Entry:
    """The streams of one attempt that ever had a byte, and their bound where the attempt has one."""

    __slots__ = ("bytes_max", "finished_at", "streams")

    def __init__(self, bytes_max: int | None = None) -> None:
        self.bytes_max = bytes_max
        #: Of each stream, half from its head and half from its tail; None: as the worker bounds all of them.
        self.streams: dict[StreamName, _Stream] = {}
        self.finished_at: float | None = None
        #: Monotonic seconds; None: it runs.

    def size(self) -> int:
        return sum(stream.size for stream in self.streams.values())

    def memory(self) -> int:
        return sum(len(stream.memory) for stream in self.streams.values())


class Spool:
    """All output that this worker keeps.

    Args:
        work_dir: The worker's directory; what an earlier process left in its spool is removed.
        config: The bounds.
        clock: Monotonic seconds.

    Raises:
        OSError: The directory cannot be made.
    """

    def __init__(self, work_dir: str, config: WorkerConfig, clock: Callable[[], float] = monotonic) -> None:
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
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

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
            kept = entry.streams[stream] = _Stream(self._path(attempt, stream))
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

    def _stream(self, attempt: AttemptId, stream: StreamName) -> _Stream | None:
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
            in_memory = [stream for stream in self._finished[attempt].streams.values() if stream.memory]
            if all(stream.move_to_file() for stream in in_memory):
                self._finished_memory -= self._in_memory.pop(attempt)
                for stream in in_memory:
                    stream.finish()
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
        """Forget everything."""
        for attempt in [*self._running, *self._finished]:
            self.drop(attempt)
