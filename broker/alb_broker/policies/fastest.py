"""``fastest``: speed before everything."""

from __future__ import annotations

from collections.abc import Sequence

from alb_broker.policies import Candidate, Context, wishes
from alb_broker.policies.least_loaded import pressure
from alb_broker.policies.measures import least
from alb_core.spec import TaskSpec
from alb_core.speeds import grade


@wishes(fastest_first=True)
def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The fastest worker with room, in what the task strains, and of equally fast ones the least loaded."""
    return least(candidates, context, lambda each: (-grade(each.speed), pressure(task, each)))
