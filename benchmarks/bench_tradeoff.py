"""What a weight on time costs in resources, and the other way round: the trade-off of `--optimize`.

In virtual time: workloads and workers like those of `bench-policies`, on the real core, once for each weight
of time from 0 to 1. All tasks come at once for the makespan, and as a Poisson stream at 30 % load, where
there is something to choose, for the time from submission to result, the mean slowdown, and what was used:
processor seconds of the tasks, and worker seconds, in which a worker ran anything. A full worker is taken to
slow each of its runs down by a fifth: where neighbours cost nothing, nobody would have to choose. Beside them
the default policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from alb.simulate.core.trace import Trace, with_load
from alb.simulate.runs import Policies
from alb_broker.replay.replay import Ran
from alb_core.traces import Job
from alb_core.vectors import OPTIMIZE, weighed
from bench_policies import SEED, SPEEDS, make_jobs, make_machines
from ground import Ground, say
from script import Figures, Size, run

TASKS: Final = 600
WORKLOADS: Final = 5
#: From as many seeds: where the longest task lands is luck.
WEIGHTS: Final = tuple(number / 10 for number in range(11))
#: Of time; resources have the rest.
LOAD: Final = 0.3
#: Where all workers are busy all the time, nothing can be saved.
SHARING: Final = 0.2
TAU_S: Final = 1.0
#: Shorter runs count as so long in a slowdown.


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What one weight made of the workload."""

    time: float
    makespan_s: float
    turnaround_s: float
    slowdown: float
    cpu_s: float
    worker_s: float


def weigh(jobs: Sequence[Job], time: float) -> list[Job]:
    """Return jobs whose time has this weight."""
    vector = weighed(time, 1.0 - time)
    return [
        msgspec.structs.replace(job, request=msgspec.structs.replace(job.request, optimize=vector))
        for job in jobs
    ]


def worker_seconds(ran: Ran) -> float:
    """Return how long workers ran anything, all together."""
    spans: dict[int, list[tuple[float, float]]] = {}
    for began, ended, machine in zip(ran.started, ran.ended, ran.machine, strict=True):
        spans.setdefault(machine, []).append((began, ended))
    total = 0.0
    for each in spans.values():
        until = -math.inf
        for began, ended in sorted(each):
            total += max(0.0, ended - max(began, until))
            until = max(until, ended)
    return total


def mean_turnaround_s(jobs: Sequence[Job], ran: Ran) -> float:
    """Return how long after its submission a task has ended."""
    return math.fsum(ended - job.submitted for job, ended in zip(jobs, ran.ended, strict=True)) / len(jobs)


def mean_slowdown(jobs: Sequence[Job], ran: Ran) -> float:
    """Return how many times as long a task takes, from submission on, as alone on the fastest worker."""
    alone = [max(job.run_s / max(SPEEDS), TAU_S) for job in jobs]
    taken = [max(TAU_S, ended - job.submitted) for job, ended in zip(jobs, ran.ended, strict=True)]
    return math.fsum(map(lambda took, least: took / least, taken, alone)) / len(jobs)


def sweep(tasks: int, seeds: int, weights: Sequence[float] = WEIGHTS) -> list[Point]:
    """Return a point for each weight of time: the mean of so many workloads."""
    policies = Policies()
    loads = [_arrivals(tasks, SEED + number) for number in range(seeds)]

    def replayed(time: float, jobs: Sequence[Job]) -> Ran:
        return _replayed(policies, OPTIMIZE, weigh(jobs, time))

    points = []
    for time in weights:
        points.append(_mean([_point(partial(replayed, time), time, *load) for load in loads]))
        say(f"{points[-1]}")
    return points


def by_default(tasks: int, seeds: int) -> Point:
    """Return what the default policy makes of the same workloads, where nobody says what counts."""
    policies = Policies()
    replay = partial(_replayed, policies, policies.default)
    loads = [_arrivals(tasks, SEED + number) for number in range(seeds)]
    point = _mean([_point(replay, math.nan, *load) for load in loads])
    say(f"{policies.default}: {point}")
    return point


def _replayed(policies: Policies, name: str, jobs: Sequence[Job]) -> Ran:
    trace = Trace(source="", jobs=list(jobs))
    return policies.run(trace, make_machines(), name, seed=SEED, sharing=SHARING)


def _arrivals(tasks: int, seed: int) -> tuple[list[Job], list[Job]]:
    """Return one workload twice: all at once, and as a stream."""
    stream = with_load(Trace(source="", jobs=make_jobs(tasks, seed)), make_machines(), LOAD).jobs
    return [msgspec.structs.replace(job, submitted=0.0) for job in stream], stream


def _point(
    replay: Callable[[Sequence[Job]], Ran], time: float, at_once: Sequence[Job], stream: Sequence[Job]
) -> Point:
    ran = replay(stream)
    return Point(
        time=time,
        makespan_s=max(replay(at_once).ended),
        turnaround_s=mean_turnaround_s(stream, ran),
        slowdown=mean_slowdown(stream, ran),
        cpu_s=_cpu_seconds(stream, ran),
        worker_s=worker_seconds(ran),
    )


def _mean(points: Sequence[Point]) -> Point:
    names = Point.__struct_fields__
    return Point(
        **{name: math.fsum(getattr(point, name) for point in points) / len(points) for name in names}
    )


def _cpu_seconds(jobs: Sequence[Job], ran: Ran) -> float:
    spans = zip(jobs, ran.started, ran.ended, strict=True)
    return math.fsum(job.request.cpus * (ended - began) for job, began, ended in spans)


def measure(_ground: Ground, size: Size) -> Figures:
    """Sweep the weight."""
    points = sweep(size.tasks, size.repeats)
    default = msgspec.structs.asdict(by_default(size.tasks, size.repeats))
    return {
        "points": [msgspec.to_builtins(point) for point in points],
        "default": {name: value for name, value in default.items() if name != "time"},
        "load": LOAD,
        "tasks": size.tasks,
        "workloads": size.repeats,
    }


if __name__ == "__main__":
    run("tradeoff", measure, repeats=WORKLOADS, tasks=TASKS)
