"""The files to which commands append their increments, and those from which they learn of earlier ones.

A command makes its file itself, with its first line; most never do. While it runs, its file is looked at now
and then, and once more when it is over.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from alb_core.increments import DROPPED_KEY, Line, Resume, parse_line, shown
from alb_core.messages import AttemptId
from alb_worker.runner.logins import Login
from alb_worker.shell.guests import guest

READ_BYTES: Final = 1024 * 1024
#: Of one file at a time, while its command runs.
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
#: Of one attempt; what it reports beyond is dropped.
FILE_LINES_MAX: Final = 250_000
#: As above: an increment a second for almost three days. All of them at once keep the agent busy for a second
#: or two; many more, and its leader would think it lost.
LOOK_FROM: Final = 4
#: So many files that may be there by now cost less by one look at their directory than by one look at each.
NAMES_A_FILE: Final = 8
#: Of that directory so many names are read for each of them: a command may have put others there.
_DIRECTORY: Final = "increments"
_FULL: Final = Line(
    DROPPED_KEY, f'"of one attempt {FILE_BYTES_MAX >> 20} MiB or {FILE_LINES_MAX} lines are read, no more"'
)


class _File:
    """What was read of one attempt's file."""

    __slots__ = ("exists", "lines", "name", "offset", "path", "rest")

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        #: In the worker's own directory; empty: it is to be in a user's.
        self.offset = 0
        self.rest = b""
        #: The beginning of a line whose end is not written yet.
        self.lines = 0
        #: Read so far.
        self.exists = False
        #: There is, or was, something at its path.

    def read(self, most: int) -> bytes:
        """Return what was added, up to so many bytes."""
        if not self.exists:
            return b""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            data = os.pread(descriptor, min(most, FILE_BYTES_MAX - self.offset), self.offset)
        except OSError:
            data = b""
        finally:
            os.close(descriptor)
        self.offset += len(data)
        return data


