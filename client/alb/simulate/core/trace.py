"""A trace: jobs, the machines that it knows of, and what its reader has to say about both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from alb.analysis.core.words import count
from alb_core.errors import ConfigError
from alb_core.limits import TIME_LIMIT_S_MAX
from alb_core.resources import Capacity, Request, amount_of
from alb_core.traces import Job, Machine

RUN_S_MAX: Final = TIME_LIMIT_S_MAX
USER_LENGTH_MAX: Final = 48
UNFIT_SHOWN: Final = 3
#: Of what jobs ask for that no machine has; the most frequent first.


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    source: str
    jobs: list[Job]
    #: In the order of their submission, the first at 0.
    machines: list[Machine] = []
    #: Empty: it knows of none.
    cpus: float = 0.0
    #: Of the whole machine that it was recorded on; 0: unknown.
    policy: str = ""
    #: That was in force; empty: nobody knows.
    remarks: list[str] = []
    #: Sentences about what was left out or assumed.


class Requests:
    """Makes requests; equal ones are one object, for a trace has many jobs and few shapes."""

    def __init__(self) -> None:
        self._made: dict[Request, Request] = {}

    def make(
        self,
        cpus: float,
        memory_bytes: int = 0,
        net_bps: int = 0,
        labels: tuple[str, ...] = (),
        archs: tuple[str, ...] = (),
    ) -> Request:
        """Return the request of these amounts."""
        request = Request(cpus, memory_bytes, net_bps, labels, archs)
        return self._made.setdefault(request, request)


def ordered(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs in the order of their submission, the first one's being 0."""
    found = sorted(jobs, key=lambda job: job.submitted)
    begin = found[0].submitted if found else 0.0
    if not begin:
        return found
    return [msgspec.structs.replace(job, submitted=job.submitted - begin) for job in found]


def user_name(text: str) -> str:
    """Return a user's name as the leader takes it."""
    shown = "".join(c if c.isprintable() else "?" for c in text)[:USER_LENGTH_MAX]
    return shown or "nobody"


# --- which part of it ---------------------------------------------------------------------------------------


def window(trace: Trace, begin_s: float | None, end_s: float | None, limit: int | None) -> Trace:
    """Return a part of a trace.

    Args:
        trace: The whole.
        begin_s: Jobs submitted before are left out; None: none.
        end_s: So are jobs submitted then or later.
        limit: Only so many, the first ones.
    """
    jobs = [
        job
        for job in trace.jobs
        if (begin_s is None or job.submitted >= begin_s) and (end_s is None or job.submitted < end_s)
    ][:limit]
    left_out = len(trace.jobs) - len(jobs)
    if not left_out:
        return trace
    remark = f"{count(left_out, 'job')} of {len(trace.jobs):,} are not in the part that was chosen"
    return msgspec.structs.replace(trace, jobs=ordered(jobs), remarks=[*trace.remarks, remark])


def offered_load(jobs: Sequence[Job], machines: Sequence[Machine]) -> float:
    """Return the processor time that jobs ask for, as a share of what the machines offer while jobs arrive.

    Both in the time of a machine of speed 1. Infinite where all arrive at once.
    """
    asked = math.fsum(job.request.cpus * job.run_s for job in jobs)
    offered = math.fsum(machine.capacity.cpus * machine.speed for machine in machines)
    span = jobs[-1].submitted - jobs[0].submitted if jobs else 0.0
    return asked / (offered * span) if offered * span > 0 else math.inf


def with_load(trace: Trace, machines: Sequence[Machine], load: float) -> Trace:
    """Return a trace whose times of submission are stretched so that it offers this load.

    Raises:
        ConfigError: All jobs arrive at once: no stretching changes that.
    """
    now = offered_load(trace.jobs, machines)
    if not math.isfinite(now):
        raise ConfigError("--load stretches the times of submission, and all of this trace are the same")
    factor = now / load
    jobs = [msgspec.structs.replace(job, submitted=job.submitted * factor) for job in trace.jobs]
    remark = f"times of submission were stretched by {factor:.4g}: the trace offered a load of {now:.3g}"
    return msgspec.structs.replace(trace, jobs=jobs, remarks=[*trace.remarks, remark])


# --- where it runs ------------------------------------------------------------------------------------------


