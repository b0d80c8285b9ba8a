"""Whose are the processes that have lost their parents: the runner is their subreaper, so it must know.

A process that outlives its parent becomes a child of the runner. It belongs to the attempt whose dye it
carries, else in whose control group it is, else whose session it is in, else whose names are in its
environment. One that shed all of these is a *stray*: it is known to be of some attempt that ran when it was
born and had no group yet, and is killed when the last of these is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from alb_worker.runner import census, dye, processes
from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.groups import RunnerGroups

FREEZE_PASSES_MAX: Final = 100
#: A tree is looked through so often for members that came while it was stopped.
_OURS: Final = 0
_BY_MARK: Final = -1
#: In the place of a parent: our own child, and a process that is known by its mark.
_BORN_S: Final = 0.02
#: The kernel tells when a process was born to a hundredth of a second.


class Family:
    """The runner's children that are no leaders of attempts."""

    def __init__(self, groups: RunnerGroups) -> None:
        self._groups = groups
        self._children = processes.OwnChildren()
        self._orphans: dict[int, RunningAttempt] = {}
        self._strays: dict[int, set[RunningAttempt]] = {}

    def close(self) -> None:
        """Close its files."""
        self._children.close()

    def look(
        self, leaders: Collection[int], removers: Collection[int], attempts: Iterable[RunningAttempt]
    ) -> None:
        """Find orphans that came since the last look, and give each to its attempt.

        Args:
            leaders: Children of the runner that are leaders.
            removers: Children of the runner that remove directories.
            attempts: All attempts that are not over.
        """
        for pid in self._children.read():
            if (
                pid not in leaders
                and pid not in self._orphans
                and pid not in self._strays
                and pid not in removers
            ):
                self._adopt(pid, attempts)

    def _adopt(self, pid: int, attempts: Iterable[RunningAttempt]) -> None:
        owner = self._owner(pid, attempts)
        if owner is not None:
            self._orphans[pid] = owner
            owner.orphans.add(pid)
        else:
            candidates = _candidates(pid, attempts)
            self._strays[pid] = candidates
            if not candidates:
                kill_child(pid, signal.SIGKILL)

    def _owner(self, pid: int, attempts: Iterable[RunningAttempt]) -> RunningAttempt | None:
        """Find out whose an orphan is. It is our unreaped child, so its number means it and no other."""
        mark = dye.read(pid)
        if mark != dye.NO_DYE:
            for attempt in attempts:
                if attempt.dye == mark:
                    return attempt
        group = self._groups.number_of(pid)
        session = os.getsid(pid)
        environment = processes.environment_of(pid)
        names = (environment.get(b"ALB_TASK_ID"), environment.get(b"ALB_ATTEMPT"))
        for attempt in attempts:
            if group and attempt.group is not None and attempt.group.number == group:
                return attempt
            if attempt.pid == session or names == (attempt.id.task.encode(), b"%d" % attempt.id.n):
                return attempt
        return None

    def reaped(self, pid: int) -> RunningAttempt | None:
        """Forget an orphan that was reaped; returns its attempt, if that is known."""
        self._strays.pop(pid, None)
        owner = self._orphans.pop(pid, None)
        if owner is not None:
            owner.orphans.discard(pid)
        return owner

    def attempt_over(self, attempt: RunningAttempt) -> None:
        """Kill the strays that can belong to no other attempt any more."""
        for pid, candidates in self._strays.items():
            candidates.discard(attempt)
            if not candidates:
                kill_child(pid, signal.SIGKILL)

    def everyone(self) -> list[int]:
        """Return all children of the runner."""
        return self._children.read()


def _candidates(pid: int, attempts: Iterable[RunningAttempt]) -> set[RunningAttempt]:
    """Return the attempts that a process may be of which shed all marks.

    Whoever is in a group of its own has all its children there; and nobody's child is older than itself.
    """
    stat = processes.stat_of(pid)
    if stat is None:
        return set(attempts)
    born = stat.start / os.sysconf("SC_CLK_TCK")
    boot = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return {
        attempt
        for attempt in attempts
        if attempt.started + boot - _BORN_S <= born
        and (attempt.adopted is None or born <= attempt.adopted + _BORN_S)
    }


