"""How many jobs a second a replay takes: 200,000 on 1,000 workers, each through the real core.

Submission, placement, start and end of every job are messages to the broker's core, whose transactions are
applied to a tree in memory; time is virtual. There is no floor: nothing is waited for.
"""

from __future__ import annotations

import math
import random
import time
from statistics import median
from typing import Final

from alb.simulate.core.figures import figures
from alb.simulate.core.trace import Trace, with_load
from alb.simulate.runs import Policies
from alb_core.resources import Capacity, Request
from alb_core.traces import Job, Machine
from ground import BenchmarkFailed, Ground, say
from script import Figures, Size, run

SEED: Final = 1
WORKERS: Final = 1000
JOBS: Final = 200_000
GIB: Final = 1024**3
CAPACITY: Final = Capacity(cpus=4.0, memory_bytes=8 * GIB)
SHAPES: Final = tuple(Request(float(cpus), memory * GIB // 2) for cpus in (1, 2, 4) for memory in (1, 2, 4))
WEIGHTS: Final = (7, 7, 7, 2, 2, 2, 1, 1, 1)
USERS: Final = 20
MEDIAN_S: Final = 5.0
SIGMA: Final = 1.2
LOAD: Final = 0.8


def make_jobs(count: int) -> list[Job]:
    """Return jobs of a seeded generator: many users, few shapes, run times of all lengths."""
    draws = random.Random(SEED)  # noqa: S311 (the same workload every time)
    jobs = [
        Job(
            submitted=draws.random(),
            run_s=draws.lognormvariate(math.log(MEDIAN_S), SIGMA),
            user=f"user{draws.randrange(USERS)}",
            request=draws.choices(SHAPES, WEIGHTS)[0],
        )
        for _ in range(count)
    ]
    return sorted(jobs, key=lambda job: job.submitted)


def measure(_ground: Ground, size: Size) -> Figures:
    """Replay the workload under the default policy."""
    machines = [Machine(name=f"w{number}", capacity=CAPACITY) for number in range(WORKERS)]
    trace = with_load(Trace(source="", jobs=make_jobs(size.tasks)), machines, LOAD)
    policies = Policies()
    rates: list[float] = []
    for _ in range(size.repeats):
        began, used = time.perf_counter(), time.process_time()
        ran = policies.run(trace, machines, policies.default, seed=SEED)
        rates.append(size.tasks / (time.perf_counter() - began))
        used = time.process_time() - used
        say(f"{rates[-1]:,.0f} jobs/s, {used / size.tasks * 1e6:.0f} us of processor time a job")
        if ran.attempts < size.tasks or ran.policy_failures:
            raise BenchmarkFailed(
                f"{ran.attempts} attempts of {size.tasks} jobs, {ran.policy_failures} failures"
            )
    found = figures(policies.default, trace.jobs, machines, ran, default=True)
    return {
        "jobs_per_s": median(rates),
        "jobs": size.tasks,
        "workers": WORKERS,
        "repeats": size.repeats,
        "cpu_us_per_job": used / size.tasks * 1e6,
        "utilisation": found.utilisation,
        "mean_wait_s": found.wait_s.mean,
        "makespan_s": found.makespan_s,
    }


if __name__ == "__main__":
    run("simulate", measure, repeats=1, tasks=JOBS)
