"""What policies compare candidates by. All are pure functions of a task and a candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from alb_broker.policies import Candidate, Context
from alb_core.spec import TaskSpec


class Uses(NamedTuple):
    """How used a worker would be, from 0 (idle) to 1 (full), or above where it is overloaded."""

    cpu: float
    memory: float
    net: float


def reserved(task: TaskSpec, candidate: Candidate) -> Uses:
    """Return what is reserved once the task is there; a resource that the worker does not know is unused."""
    capacity, request = candidate.capacity, task.request
    cpu = memory = net = 0.0
    if capacity.cpus:
        cpu = (capacity.cpus - candidate.cpus + request.cpus) / capacity.cpus
    if capacity.memory_bytes:
        taken = capacity.memory_bytes - candidate.memory_bytes + request.memory_bytes
        memory = taken / capacity.memory_bytes
    if capacity.net_bps:
        net = (capacity.net_bps - candidate.net_bps + request.net_bps) / capacity.net_bps
    return Uses(cpu, memory, net)


def used(task: TaskSpec, candidate: Candidate) -> Uses:
    """Return the larger of what is reserved and what is measured.

    Reservations know of tasks that just started, measurements of what tasks really use and of other programs
    on the machine.
    """
    load = candidate.load
    return Uses(*map(max, reserved(task, candidate), (load.cpu, load.memory, load.net)))


def least(candidates: Sequence[Candidate], context: Context, key: Callable[[Candidate], Any]) -> Candidate:
    """Return the candidate with the least key; ties break at random."""
    if len(candidates) == 1:
        return candidates[0]
    return cheapest(candidates, context, [key(candidate) for candidate in candidates])


def cheapest(candidates: Sequence[Candidate], context: Context, costs: list[Any]) -> Candidate:
    """Return the candidate that costs least; ties break at random.

    Args:
        candidates: Some.
        context: Has the random numbers.
        costs: Of each, in their order.
    """
    start = context.draws.below(len(candidates))
    turned = costs[start:] + costs[:start]
    return candidates[(start + turned.index(min(turned))) % len(candidates)]
