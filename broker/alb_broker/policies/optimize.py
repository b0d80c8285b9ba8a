"""``optimize``: by the user's vector, which weighs the time of a task against the resources that it takes.

It is asked for every task that has a vector of its own, whatever policy is in force; as the policy in force
it gives its own to all others. All it does is a sum of two costs, each from 0 to 1, by the vector's weights:

* time: how much longer the task runs there than on the fastest candidate, undisturbed;
* resources: how much of the worker stays idle beside it; a worker that runs nothing would have to be woken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, wishes
from alb_broker.policies.least_loaded import pressure
from alb_broker.policies.measures import least, reserved, used
from alb_core.choices import Parameter
from alb_core.spec import TaskSpec
from alb_core.vectors import Vector, check_vector, hurries

SHARING: Final = 0.2
#: What a full machine costs each of its tasks: caches, memory bandwidth and hyper-threads are shared. A rule
#: of thumb; without it nobody in a hurry would mind neighbours.
DIGITS: Final = 6
#: Costs that differ by less are alike.


def vector_of(weights: Mapping[str, Any]) -> Vector:
    """Return the vector that parameters of this policy mean."""
    return Vector(time=float(weights["time"]), resources=float(weights["resources"]))


def check(weights: Mapping[str, Parameter]) -> str | None:
    """Return what is wrong with the weights, or None."""
    wrong = check_vector(vector_of(weights))
    return None if wrong is None else f"{wrong}: give both, time=0.7 resources=0.3"


@wishes(candidates=CANDIDATES_MAX, parameters={"time": 0.5, "resources": 0.5}, check=check)
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
    weighed = vector.time * lateness(task, candidate, fastest) + vector.resources * idleness(task, candidate)
    load = pressure(task, candidate)
    return round(weighed, DIGITS), load if hurries(vector) else -load


def lateness(task: TaskSpec, candidate: Candidate, fastest: float) -> float:
    """Return how much longer the task runs there: 0 as short as anywhere, towards 1 for ever."""
    uses = used(task, candidate)
    share = 1.0 / max(1.0, uses.cpu)  # who has more to do than processors shares them
    neighbours = 1.0 - SHARING * min(1.0, max(uses))
    return 1.0 - candidate.speed / fastest * share * neighbours


def idleness(task: TaskSpec, candidate: Candidate) -> float:
    """Return how much of the worker stays idle: 0 it is full, 1 it runs nothing else."""
    if not candidate.attempts:
        return 1.0
    uses = reserved(task, candidate)
    return max(0.0, 1.0 - (uses.cpu + uses.memory) / 2 if task.request.memory_bytes else 1.0 - uses.cpu)