def kill_child(pid: int, number: int) -> None:
    """Send a signal to one of our unreaped children and to its process group.

    The group cannot be another attempt's, since no process can join a group of another session.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, number)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_attempt(attempt: RunningAttempt, number: int) -> None:
    """Send a signal to all of an attempt: groups, orphans, and descendants in other sessions."""
    roots = [attempt.pid] if attempt.status is None else []
    roots += attempt.orphans
    signalled = set()
    for root in roots:
        with contextlib.suppress(ProcessLookupError):
            signalled.add(os.getpgid(root))
    below = [pair for root in roots for pair in processes.descendants_of(root)]
    for root in roots:
        kill_child(root, number)
    for parent, pid in below:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) not in signalled:
                processes.signal_child_of(parent, pid, number)


def kill_attempt(attempt: RunningAttempt, look: Callable[[], None]) -> None:
    """Kill all of an attempt, so that nothing escapes by forking.

    Its control group is killed as one. Without that the tree is stopped, member after member, until no new
    one appears: what is stopped forks no more.

    Args:
        attempt: Whose processes are meant.
        look: Finds the orphans that came since the last look.
    """
    if attempt.half_group is not None:
        attempt.half_group.kill()
    if attempt.group is not None and attempt.group.kill():
        signal_attempt(attempt, signal.SIGKILL)
        return
    with processes.urgency():
        freeze = _Freeze(attempt, look)
        while members := freeze.stop():
            for pid, parent in members.items():
                _signal_member(attempt, parent, pid, signal.SIGKILL)


class _Freeze:
    """Stops the processes of an attempt until no new one appears."""

    def __init__(self, attempt: RunningAttempt, look: Callable[[], None]) -> None:
        self._attempt = attempt
        self._look = look
        self._passes = 0
        self._looked_at: set[int] = set()
        #: Whose mark was read.
        self._stopped: set[int] = set()

    def stop(self) -> dict[int, int]:
        """Stop those that were not stopped yet.

        Who is in the midst of forking when it is stopped may still have a child, which is not: so this is
        done again after they were killed, until nobody is left.

        Returns:
            The processes that were stopped now, with their parents.
        """
        stopped: dict[int, int] = {}
        while self._passes < FREEZE_PASSES_MAX and (fresh := self._fresh()):
            self._passes += 1
            for pid, parent in fresh.items():
                _signal_member(self._attempt, parent, pid, signal.SIGSTOP)
            self._stopped.update(fresh)
            stopped |= fresh
        return stopped

    def _fresh(self) -> dict[int, int]:
        """Find members that were not stopped: by their mark, which is quick; failing that, by descent."""
        found: dict[int, int] = {}
        if self._attempt.dye != dye.NO_DYE:
            marked = census.marked(self._looked_at)
            found = dict.fromkeys(marked.get(self._attempt.dye, ()), _BY_MARK)
        if not found:
            self._look()
            found = _related(self._attempt)
        return {pid: parent for pid, parent in found.items() if pid not in self._stopped}


def _related(attempt: RunningAttempt) -> dict[int, int]:
    """Return our children of an attempt and their descendants, with their parents."""
    roots = attempt.processes()
    below = {pid: parent for root in roots for parent, pid in processes.descendants_of(root)}
    return below | dict.fromkeys(roots, _OURS)


def _signal_member(attempt: RunningAttempt, parent: int, pid: int, number: int) -> None:
    """Send a signal to one process of an attempt, and to nobody who got its number since."""
    if parent == _OURS:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    elif parent != _BY_MARK:
        processes.signal_child_of(parent, pid, number)
    else:
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if dye.read(pid) == attempt.dye:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
