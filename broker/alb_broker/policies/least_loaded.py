"""``least-loaded`` (the default): the fastest worker, each taken to be slower the more it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alb_broker.policies import Candidate, Context, wishes
from alb_broker.policies.measures import cheapest, used
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.speeds import graded

SEEN: Final = 8
#: Of machines of several speeds four seldom show a fast one; each more costs a microsecond or two.
OF_MOST: Final = 0.6
OF_SECOND: Final = 0.25
OF_THIRD: Final = 0.15
#: Weights of the most, the second and the least used of CPU, memory and network.
CROWDING: Final = 0.5
#: By how much a full worker is taken to slow its tasks down. More than what they mostly cost each other (a
#: fifth): room that is left is worth something, too, so workers that are nearly as fast are nearly as used.


@wishes(candidates=SEEN)
def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The fastest worker, each the slower the more it is used: of equally fast ones the least loaded."""
    if len(candidates) == 1:
        return candidates[0]
    request = task.request
    return cheapest(candidates, context, [slowness(request, candidate) for candidate in candidates])


def slowness(request: Request, candidate: Candidate) -> float:
    """Return how many times as long a task runs there as alone on an ordinary machine, about.

    Asked of each candidate of each placement: what `measures.used` tells, in one piece.
    """
    capacity, load = candidate.capacity, candidate.load
    cpu, memory, net = load.cpu, load.memory, load.net
    if capacity.cpus:
        part = (capacity.cpus - candidate.cpus + request.cpus) / capacity.cpus
        if part > cpu:  # noqa: PLR1730 (a call of `max` costs ten times as much)
            cpu = part
    if capacity.memory_bytes:
        taken = capacity.memory_bytes - candidate.memory_bytes + request.memory_bytes
        part = taken / capacity.memory_bytes
        if part > memory:  # noqa: PLR1730 (see above)
            memory = part
    if capacity.net_bps:
        part = (capacity.net_bps - candidate.net_bps + request.net_bps) / capacity.net_bps
        if part > net:  # noqa: PLR1730 (see above)
            net = part
    third, second, most = sorted((cpu, memory, net))
    crowded = 1.0 + CROWDING * (OF_MOST * most + OF_SECOND * second + OF_THIRD * third)
    if most > 1.0:  # who has more to do than it can shares it
        crowded *= most
    return crowded / graded(candidate.speed)


def pressure(task: TaskSpec, candidate: Candidate) -> float:
    """Return how used the worker would be, 0 (idle) to 1 (full), or above where it is overloaded."""
    third, second, most = sorted(used(task, candidate))
    return OF_MOST * most + OF_SECOND * second + OF_THIRD * third