class IncrementFiles:
    """The files of all attempts that run.

    Args:
        work_dir: The worker's directory; what an earlier process left is removed.
        allow_run_as: Users that commands may be: each has a directory of its own for its files.

    Raises:
        OSError: The directory cannot be made.
    """

    def __init__(self, work_dir: str, allow_run_as: tuple[str, ...] = ()) -> None:
        self._directory = Path(work_dir).resolve() / _DIRECTORY
        self._allow_run_as = allow_run_as
        self._remove()
        self._directory.mkdir(mode=0o700, parents=True)
        self._home = str(self._directory)
        self._files: dict[AttemptId, _File] = {}

    def open(self, attempt: AttemptId, resume: Resume | None, run_as: str = "") -> dict[str, str]:
        """Expect increments of an attempt that starts.

        Args:
            attempt: Which.
            resume: What earlier ones reported.
            run_as: The user that its command is to be; empty: ours.

        Returns:
            What its command finds in its environment: where to report, and where to go on.

        Raises:
            OSError: What earlier attempts reported cannot be written down for it.
        """
        user = guest(run_as, self._allow_run_as)
        name = f"{attempt.task}.{attempt.n}"
        path = f"{self._home if user is None else self._directory_of(user)}/{name}"
        marks = {"ALB_INCREMENTS": path}
        if resume is not None and resume.lines:
            marks["ALB_RESUME"] = shown(resume.lines[-1].value)
            marks["ALB_RESUME_FILE"] = f"{path}.resume"
            with suppress(FileNotFoundError):  # whatever a command left there
                os.unlink(marks["ALB_RESUME_FILE"])  # noqa: PTH108 (a path as text)
            with open(marks["ALB_RESUME_FILE"], "xb") as file:  # noqa: PTH123 (as above)
                file.writelines(map(_resume_line, resume.lines))
                if user is not None:
                    os.fchown(file.fileno(), user.uid, user.gid)
        self._files[attempt] = _File(path, name if user is None else "")
        return marks

    def _directory_of(self, user: Login) -> Path:
        """Return where a user's commands report: they make their files there themselves."""
        directory = self._directory.with_name(f"{_DIRECTORY}.{user.uid}")
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            os.chown(directory, user.uid, user.gid)
        return directory

    def poll(self) -> list[tuple[AttemptId, tuple[Line, ...]]]:
        """Return what running commands have reported since the last time."""
        self._look(self._files.values())
        return [
            (attempt, lines) for attempt, file in self._files.items() if (lines := _lines(file, READ_BYTES))
        ]

    def _look(self, files: Collection[_File]) -> None:
        """Find out which of these are there by now: most commands never make theirs."""
        awaited = [file for file in files if not file.exists]
        names = _names(self._home, len(awaited) * NAMES_A_FILE) if len(awaited) >= LOOK_FROM else None
        for file in awaited:
            if names is not None and file.name:
                file.exists = file.name in names
            else:  # to ask first costs half of the exception
                file.exists = os.access(file.path, os.F_OK, follow_symlinks=False)

    def finish_all(self, ended: Mapping[AttemptId, bool]) -> dict[AttemptId, tuple[Line, ...]]:
        """Return the last increments of attempts that are over, of those that have some; else as `finish`.

        Args:
            ended: Which; and of each, whether it is whole.
        """
        self._look([file for attempt in ended if (file := self._files.get(attempt)) is not None])
        return {
            attempt: lines for attempt, whole in ended.items() if (lines := self._conclude(attempt, whole))
        }

    def finish(self, attempt: AttemptId, *, whole: bool = False) -> tuple[Line, ...]:
        """Return the last increments of an attempt that is over, and remove its files.

        Args:
            attempt: Which.
            whole: Its command came to its own end: a last line without its newline is one. That of a command
                that was killed may be half of one.
        """
        return self.finish_all({attempt: whole}).get(attempt, ())

    def _conclude(self, attempt: AttemptId, whole: bool) -> tuple[Line, ...]:  # noqa: FBT001 (as it is known)
        file = self._files.pop(attempt, None)
        if file is None or not (file.exists or attempt.n > 1):
            return ()
        lines = _lines(file, FILE_BYTES_MAX, last=whole and file.offset < FILE_BYTES_MAX)
        if file.offset >= FILE_BYTES_MAX:
            lines = (*lines, _FULL)
        for path in (file.path, f"{file.path}.resume"):
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 (a path as text)
        return lines

    def abandon(self) -> list[tuple[AttemptId, tuple[Line, ...]]]:
        """Return the last increments of all: their commands died with the runner."""
        return [(attempt, lines) for attempt in list(self._files) if (lines := self.finish(attempt))]

    def close(self) -> None:
        """Remove everything."""
        self._files.clear()
        self._remove()

    def _remove(self) -> None:
        for directory in (self._directory, *self._directory.parent.glob(f"{_DIRECTORY}.*")):
            shutil.rmtree(directory, ignore_errors=True)


def _names(directory: str, most: int) -> frozenset[str] | None:
    """Return the names in a directory; None: they are more than so many, or cannot be read."""
    try:
        with os.scandir(directory) as entries:
            names = frozenset(entry.name for entry in islice(entries, most + 1))
    except OSError:
        return None
    return None if len(names) > most else names


def _lines(file: _File, most: int, *, last: bool = False) -> tuple[Line, ...]:
    data = file.read(most)
    if not data and not (last and file.rest):
        return ()
    room = FILE_LINES_MAX - file.lines
    *whole, rest = (file.rest + data).split(b"\n", room)
    if len(whole) == room:
        file.offset, rest = FILE_BYTES_MAX, b""  # what follows is dropped
    file.lines += len(whole)
    if last:
        whole.append(rest)
        rest = b""
    file.rest = rest
    return tuple(line for line in map(parse_line, whole) if line is not None)


def _resume_line(line: Line) -> bytes:
    return b'{"key":%b,"value":%b}\n' % (msgspec.json.encode(line.key), line.value.encode())
