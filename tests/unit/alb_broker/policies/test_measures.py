"""What policies compare by."""

from __future__ import annotations

import pytest
from tests.broker_parts import request
from tests.policy_parts import GIB, TASK, candidate

from alb_broker.policies import Context
from alb_broker.policies.measures import least, reserved, used
from alb_core.draws import Draws
from alb_core.resources import Load
from alb_core.spec import TaskSpec


def test_the_task_counts_as_if_it_were_there() -> None:
    """Each resource by its own size; one that the worker does not know is unused."""
    each = candidate("w", free=3, memory=0.5)
    hungry = TaskSpec(command="x", request=request(1, GIB, net_bps=10))
    assert reserved(hungry, each) == (0.5, 0.75, 0.0)
    assert reserved(hungry, candidate("w", net_bps=20)).net == pytest.approx(0.5)


def test_of_reserved_and_measured_the_larger_counts() -> None:
    """So a task that uses what it reserved counts once."""
    each = candidate("w", free=2, load=Load(cpu=0.9, memory=0.1))
    assert used(TASK, each) == (0.9, 0.1, 0.0)
    assert used(TASK, candidate("w", free=2, load=Load(cpu=0.1))).cpu == reserved(TASK, each).cpu


def test_ties_break_at_random() -> None:
    """Whoever stands first; a sole one is taken without a draw."""
    context = Context(0.0, Draws(1))
    pair = [candidate("a"), candidate("b")]
    assert {least(pair, context, lambda _: 0).worker for _ in range(50)} == {"a", "b"}
    assert least(pair[:1], context, lambda _: 0) is pair[0]
