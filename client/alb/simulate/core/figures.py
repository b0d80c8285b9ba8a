"""What a replay showed, in figures: waits, slowdown, use, fairness. Times in seconds of the trace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from alb_core.traces import Job, Machine

TAU_S: Final = 10.0
#: Shorter runs count as so long in a slowdown, or the shortest jobs would decide every mean (Feitelson,
#: Rudolph, Schwiegelshohn, Sevcik, Wong: "Theory and Practice in Parallel Job Scheduling", JSSPP 1997).
SLICES: Final = 200
#: Of the series over time.
POINTS: Final = 101
#: Of the distribution of waits: one for each percent.
USERS_MAX: Final = 1000
#: Those with the most processor time.


class Outcome(Protocol):
    """What a replay tells of the jobs, in their order."""

    @property
    def started(self) -> Sequence[float]:
        """When each began."""

    @property
    def ended(self) -> Sequence[float]:
        """When each ended."""

    @property
    def wasted_s(self) -> float:
        """Run time of attempts that delivered nothing."""

    @property
    def policy_failures(self) -> int:
        """Times that the default stood in."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in four numbers."""

    mean: float
    median: float
    p95: float
    max: float


class UserFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How one user fared."""

    user: str
    jobs: int
    cpu_s: float
    #: Processors times run time.
    mean_wait_s: float
    mean_slowdown: float


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why there are no figures of a policy."""

    policy: str
    why: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy made of a trace."""

    policy: str
    default: bool
    jobs: int
    wait_s: Summary
    slowdown: Summary
    #: Bounded: (wait + run) / max(run on a machine of speed 1, `TAU_S`), and at least 1.
    utilisation: float
    #: Processor time of the jobs, of what the machines offer from the first submission to the last end.
    fairness: float
    #: Jain's index of the users' mean slowdowns: 1: all alike; 1/n: one of n bears everything.
    makespan_s: float
    #: From the first submission to the last end.
    wasted_s: float
    policy_failures: int
    users: list[UserFigures]
    slice_s: float
    waiting_series: list[int]
    #: Jobs that wait at the end of each slice.
    busy_series: list[float]
    #: Share of the processors that is reserved in each slice.
    wait_percentiles: list[float]
    #: Of 0 to 100 percent.


def figures(
    policy: str, jobs: Sequence[Job], machines: Sequence[Machine], ran: Outcome, *, default: bool = False
) -> Figures:
    """Return the figures of one replay.

    Args:
        policy: Its name.
        jobs: As they were submitted.
        machines: Where they ran.
        ran: What became of them.
        default: It is the policy that a new cluster has.
    """
    waits = [max(0.0, began - job.submitted) for job, began in zip(jobs, ran.started, strict=True)]
    slowdowns = [slowdown(job, ended) for job, ended in zip(jobs, ran.ended, strict=True)]
    begin = jobs[0].submitted if jobs else 0.0
    makespan = max(ran.ended, default=begin) - begin
    offered = math.fsum(machine.capacity.cpus for machine in machines)
    held = [
        job.request.cpus * (ended - began)
        for job, began, ended in zip(jobs, ran.started, ran.ended, strict=True)
    ]
    users = _users(jobs, waits, slowdowns, held)
    slice_s = makespan / SLICES
    return Figures(
        policy=policy,
        default=default,
        jobs=len(jobs),
        wait_s=summary(waits),
        slowdown=summary(slowdowns),
        utilisation=math.fsum(held) / (offered * makespan) if offered * makespan > 0 else 0.0,
        fairness=jain(user.mean_slowdown for user in users),
        makespan_s=makespan,
        wasted_s=ran.wasted_s,
        policy_failures=ran.policy_failures,
        users=users[:USERS_MAX],
        slice_s=slice_s,
        waiting_series=_waiting(jobs, ran, begin, slice_s),
        busy_series=_busy(jobs, ran, begin, slice_s, offered),
        wait_percentiles=_percentiles(waits),
    )


def slowdown(job: Job, ended: float) -> float:
    """Return a job's bounded slowdown."""
    return max(1.0, (ended - job.submitted) / max(job.run_s, TAU_S))


def summary(values: Sequence[float]) -> Summary:
    """Return a distribution's mean, median, 95th percentile (nearest rank) and maximum; zeros of nothing."""
    if not values:
        return Summary(mean=0.0, median=0.0, p95=0.0, max=0.0)
    order = sorted(values)
    return Summary(
        mean=math.fsum(order) / len(order), median=_rank(order, 50), p95=_rank(order, 95), max=order[-1]
    )


def _rank(order: Sequence[float], percent: int) -> float:
    return order[max(1, -(-percent * len(order) // 100)) - 1]


def jain(values: Iterable[float]) -> float:
    """Return Jain's fairness index, (sum of x)^2 / (n * sum of x^2); 1 of nothing.

    Jain, Chiu, Hawe: "A Quantitative Measure of Fairness and Discrimination", DEC TR-301, 1984.
    """
    found = list(values)
    squares = math.fsum(value * value for value in found)
    return math.fsum(found) ** 2 / (len(found) * squares) if squares > 0 else 1.0


def _users(
    jobs: Sequence[Job], waits: Sequence[float], slowdowns: Sequence[float], held: Sequence[float]
) -> list[UserFigures]:
    """Return the users' figures, who used most first."""
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    for job, wait, slow, cpu_s in zip(jobs, waits, slowdowns, held, strict=True):
        mine = sums[job.user]
        mine[0] += 1
        mine[1] += cpu_s
        mine[2] += wait
        mine[3] += slow
    made = [
        UserFigures(
            user=user,
            jobs=int(number),
            cpu_s=cpu_s,
            mean_wait_s=wait / number,
            mean_slowdown=slow / number,
        )
        for user, (number, cpu_s, wait, slow) in sums.items()
    ]
    return sorted(made, key=lambda each: (-each.cpu_s, each.user))


def _waiting(jobs: Sequence[Job], ran: Outcome, begin: float, slice_s: float) -> list[int]:
    if slice_s <= 0:
        return []
    change = [0] * SLICES
    for job, began in zip(jobs, ran.started, strict=True):
        change[min(SLICES - 1, int((job.submitted - begin) / slice_s))] += 1
        change[min(SLICES - 1, int((began - begin) / slice_s))] -= 1
    made, waiting = [], 0
    for each in change:
        waiting += each
        made.append(waiting)
    return made


def _busy(jobs: Sequence[Job], ran: Outcome, begin: float, slice_s: float, offered: float) -> list[float]:
    """Return the mean share of processors that run in each slice.

    The ends of each run are counted in their slices, and what lies between by its change: jobs may be long.
    """
    if slice_s <= 0 or offered <= 0:
        return []
    partly, change = [0.0] * SLICES, [0.0] * (SLICES + 1)
    for job, began, ended in zip(jobs, ran.started, ran.ended, strict=True):
        first, last = (begun - begin for begun in (began, ended))
        low, high = (min(SLICES - 1, int(each / slice_s)) for each in (first, last))
        cpus = job.request.cpus
        if low == high:
            partly[low] += cpus * (last - first)
        else:
            partly[low] += cpus * ((low + 1) * slice_s - first)
            partly[high] += cpus * (last - high * slice_s)
            change[low + 1] += cpus
            change[high] -= cpus
    made, whole = [], 0.0
    for part, each in zip(partly, change, strict=False):
        whole += each
        made.append(max(0.0, whole + part / slice_s) / offered)
    return made


def _percentiles(waits: Sequence[float]) -> list[float]:
    order = sorted(waits)
    return [_rank(order, percent) for percent in range(POINTS)] if order else []
