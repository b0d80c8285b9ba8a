"""Builders for tests of policies: candidates by a few numbers, and what a policy makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.broker_parts import request

from alb_broker.policies import Candidate, Context, Policy, wishes_of
from alb_core.choices import Parameter
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec

GIB = 1 << 30
IDLE = Load()
TASK = TaskSpec(command="x", request=request(1))


def candidate(
    worker: str, *, cpus: float = 4, free: float = 4, memory: float = 1.0, load: Load = IDLE, **more: Any
) -> Candidate:
    """Return a worker of 4 GiB with so much free, memory as a fraction."""
    speed = more.setdefault("speed", 1.0)
    net_bps = more.pop("net_bps", 0)
    offers = Capacity(cpus=cpus, memory_bytes=4 * GIB, net_bps=net_bps, speed=speed)
    return Candidate(worker, offers, free, int(4 * GIB * memory), net_bps, load, **more)


def chosen(
    policy: Policy,
    *candidates: Candidate,
    task: TaskSpec = TASK,
    seed: int = 1,
    parameters: Mapping[str, Parameter] | None = None,
) -> str:
    """Return the name of the worker that a policy takes."""
    given = {**wishes_of(policy).parameters, **(parameters or {})}
    found = policy(task, candidates, Context(0.0, Draws(seed), given))
    assert found is not None
    return found.worker


def drawn(policy: Policy, *candidates: Candidate, times: int = 4000) -> Counter[str]:
    """Return how often each is taken."""
    draws = Draws(7)
    context = Context(0.0, draws, wishes_of(policy).parameters)
    found = [policy(TASK, candidates, context) for _ in range(times)]
    return Counter(each.worker for each in found if each is not None)
