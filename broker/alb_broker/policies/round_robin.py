"""``round-robin``: one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, wishes
from alb_core.spec import TaskSpec


@wishes(candidates=CANDIDATES_MAX)
def choose(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """One worker after the other: the one with room that was given something longest ago."""
    return min(candidates, key=lambda candidate: candidate.turn)
