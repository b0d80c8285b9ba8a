"""One stream of one command, as the spool keeps it: first in memory, then in a file.

The file of a stream that may grow still has a name of its own (`PART`). What has ended is given its last
name, which with the file's size and time says all that a later life of the worker must know of it.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from alb_worker.shell.tails import Tail, marker

NO_BOUND: Final = 1 << 62
MEMORY_STREAM_BYTES: Final = 64 * 1024
#: A longer stream has a file.
PART: Final = ".part"
#: Ends the name of a file while more may come.
TAIL: Final = ".tail"
#: Ends the name of a file with the last bytes of a stream that is too long, while more may come.
CUT: Final = ".cut"
#: Ends the name of a file that does not hold all that its command wrote.


class SpooledStream:
    """The kept bytes of one stream: in memory, or in a file that is open while the command runs.

    Args:
        path: The name that its file would have in the end.
    """

    __slots__ = ("_path", "descriptor", "in_file", "left_out", "memory", "path", "size", "tail", "truncated")

    def __init__(self, path: str) -> None:
        self._path = path
        #: Without what its name ends with.
        self.path = path + PART
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
            self.tail = Tail(self._path + TAIL, bytes_max - bytes_max // 2)
        self.tail.append(data)

    def seal(self) -> None:
        """Nothing more will come: put the tail behind the head; if they do not meet, a line between them."""
        tail, self.tail = self.tail, None
        if tail is None:
            return
        self.left_out = tail.left_out
        if self.left_out:
            self.append(marker(self.left_out), NO_BOUND)
        for piece in tail.pieces():
            self.append(piece, NO_BOUND)
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
        else:
            self.truncated = True

    def move_to_file(self) -> bool:
        """Put what is in memory into a file; False: it stays in memory, whole, for the disk is full."""
        try:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        self.in_file, truncated = True, self.truncated
        if self._write(self.memory) < self.size:
            self._remove_file()
            self.truncated = truncated
            return False
        self.memory = bytearray()
        return True

    def publish(self) -> None:
        """Give the file of a finished stream the name by which a later life of the worker finds it."""
        name = self._path + (CUT if self.truncated else "")
        if self.in_file and self.path != name:
            with contextlib.suppress(OSError):  # somebody removed it: then nobody reads it either
                os.rename(self.path, name)  # noqa: PTH104 (a path as text)
            self.path = name

    @classmethod
    def found(cls, path: str, size: int, *, truncated: bool) -> SpooledStream:
        """Return a finished stream whose file an earlier life of the worker left."""
        stream = cls(path)
        stream.path = path + (CUT if truncated else "")
        stream.in_file, stream.size, stream.truncated = True, size, truncated
        return stream

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
