"""Whose are the processes that have lost their parents: the runner is their subreaper, so it must know.

A process that outlives its parent becomes a child of the runner. It belongs to the attempt whose dye it
carries, else whose session it is in, else whose names are in its environment. One that shed all three is a
*stray*: it is known to be of some attempt that ran when it was first seen, and is killed when the last of
these is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Iterable

from alb_worker.runner import dye, processes
from alb_worker.runner.attempt import RunningAttempt


class Family:
    """The runner's children that are no leaders of attempts."""

    def __init__(self) -> None:
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
                self._adopt(pid, list(attempts))

    def _adopt(self, pid: int, attempts: list[RunningAttempt]) -> None:
        owner = _owner(pid, attempts)
        if owner is not None:
            self._orphans[pid] = owner
            owner.orphans.add(pid)
        else:
            self._strays[pid] = set(attempts)
            if not attempts:
                kill_child(pid, signal.SIGKILL)

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


def _owner(pid: int, attempts: list[RunningAttempt]) -> RunningAttempt | None:
    """Find out whose an orphan is. It is our unreaped child, so its number means it and no other."""
    mark = dye.read(pid)
    if mark != dye.NO_DYE:
        for attempt in attempts:
            if attempt.dye == mark:
                return attempt
    session = os.getsid(pid)
    environment = processes.environment_of(pid)
    names = (environment.get(b"ALB_TASK_ID"), environment.get(b"ALB_ATTEMPT"))
    for attempt in attempts:
        if attempt.pid == session or names == (attempt.id.task.encode(), b"%d" % attempt.id.n):
            return attempt
    return None


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
