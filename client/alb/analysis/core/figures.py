"""The figures of an analysis: what reports show and ``--json`` prints. Times in seconds, sizes in bytes."""

from __future__ import annotations

import msgspec

from alb.analysis.core.spread import Quantiles


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What limits and reservations were asked for, and what of them was used."""

    cpu_asked_s: float
    #: Reserved processors times run time, as is the memory below.
    cpu_used_s: float
    cpu_over: int
    #: Tasks that used more than a fifth above what they reserved.
    memory_asking: int
    #: Tasks that reserved memory.
    memory_asked_gib_s: float
    memory_used_gib_s: float
    #: Of those: the peak of each times its run time.
    memory_over: int
    #: Of those, how many used more than they reserved.
    memory: Quantiles
    #: The peak of every task that ran.
    memory_asked: Quantiles
    #: What was reserved, of those that did.
    limited: int
    #: Tasks with a time limit.
    limit_use: Quantiles
    #: Of those: run time as a fraction of the limit.

    @property
    def cpu_share(self) -> float:
        """Used of what was asked; 1 where nothing was asked."""
        return self.cpu_used_s / self.cpu_asked_s if self.cpu_asked_s > 0 else 1.0

    @property
    def memory_share(self) -> float:
        """Used of what was asked; 1 where nothing was asked."""
        return self.memory_used_gib_s / self.memory_asked_gib_s if self.memory_asked_gib_s > 0 else 1.0


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of a user, of a command, or all."""

    name: str
    tasks: int
    failed: int
    #: Neither succeeded nor cancelled.
    cancelled: int
    unfinished: int
    #: Of a dump: still queued or running.
    run_s: float
    #: All together.
    wait: Quantiles
    #: From submission to the end, without the run of the attempt that delivered.
    run: Quantiles
    asked: Asked
    causes: dict[str, int]
    #: Of failures, the most frequent first.

    @property
    def failed_share(self) -> float:
        """Of the tasks that ended by themselves."""
        return self.failed / max(1, self.tasks - self.cancelled - self.unfinished)


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One worker: what it did, and how it was used. Shares are of what it offers, means over the samples."""

    worker: str
    tasks: int
    failed: int
    attempts: int
    broken: int
    #: Attempts that its loss, its stop or an eviction ended.
    broken_s: float
    #: How long those had run.
    samples: int
    capacity_cpus: float
    capacity_memory_bytes: int
    cpu: float
    #: Measured.
    reserved: float
    #: Processors that were reserved.
    memory: float
    memory_max: float
    net: float
    running: float
    cpu_series: list[float]
    #: By slice of the analysis; -1: no sample.
    reserved_series: list[float]
    memory_series: list[float]
    net_series: list[float]
    causes: dict[str, int]

    @property
    def failed_share(self) -> float:
        """Of the tasks that ended there."""
        return self.failed / max(1, self.tasks)


class PolicyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy decided."""

    policy: str
    attempts: int
    waited: Quantiles
    #: In the queue, before the decision.
    candidates: float
    #: Workers it could choose from, on average.
    single: int
    #: Decisions with one candidate, or none.
    ahead: int
    #: Handed over before there was room.
    given_back: int


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """One of the slowest tasks."""

    task: str
    user: str
    command: str
    worker: str
    state: str
    submitted: float
    wait_s: float
    run_s: float


class Overload(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which tasks waited far longer than usual."""

    begin: float
    end: float
    submitted: int
    mean_wait_s: float
    waiting_max: int
    reserved: float
    #: Share of all processors, on average; -1: no sample.
    cpu: float
    #: Measured.


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an analysis found."""

    source: str
    begin: float
    #: The first submission that was looked at.
    end: float
    states: dict[str, int]
    all: Group
    users: list[Group]
    #: Those with the most run time first, as the commands.
    commands: list[Group]
    users_left_out: int
    #: Beyond the bound; they are counted as "(others)".
    commands_left_out: int
    causes: dict[str, int]
    workers: list[WorkerFigures]
    policies: list[PolicyFigures]
    slice_s: float
    submitted_series: list[int]
    started_series: list[int]
    finished_series: list[int]
    failed_series: list[int]
    waiting_series: list[int]
    #: At the end of each slice.
    wait_series: list[float]
    #: Mean wait of the tasks submitted in each slice.
    overloads: list[Overload]
    slowest: list[Slow]
    longest_waits: list[Slow]
    attempts: int
    attempt_causes: dict[str, int]
    rerun_tasks: int
    #: Tasks whose worker was lost under them at least once.
    crashes: int
    lost_s: float
    #: Run time of attempts that delivered nothing.
    outrun_s: float
    #: Run time of attempts that were killed, for another one beside them, their copy or original, counted.
    samples: int


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence for whoever tunes the allocation, and the figure that supports it."""

    topic: str
    text: str
    evidence: str
