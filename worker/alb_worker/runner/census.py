"""What the processes of attempts use, as ``/proc`` tells it: read often, so each look is a small one.

One look at a process is one file; who belongs to which attempt costs one system call for every process of
the machine, whatever they did to hide, for the mark of ``dye`` tells.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from alb_worker.runner import dye, processes

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_STAT_BYTES: Final = 1024
#: Longer than the longest line of ``/proc/<pid>/stat``.


class Sum(NamedTuple):
    """What some processes use together."""

    processes: int
    #: With their threads.
    resident_bytes: int
    #: What they share is counted for each of them.
    cpu_s: float
    #: Their own, and that of children that they have waited for.


def marked(seen: set[int] | None = None) -> dict[int, list[int]]:
    """Return the processes of this machine that carry a mark, by mark; not this one, which only gives them.

    Args:
        seen: Processes that are not looked at; those that are looked at now come to it.
    """
    found: dict[int, list[int]] = {}
    pids = set(processes.all_processes()) - {os.getpid()}
    if seen is not None:
        pids -= seen
        seen |= pids
    for pid in pids:
        try:
            mark = dye.read(pid)
        except ProcessLookupError:
            continue
        if mark != dye.NO_DYE:
            found.setdefault(mark, []).append(pid)
    return found


def count(pids: Iterable[int]) -> Sum:
    """Add up what processes use; what is dead counts nothing but its time."""
    processes, pages, ticks = 0, 0, 0
    for pid in pids:
        fields = _stat(pid)
        if not fields:
            continue
        # proc_pid_stat(5), from the field after the name on: state is 0, utime 11, num_threads 17, rss 21.
        ticks += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
        if fields[0] not in (b"Z", b"X"):
            processes += max(1, int(fields[17]))
            pages += int(fields[21])
    return Sum(processes, pages * _PAGE, ticks / _TICKS)


def _stat(pid: int) -> list[bytes]:
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        data = os.read(descriptor, _STAT_BYTES)
    except OSError:
        return []
    finally:
        os.close(descriptor)
    # The command's name, in parentheses, may itself contain anything.
    return data[data.rindex(b")") + 2 :].split()


def own_bytes(pids: Collection[int]) -> int:
    """Return the resident memory that processes have of their own: shared among them it counts once.

    Pages of files that they have mapped are left out: the kernel can take those back. This costs the kernel
    a walk over their page tables, so it is for the moments that matter.
    """
    return sum(map(_own_bytes, pids))


def _own_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123 (read often)
            lines = file.read().splitlines()
    except OSError:
        # Another user's, or it is ending: what everybody may know of it.
        fields = _stat(pid)
        return int(fields[21]) * _PAGE if fields and fields[0] not in (b"Z", b"X") else 0
    found = {line.partition(b":")[0]: line for line in lines}
    parts = [found[name] for name in (b"Pss_Anon", b"Pss_Shmem") if name in found]
    if not parts and b"Pss" in found:  # a kernel before 5.9
        parts = [found[b"Pss"]]
    return sum(int(part.split()[1]) * 1024 for part in parts)
