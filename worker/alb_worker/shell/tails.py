"""The last bytes of a stream that is too long to be kept whole: a ring, in memory or in a file.

Who bounds a command's output keeps its head, which says what began, and its tail, which says how it ended.
The tail moves on while the command runs, so it has no offsets and nobody reads it before the end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

MEMORY_BYTES: Final = 64 * 1024
#: A longer tail has a file.
PIECE_BYTES: Final = 256 * 1024


class Tail:
    """The last bytes of what is appended.

    Args:
        path: Where its file is, should it need one; removed by ``close``.
        bytes_max: How many bytes are kept.
    """

    def __init__(self, path: str, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._memory = bytearray()
        self._descriptor = -1
        self.total = 0
        #: Bytes appended, kept or not.
        self.broken = False
        #: The disk refused some of them: what is there cannot be trusted.

    @property
    def left_out(self) -> int:
        """How many of the appended bytes are not kept."""
        return max(0, self.total - self._bytes_max)

    def append(self, data: bytes) -> None:
        """Keep `data`, in place of the oldest bytes where there is no room."""
        if self._bytes_max <= MEMORY_BYTES:
            self._memory += data
            excess = len(self._memory) - self._bytes_max
            if excess > 0:
                del self._memory[:excess]
            self.total += len(data)
            return
        skipped = max(0, len(data) - self._bytes_max)
        self.total += skipped
        with memoryview(data) as view:
            self._write(view[skipped:])

    def _write(self, view: memoryview) -> None:
        try:
            if self._descriptor < 0 and not self.broken:
                flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
            while view and not self.broken:
                place = self.total % self._bytes_max
                written = os.pwrite(self._descriptor, view[: self._bytes_max - place], place)
                self.total += written
                view = view[written:]
        except OSError:  # no space, a quota, a broken disk: the command runs on
            self.broken = True
        self.total += len(view)

    def pieces(self) -> Iterator[bytes]:
        """Return what is kept, in order; nothing where the disk refused some of it."""
        if self.broken:
            return
        if self._descriptor < 0:
            if self._memory:
                yield bytes(self._memory)
            return
        kept = min(self.total, self._bytes_max)
        position = self.total - kept
        while position < self.total:
            place = position % self._bytes_max
            size = min(PIECE_BYTES, self.total - position, self._bytes_max - place)
            try:
                data = os.pread(self._descriptor, size, place)
            except OSError:
                data = b""
            if not data:
                self.broken = True
                return
            yield data
            position += len(data)

    def close(self) -> None:
        """Forget it all."""
        self._memory = bytearray()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 (a path as text)


def marker(left_out: int) -> bytes:
    """Return the line that stands between head and tail in place of so many bytes."""
    return b"\n[alb: %d bytes were left out here: the output is longer than its bound]\n" % left_out
