"""``spread``: as few eggs in each basket as possible."""

from __future__ import annotations

from collections.abc import Sequence

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, wishes
from alb_broker.policies.measures import least, reserved
from alb_core.spec import TaskSpec


@wishes(candidates=CANDIDATES_MAX)
def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The worker with the fewest tasks, then the emptiest: a machine that dies takes few with it."""
    return least(candidates, context, lambda each: (each.attempts, max(reserved(task, each))))
