"""Starting one command: its environment, its program, its pipes, and what it means when that fails.

``os.posix_spawn`` starts it (glibc: ``CLONE_VFORK``), because it costs the least. Measured on 2 cores with
``/bin/true`` and both output pipes, four in flight: ``subprocess.Popen`` 1,770 to 1,840/s with 190 us of
our own time each, ``posix_spawn`` 2,060 to 2,200/s with 105 us. What ``posix_spawn`` lacks is set on the
runner itself just before, since it has one thread only: the working directory, the limit of core files, the
out-of-memory score.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from typing import Final

import msgspec

from alb_core.tasks import Cause
from alb_worker.runner.dye import Dye
from alb_worker.runner.messages import Settings, Start
from alb_worker.runner.processes import OutOfMemoryScore

INHERITED: Final = ("PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR")
#: What a command gets of the worker's own environment, besides ``LC_*``: no tokens, no preloads.

DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"

_SIGNALS: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_CANNOT_EXECUTE: Final = frozenset(
    (errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.ENOTDIR, errno.EPERM, errno.ELOOP, errno.ETXTBSY)
)


class CommandNotStarted(Exception):
    """Raised when a command could not be started; never leaves the runner as an exception.

    Args:
        cause: NOT_FOUND, NOT_EXECUTABLE or NOT_STARTED.
        why: A sentence for the user.
    """

    def __init__(self, cause: Cause, why: str) -> None:
        super().__init__(cause, why)
        self.cause = cause
        self.why = why


class Spawned(msgspec.Struct, frozen=True):
    """A command that runs."""

    pid: int
    dye: int
    stdout: int
    #: Our end of its pipe; does not block.
    stderr: int


class Spawner:
    """Starts commands.

    Args:
        settings: The worker's name and home, which commands see.
        environ: The worker's own environment, of which little is passed on.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._environment = {
            name: value for name, value in environ.items() if name in INHERITED or name.startswith("LC_")
        }
        self._environment.setdefault("PATH", DEFAULT_PATH)
        self._marks = {"ALB_WORKER": settings.worker, "ALB_WORKER_HOME": settings.home}
        self._null = os.open("/dev/null", os.O_RDWR)
        self._root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self._dye = Dye(settings.home)
        self._score = OutOfMemoryScore()

    def rinse(self) -> None:
        """What this process starts next is no command: it must not carry the mark of the last one."""
        self._dye.dip()

    @property
    def dyes(self) -> bool:
        """Whether commands carry a mark; see ``alb_worker.runner.dye``."""
        return self._dye.works

    def close(self) -> None:
        """Close its files."""
        os.close(self._null)
        os.close(self._root)
        self._score.close()

    def environment(self, start: Start) -> dict[str, str]:
        """Return the whole environment of a command."""
        attempt = start.attempt
        environment = {
            **self._environment,
            **start.env,
            **self._marks,
            **start.marks,
            "ALB_TASK_ID": attempt.task,
            "ALB_ATTEMPT": str(attempt.n),
            "ALB_CPUS": f"{start.cpus:g}",
            "ALB_MEM": str(start.memory_bytes),
        }
        array, dot, index = attempt.task.partition(".")
        if dot:
            environment["ALB_ARRAY_ID"] = array
            environment["ALB_INDEX"] = index
        return environment

    def spawn(self, start: Start, directory: str) -> Spawned:
        """Start a command in a directory.

        Raises:
            CommandNotStarted: It does not run, and nothing is left of the try.
        """
        words = ("/bin/sh", "-c", start.command) if isinstance(start.command, str) else start.command
        environment = self.environment(start)
        try:
            os.chdir(directory)
        except (OSError, ValueError) as error:
            raise _no_directory(directory, error) from error
        try:
            program = find_program(words[0], environment.get("PATH", DEFAULT_PATH))
            return self._spawn_with_pipes(program, words, environment)
        finally:
            os.fchdir(self._root)

    def _spawn_with_pipes(self, program: str, words: tuple[str, ...], environment: dict[str, str]) -> Spawned:
        descriptors: list[int] = []
        try:
            descriptors += os.pipe()
            descriptors += os.pipe()
            stdout, stdout_end, stderr, stderr_end = descriptors
            pid, dye = self._spawn_marked(program, words, environment, stdout_end, stderr_end)
        except (OSError, ValueError) as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise _classified(program, error) from error
        os.close(stdout_end)
        os.close(stderr_end)
        os.set_blocking(stdout, False)
        os.set_blocking(stderr, False)
        return Spawned(pid, dye, stdout, stderr)

    def _spawn_marked(
        self, program: str, words: tuple[str, ...], environment: dict[str, str], stdout: int, stderr: int
    ) -> tuple[int, int]:
        dye = self._dye.dip()
        self._score.raise_for_command()
        try:
            pid = os.posix_spawn(
                program,
                words,
                environment,
                file_actions=(
                    (os.POSIX_SPAWN_DUP2, self._null, 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                ),
                setsid=True,
                setsigmask=(),
                setsigdef=_SIGNALS,
            )
        finally:
            self._score.restore()
        return pid, dye


def find_program(name: str, path: str) -> str:
    """Find a program as a shell would.

    Args:
        name: The command's first word; one with a slash is taken as it is.
        path: The command's ``PATH``.

    Raises:
        CommandNotStarted: No directory of the path holds it, or none holds it as an executable file.
    """
    if "/" in name:
        return name
    found = ""
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            executable = os.access(candidate, os.X_OK)
        except ValueError as error:
            raise CommandNotStarted(Cause.NOT_STARTED, f"{name[:200]!r}: {error}") from error
        if executable and not os.path.isdir(candidate):  # noqa: PTH112 (as cheap as it can be)
            return candidate
        if not found and os.path.lexists(candidate):
            found = candidate
    if found:
        raise CommandNotStarted(Cause.NOT_EXECUTABLE, f"{found}: this worker's user may not execute it")
    raise CommandNotStarted(
        Cause.NOT_FOUND, f"{name[:200]}: no such command on this worker (its PATH is {path[:200]})"
    )


def _no_directory(directory: str, error: Exception) -> CommandNotStarted:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return CommandNotStarted(
        Cause.NOT_STARTED, f"the working directory {directory[:200]} cannot be used on this worker: {reason}"
    )


def _classified(program: str, error: OSError | ValueError) -> CommandNotStarted:
    """Say what an exec that failed means: no such program, no program, or no room to start one."""
    name = program[:200]
    if isinstance(error, ValueError):
        return CommandNotStarted(Cause.NOT_STARTED, f"{name!r} could not be started: {error}")
    if error.errno == errno.ENOENT:
        if os.path.lexists(program):
            return CommandNotStarted(
                Cause.NOT_EXECUTABLE, f"{name}: it is there, but its interpreter (or what it links to) is not"
            )
        return CommandNotStarted(Cause.NOT_FOUND, f"{name}: no such file on this worker")
    if error.errno in _CANNOT_EXECUTE:
        return CommandNotStarted(Cause.NOT_EXECUTABLE, f"{name}: {error.strerror}")
    if error.errno == errno.E2BIG:
        return CommandNotStarted(
            Cause.NOT_STARTED,
            f"{name}: the command and its environment are larger than the kernel takes "
            "(128 KiB for one string, a quarter of the stack limit in all)",
        )
    return CommandNotStarted(Cause.NOT_STARTED, f"{name} could not be started: {error.strerror}")
