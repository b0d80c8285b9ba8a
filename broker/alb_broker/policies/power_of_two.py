"""``power-of-two``: the less loaded of two at random (Mitzenmacher, "The power of two choices", 2001)."""

from __future__ import annotations

from collections.abc import Sequence

from alb_broker.policies import Candidate, Context
from alb_broker.policies.least_loaded import slowness
from alb_core.spec import TaskSpec


def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The less loaded of two workers at random: no herd runs to whoever was idle when loads were reported."""
    if len(candidates) == 1:
        return candidates[0]
    first = context.draws.below(len(candidates))
    second = (first + 1 + context.draws.below(len(candidates) - 1)) % len(candidates)
    return min(candidates[first], candidates[second], key=lambda each: slowness(task.request, each))
