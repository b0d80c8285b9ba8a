"""The files to which commands append their increments, and those from which they learn of earlier ones.

A command makes its file itself, with its first line; most never do. While it runs, its file is looked at now
and then, and once more when it is over.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
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
_DIRECTORY: Final = "increments"
_FULL: Final = Line(
    DROPPED_KEY, f'"of one attempt {FILE_BYTES_MAX >> 20} MiB or {FILE_LINES_MAX} lines are read, no more"'
)


class _File:
    """What was read of one attempt's file."""

    __slots__ = ("exists", "lines", "offset", "path", "rest")

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.rest = b""
        #: The beginning of a line whose end is not written yet.
        self.lines = 0
        #: Read so far.
        self.exists = False
        #: There is something at its path.

    def read(self, most: int) -> bytes:
        """Return what was added, up to so many bytes."""
        if not self.exists and not os.access(self.path, os.F_OK, follow_symlinks=False):
            return b""  # as of most commands: to ask first costs half of the exception
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return b""
        except OSError:
            self.exists = True
            return b""
        self.exists = True
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
        directory = self._directory if user is None else self._directory_of(user)
        path = f"{directory}/{attempt.task}.{attempt.n}"
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
        self._files[attempt] = _File(path)
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
        return [
            (attempt, lines) for attempt, file in self._files.items() if (lines := _lines(file, READ_BYTES))
        ]

    def finish(self, attempt: AttemptId, *, whole: bool = False) -> tuple[Line, ...]:
        """Return the last increments of an attempt that is over, and remove its files.

        Args:
            attempt: Which.
            whole: Its command came to its own end: a last line without its newline is one. That of a command
                that was killed may be half of one.
        """
        file = self._files.pop(attempt, None)
        if file is None:
            return ()
        lines = _lines(file, FILE_BYTES_MAX, last=whole and file.offset < FILE_BYTES_MAX)
        if file.offset >= FILE_BYTES_MAX:
            lines = (*lines, _FULL)
        for path in (file.path, f"{file.path}.resume") if file.exists or attempt.n > 1 else ():
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
