"""The lines of a file or a pipe as inputs of an array: read as they come, each with its number there."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from alb.api.arrays import wrong_input
from alb.core.arrays import PIECE_BYTES, PIECE_LINES

if TYPE_CHECKING:
    from collections.abc import Iterator


class Refused(NamedTuple):
    """A line that can be no input."""

    number: int
    why: str


class Lines:
    """Reads lines in batches: whatever is there, without waiting for more.

    Blank lines are left out. A line that can be no input is left out and reported.

    Args:
        source: What is read.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source: Final = source
        self._refused: Final[SimpleQueue[Refused]] = SimpleQueue()
        self.error: OSError | None = None
        #: Why the lines could not be read on.
        self.stopped = False
        #: Nobody wants more of them.
        self._count = 0
        #: Inputs so far.
        self._number = 0
        #: Lines so far.
        self._begins: Final = array("q")
        self._ahead: Final = array("q")
        #: By how much the number of a line exceeds that of its input, and from which position on.

    def batches(self) -> Iterator[list[str]]:
        """Yield inputs as they come."""
        rest = b""
        while not self.stopped:
            try:
                chunk = self._source.read1(PIECE_BYTES)  # type: ignore[attr-defined]  # every binary file has it
            except OSError as error:
                self.error = error
                chunk = b""
            *whole, rest = (rest + chunk).split(b"\n")
            inputs = [text for line in whole if (text := self._take(line)) is not None]
            if not chunk and rest and (text := self._take(rest)) is not None:
                inputs.append(text)
            for at in range(0, len(inputs), PIECE_LINES):
                yield inputs[at : at + PIECE_LINES]
            if not chunk:
                return

    def _take(self, line: bytes) -> str | None:
        """Return the input that a line is, or None."""
        self._number += 1
        text = line.decode(errors="surrogateescape").rstrip("\r\n")
        if not text.strip():
            return None
        why = wrong_input(text)
        if why:
            self._refused.put(Refused(self._number, why))
            return None
        ahead = self._number - self._count
        if not self._ahead or self._ahead[-1] != ahead:
            self._begins.append(self._count)
            self._ahead.append(ahead)
        self._count += 1
        return text

    def number_of(self, position: int) -> int:
        """Return the number of the line that became the input at a position."""
        return position + self._ahead[bisect_right(self._begins, position) - 1]

    def refused(self) -> Iterator[Refused]:
        """Yield the lines that were refused since the last time."""
        while True:
            try:
                yield self._refused.get_nowait()
            except Empty:
                return
