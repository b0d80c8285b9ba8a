"""The sums behind the figures: of a group of tasks, of a worker, of a policy. All of them are bounded."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from alb.analysis.core.figures import Asked, Group, PolicyFigures, WorkerFigures
from alb.analysis.core.spread import Spread
from alb.analysis.core.timeline import Timeline
from alb_core.rows import FinishedTask, LoadSample, PastAttempt
from alb_core.tasks import Cause, TaskState

GIB: Final = float(1 << 30)
CPU_SLACK: Final = 1.2
#: A task may use so much more than it reserved before that counts: clocks of processors are coarse.
SHORT_S: Final = 1.0
#: What ran less says little about its processors.
BROKEN: Final = {"lost", Cause.INTERRUPTED.value, Cause.EVICTED.value, Cause.PREEMPTED.value}
#: How attempts end that delivered nothing although they ran.
UNFINISHED: Final = {TaskState.QUEUED.value, TaskState.RUNNING.value}

_NAMES: Final = {126: "exit 126 (not executable)", 127: "exit 127 (not found)", 125: "exit 125 (not started)"}


class _Limit(msgspec.Struct, frozen=True, gc=False):
    """What is read of a specification."""

    time_limit_s: float | None = None


_LIMIT: Final = msgspec.json.Decoder(_Limit)


def cause_of(row: FinishedTask) -> str:
    """Return why a task failed, in words that many tasks share; empty: it did not."""
    match row.state:
        case "SUCCEEDED" | "CANCELLED" | "QUEUED" | "RUNNING":
            return ""
        case "TIMEOUT":
            return "time limit"
        case "OOM":
            return "out of memory"
        case "LOST":
            return "workers lost"
    if row.signal is not None:
        return f"signal {row.signal}"
    return "no status" if row.exit_code is None else _NAMES.get(row.exit_code, f"exit {row.exit_code}")


def wait_of(row: FinishedTask) -> float:
    """Return how long a task was not served: from submission to end, without the run that delivered."""
    return max(0.0, row.finished - row.submitted - row.wall_s)


def limit_of(row: FinishedTask) -> float | None:
    """Return a task's time limit, where it had one."""
    if '"time_limit_s"' not in row.spec:  # most have none, and need not be parsed
        return None
    try:
        return _LIMIT.decode(row.spec).time_limit_s
    except msgspec.DecodeError:  # whoever wrote it, it is no reason to stop
        return None


class GroupTally:
    """Of the tasks of one user, of one command, or of all."""

    def __init__(self) -> None:
        self.tasks = self.failed = self.cancelled = self.unfinished = 0
        self.run_s = 0.0
        self._wait, self._run = Spread(), Spread()
        self._memory, self._memory_asked, self._limit_use = Spread(), Spread(), Spread()
        self._cpu_asked_s = self._cpu_used_s = 0.0
        self._memory_asked_gib_s = self._memory_used_gib_s = 0.0
        self._cpu_over = self._memory_over = 0
        self._causes: Counter[str] = Counter()

    def add(self, row: FinishedTask, cause: str, wait_s: float, limit_s: float | None) -> None:
        """Count a task."""
        self.tasks += 1
        self.cancelled += row.state == "CANCELLED"
        self.unfinished += row.state in UNFINISHED
        self._wait.add(wait_s)
        if cause:
            self.failed += 1
            self._causes[cause] += 1
        if row.attempt and row.wall_s > 0:
            self._add_run(row, limit_s)

    def _add_run(self, row: FinishedTask, limit_s: float | None) -> None:
        self.run_s += row.wall_s
        self._run.add(row.wall_s)
        if limit_s:
            self._limit_use.add(row.wall_s / limit_s)
        if row.state in UNFINISHED:
            return  # nobody measured it yet
        self._cpu_asked_s += row.cpus * row.wall_s
        self._cpu_used_s += row.cpu_s
        self._cpu_over += row.wall_s >= SHORT_S and row.cpu_s > CPU_SLACK * row.cpus * row.wall_s
        self._memory.add(row.memory_bytes)
        if row.request_memory_bytes:
            self._memory_asked.add(row.request_memory_bytes)
            self._memory_asked_gib_s += row.request_memory_bytes / GIB * row.wall_s
            self._memory_used_gib_s += row.memory_bytes / GIB * row.wall_s
            self._memory_over += row.memory_bytes > row.request_memory_bytes

    def figures(self, name: str) -> Group:
        """Return the group's figures."""
        return Group(
            name=name,
            tasks=self.tasks,
            failed=self.failed,
            cancelled=self.cancelled,
            unfinished=self.unfinished,
            run_s=self.run_s,
            wait=self._wait.quantiles(),
            run=self._run.quantiles(),
            causes=dict(self._causes.most_common()),
            asked=Asked(
                cpu_asked_s=self._cpu_asked_s,
                cpu_used_s=self._cpu_used_s,
                cpu_over=self._cpu_over,
                memory_asking=self._memory_asked.count,
                memory_asked_gib_s=self._memory_asked_gib_s,
                memory_used_gib_s=self._memory_used_gib_s,
                memory_over=self._memory_over,
                memory=self._memory.quantiles(),
                memory_asked=self._memory_asked.quantiles(),
                limited=self._limit_use.count,
                limit_use=self._limit_use.quantiles(),
            ),
        )


