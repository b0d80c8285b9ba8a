"""``best-fit``: pack, so that large gaps stay large."""

from __future__ import annotations

from collections.abc import Sequence

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, wishes
from alb_broker.policies.measures import least
from alb_core.spec import TaskSpec


@wishes(candidates=CANDIDATES_MAX)
def choose(_task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The worker on which least stays free, processors before memory: large gaps stay for large tasks."""
    return least(candidates, context, lambda candidate: (candidate.cpus, candidate.memory_bytes))
