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
DUMP_BYTES_MAX: Final = 4 * 1024**3
#: A dump is read whole; a log line by line.


def open_trace(where: str, *, table: str, assume_s: float) -> Trace:
    """Read a trace.

    Args:
        where: The file of a workload log (gzip allowed), of a dump or of an SQLite store; or a store's URL.
        table: Of a store that several clusters share, whose history is meant; else empty.
        assume_s: Run time of tasks of a dump that have no time limit.

    Raises:
        ConfigError: It is none of these, or holds nothing to replay.
        CoordinationError: The store does not answer.
    """
    if "://" in where:
        return from_history(where, table)
    path = Path(where)
    with path.open("rb") as file:
        head = file.read(len(SQLITE))
    if head == SQLITE:
        return from_history(f"sqlite:///{path.absolute()}", table)
    if table:
        raise ConfigError("--table belongs to the URL of a results store")
    try:
        return _from_file(path, packed=head.startswith(GZIP), assume_s=assume_s)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{path.name} cannot be unpacked: {error}") from error


def _from_file(path: Path, *, packed: bool, assume_s: float) -> Trace:
    with gzip.open(path) if packed else path.open("rb") as file:
        if file.read(1) == b"{":
            data = b"{" + file.read(DUMP_BYTES_MAX)
            return read_dump(data, path.name, assume_s)
        file.seek(0)
        lines = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
        return read_swf(lines, path.name)


def from_history(url: str, table: str) -> Trace:
    """Read all of a results store."""
    from alb.analysis.sources import from_store, rows  # noqa: PLC0415 (databases' libraries are slow to import)

    history = History()
    for row in rows(from_store(url, table), 0.0):
        history.add(row)
    return history.trace("the results store")
