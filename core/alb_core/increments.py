"""Increments: what a command reports while it runs, a line each, and what the next attempt is given of them.

A command appends lines to the file that ``ALB_INCREMENTS`` names. A line ``{"key": "epoch", "value": 3}`` is
an increment; any other line is the value of an increment without a key. Each gets the next number of its
task, and is stored once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from alb_core import limits
from alb_core.files import FileRef, wrong_references
from alb_core.rows import Increment

KEY_LENGTH_MAX: Final = 256
VALUE_BYTES_MAX: Final = 16 * 1024
#: Of a value as JSON. Bulk belongs into files and output.
LINES_MAX: Final = 256
#: In one message, and given back to an attempt that resumes.
LINES_BYTES_MAX: Final = 512 * 1024
#: As above, all lines together.
DROPPED_KEY: Final = "alb.dropped"
#: Under this key a worker says that it reads no more of an attempt's increments.
STEP_KEY: Final = "step"
#: Under this key the steps of ``--steps`` report themselves.
CHECKPOINT_KEY: Final = "alb.checkpoint"
#: Under this key the worker reports which files it saved; no command can.


class Line(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One increment as it travels: its number is its place."""

    key: str
    value: str
    #: JSON.


class Resume(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an attempt is given of those before it."""

    seq: int = 0
    #: Number of the newest increment that is stored; the attempt's first gets the next.
    lines: tuple[Line, ...] = ()
    #: The newest of each key, the oldest first; the last one is the newest of all. Checkpoints are no part.
    step: int = 0
    #: Of a task of steps, the newest that is over.
    files: tuple[FileRef, ...] = ()
    #: The newest checkpoint.


class _Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: msgspec.Raw
    key: str = ""


_REPORTS: Final = msgspec.json.Decoder(_Report)
_ANYTHING: Final = msgspec.json.Decoder()
_STEPS: Final = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, le=limits.STEPS_MAX)])
#: Beyond, the shell could not count, and would take the task for finished.
_CHECKPOINTS: Final = msgspec.json.Decoder(tuple[FileRef, ...])
_INVALID: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_line(line: bytes) -> Line | None:
    """Read what a command wrote.

    Args:
        line: Without its newline.

    Returns:
        The increment; None for a blank line. What is too long is cut, and is then a text. What claims to be a
        checkpoint is a value without a key.
    """
    line = line.strip()
    if not line:
        return None
    if len(line) <= VALUE_BYTES_MAX + 2 * KEY_LENGTH_MAX:
        try:
            report = _REPORTS.decode(line)
            _ANYTHING.decode(report.value)
        except _INVALID:
            pass
        else:
            value = bytes(report.value)
            fits = len(report.key) <= KEY_LENGTH_MAX and len(value) <= VALUE_BYTES_MAX
            if fits and report.key != CHECKPOINT_KEY:
                return Line(report.key, value.decode())
    return Line("", _as_value(line))


def _as_value(line: bytes) -> str:
    if len(line) <= VALUE_BYTES_MAX:
        try:
            _ANYTHING.decode(line)
            return line.decode()
        except _INVALID:
            pass
    cut = line[: VALUE_BYTES_MAX // 6]  # a byte takes up to six as a JSON text
    return msgspec.json.encode(cut.decode(errors="replace")).decode()


def shown(value: str) -> str:
    """Return a value as a shell wants it: a text without quotes, anything else as JSON."""
    try:
        decoded = msgspec.json.decode(value)
    except _INVALID:
        return value
    return decoded if isinstance(decoded, str) else value


def checkpoint_line(files: tuple[FileRef, ...]) -> Line:
    """Return the increment that records a checkpoint."""
    return Line(CHECKPOINT_KEY, msgspec.json.encode(files).decode())


def wrong_checkpoint(files: tuple[FileRef, ...]) -> str | None:
    """Return why files cannot be one checkpoint, as a sentence, or None."""
    if len(files) > limits.CHECKPOINT_FILES_MAX:
        most = limits.CHECKPOINT_FILES_MAX
        return f"{len(files)} files match its checkpoint patterns, more than {most}; save one archive instead"
    if len(checkpoint_line(files).value.encode()) > VALUE_BYTES_MAX:
        return (
            "the names of the files that match its checkpoint patterns are too long; save one archive instead"
        )
    return wrong_references(files, limits.CHECKPOINT_FILES_MAX)


def checkpoint_of(line: Line | Increment) -> tuple[FileRef, ...] | None:
    """Return the files of a checkpoint; None: it is another increment."""
    if line.key != CHECKPOINT_KEY:
        return None
    try:
        files = _CHECKPOINTS.decode(line.value)
    except _INVALID:
        return None
    return files if wrong_checkpoint(files) is None else None


def step_of(line: Line | Increment) -> int:
    """Return which step an increment reports to be over; 0: none, or what it says is no step."""
    if line.key != STEP_KEY:
        return 0
    try:
        step: int = _STEPS.decode(line.value)
    except _INVALID:
        return 0
    return step


def size_bytes(line: Line) -> int:
    """Return about how many bytes an increment takes on its way."""
    return len(line.key) + len(line.value) + 32


def resume_of(newest_first: Iterable[Increment]) -> Resume:
    """Return what the next attempt is given, of a task's newest increments.

    Args:
        newest_first: The stored rows, the newest first; those of the lowest numbers may be missing.
    """
    seq, room = 0, LINES_BYTES_MAX
    lines: dict[str, Line] = {}
    files: tuple[FileRef, ...] | None = None
    step = 0
    full = False
    for row in newest_first:
        seq = max(seq, row.seq)
        line = Line(row.key, row.value)
        saved = checkpoint_of(line)
        if saved is not None:
            files = saved if files is None else files
            continue
        step = step or step_of(line)
        if full or row.key in lines or len(lines) >= LINES_MAX:
            continue
        room -= size_bytes(line)
        full = room < 0 and bool(lines)
        if not full:
            lines[row.key] = line
    return Resume(seq=seq, lines=tuple(reversed(lines.values())), step=step, files=files or ())
