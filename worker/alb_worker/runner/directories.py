"""Fresh directories of commands that asked for no other: mode 0700, empty at the start, removed after.

Making and removing one costs 110 us on a disk, a quarter of what starting ``/bin/true`` costs; so a
directory that a command left exactly as it got it is given to the next one. Any other is moved aside, and a
child process removes it: a command may leave a million files, and the runner must not stop for them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_KEPT_MAX: Final = 64
COARSE_S: Final = 0.1
#: The clock of file systems has moved on after this.
_REMOVE: Final = 'rm -rf -- "$@" 2>/dev/null || { chmod -R u+rwx -- "$@"; rm -rf -- "$@"; } 2>/dev/null'


class FreshDirectory:
    """One directory and what it looked like when it was made."""

    __slots__ = ("made", "path", "settled", "stamp")

    def __init__(self, path: str, prepared: str = "") -> None:
        self.path = path
        self.stamp: tuple[int, ...] = ()
        #: Empty: it never was empty.
        self.made = time.monotonic()
        self.settled = False
        #: It was found empty so late that no change since can have left the stamp as it was.
        if prepared:
            os.rename(prepared, path)  # noqa: PTH104 (as below)
        else:
            os.mkdir(path, 0o700)  # noqa: PTH102 (pathlib costs more than the call)
            self.stamp = self._look()

    def _look(self) -> tuple[int, ...]:
        stat = os.lstat(self.path)
        return (stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink, stat.st_ctime_ns)

    def untouched(self) -> bool:
        """Tell whether nothing was done to it. A listing decides as long as the clock may be too coarse."""
        try:
            if self._look() != self.stamp:
                return False
            if not self.settled:
                late = time.monotonic() - self.made > COARSE_S
                if os.listdir(self.path):  # noqa: PTH208 (as above)
                    return False
                self.settled = late
        except OSError:
            return False
        return True


class FreshDirectories:
    """Gives out directories below `home`, and removes what commands leave in them.

    Args:
        home: The worker's directory.
        rinse: Called before a process is started that removes.
    """

    def __init__(self, home: str, rinse: Callable[[], None]) -> None:
        self._rinse = rinse
        self._root = f"{home}/attempts"
        self._trash = f"{home}/trash"
        self._kept_for_files = f"{home}/kept"
        #: What ended commands left that is to go back to their users: the agent's until it is removed.
        self._prepared = f"{home}/prepared"
        #: Where the agent gathers the files of commands that are to start.
        self._serial = 0
        self._kept: list[FreshDirectory] = []
        self._removing: tuple[int, list[str]] | None = None
        #: The child process that removes, and what it removes.
        self._to_remove: list[str] = []

    def start(self) -> None:
        """Make the place, and begin to remove what an earlier runner left."""
        for path in (self._root, self._trash, self._kept_for_files, self._prepared):
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(self._root).chmod(0o711)  # a command that runs as another user goes through it to its own
        self._to_remove = [entry.path for entry in os.scandir(self._trash)]
        for place in (self._root, self._kept_for_files):  # files may be gathered in the third already
            for path in [entry.path for entry in os.scandir(place)]:
                self._discard(path)
        self._remove_next()

    def take(self, prepared: str = "") -> FreshDirectory:
        """Return an empty directory, or the prepared one.

        Raises:
            OSError: None can be made, or the prepared one is gone.
        """
        if self._kept and not prepared:
            return self._kept.pop()
        self._serial += 1
        return FreshDirectory(f"{self._root}/{os.getpid()}.{self._serial}", prepared)

    def set_aside(self, directory: FreshDirectory) -> str:
        """Leave a directory whose command is over to the agent; return where it is, empty if it is gone."""
        self._serial += 1
        aside = f"{self._kept_for_files}/{os.getpid()}.{self._serial}"
        try:
            os.rename(directory.path, aside)  # noqa: PTH104 (as below)
        except OSError:
            return ""  # the command removed or moved it itself
        return aside

    def give_back(self, directory: FreshDirectory) -> None:
        """Take a directory back whose command is over, with all its processes."""
        if len(self._kept) < _KEPT_MAX and directory.untouched():
            self._kept.append(directory)
            return
        try:
            os.rmdir(directory.path)  # noqa: PTH106 (pathlib costs more than the call)
        except OSError:
            self._discard(directory.path)
            self._remove_next()

    def _discard(self, path: str) -> None:
        self._serial += 1
        aside = f"{self._trash}/{os.getpid()}.{self._serial}"
        try:
            os.rename(path, aside)  # noqa: PTH104 (as above)
        except OSError:
            return  # the command removed or moved it itself
        self._to_remove.append(aside)

    def _remove_next(self) -> None:
        if self._removing is None and self._to_remove:
            batch, self._to_remove = self._to_remove[:500], self._to_remove[500:]
            self._rinse()
            try:
                pid = spawn_remover(batch)
            except OSError:  # no room for a process now: with the next one that comes back
                self._to_remove += batch
            else:
                self._removing = (pid, batch)

    @property
    def removers(self) -> tuple[int, ...]:
        """The child processes that remove directories: one, or none."""
        return () if self._removing is None else (self._removing[0],)

    def remover_ended(self) -> None:
        """The child process that removes was reaped: go on with what came meanwhile."""
        self._removing = None
        self._remove_next()

    def close(self) -> None:
        """Remove everything. No command may run any more, and no remover."""
        self._kept.clear()
        for directory in (self._root, self._trash, self._kept_for_files, self._prepared):
            with contextlib.suppress(OSError):
                os.waitpid(spawn_remover([directory]), 0)


def clear_prepared(home: str) -> None:
    """Put aside what was prepared for commands of an earlier runner, for the next one to remove.

    To be called before that one is started: from then on files may be gathered for it, even before it runs.

    Args:
        home: The worker's directory.

    Raises:
        OSError: The directory cannot be used.
    """
    trash, prepared = Path(home, "trash"), Path(home, "prepared")
    for place in (trash, prepared):
        place.mkdir(mode=0o700, exist_ok=True)
    for path in prepared.iterdir():
        with contextlib.suppress(FileNotFoundError):  # its courier discarded it meanwhile
            path.rename(trash / f"prepared.{time.time_ns()}.{path.name}")


def spawn_remover(paths: list[str]) -> int:
    """Start a process that removes directories with all that is in them; return its number."""
    words = ["sh", "-c", _REMOVE, "sh", *paths]
    return os.posix_spawn("/bin/sh", words, {"PATH": "/usr/bin:/bin"}, setsid=True)
