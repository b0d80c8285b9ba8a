"""``foresight``: fast workers for what runs long, by what history says of its command.

What was learnt lies in the file that ``ALB_FORESIGHT`` names (``python -m alb_policy_foresight learn``). It
is read once, when the broker starts: a policy itself reads nothing and keeps nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, Policy, wishes
from alb_broker.policies.least_loaded import pressure
from alb_broker.policies.measures import least
from alb_core.spec import TaskSpec
from alb_policy_foresight.medians import Medians, key_of, loads


def policy_of(medians: Medians) -> Policy:
    """Return the policy for what was learnt."""

    @wishes(candidates=CANDIDATES_MAX)
    def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
        """The fastest worker for what runs long by history, or is unknown, and the slowest for the rest."""
        sign = -1 if medians.is_long(key_of(task.command)) else 1
        return least(candidates, context, lambda each: (sign * each.speed, pressure(task, each)))

    return choose


def _learnt() -> Medians:
    path = os.environ.get("ALB_FORESIGHT", "")
    return loads(Path(path).read_bytes()) if path else Medians()


choose = policy_of(_learnt())
