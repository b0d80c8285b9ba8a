"""``uniform``: every worker with room is as good as any other."""

from __future__ import annotations

from collections.abc import Sequence

from alb_broker.policies import Candidate, Context
from alb_core.spec import TaskSpec


def choose(_task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """Any worker with room, all with equal probability."""
    return candidates[context.draws.below(len(candidates))]
