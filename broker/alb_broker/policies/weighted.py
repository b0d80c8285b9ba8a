"""``weighted``: the least used, by weights that the operator gives to CPU, memory and network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alb_broker.policies import Candidate, Context, wishes
from alb_broker.policies.measures import least, used
from alb_core.choices import Parameter
from alb_core.spec import TaskSpec


def check(weights: Mapping[str, Parameter]) -> str | None:
    """Return what is wrong with the weights, or None."""
    values = [float(value) for value in weights.values()]
    if min(values) < 0 or not sum(values) > 0:
        return "weights are not negative, nor all of them 0: cpu=0.6 memory=0.3 network=0.1"
    return None


@wishes(parameters={"cpu": 0.5, "memory": 0.3, "network": 0.2}, check=check)
def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The least used worker; cpu=, memory= and network= are the weights by which each counts."""
    weights: Mapping[str, Any] = context.parameters
    cpu, memory, network = weights["cpu"], weights["memory"], weights["network"]

    def cost(candidate: Candidate) -> float:
        uses = used(task, candidate)
        return float(cpu * uses.cpu + memory * uses.memory + network * uses.net)

    return least(candidates, context, cost)
