"""``sticky``: what belongs together runs on the same workers, whose caches are warm.

Rendezvous hashing (Thaler and Ravishankar, 1996): every worker has a number for every name, and the highest
one with room wins. So a name keeps its worker as long as that has room, and when workers come and go only few
names move. A policy sees at most 16 workers with room, others each time: where there are more, a name has one
of each sixteen, four of 64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from alb_broker.policies import CANDIDATES_MAX, Candidate, Context, wishes
from alb_core.choices import Parameter
from alb_core.spec import TaskSpec


def check(parameters: Mapping[str, Parameter]) -> str | None:
    """Return what is wrong with the parameters, or None."""
    return None if parameters["by"] in {"name", "command"} else "by is name or command"


@wishes(candidates=CANDIDATES_MAX, parameters={"by": "name"}, check=check)
def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The worker that ran tasks of the same name before (by=name), or of the same command (by=command)."""
    key = task.name if context.parameters["by"] == "name" else str(task.command)
    return max(candidates, key=lambda candidate: crc32(f"{key}/{candidate.worker}".encode()))
