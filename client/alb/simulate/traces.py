"""Where a trace comes from: a workload log, a leader's dump or a results store; its looks tell which."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Final

from alb.simulate.core.history import History
from alb.simulate.core.state_dump import read_dump
from alb.simulate.core.swf import read_swf
from alb.simulate.core.trace import Trace
from alb_core.errors import ConfigError

GZIP: Final = b"\x1f\x8b"
SQLITE: Final = b"SQLite format 3\0"
OWN: Final = "-"
#: What stands for our standard input.
DUMP_BYTES_MAX: Final = 4 * 1024**3
#: A dump is read whole; a log line by line.


def open_trace(where: str, *, table: str, assume_s: float) -> Trace:
    """Read a trace.

    Args:
        where: The file of a workload log (gzip allowed), of a dump or of an SQLite store; a store's URL;
            or `-`, a log or a dump from our standard input. Neither needs a file that can be read twice.
        table: Of a store that several clusters share, whose history is meant; else empty.
        assume_s: Run time of tasks of a dump that have no time limit.

    Raises:
        ConfigError: It is none of these, or holds nothing to replay.
        CoordinationError: The store does not answer.
    """
    if "://" in where:
        return from_history(where, table)
    if where == OWN:
        with open(0, "rb", closefd=False) as stream:
            return _from_file(stream, "standard input", table, assume_s)
    path = Path(where)
    with path.open("rb") as file:
        if file.peek(len(SQLITE)).startswith(SQLITE) and file.seekable():
            return from_history(f"sqlite:///{path.absolute()}", table)
        return _from_file(file, path.name, table, assume_s)


def _from_file(file: io.BufferedReader, name: str, table: str, assume_s: float) -> Trace:
    """Read a log or a dump, once from the beginning to the end: it may come through a pipe."""
    if table:
        raise ConfigError("--table belongs to the URL of a results store")
    head = file.peek(len(SQLITE))
    if head.startswith(SQLITE):
        raise ConfigError(f"{name} holds a results store, which cannot be read through a pipe: give its file")
    try:
        with gzip.open(file) if head.startswith(GZIP) else file as content:
            if content.peek(1).startswith(b"{"):
                return read_dump(content.read(DUMP_BYTES_MAX), name, assume_s)
            with io.TextIOWrapper(content, encoding="utf-8", errors="replace") as lines:
                return read_swf(lines, name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{name} cannot be unpacked: {error}") from error


def from_history(url: str, table: str) -> Trace:
    """Read all of a results store."""
    from alb.analysis.sources import from_store, rows  # noqa: PLC0415 (databases' libraries are slow to import)

    history = History()
    for row in rows(from_store(url, table), 0.0):
        history.add(row)
    return history.trace("the results store")
