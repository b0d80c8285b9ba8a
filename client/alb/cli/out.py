"""Writing: bytes to the standard streams, lines to the person, JSON and tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from alb.cli.legible import fit_for, legible
from alb_core.messages import StreamName

DESCRIPTORS: Final = {StreamName.STDOUT: 1, StreamName.STDERR: 2}
#: Where a task's streams go.


class ReaderGone(Exception):
    """Raised when nobody reads our output any more. No BrokenPipeError: click has its own way with those."""


def say(line: str) -> None:
    """Tell the person something, on standard error."""
    write_all(2, _encoded(f"alb: {fit_for(2, line)}\n"))


def silence(_line: str) -> None:
    """Say nothing, where a person wants it so."""


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a descriptor, unbuffered, as they are.

    Raises:
        ReaderGone: Nobody reads there any more (never for standard error: there is nobody to tell).
    """
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        if descriptor == 2:
            return
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from error
        if error.filename is None and descriptor == 1:
            error.filename = "standard output"
        raise


def echo(text: str) -> None:
    """Write a line to standard output."""
    write_all(1, _encoded(f"{fit_for(1, text)}\n"))


def _encoded(text: str) -> bytes:
    """Return a text as bytes: those of a name that is no text come out as they came in."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half of a character, which no name can hold
        return text.encode(errors="replace")


@contextmanager
def told_anyway(sentence: str) -> Iterator[None]:
    """Say what else nobody would know, where the writing of a block fails."""
    try:
        yield
    except (ReaderGone, OSError):
        say(sentence)
        raise


def emit_json(value: Any) -> None:
    """Write one JSON document, on one line."""
    write_all(1, msgspec.json.encode(value) + b"\n")


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Write a table; plain columns where standard output is no terminal, so that ``awk`` can read it.

    Args:
        columns: The headings.
        rows: The cells.
        empty: Said to the person where there is no row.
    """
    lines = [[legible(cell) for cell in row] for row in rows]
    if not lines:
        say(empty)
        return
    if os.isatty(1):
        _emit_rich(columns, lines)
        return
    widths = [max(len(cell) for cell in column) for column in zip(columns, *lines, strict=True)]
    for line in (columns, *lines):
        echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _emit_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 (slow to import, and only terminals need it)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "ID")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
