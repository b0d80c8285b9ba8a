"""``least-loaded`` (the default): the worker whose scarcest resource is least used.

Each resource counts with the larger of what is reserved and what is measured: reservations know of tasks
that just started, measurements of what tasks really use and of other programs on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alb_broker.policies import Candidate, Context
from alb_core.spec import TaskSpec

WEIGHTS: Final = (0.6, 0.25, 0.15)
#: Of the most, the second and the least used of CPU, memory and network.


def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """Choose the candidate with the lowest weighed use after the task is on it; ties break at random."""
    if len(candidates) == 1:
        return candidates[0]
    start = context.draws.below(len(candidates))
    rotated = [*candidates[start:], *candidates[:start]]
    return min(rotated, key=lambda candidate: pressure(task, candidate))


def pressure(task: TaskSpec, candidate: Candidate) -> float:
    """Return how used the worker would be, 0 (idle) to 1 (full), or above where it is overloaded."""
    capacity, request, load = candidate.capacity, task.request, candidate.load
    cpu = (capacity.cpus - candidate.cpus + request.cpus) / capacity.cpus if capacity.cpus else 0.0
    memory = net = 0.0
    if capacity.memory_bytes:
        taken = capacity.memory_bytes - candidate.memory_bytes + request.memory_bytes
        memory = taken / capacity.memory_bytes
    if capacity.net_bps:
        net = (capacity.net_bps - candidate.net_bps + request.net_bps) / capacity.net_bps
    uses = [max(cpu, load.cpu), max(memory, load.memory), max(net, load.net)]
    uses.sort()
    return WEIGHTS[0] * uses[2] + WEIGHTS[1] * uses[1] + WEIGHTS[2] * uses[0]
