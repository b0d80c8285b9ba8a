"""A mark that commands inherit and do not lose by accident: the hard limit of the number of file locks.

A process can leave its session, close its pipes, lose its parent and clear its environment, and still must
be found when its attempt ends. Resource limits pass through all of that. Linux has counted no locks since
2.4, so this one limits nothing, nobody sets it, and it is free to carry a number: bit 61, 26 bits that stand
for the worker's home directory, and 34 bits that count the runner's attempts downwards (an unprivileged
process can only lower its hard limits). Reading it takes one system call and no parsing. The limit of core
files would do too, were it not lowered by shells and daemons (``ulimit -c 0``).

What washes it off: a command that sets this very limit. Then its control group, its session and its
environment must tell; a process that has shed all of these and its parents is known only as one of the
runner's children.
"""

from __future__ import annotations

import resource
import zlib
from typing import Final

_COUNTER_BITS: Final = 34
_HOME_BITS: Final = 26
_TOP: Final = 1 << (_COUNTER_BITS + _HOME_BITS + 1)
NO_DYE: Final = -1
_LIMIT: Final = 10
#: ``RLIMIT_LOCKS``, which the standard library does not name.


def home_number(home: str) -> int:
    """Return the part of the mark that stands for a worker's home directory."""
    return zlib.crc32(home.encode()) & ((1 << _HOME_BITS) - 1)


def read(pid: int) -> int:
    """Return the mark of a process, or ``NO_DYE`` where it cannot be read.

    Raises:
        ProcessLookupError: There is no such process.
    """
    try:
        hard = resource.prlimit(pid, _LIMIT)[1]
    except PermissionError:
        return NO_DYE
    return hard if _TOP <= hard < 2 * _TOP else NO_DYE


def is_of_home(mark: int, home: str) -> bool:
    """Tell whether a mark was given by a runner of this home directory."""
    return mark != NO_DYE and (mark - _TOP) >> _COUNTER_BITS == home_number(home)


class Dye:
    """Gives the next process that this one starts a mark of its own."""

    def __init__(self, home: str) -> None:
        self._lowest = _TOP + (home_number(home) << _COUNTER_BITS)
        self._next = self._lowest + (1 << _COUNTER_BITS) - 1
        try:
            resource.setrlimit(_LIMIT, (self._next, self._next))
        except (ValueError, OSError):  # the hard limit is below ours already and we may not raise it
            self._next = NO_DYE
        # Commands leave no core files, unless they ask for them.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    @property
    def works(self) -> bool:
        """Whether marks can be given here."""
        return self._next >= self._lowest

    def dip(self) -> int:
        """Take the next mark on; processes started from now on carry it.

        Returns:
            The mark, or ``NO_DYE`` where none can be given.
        """
        if self._next < self._lowest:
            return NO_DYE
        mark = self._next
        self._next -= 1
        resource.setrlimit(_LIMIT, (mark, mark))
        return mark
