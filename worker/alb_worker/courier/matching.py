"""Which files of a task's directory its return patterns mean.

Patterns are globs relative to the directory: ``*``, ``?`` and ``[…]`` within a name, ``**`` for any folders.
As in a shell, a wildcard does not match a leading dot. Only regular files count, and no symbolic link is
followed: nothing outside the directory comes back. While a checkpoint is looked for, the command runs and may
move files: what is found is looked at again afterwards.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from alb_worker.courier.errors import NotMoved

ENTRIES_MAX: Final = 200_000
#: Looked at for one task: a command may leave a million files.
_WILD: Final = re.compile(r"[*?\[]")


class Found:
    """The regular files that patterns mean.

    Args:
        directory: The task's.
        patterns: What it wants back.

    Raises:
        NotMoved: There are too many entries to look at.
    """

    def __init__(self, directory: str, patterns: Sequence[str]) -> None:
        self._directory = directory
        self._looked = 0
        self.unmatched: list[str] = []
        #: Patterns that mean no regular file.
        self.names: list[str] = []
        #: Relative to the directory, sorted, each once.
        names: set[str] = set()
        for pattern in patterns:
            found = set(self._expand("", pattern.split("/")))
            if not found:
                self.unmatched.append(pattern)
            names |= found
        self.names = sorted(names)

    def _expand(self, folder: str, parts: list[str]) -> Iterator[str]:
        """Yield the files below a folder that the rest of a pattern means."""
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._expand_any(folder, rest or ["*"])
            return
        for name, is_folder in self._matching(folder, part):
            path = f"{folder}{name}"
            if rest and is_folder:
                yield from self._expand(f"{path}/", rest)
            elif not rest and not is_folder:
                yield path

    def _expand_any(self, folder: str, rest: list[str]) -> Iterator[str]:
        yield from self._expand(folder, rest)
        for name, is_folder in self._matching(folder, "*"):
            if is_folder:
                yield from self._expand_any(f"{folder}{name}/", rest)

    def _matching(self, folder: str, part: str) -> list[tuple[str, bool]]:
        """Return the regular files and the folders of this name, and which of them are folders."""
        if not _WILD.search(part):
            kind = _kind(f"{self._directory}/{folder}{part}")
            return [] if kind is None else [(part, kind)]
        matches = re.compile(fnmatch.translate(part)).match
        found = []
        try:
            with os.scandir(f"{self._directory}/{folder}") as entries:
                for entry in entries:
                    self._looked += 1
                    if self._looked > ENTRIES_MAX:
                        raise NotMoved(
                            f"its directory has more than {ENTRIES_MAX} entries; return one archive"
                        )
                    if (entry.name[0] != "." or part[0] == ".") and matches(entry.name):
                        kind = _kind(entry.path)
                        if kind is not None:
                            found.append((entry.name, kind))
        except OSError:
            return []  # the command took the right to read it away
        return found


def open_own(directory: str, name: str) -> int:
    """Open a file of a task for reading.

    Where the task runs as another user than we do, we can read what it cannot: only what belongs to it
    counts. Else a link that it puts in the place of a folder would bring back what is not its own.

    Args:
        directory: The task's; it belongs to the task's user.
        name: Relative to it, as it was found.

    Raises:
        OSError: It cannot be read, or belongs to somebody else.
    """
    descriptor = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    owners = {os.geteuid(), os.fstat(descriptor).st_uid}
    if os.stat(directory).st_uid not in owners:  # noqa: PTH116 (a path as text)
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "it belongs to another user than its task")
    return descriptor


def _kind(path: str) -> bool | None:
    """Tell whether a path is a folder (True) or a regular file (False); None: neither."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(mode):
        return True
    return False if stat.S_ISREG(mode) else None
