"""Watches what attempts use that live longer than a moment, and moves them to groups of their own in time.

A short command costs nothing here. The others are looked at in rounds: who is due is counted, judged
(`verdicts`), and given a control group (`groups`) when it is old enough. Where the kernel holds an attempt to
its bounds the rounds are for what it does not count: processor time, the directory, and what was used before
the move. Where there is no group they are all there is, so they come more often; yet never so often that they
take more than a twentieth of this process's time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from alb_core.messages import AttemptUse
from alb_worker.runner import census, processes
from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.demotion import Demotion
from alb_worker.runner.dye import NO_DYE
from alb_worker.runner.groups import SAMPLING, AttemptGroup, RunnerGroups
from alb_worker.runner.scratch import ScratchWalk
from alb_worker.runner.timers import Timer, Timers
from alb_worker.runner.verdicts import Breach, Usage, breach, watched

FAST_S: Final = 0.05
#: Between two looks at an attempt that nothing else holds to its bounds.
SLOW_S: Final = 0.25
#: … at one that the kernel holds.
IDLE_S: Final = 1.0
#: … at one that has no bounds: for its peak of memory.
ADOPT_BOUNDED_S: Final = 0.25
ADOPT_S: Final = 1.0
#: An attempt with bounds, and one without, has a group of its own from this age on.
SHARE: Final = 20
#: A round is followed by a pause of so many times its length.
REST_S_MAX: Final = 1.0
PASSES_MAX: Final = 32
MOVE_S_MAX: Final = 0.1
#: A tree that is moved forks meanwhile; one that forks faster than we move it, or that is so large that
#: others would wait for it, is left where it is.
TELL_S: Final = 2.0
#: What one attempt uses is told so often.
_GROWTH: Final = 1.1
#: Memory is measured precisely when it is so many times what it was.


class Watch:
    """The attempts that are watched.

    Args:
        timers: Of the loop.
        groups: Of the runner.
        stop: Called with an attempt that has broken a bound.
        demotion: Keeps those demoted that are.
    """

    def __init__(
        self,
        timers: Timers,
        groups: RunnerGroups,
        stop: Callable[[RunningAttempt, Breach], None],
        demotion: Demotion,
    ) -> None:
        self._timers = timers
        self._groups = groups
        self._stop = stop
        self._demotion = demotion
        self._due: dict[RunningAttempt, float] = {}
        #: The next look at each.
        self._walks: dict[RunningAttempt, ScratchWalk] = {}
        self._told: dict[RunningAttempt, tuple[float, float]] = {}
        #: Of each, when what it uses was told last, and its processor time then.
        self._untold: list[AttemptUse] = []
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._rest_until = 0.0

    def add(self, attempt: RunningAttempt, now: float) -> None:
        """Watch an attempt from now on: it has lived for a moment."""
        self._due[attempt] = now if watched(attempt.bounds) else max(now, attempt.started + ADOPT_S)
        if attempt.bounds.scratch_bytes is not None and attempt.directory is not None:
            self._walks[attempt] = ScratchWalk(attempt.directory.path)
        self._schedule(now)

    def remove(self, attempt: RunningAttempt) -> None:
        """Watch an attempt no longer: it is over."""
        self._due.pop(attempt, None)
        self._walks.pop(attempt, None)
        self._told.pop(attempt, None)

    def take_uses(self) -> tuple[AttemptUse, ...]:
        """Return what was measured since the last call, of each attempt only every so often."""
        if not self._untold:
            return ()
        uses, self._untold = tuple(self._untold), []
        return uses

    def _tell(self, attempt: RunningAttempt, memory_bytes: int) -> None:
        """Have what an attempt uses told, if it is time for that."""
        now, cpu_s = time.monotonic(), attempt.cpu_seen_s
        before, before_s = self._told.get(attempt, (attempt.started, 0.0))
        if now < before + TELL_S:
            return
        self._told[attempt] = now, cpu_s
        cpus = round((cpu_s - before_s) / (now - before), 3)
        use = AttemptUse(attempt=attempt.id, cpus=cpus, memory_bytes=memory_bytes, cpu_s=round(cpu_s, 3))
        self._untold.append(use)

    def demote(self, attempt: RunningAttempt) -> str:
        """Let an attempt run on with what nobody else wants; returns what does it."""
        attempt.demoted = True
        return self._weaken(attempt, census.marked() if attempt.group is None else {})

    def _weaken(self, attempt: RunningAttempt, marked: dict[int, list[int]]) -> str:
        return self._demotion.apply(attempt, self._members(attempt, marked))

    def _schedule(self, now: float) -> None:
        """Set the timer to the next round."""
        if not self._due:
            return
        when = max(min(self._due.values()), self._rest_until, now)
        if self._timer is not None and self._timer.action is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._timers.at(when, self._round)

    # --- a round ------------------------------------------------------------------------------------------

    def _round(self) -> None:
        began = time.monotonic()
        due = [attempt for attempt, at in self._due.items() if at <= began + FAST_S / 2]
        marked = census.marked() if any(attempt.group is None for attempt in due) else {}
        found = [(attempt, self._judge(attempt, self._members(attempt, marked))) for attempt in due]
        taken_s = time.monotonic() - began
        for attempt, broken in found:
            if broken is not None:
                self._stop(attempt, broken)
        for attempt, broken in found:
            if broken is None and self._grown(attempt, began):
                self._adopt(attempt)
            if attempt.demoted and attempt in self._due:
                self._weaken(attempt, marked)
        now = time.monotonic()
        for attempt in due:
            if attempt in self._due:
                self._due[attempt] = now + self._pause_s(attempt, now)
        self._rest_until = now + min(SHARE * taken_s, REST_S_MAX)
        self._schedule(now)

    def _members(self, attempt: RunningAttempt, marked: dict[int, list[int]]) -> list[int]:
        if attempt.group is not None:
            return attempt.group.members()
        if attempt.dye != NO_DYE:
            return marked.get(attempt.dye, [])
        roots = attempt.processes()
        return roots + [pid for root in roots for _, pid in processes.descendants_of(root)]

    def _judge(self, attempt: RunningAttempt, members: list[int]) -> Breach | None:
        """Count what an attempt uses, and hold it against its bounds."""
        usage = self.measure(attempt, members)
        if not watched(attempt.bounds) or attempt.killing:
            return None
        attempt.mechanism = attempt.mechanism or SAMPLING
        return breach(attempt.bounds, usage)

    def measure(self, attempt: RunningAttempt, members: list[int]) -> Usage:
        """Count what an attempt uses."""
        total = census.count(members)
        limit = attempt.bounds.memory_bytes
        memory = total.resident_bytes
        over = limit is not None and memory > limit
        if over or memory > attempt.resident_bytes * _GROWTH:
            # Each counts what they share, and mapped files too: look closer before that is held against it.
            attempt.resident_bytes = max(memory, attempt.resident_bytes)
            memory = min(memory, census.own_bytes(members))
            attempt.peak_bytes = max(attempt.peak_bytes, memory)
        attempt.cpu_seen_s = max(attempt.cpu_seen_s, attempt.cpu_s + total.cpu_s)
        use = None if attempt.group is None else attempt.group.use()
        if use is not None:
            attempt.cpu_seen_s = max(attempt.cpu_seen_s, attempt.cpu_before_s + use.cpu_s)
        walk = self._walks.get(attempt)
        self._tell(attempt, memory)
        return Usage(
            processes=total.processes,
            memory_bytes=memory,
            cpu_s=attempt.cpu_seen_s,
            scratch_bytes=0 if walk is None else walk.step(),
            peak_bytes=max(attempt.peak_bytes, use.peak_bytes if use is not None else 0),
            kernel_kills=0 if use is None else use.kernel_kills,
            refused_forks=0 if use is None else use.refused_forks,
        )

    @staticmethod
    def last_look(attempt: RunningAttempt) -> Breach | None:
        """See whether the kernel ended an attempt whose leader is dead: then that is why it is."""
        if attempt.group is None or not attempt.group.holds:
            return None
        use = attempt.group.use()
        usage = Usage(
            peak_bytes=max(attempt.peak_bytes, use.peak_bytes),
            kernel_kills=use.kernel_kills,
            refused_forks=use.refused_forks,
        )
        return breach(attempt.bounds, usage)

    def _pause_s(self, attempt: RunningAttempt, now: float) -> float:
        bounds = attempt.bounds
        if not watched(bounds):
            return max(IDLE_S, attempt.started + ADOPT_S - now)
        held = attempt.group.holds if attempt.group is not None else frozenset[str]()
        unheld = (bounds.memory_bytes is not None and "memory" not in held) or (
            bounds.processes is not None and "pids" not in held
        )
        return FAST_S if unheld else SLOW_S

    # --- growing up ---------------------------------------------------------------------------------------

    def _grown(self, attempt: RunningAttempt, now: float) -> bool:
        if attempt.group is not None or attempt.ungrouped or attempt.cause is not None:
            return False
        age = ADOPT_BOUNDED_S if watched(attempt.bounds) else ADOPT_S
        return attempt.status is None and now - attempt.started >= age

    def _adopt(self, attempt: RunningAttempt) -> None:
        """Move an attempt with all of its processes, until no new one appears."""
        group = self._groups.make(attempt.bounds)
        if group is None:
            attempt.ungrouped = True
            return
        before_s = attempt.cpu_seen_s
        if not self._move(attempt, group):
            # It is killed as one that has no group; whoever was moved stays where it is.
            attempt.ungrouped = True
            attempt.half_group = group
            return
        attempt.group = group
        attempt.cpu_before_s = before_s
        attempt.adopted = time.clock_gettime(time.CLOCK_BOOTTIME)
        if group.holds:
            attempt.mechanism = group.mechanism

    def _move(self, attempt: RunningAttempt, group: AttemptGroup) -> bool:
        """Move all processes of an attempt; returns whether there came an end to them."""
        deadline = time.monotonic() + MOVE_S_MAX
        with contextlib.suppress(OSError):
            for _ in range(PASSES_MAX):
                there = set(group.members())
                fresh = [pid for pid in self._tree(attempt) if pid not in there]
                if not fresh:
                    return True
                for pid in fresh:
                    if time.monotonic() > deadline:
                        return False
                    group.add(pid)
        return False

    def _tree(self, attempt: RunningAttempt) -> list[int]:
        """Find an attempt's processes by their mark, and by descent."""
        roots = attempt.processes()
        found = set(roots) | {pid for root in roots for _, pid in processes.descendants_of(root)}
        if attempt.dye != NO_DYE:
            found.update(census.marked().get(attempt.dye, ()))
        return sorted(found)
