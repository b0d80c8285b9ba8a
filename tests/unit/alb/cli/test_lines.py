"""Lines as inputs: read as they come, each with its number in the file."""

from __future__ import annotations

import io
import os
from typing import Any

from alb.cli.lines import Lines
from alb.core.arrays import PIECE_LINES


def read(data: bytes) -> tuple[list[str], Lines]:
    """Return the inputs of a file, and who read them."""
    lines = Lines(io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]
    return [line for batch in lines.batches() for line in batch], lines


def test_blank_and_wrong_lines_are_left_out_and_numbers_kept() -> None:
    """What is wrong is said with its number; the last line needs no end."""
    inputs, lines = read(b"a\n\n  \r\nb c\r\n\xff\nd\0\n" + b"x" * 20_000 + b"\n e")
    assert inputs == ["a", "b c", " e"]
    assert [lines.number_of(position) for position in range(3)] == [1, 4, 8]
    refused = dict(lines.refused())
    assert set(refused) == {5, 6, 7}
    assert "not valid text" in refused[5]
    assert "NUL" in refused[6]
    assert "20000 bytes, more than" in refused[7]
    assert list(lines.refused()) == []


def test_a_batch_is_what_is_there() -> None:
    """A line of a pipe does not wait for the next one; half a line waits for its end."""
    reader, writer = os.pipe()
    with open(reader, "rb") as source:  # noqa: PTH123
        batches = Lines(source).batches()
        os.write(writer, b"a\nb")
        assert next(batches) == ["a"]
        os.write(writer, b"c\n")
        assert next(batches) == ["bc"]
        os.close(writer)
        assert list(batches) == []


def test_a_batch_is_bounded() -> None:
    """However many lines there are."""
    lines = Lines(io.BufferedReader(io.BytesIO(b"x\n" * (2 * PIECE_LINES + 1))))  # type: ignore[arg-type]
    assert [len(batch) for batch in lines.batches()] == [PIECE_LINES, PIECE_LINES, 1]


def test_what_cannot_be_read_on_ends_the_lines() -> None:
    """What was read counts; the reason is kept."""

    class Torn(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if self.tell_once:
                self.tell_once = False
                buffer[:4] = b"a\nb\n"
                return 4
            raise OSError(5, "Input/output error")

        tell_once = True

    lines = Lines(io.BufferedReader(Torn()))
    assert [line for batch in lines.batches() for line in batch] == ["a", "b"]
    assert lines.error is not None
