"""How much an attempt's fresh directory holds: walked in portions, for a command may make a million files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

ENTRIES_A_STEP: Final = 2000
#: Some 10 ms.
_BLOCK: Final = 512
#: ``st_blocks`` counts in these, whatever the file system.


class ScratchWalk:
    """Goes round and round through a directory, and knows what the last whole round found.

    A file that was removed and is still open is not seen; one with several names counts a part for each.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._round: Iterator[int] | None = None
        self._sum = 0
        self._last = 0

    def step(self) -> int:
        """Go on a bounded piece.

        Returns:
            The bytes of the last whole round, or of this one so far where that is more.
        """
        if self._round is None:
            self._round, self._sum = _sizes(self._path), 0
        for _ in range(ENTRIES_A_STEP):
            size = next(self._round, None)
            if size is None:
                self._round, self._last = None, self._sum
                return self._last
            self._sum += size
        return max(self._last, self._sum)


def _sizes(path: str) -> Iterator[int]:
    """Walk a directory; yield what each entry takes on the disk."""
    pending = [path]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    stat = entry.stat(follow_symlinks=False)
                except OSError:  # it was removed meanwhile
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                yield stat.st_blocks * _BLOCK // (1 if entry.is_dir(follow_symlinks=False) else stat.st_nlink)
