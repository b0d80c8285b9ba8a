"""What the kernel tells of processes, and signals that reach the process that was meant and no other.

A process that is our own child keeps its number until we reap it, so it can be signalled safely by number;
so can the process group of such a child. Any other process is signalled through a pidfd, after a second
look at it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PR_SET_CHILD_SUBREAPER: Final = 36


class ProcessStat(NamedTuple):
    """Some fields of ``/proc/<pid>/stat``."""

    state: str
    parent: int
    start: int
    #: Clock ticks since boot.


def become_subreaper() -> None:
    """Make orphans among our descendants our own children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@contextlib.contextmanager
def urgency() -> Iterator[None]:
    """Run before everything else meanwhile, where we may: what forks all the time must not outrun us."""
    policy = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, os.sched_param(0))


def stat_of(pid: int) -> ProcessStat | None:
    """Read what ``/proc`` tells of a process; None: it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name, in parentheses, may itself contain anything.
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessStat(fields[0].decode(), int(fields[1]), int(fields[19]))


def environment_of(pid: int) -> dict[bytes, bytes]:
    """Read the environment that a process was started with; empty where it cannot be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def all_processes() -> list[int]:
    """Return the numbers of all processes that we can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 (names only)


def _children_by_scan(pid: int) -> list[int]:
    return [child for child in all_processes() if (stat := stat_of(child)) and stat.parent == pid]


def children_of(pid: int) -> list[int]:
    """Return the children of any process, as far as they can be seen at once."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (names only)
    except OSError:
        return []
    children: list[int] = []
    for thread in threads:
        try:
            children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
        except FileNotFoundError:
            if Path("/proc/self/task", str(os.getpid()), "children").exists():
                continue
            return _children_by_scan(pid)
        except OSError:
            continue
    return children


def descendants_of(pid: int) -> Iterator[tuple[int, int]]:
    """Walk a process's living descendants, parents first, as pairs (parent, child)."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        for child in children_of(parent):
            yield parent, child
            pending.append(child)


def signal_child_of(parent: int, pid: int, number: int) -> bool:
    """Send a signal to a process that is a child of `parent`, and to nobody who got its number since.

    Returns:
        Whether it was sent.
    """
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            stat = stat_of(pid)
            if stat is not None and stat.parent == parent:
                signal.pidfd_send_signal(descriptor, number)
                return True
        finally:
            os.close(descriptor)
    return False


class OwnChildren:
    """The children of this single-threaded process, read often: the file stays open.

    No child leaves the list before we reap it, so a list is never short of one; new ones come at its end.
    """

    def __init__(self) -> None:
        try:
            self._file = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
        except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
            self._file = -1

    def read(self) -> list[int]:
        """Return the numbers of all children, zombies included."""
        if self._file < 0:
            return _children_by_scan(os.getpid())
        os.lseek(self._file, 0, os.SEEK_SET)
        data = os.read(self._file, 4096)
        if len(data) > 3000:
            while more := os.read(self._file, 4096):
                data += more
        return [int(number) for number in data.split()]

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)


class OutOfMemoryKills:
    """How often the kernel killed a process because memory ran out."""

    def __init__(self) -> None:
        self._seen = self._count()

    def forget(self) -> None:
        """What happened so far is nobody's concern any more."""
        self._seen = self._count()

    def happened(self) -> bool:
        """Tell whether there was one since the last call."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    @staticmethod
    def _count() -> int:
        with contextlib.suppress(OSError):
            for line in Path("/proc/vmstat").read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0


class OutOfMemoryScore:
    """Makes commands likelier victims of the kernel's out-of-memory killer than the worker is.

    The score is inherited, so it is raised just before a command is started and put back after: two system
    calls.
    """

    COMMANDS: Final = b"500"

    def __init__(self) -> None:
        self._own = Path("/proc/self/oom_score_adj").read_bytes().strip()
        self._file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        self._works = int(self._own) < int(self.COMMANDS)

    def raise_for_command(self) -> None:
        """The next process inherits a high score."""
        if self._works:
            os.write(self._file, self.COMMANDS)

    def restore(self) -> None:
        """Take our own score back."""
        if self._works:
            os.write(self._file, self._own)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
