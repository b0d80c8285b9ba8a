"""The analysis: takes rows of history one by one, in any order, and tells the figures at the end.

Its memory is bounded: values are counted in classes, times in slices, and of users, commands and workers only
so many are told apart.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from alb.analysis.core.commands import form_of
from alb.analysis.core.figures import Figures, Group, Overload, Slow
from alb.analysis.core.tallies import (
    BROKEN,
    UNFINISHED,
    GroupTally,
    PolicyTally,
    WorkerTally,
    cause_of,
    limit_of,
    wait_of,
)
from alb.analysis.core.timeline import Timeline
from alb_core.copies import OUTRUN
from alb_core.rows import FinishedTask, LoadSample, PastAttempt, Row

GROUPS_MAX: Final = 1_000
#: Users, commands or workers; beyond, they are one group.
OTHERS: Final = "(others)"
NOBODY: Final = "(none)"
#: The worker of a task that never ran.
SLOWEST: Final = 10
COMMAND_SHOWN: Final = 200
SLICES: Final = 240
#: Of a report, at most: as many as a plot can show.
WIDTHS_S: Final = (60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 86_400.0)
#: Of slices.
OVERLOAD_FACTOR: Final = 5.0
OVERLOAD_S: Final = 10.0
OVERLOAD_SHARE: Final = 0.5
#: An overload is when tasks wait five times as long as usual on average, and so many at least ten seconds.
OVERLOAD_GAP_S: Final = 1800.0
#: Two that are less apart are one.
OVERLOAD_TASKS: Final = 10


class Workload:
    """Counts rows.

    Args:
        since: Tasks and attempts that ended before, and samples taken before, do not count; 0: all do.
    """

    def __init__(self, since: float = 0.0) -> None:
        self._since: Final = since
        self._begin, self._end = float("inf"), since
        self._all: Final = GroupTally()
        self._users: Final[dict[str, GroupTally]] = {}
        self._commands: Final[dict[str, GroupTally]] = {}
        self._workers: Final[dict[str, WorkerTally]] = {}
        self._policies: Final[dict[str, PolicyTally]] = {}
        self._left_out: Final[dict[str, set[int]]] = {"users": set(), "commands": set()}
        self._states: Final[Counter[str]] = Counter()
        self._attempt_causes: Final[Counter[str]] = Counter()
        self._time: Final = Timeline("submitted", "started", "finished", "failed", "waited", "slow")
        self._load: Final = Timeline("capacity", "reserved", "cpu")
        self._slowest: list[tuple[float, str, Slow]] = []
        self._longest: list[tuple[float, str, Slow]] = []
        self._attempts = self._samples = self._rerun = self._crashes = 0
        self._lost_s = self._outrun_s = 0.0

    # --- taking in ------------------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """Count a row; those of other families are passed over."""
        match row:
            case FinishedTask():
                self._add_task(row)
            case PastAttempt():
                self._add_attempt(row)
            case LoadSample():
                self._add_load(row)
            case _:
                pass

    def _add_task(self, row: FinishedTask) -> None:
        if row.finished < self._since:
            return
        cause, wait_s, limit_s = cause_of(row), wait_of(row), limit_of(row)
        self._states[row.state] += 1
        self._begin = min(self._begin, row.submitted)
        self._end = max(self._end, row.finished)
        program, form = form_of(row.command)
        groups = (self._all, self._group("users", row.user), self._command(program, form))
        for group in groups:
            group.add(row, cause, wait_s, limit_s)
        if row.worker:
            self._worker(row.worker).add_task(cause)
        self._rerun += row.crashes > 0
        self._crashes += row.crashes
        self._add_times(row, wait_s, failed=bool(cause))
        self._remember(row, wait_s)

    def _add_times(self, row: FinishedTask, wait_s: float, *, failed: bool) -> None:
        self._time.add(row.submitted, submitted=1, waited=wait_s, slow=int(wait_s > OVERLOAD_S))
        if row.state != "QUEUED":
            self._time.add(max(row.submitted, row.finished - row.wall_s), started=1)
        if row.state not in UNFINISHED:
            self._time.add(row.finished, finished=1, failed=int(failed))

    def _remember(self, row: FinishedTask, wait_s: float) -> None:
        for best, value in ((self._slowest, row.wall_s), (self._longest, wait_s)):
            if value <= 0 or (len(best) == SLOWEST and value <= best[0][0]):
                continue
            slow = Slow(
                task=row.task,
                user=row.user,
                command=row.command[:COMMAND_SHOWN],
                worker=row.worker,
                state=row.state,
                submitted=row.submitted,
                wait_s=wait_s,
                run_s=row.wall_s,
            )
            change = heapq.heappush if len(best) < SLOWEST else heapq.heapreplace
            change(best, (value, row.task, slow))

    def _add_attempt(self, row: PastAttempt) -> None:
        if row.ended and row.ended < self._since:
            return
        self._attempts += 1
        self._attempt_causes[row.cause or "unknown"] += 1
        if row.cause == OUTRUN:
            self._outrun_s += max(0.0, row.ended - row.placed)
        if row.cause in BROKEN:
            self._lost_s += max(0.0, row.ended - row.placed)
        self._worker(row.worker or NOBODY).add_attempt(row)
        policy = row.policy or "unknown"
        if policy not in self._policies:
            policy = policy if len(self._policies) < GROUPS_MAX else OTHERS
            self._policies.setdefault(policy, PolicyTally())
        self._policies[policy].add(row)

    def _add_load(self, row: LoadSample) -> None:
        if row.time < self._since:
            return
        self._samples += 1
        self._begin, self._end = min(self._begin, row.time), max(self._end, row.time)
        self._worker(row.worker).add_load(row)
        cpus = row.capacity_cpus
        self._load.add(row.time, capacity=cpus, reserved=row.reserved_cpus, cpu=row.cpu * cpus)

    def _group(self, kind: str, name: str) -> GroupTally:
        groups = self._users if kind == "users" else self._commands
        found = groups.get(name)
        if found is None:
            if len(groups) >= GROUPS_MAX:
                left_out = self._left_out[kind]
                if len(left_out) < 100 * GROUPS_MAX:  # more are not counted, either
                    left_out.add(hash(name))
                name = OTHERS
            found = groups.get(name)
            if found is None:
                found = groups[name] = GroupTally()
        return found

    def _command(self, program: str, form: str) -> GroupTally:
        """Return the group of a form; beyond the bound that of its program, if it has one."""
        full = form not in self._commands and len(self._commands) >= GROUPS_MAX
        return self._group("commands", program if full and program in self._commands else form)

    def _worker(self, name: str) -> WorkerTally:
        found = self._workers.get(name)
        if found is None:
            name = name if len(self._workers) < GROUPS_MAX else OTHERS
            found = self._workers.get(name)
            if found is None:
                found = self._workers[name] = WorkerTally()
        return found

    # --- giving out -----------------------------------------------------------------------------------------

    def figures(self, source: str) -> Figures:
        """Return what was found.

        Args:
            source: Where the rows came from, for the reader.
        """
        everything = self._all.figures("all")
        begin = max(self._begin, self._since) if everything.tasks or self._samples else self._since
        end = max(self._end, begin)
        slice_s = self._width(end - begin)
        begin = begin // slice_s * slice_s
        time = self._time.slices(slice_s, begin, end)
        started = accumulate(time["started"])
        waiting = [max(0.0, a - b) for a, b in zip(accumulate(time["submitted"]), started, strict=True)]
        waits = [w / n if n else 0.0 for w, n in zip(time["waited"], time["submitted"], strict=True)]
        return Figures(
            source=source,
            begin=begin,
            end=end,
            states=dict(self._states.most_common()),
            all=everything,
            users=_sorted(self._users),
            commands=_sorted(self._commands),
            users_left_out=len(self._left_out["users"]),
            commands_left_out=len(self._left_out["commands"]),
            causes=everything.causes,
            workers=[
                tally.figures(name, slice_s, begin, end) for name, tally in sorted(self._workers.items())
            ],
            policies=[tally.figures(name) for name, tally in sorted(self._policies.items())],
            slice_s=slice_s,
            submitted_series=_whole(time["submitted"]),
            started_series=_whole(time["started"]),
            finished_series=_whole(time["finished"]),
            failed_series=_whole(time["failed"]),
            waiting_series=_whole(waiting),
            wait_series=waits,
            overloads=self._overloads(slice_s, begin, end, time, waiting),
            slowest=_slow(self._slowest),
            longest_waits=_slow(self._longest),
            attempts=self._attempts,
            attempt_causes=dict(self._attempt_causes.most_common()),
            rerun_tasks=self._rerun,
            crashes=self._crashes,
            lost_s=self._lost_s,
            outrun_s=self._outrun_s,
            samples=self._samples,
        )

    def _width(self, span_s: float) -> float:
        """Return the narrowest slices that are few enough, and no narrower than what was counted."""
        narrowest = max([self._time.slice_s, *(each.load.slice_s for each in self._workers.values())])
        for width in WIDTHS_S:
            if width >= narrowest and span_s / width <= SLICES:
                return width
        return max(narrowest, WIDTHS_S[-1] * (1 + span_s // (SLICES * WIDTHS_S[-1])))

    def _overloads(
        self, slice_s: float, begin: float, end: float, time: dict[str, list[float]], waiting: list[float]
    ) -> list[Overload]:
        """Find the times in which most tasks waited, and far longer than usual."""
        submitted, waited, slow = time["submitted"], time["waited"], time["slow"]
        usual = sorted(w / n for w, n in zip(waited, submitted, strict=True) if n)
        threshold = max(OVERLOAD_S, OVERLOAD_FACTOR * usual[len(usual) // 2]) if usual else OVERLOAD_S
        flags = [
            s >= OVERLOAD_SHARE * n and w > threshold * n
            for w, s, n in zip(waited, slow, submitted, strict=True)
        ]
        load = self._load.slices(slice_s, begin, end)
        found = []
        for first, last in _runs(flags, max(1, int(OVERLOAD_GAP_S // slice_s))):
            part = slice(first, last)
            count = sum(submitted[part])
            if count < OVERLOAD_TASKS:
                continue
            capacity, reserved, cpu = (sum(load[name][part]) for name in ("capacity", "reserved", "cpu"))
            found.append(
                Overload(
                    begin=begin + first * slice_s,
                    end=min(begin + last * slice_s, end),
                    submitted=round(count),
                    mean_wait_s=sum(waited[part]) / count,
                    waiting_max=round(max(waiting[part])),
                    reserved=reserved / capacity if capacity else -1.0,
                    cpu=cpu / capacity if capacity else -1.0,
                )
            )
        return found


def _runs(flags: list[bool], gap: int) -> list[tuple[int, int]]:
    """Return where flags are up, as (first, beyond); a gap of so many slices does not part them."""
    runs: list[tuple[int, int]] = []
    for index, up in enumerate(flags):
        if not up:
            continue
        if runs and index - runs[-1][1] <= gap:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _sorted(groups: dict[str, GroupTally]) -> list[Group]:
    made = [tally.figures(name) for name, tally in groups.items()]
    key: Callable[[Group], tuple[float, int, str]] = lambda group: (-group.run_s, -group.tasks, group.name)  # noqa: E731
    return sorted(made, key=key)


def _slow(best: list[tuple[float, str, Slow]]) -> list[Slow]:
    return [slow for *_, slow in sorted(best, reverse=True)]


def _whole(values: list[float]) -> list[int]:
    return [round(value) for value in values]
