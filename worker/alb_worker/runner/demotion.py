"""Demotion: attempts that run on with what nobody else wants of the processors.

What can be done differs from machine to machine, so it is tried in this order: the weight of the attempt's
own control group of version 2; one group of version 1 with the least shares, for all demoted attempts of this
runner; the niceness of their sessions, where the kernel groups processes by session (``sched_autogroup``):
there a process's own niceness counts only against those of its session; and that niceness.

What an attempt starts later inherits it, except for a session of its own, and for who was forking meanwhile:
so it is done again with every round of the watch, which costs nothing where nothing is left to do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.groups import CGROUP1, CGROUP2
from alb_worker.runner.hierarchies import DEMOTING, own_places

CPU_WEIGHT: Final = "cpu.weight"
CPU_SHARES: Final = "cpu.shares"
AUTOGROUP: Final = "autogroup"
NICE: Final = "nice"
NICENESS: Final = 19
SHARES: Final = 2
#: The least that version 1 knows; one process in the group beside it has 1024.
AUTOGROUP_ENABLED: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")


class Demotion:
    """Gives attempts the lowest weight.

    Args:
        name: Of the runner's control groups, unique among all runners.
        wanted: As for `RunnerGroups`: groups of one version only, or none.
    """

    def __init__(self, name: str, wanted: str = "") -> None:
        self._name: Final = name
        self._wanted: Final = wanted
        self._shares: str | None = None
        #: The group of version 1 for those that are demoted; empty: there can be none; None: not tried yet.

    def apply(self, attempt: RunningAttempt, members: Iterable[int]) -> str:
        """Demote an attempt, as far as it is not.

        Args:
            attempt: What is demoted.
            members: Its processes.

        Returns:
            What did it.
        """
        if self._wanted in ("", CGROUP2) and attempt.group is not None and attempt.group.weaken():
            return CPU_WEIGHT
        if self._wanted in ("", CGROUP1) and self._move(members):
            return CPU_SHARES
        sessions = _weaken_sessions(members) if _groups_sessions() else False
        for pid in members:
            _make_nice(pid)
        return AUTOGROUP if sessions else NICE

    def leave(self) -> None:
        """Remove the group, if nobody is left in it."""
        if self._shares:
            with contextlib.suppress(OSError):
                os.rmdir(self._shares)  # noqa: PTH106 (a path as text)

    def _move(self, members: Iterable[int]) -> bool:
        """Move processes into the group of version 1; returns whether there is one."""
        if self._shares is None:
            self._shares = self._make()
        if not self._shares:
            return False
        procs = Path(self._shares, "cgroup.procs")
        there = set(procs.read_text().split())
        for pid in map(str, members):
            if pid not in there:
                with contextlib.suppress(ProcessLookupError):
                    procs.write_text(pid)
        return True

    def _make(self) -> str:
        for place in own_places(wanted=DEMOTING):
            if place.version != 1:
                continue
            path = place.below(self._name).path
            with contextlib.suppress(OSError):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o755)  # noqa: PTH102 (a path as text)
                Path(path, CPU_SHARES).write_text(str(SHARES))
                return path
        return ""


def _groups_sessions() -> bool:
    """Tell whether the kernel groups processes by session."""
    with contextlib.suppress(OSError):
        return AUTOGROUP_ENABLED.read_text().strip() == "1"
    return False


def _weaken_sessions(members: Iterable[int]) -> bool:
    """Give every session among some processes the lowest weight; returns whether all have it.

    The kernel lets an unprivileged user do so ten times a second: what is refused is tried again later.
    """
    done: set[bytes] = set()
    whole = True
    for pid in members:
        path = Path(f"/proc/{pid}/autogroup")
        try:
            session, _, niceness = path.read_bytes().strip().partition(b" nice ")
            if session not in done and niceness != b"%d" % NICENESS:
                path.write_text(str(NICENESS))
            done.add(session)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it is gone
        except OSError:
            whole = False
    return whole and bool(done)


def _make_nice(pid: int) -> None:
    """Make every thread of a process nice; what it starts inherits that."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (names only)
            with contextlib.suppress(OSError):
                if os.getpriority(os.PRIO_PROCESS, int(thread)) < NICENESS:
                    os.setpriority(os.PRIO_PROCESS, int(thread), NICENESS)
