"""``random``: at random, and more often where there is more room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alb_broker.policies import Candidate, Context
from alb_core.spec import TaskSpec

PARTS: Final = 1 << 32
#: In which the free processors are divided: one of them is drawn.


def choose(_task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """At random, in proportion to the free processors: large machines get more than small ones."""
    point = context.draws.below(PARTS) / PARTS * sum(max(each.cpus, 0.0) for each in candidates)
    for candidate in candidates:
        point -= max(candidate.cpus, 0.0)
        if point < 0:
            return candidate
    return candidates[-1]
