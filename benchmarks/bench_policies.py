"""What each installed policy makes of one workload, in virtual time, on the real core.

Twelve workers of three speeds and 2,000 tasks whose run times nobody knows: all at once for the makespan,
against a bound that no scheduler can beat, and as a Poisson stream at 80 % load for the slowdown. Beside them
a plain list scheduler. With ``--repeats 10`` the default and the list scheduler run over ten seeds, each told
on stderr; the figures are those of the first.

One makespan is mostly luck: where the few longest tasks happen to start. How much, both tell once more with
each run time of the first seed a few milliseconds longer, again and again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import msgspec

from alb.simulate.core.figures import Figures as Found
from alb.simulate.core.figures import figures
from alb.simulate.core.trace import Trace, with_load
from alb.simulate.runs import Policies
from alb_core.resources import Capacity, Request
from alb_core.traces import Job, Machine
from ground import Ground, say
from list_scheduler import run_list
from script import Figures, Size, run

SEED: Final = 1
TASKS: Final = 2000
SPEEDS: Final = (1.0,) * 4 + (2.0,) * 4 + (4.0,) * 4
CPUS: Final = 4.0
GIB: Final = 1024**3
MEMORY_STEP: Final = 64 * 1024**2
#: From 0.5 to 4 GiB in steps, as people ask: else each task would be of a shape of its own, and the queue,
#: which groups tasks by their shape, the longest that there can be.
MEDIAN_S: Final = 20.0
SIGMA: Final = 1.2
LOAD: Final = 0.8
SPAN_S: Final = 1000.0
#: Of the Poisson stream before it is stretched to its load.
NUDGE_S: Final = 0.02
#: By up to so much is each run nudged: a leader's turn, its commit and an order take about as long.
NUDGES: Final = 11
BAR: Final = 1.02
#: Of the list scheduler's makespan: where the default's must be.


def make_machines() -> list[Machine]:
    """Return the workers."""
    return [
        Machine(name=f"w{number:02}", capacity=Capacity(cpus=CPUS, memory_bytes=8 * GIB, speed=speed))
        for number, speed in enumerate(SPEEDS, start=1)
    ]


def make_jobs(tasks: int, seed: int) -> list[Job]:
    """Return tasks that come at random times."""
    draws = random.Random(seed)  # noqa: S311 (the same workload every time)
    jobs = [
        Job(
            submitted=draws.uniform(0.0, SPAN_S),
            run_s=draws.lognormvariate(math.log(MEDIAN_S), SIGMA),
            request=Request(
                float(draws.choices((1, 2, 4), (70, 20, 10))[0]), draws.randint(8, 64) * MEMORY_STEP
            ),
        )
        for _ in range(tasks)
    ]
    return sorted(jobs, key=lambda job: job.submitted)


def bound_s(jobs: Sequence[Job], machines: Sequence[Machine]) -> float:
    """Return a time in which no scheduler ends all jobs, if they come at once.

    All processors are busy at their speed, or the longest job has the fastest worker from the beginning.
    """
    work = math.fsum(job.request.cpus * job.run_s for job in jobs)
    power = math.fsum(machine.capacity.cpus * machine.speed for machine in machines)
    fastest = max(machine.speed for machine in machines)
    return max(work / power, max(job.run_s for job in jobs) / fastest)


class Workload:
    """The tasks of one seed, all at once and as a stream.

    Args:
        tasks: How many.
        seed: Of the tasks, and of the core's draws.
        policies: The installed ones.
    """

    def __init__(self, tasks: int, seed: int, policies: Policies) -> None:
        self._seed: Final = seed
        self._policies: Final = policies
        self._machines: Final = make_machines()
        self._stream: Final = with_load(
            Trace(source="", jobs=make_jobs(tasks, seed)), self._machines, LOAD
        ).jobs
        self._at_once: Final = [msgspec.structs.replace(job, submitted=0.0) for job in self._stream]
        self.bound: Final = bound_s(self._at_once, self._machines)

    def by_policy(self, name: str) -> dict[str, float]:
        """Return what a policy makes of it."""
        return self._both(name, lambda jobs: self._replayed(name, jobs))

    def by_list(self) -> dict[str, float]:
        """Return what the list scheduler makes of it."""
        return self._both("list scheduler", self._listed)

    def nudged(self, name: str) -> dict[str, dict[str, float]]:
        """Return what little changes make of the makespans of a policy and of the list scheduler.

        Of each the median, the worst, and how often it meets the bar of the list scheduler, not nudged.
        """
        bar = BAR * self._ratio(self._listed(self._at_once))
        loads = [nudge(self._at_once, number) for number in range(NUDGES)]
        return {
            name: _luck([self._ratio(self._replayed(name, jobs)) for jobs in loads], bar),
            "list_scheduler": _luck([self._ratio(self._listed(jobs)) for jobs in loads], bar),
        }

    def _ratio(self, found: Found) -> float:
        return found.makespan_s / self.bound

    def _replayed(self, name: str, jobs: list[Job]) -> Found:
        trace = Trace(source="", jobs=jobs)
        (found,) = self._policies.replay(trace, self._machines, [name], seed=self._seed)
        return found

    def _listed(self, jobs: list[Job]) -> Found:
        return figures("list", jobs, self._machines, run_list(jobs, self._machines))

    def _both(self, name: str, replay: Callable[[list[Job]], Found]) -> dict[str, float]:
        found = {
            "makespan_ratio": self._ratio(replay(self._at_once)),
            "slowdown": replay(self._stream).slowdown.mean,
        }
        say(f"seed {self._seed}, {name}: {found}")
        return found


def nudge(jobs: Sequence[Job], seed: int) -> list[Job]:
    """Return jobs of which each runs up to `NUDGE_S` longer."""
    draws = random.Random(seed)  # noqa: S311 (the same nudges every time)
    return [msgspec.structs.replace(job, run_s=job.run_s + draws.uniform(0.0, NUDGE_S)) for job in jobs]


def _luck(ratios: Sequence[float], bar: float) -> dict[str, float]:
    met = sum(ratio <= bar for ratio in ratios) / len(ratios)
    found = {"median": median(ratios), "worst": max(ratios), "met": met}
    say(f"nudged: {found}")
    return found


def measure(_ground: Ground, size: Size) -> Figures:
    """Run every policy, and the list scheduler, over both arrivals; of further seeds the default alone."""
    policies = Policies()
    workload = Workload(size.tasks, SEED, policies)
    found: Figures = {
        "default": policies.default,
        "policies": {name: workload.by_policy(name) for name in policies.names},
        "list_scheduler": workload.by_list(),
        "nudged": workload.nudged(policies.default),
        "bound_s": workload.bound,
        "tasks": size.tasks,
    }
    for seed in range(SEED + 1, SEED + size.repeats):
        another = Workload(size.tasks, seed, policies)
        another.by_policy(policies.default)
        another.by_list()
    return found


if __name__ == "__main__":
    run("policies", measure, repeats=1, tasks=TASKS)
