"""The output that an earlier life of a worker left in its spool.

The names of files say whose they are and whether they are whole, their times when the command had ended:
there is no index that could be wrong. Of an attempt that had not ended nothing is taken over: it was lost
with that life, and its task runs anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from alb_core.ids import is_task_id
from alb_core.messages import AttemptId, StreamName
from alb_worker.shell.spooled_stream import CUT, PART, TAIL, SpooledStream

_NAME: Final = re.compile(
    r"(?P<task>[0-9a-f.]{32,42})\.(?P<n>[0-9]{1,9})\.(?P<stream>stdout|stderr)(?P<suffix>\.[a-z]+)?"
)


class Left(NamedTuple):
    """What is left of one attempt."""

    attempt: AttemptId
    streams: dict[StreamName, SpooledStream]
    age_s: float
    #: Since it ended.


class _File(NamedTuple):
    attempt: AttemptId
    stream: StreamName
    suffix: str
    size: int
    modified: float


def find_left(directory: Path, now: float, most: int) -> list[Left]:
    """Return what can be taken over, the oldest first, and remove everything else.

    Args:
        directory: The spool, which nobody writes into now.
        now: By the clock of files; one that was set back since makes nothing older than it is.
        most: Attempts, the newest.
    """
    files: dict[AttemptId, list[_File]] = {}
    for entry in os.scandir(directory):
        file = _read(entry)
        if file is None:
            _remove(directory / entry.name)
        else:
            files.setdefault(file.attempt, []).append(file)
    found = [
        Left(attempt, dict(_streams(directory, each)), max(0.0, now - max(file.modified for file in each)))
        for attempt, each in files.items()
        if all(file.suffix in {"", CUT} for file in each)
    ]
    found.sort(key=lambda left: -left.age_s)
    kept = found[-most:]
    for attempt in files.keys() - {left.attempt for left in kept}:
        for file in files[attempt]:
            _remove(Path(_path(directory, file) + file.suffix))
    return kept


def _read(entry: os.DirEntry[str]) -> _File | None:
    """Return what a name says; None: it is of no use."""
    match = _NAME.fullmatch(entry.name)
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    if match is None or not stat.S_ISREG(status.st_mode) or not is_task_id(match["task"]):
        return None
    suffix = match["suffix"] or ""
    if suffix not in {"", CUT, PART, TAIL}:
        return None
    attempt = AttemptId(match["task"], int(match["n"]))
    stream = StreamName[match["stream"].upper()]
    return _File(attempt, stream, suffix, status.st_size, status.st_mtime)


def _streams(directory: Path, files: list[_File]) -> Iterator[tuple[StreamName, SpooledStream]]:
    for file in files:
        truncated = file.suffix == CUT
        yield file.stream, SpooledStream.found(_path(directory, file), file.size, truncated=truncated)


def _path(directory: Path, file: _File) -> str:
    return f"{directory}/{file.attempt.task}.{file.attempt.n}.{file.stream.name.lower()}"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # then it stays, and nobody reads it
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
