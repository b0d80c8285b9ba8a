"""The bound on open files: commands are born with it, so that nothing they start at once is without it.

The runner takes the soft limit on before a start and gives it up after, which everybody may. The hard limit
could not be had back without a privilege: the command gets it once it runs.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final


class OpenFiles:
    """What commands have in place of the runner's own limit."""

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._soft: Final = soft
        self._hard: Final = hard
        self._taken = False

    def take_on(self, most: int | None) -> None:
        """Before a start: have the command's limit; what we have open stays open.

        Args:
            most: Open files of each of the command's processes; None: it is not bounded.
        """
        if most is not None:
            self._taken = True
            resource.setrlimit(resource.RLIMIT_NOFILE, (_within(most, self._hard), self._hard))

    def give_up(self) -> None:
        """After a start: have our own limit again."""
        if self._taken:
            self._taken = False
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._soft, self._hard))


def fix_open_files(pid: int, most: int) -> None:
    """Set both limits of a process that has just begun: neither it nor what it will start can raise them.

    Args:
        pid: Which; 0: this one.
        most: Open files, at most as many as the process may have already.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        most = _within(most, hard)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))


def _within(most: int, hard: int) -> int:
    return most if hard == resource.RLIM_INFINITY else min(most, hard)
