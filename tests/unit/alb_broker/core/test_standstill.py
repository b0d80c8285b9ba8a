"""Whether the queue stands still: only where something would fit, and nothing is placed for long."""

from __future__ import annotations

from tests.broker_parts import Desks, make_task, make_worker, request

from alb_broker.core.standstill import LOOK_EVERY_S, Standstill
from alb_core.spec import TaskSpec


def _waiting(cpus: float) -> tuple[Desks, Standstill]:
    """Let a task wait that asks for so many processors, which nobody places."""
    desks, worker = Desks(), make_worker("w1", 2.0)
    desks.state.workers.add(worker)
    desks.state.workers.grew(worker)
    desks.state.queue.add(make_task(1, spec=TaskSpec(command="x", request=request(cpus))))
    return desks, Standstill(desks.state)


def _look(desks: Desks, standstill: Standstill, at: float) -> float:
    desks.state.at = at
    return standstill.lasts_s()


def test_what_fits_and_is_not_placed_counts_from_the_first_look() -> None:
    """As long as nothing else is placed: whoever places something does not stand still."""
    desks, standstill = _waiting(cpus=1)
    assert [_look(desks, standstill, at) for at in (1.0, 1.0 + LOOK_EVERY_S / 2, 31.0)] == [0.0, 0.5, 30.0]
    desks.state.counters["tasks_placed"] += 1
    assert [_look(desks, standstill, at) for at in (32.0, 33.0)] == [0.0, 1.0]


def test_what_fits_nowhere_keeps_nobody_standing() -> None:
    """However long it waits."""
    desks, standstill = _waiting(cpus=4)
    assert [_look(desks, standstill, at) for at in (1.0, 100.0)] == [0.0, 0.0]
