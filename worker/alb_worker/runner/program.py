"""Finding a command's program, and what it means when it cannot be started."""

from __future__ import annotations

import errno
import os
from typing import Final

from alb_core.tasks import Cause

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
        raise CommandNotStarted(Cause.NOT_EXECUTABLE, f"{found}: its user may not execute it on this worker")
    raise CommandNotStarted(
        Cause.NOT_FOUND, f"{name[:200]}: no such command on this worker (its PATH is {path[:200]})"
    )


def enter_directory(directory: str) -> None:
    """Make a directory the working directory.

    Raises:
        CommandNotStarted: It is not there, or its user may not use it.
    """
    try:
        os.chdir(directory)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CommandNotStarted(
            Cause.NOT_STARTED,
            f"the working directory {directory[:200]} cannot be used on this worker: {reason}",
        ) from error


def classified(program: str, error: OSError | ValueError) -> CommandNotStarted:
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
