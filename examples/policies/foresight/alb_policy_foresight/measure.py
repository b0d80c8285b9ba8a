"""What is to be gained: learns from the first half of a workload, and replays the second on the real core.

Twelve workers of 4 cpus and the speeds 1, 2 and 4; forty programs whose run times have a lognormal median
(median 20 s, sigma 1.2), each run a lognormal factor (sigma 0.4) of it; Poisson arrivals. Everything from
seed 1, in virtual time: ``python -m alb_policy_foresight.measure [tasks]`` prints the same on every machine.
"""

from __future__ import annotations

import math
import random
import sys
from statistics import fmean

import msgspec

from alb.simulate.core.figures import Figures, figures
from alb_broker.policies import Policy, fastest, least_loaded
from alb_broker.replay.replay import Replay
from alb_core.resources import Capacity, Request
from alb_core.traces import Job, Machine
from alb_policy_foresight import policy_of
from alb_policy_foresight.medians import Medians, key_of, learn

SPEEDS = (1.0,) * 4 + (2.0,) * 4 + (4.0,) * 4
CPUS = 4.0
GIB = 1 << 30
PROGRAMS = 40
LETTERS = "abcdefghij"
HEADINGS = ("load", "policy", "priority", "wait", "slowdown", "in system", "makespan")


def machines() -> list[Machine]:
    """Return the workers."""
    return [
        Machine(name=f"w{number:02}", capacity=Capacity(cpus=CPUS, memory_bytes=8 * GIB, speed=speed))
        for number, speed in enumerate(SPEEDS, start=1)
    ]


def workload(tasks: int, load: float, seed: int = 1) -> list[Job]:
    """Return tasks that ask for this part of what the workers can do."""
    draws = random.Random(seed)  # noqa: S311 (the same workload every time)
    medians_s = [draws.lognormvariate(math.log(20.0), 1.2) for _ in range(PROGRAMS)]
    programs = [draws.randrange(PROGRAMS) for _ in range(tasks)]
    runs_s = [medians_s[program] * draws.lognormvariate(0.0, 0.4) for program in programs]
    rate = load * CPUS * sum(SPEEDS) / fmean(runs_s)
    jobs, at = [], 0.0
    for program, run_s in zip(programs, runs_s, strict=True):
        at += draws.expovariate(rate)
        request = Request(1.0, GIB // 2)
        user = f"u{program % 5}"
        jobs.append(Job(submitted=at, run_s=run_s, user=user, request=request, name=_name(program)))
    return jobs


def _name(program: int) -> str:
    """Return a name in letters: to ``form_of`` all numbers are the same."""
    return f"prog-{LETTERS[program // 10]}{LETTERS[program % 10]}"


def halves(jobs: list[Job]) -> tuple[Medians, list[Job]]:
    """Return what the first half teaches, and the second half."""
    half = len(jobs) // 2
    medians = learn((key_of(job.name), job.run_s) for job in jobs[:half])
    begins = jobs[half].submitted
    return medians, [msgspec.structs.replace(job, submitted=job.submitted - begins) for job in jobs[half:]]


def by_length(jobs: list[Job], medians: Medians) -> list[Job]:
    """Return the jobs with the priority that was learnt."""
    return [msgspec.structs.replace(job, priority=medians.priority(key_of(job.name))) for job in jobs]


def replayed(jobs: list[Job], name: str, policies: dict[str, Policy]) -> tuple[Figures, float]:
    """Return the figures of a replay, and the mean time from submission to the end."""
    ran = Replay(jobs, machines(), policies, name, seed=1).run()
    spent = fmean(ended - job.submitted for ended, job in zip(ran.ended, jobs, strict=True))
    return figures(name, jobs, machines(), ran), spent


def main(tasks: int) -> None:
    """Print a row for each load, policy and order."""
    print("{:>4}  {:14}{:12}{:>8}{:>10}{:>11}{:>10}".format(*HEADINGS))
    for load in (0.7, 1.0, 1.2):
        medians, rest = halves(workload(tasks, load))
        policies = {
            "least-loaded": least_loaded.choose,
            "fastest": fastest.choose,
            "foresight": policy_of(medians),
        }
        for order, jobs in (("none", rest), ("learnt", by_length(rest, medians))):
            for name in policies:
                found, spent = replayed(jobs, name, policies)
                print(
                    f"{load:4.1f}  {name:14}{order:12}{found.wait_s.mean:8.2f}{found.slowdown.mean:10.3f}"
                    f"{spent:11.2f}{found.makespan_s:10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
