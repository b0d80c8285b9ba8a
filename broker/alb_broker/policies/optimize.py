"""``optimize``: by the user's vector, which weighs the time of a task against the resources that it takes.

It is asked for every task that has a vector of its own, whatever policy is in force; as the policy in force
it gives its own to all others. All it does is a sum of two costs by the vector's weights, both counted in
runs of the task on the fastest candidate:

* time: how long the task runs there, with what else is there;
* resources: how much of a worker it takes for how long. A worker that runs nothing would have to be woken, so
  all of it counts; on a slow one the task holds its part for longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, wishes
from alb_broker.policies.least_loaded import pressure
from alb_broker.policies.measures import least, used
from alb_core.choices import Parameter
from alb_core.spec import TaskSpec
from alb_core.vectors import Vector, hurries, weighed

SHARING: Final = 0.2
#: By how much a full machine slows each of its tasks down: caches, memory bandwidth and hyper-threads are
#: shared. A rule of thumb; without it nobody in a hurry would mind neighbours.
STAYS_AWAKE: Final = 0.5
#: How likely a worker that runs something stays awake for the task alone, when the rest has ended.
DIGITS: Final = 6
#: Costs that differ by less are alike.


def vector_of(weights: Mapping[str, Any]) -> Vector:
    """Return the vector that parameters of this policy mean: as for one task, the weights have any sum."""
    return weighed(float(weights["time"]), float(weights["resources"]))


def check(weights: Mapping[str, Parameter]) -> str | None:
    """Return what is wrong with the weights, or None."""
    try:
        vector_of(weights)
    except ValueError as error:
        return f"{error}: time=0.7, or time=7 resources=3"
    return None


@wishes(
    candidates=CANDIDATES_MAX,
    parameters={"time": 0.5, "resources": 0.5},
    check=check,
    halves=("time", "resources"),
)
def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """By what each task's --optimize weighs, time or resources; time= and resources= weigh for all others."""
    vector = task.request.optimize or vector_of(context.parameters)
    fastest = max(candidate.speed for candidate in candidates)
    return least(candidates, context, lambda each: cost(task, each, fastest, vector))


def cost(task: TaskSpec, candidate: Candidate, fastest: float, vector: Vector) -> tuple[float, float]:
    """Return what choosing a candidate costs; of equal ones who hurries spreads, and who does not packs.

    Args:
        task: What is placed.
        candidate: The worker.
        fastest: Speed of the fastest candidate.
        vector: The weights.
    """
    weighed = vector.time * run_time(task, candidate, fastest) + vector.resources * take(
        task, candidate, fastest
    )
    load = pressure(task, candidate)
    return round(weighed, DIGITS), load if hurries(vector) else -load


def run_time(task: TaskSpec, candidate: Candidate, fastest: float) -> float:
    """Return how long the task runs there, beside what is reserved and measured, in runs on the fastest."""
    uses = used(task, candidate)
    shares = max(1.0, uses.cpu)  # who has more to do than processors shares them
    return fastest / candidate.speed * shares * (1.0 + SHARING * min(1.0, max(uses)))


def take(task: TaskSpec, candidate: Candidate, fastest: float) -> float:
    """Return how much of a worker the task takes for how long, in whole workers and runs on the fastest."""
    part = part_of(task, candidate)
    lonely = STAYS_AWAKE if candidate.attempts else 1.0  # nobody else keeps an idle one awake
    return fastest / candidate.speed * (part + lonely * (1.0 - part))


def part_of(task: TaskSpec, candidate: Candidate) -> float:
    """Return the part of a worker that the task reserves: of what it takes most of."""
    request, capacity = task.request, candidate.capacity
    cpus = request.cpus / capacity.cpus if capacity.cpus else 1.0
    memory = request.memory_bytes / capacity.memory_bytes if capacity.memory_bytes else 0.0
    return min(1.0, max(cpus, memory))