class WorkerTally:
    """Of one worker."""

    def __init__(self) -> None:
        self.load: Final = Timeline("samples", "cpu", "reserved", "memory", "net")
        self._tasks = self._failed = self._attempts = self._broken = self._samples = 0
        self._broken_s = self._running = self._memory_max = 0.0
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._newest = (0.0, 0.0, 0)  #: Of the newest sample: its time, processors and memory.
        self._causes: Counter[str] = Counter()

    def add_task(self, cause: str) -> None:
        """Count a task that ended there."""
        self._tasks += 1
        if cause:
            self._failed += 1
            self._causes[cause] += 1

    def add_attempt(self, row: PastAttempt) -> None:
        """Count an attempt."""
        self._attempts += 1
        if row.cause in BROKEN:
            self._broken += 1
            self._broken_s += max(0.0, row.ended - row.placed)

    def add_load(self, row: LoadSample) -> None:
        """Count a load sample."""
        reserved = row.reserved_cpus / row.capacity_cpus if row.capacity_cpus > 0 else 0.0
        values = (row.cpu, reserved, row.memory, row.net)
        self._samples += 1
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]
        self._memory_max = max(self._memory_max, row.memory)
        self._running += row.running
        self._newest = max(self._newest, (row.time, row.capacity_cpus, row.capacity_memory_bytes))
        self.load.add(row.time, samples=1, cpu=row.cpu, reserved=reserved, memory=row.memory, net=row.net)

    @property
    def capacity_cpus(self) -> float:
        """Processors that it offered last."""
        return self._newest[1]

    def figures(self, worker: str, slice_s: float, begin: float, end: float) -> WorkerFigures:
        """Return the worker's figures."""
        made = self.load.slices(slice_s, begin, end)
        count = max(1, self._samples)
        cpu, reserved, memory, net = (total / count for total in self._sums)

        def series(name: str) -> list[float]:
            parts = zip(made[name], made["samples"], strict=True)
            return [round(total / samples, 4) if samples else -1.0 for total, samples in parts]

        return WorkerFigures(
            worker=worker,
            tasks=self._tasks,
            failed=self._failed,
            attempts=self._attempts,
            broken=self._broken,
            broken_s=self._broken_s,
            samples=self._samples,
            capacity_cpus=self.capacity_cpus,
            capacity_memory_bytes=self._newest[2],
            cpu=cpu,
            reserved=reserved,
            memory=memory,
            memory_max=self._memory_max,
            net=net,
            running=self._running / count,
            cpu_series=series("cpu"),
            reserved_series=series("reserved"),
            memory_series=series("memory"),
            net_series=series("net"),
            causes=dict(self._causes.most_common()),
        )


class PolicyTally:
    """Of one policy's decisions."""

    def __init__(self) -> None:
        self._waited = Spread()
        self._candidates = self._single = self._ahead = self._given_back = 0

    def add(self, row: PastAttempt) -> None:
        """Count a decision."""
        self._waited.add(row.waited_s)
        self._candidates += row.candidates
        self._single += row.candidates <= 1
        self._ahead += row.ahead
        self._given_back += row.cause == Cause.GIVEN_BACK.value

    def figures(self, policy: str) -> PolicyFigures:
        """Return the policy's figures."""
        return PolicyFigures(
            policy=policy,
            attempts=self._waited.count,
            waited=self._waited.quantiles(),
            candidates=self._candidates / max(1, self._waited.count),
            single=self._single,
            ahead=self._ahead,
            given_back=self._given_back,
        )