def pool(
    workers: int, cpus: float, memory_bytes: int, speeds: Sequence[float], net_bps: int = 0
) -> list[Machine]:
    """Return machines that are alike but for their speeds, which come round in turn."""
    capacities = [
        Capacity(cpus=cpus, memory_bytes=memory_bytes, net_bps=net_bps, speed=speed) for speed in speeds
    ]
    return [
        Machine(name=f"w{number + 1}", capacity=capacities[number % len(speeds)]) for number in range(workers)
    ]


def with_speeds(machines: Sequence[Machine], speeds: Sequence[float]) -> list[Machine]:
    """Return the same machines with other speeds, which come round in turn."""
    return [
        msgspec.structs.replace(
            machine,
            capacity=msgspec.structs.replace(
                machine.capacity, speed=speeds[number % len(speeds)], speeds=None
            ),
        )
        for number, machine in enumerate(machines)
    ]


def fitted(trace: Trace, machines: Sequence[Machine]) -> Trace:
    """Return a trace every job of which fits on some machine; what is too large is clipped, and counted.

    So is what is left out, for no machine has its labels, its architecture or what it counts.

    A task of alb runs on one worker, whereas a job of a parallel machine may span many: one that asks for
    more processors than the largest machine has is given all of those, and runs as long as it did.

    Raises:
        ConfigError: No machine suits any of the jobs.
    """
    counts: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    fits = {request: _fit(request, machines) for request in {job.request for job in trace.jobs}}
    jobs = trace.jobs
    if any(request is not fit for request, fit in fits.items()):
        jobs = []
        for job in trace.jobs:
            fit = fits[job.request]
            if fit is None:
                left_out[_wanted(job.request)] += 1
                continue
            counts["cpus"] += fit.cpus < job.request.cpus
            counts["memory"] += fit.memory_bytes < job.request.memory_bytes
            counts["bandwidth"] += fit.net_bps < job.request.net_bps
            changed = fit is not job.request
            jobs.append(msgspec.structs.replace(job, request=fit) if changed else job)
    unfit = [
        f"{count(number, 'job')} left out that ask for {wanted}, which no worker of the replay has"
        for wanted, number in left_out.most_common(UNFIT_SHOWN)
    ]
    if not jobs and unfit:
        raise ConfigError(f"nothing is left to replay: {unfit[0]}")
    remarks = [
        f"{count(number, 'job')} asked for more {what} than the largest worker has, and were given all of its"
        for what, number in counts.items()
        if number
    ]
    if sum(left_out.values()):
        jobs = ordered(jobs)
    return msgspec.structs.replace(trace, jobs=jobs, remarks=[*trace.remarks, *unfit, *remarks])


def _wanted(request: Request) -> str:
    counted = (f"{counted.name}={counted.amount}" for counted in request.counts)
    return ", ".join((*request.labels, *request.archs, *counted))


def _fit(request: Request, machines: Sequence[Machine]) -> Request | None:
    suiting = [machine.capacity for machine in machines if _suits(request, machine.capacity)]
    if not suiting:
        return None
    if any(_holds(capacity, request) for capacity in suiting):
        return request
    largest = max(suiting, key=_reach(request))
    return msgspec.structs.replace(
        request,
        cpus=min(request.cpus, largest.cpus),
        memory_bytes=min(request.memory_bytes, largest.memory_bytes),
        net_bps=min(request.net_bps, largest.net_bps),
    )


def _suits(request: Request, capacity: Capacity) -> bool:
    """Tell whether a machine is of the right kind, and has as much as is asked of what cannot be clipped."""
    return request.suits(capacity) and all(
        amount_of(capacity.counts, counted.name) >= counted.amount for counted in request.counts
    )


def _holds(capacity: Capacity, request: Request) -> bool:
    return (
        request.cpus <= capacity.cpus
        and request.memory_bytes <= capacity.memory_bytes
        and request.net_bps <= capacity.net_bps
    )


def _reach(request: Request) -> Callable[[Capacity], tuple[float, float, float]]:
    """Return what orders capacities by how much of a request they hold: processors first."""

    def reach(capacity: Capacity) -> tuple[float, float, float]:
        return (
            min(capacity.cpus, request.cpus),
            min(capacity.memory_bytes, request.memory_bytes),
            min(capacity.net_bps, request.net_bps),
        )

    return reach
