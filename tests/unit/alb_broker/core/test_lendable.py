"""What one look at thousands of old attempts costs, and that nobody is left out by its bounds."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    CLAIMED_S,
    Desks,
    attempt,
    make_attempt,
    make_task,
    notes,
    task_id,
)

from alb_broker.core import demotions
from alb_core.resources import Request
from alb_core.shares import Share
from alb_core.spec import TaskSpec

USERS = 16
EACH = 64
WORKERS = ("w1", "w2")
LONG = TaskSpec(command="long", time_limit_s=1e6)


class Crowd(Desks):
    """A leader of two full workers, on which each of many users has as many old commands as the others."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        held: dict[str, list[int]] = {name: [] for name in WORKERS}
        for number in range(USERS * EACH):
            name = WORKERS[number % 2]
            old = make_attempt(worker=name, placed=CLAIMED_S - 100.0 + number / 1000)
            self.state.table.add(make_task(number, old, spec=LONG, user=f"user {number // 2 % USERS}"))
            held[name].append(number)
        self.workers.adopt_table()
        for name, numbers in held.items():
            self.join(name, *map(attempt, numbers), cpus=float(len(numbers)), peer=name.encode())
            self.state.workers.by_name[name].session = True

    def wait(self, users: int = USERS, **fields: Any) -> None:
        """Let one more such command of each of so many users wait."""
        spec = msgspec.structs.replace(LONG, request=Request(**fields))
        for number in range(users):
            self.state.queue.add(make_task(10_000 + number, spec=spec, user=f"user {number}"))
        self.place()

    def demoted(self) -> int:
        """Return how many attempts are demoted."""
        return sum(len(worker.burden) for worker in self.state.workers)


def calls_of_a_tick(desks: Desks) -> int:
    """Return how many functions one look calls."""
    calls = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        desks.demotions.tick()
    finally:
        sys.setprofile(None)
    return calls


def test_who_cannot_give_way_costs_one_step_for_all_that_he_has() -> None:
    """As many users as are looked at hold the same: their attempts are looked at once, not for each head."""
    crowd = Crowd()
    assert calls_of_a_tick(crowd) < 100, "nobody waits"
    crowd.wait()
    assert calls_of_a_tick(crowd) < 20 * USERS * EACH, "with a look at each for each head it was a hundred"
    assert crowd.demoted() == 0


def test_who_holds_most_gives_way_and_no_more_than_he_holds_above_others() -> None:
    """Three heads in one tick, on two workers: the second look knows what the first took."""
    crowd = Crowd()
    crowd.state.shares.use(crowd.state.shares.node.changed("user 0", Share(weight=0.5)))
    crowd.wait(3)
    crowd.demotions.tick()
    given = [name for worker in crowd.state.workers for name in worker.reserved if name in worker.burden]
    assert {crowd.state.table.live[each.task].user for each in given} == {"user 0"}
    assert len(given) == len(WORKERS)


def test_a_tick_is_bounded_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With time for one head in each, one after the other has what it waits for."""
    monkeypatch.setattr(demotions, "STEPS_MAX", 1)
    crowd = Crowd()
    crowd.state.shares.use(crowd.state.shares.node.changed("user 9", Share(weight=0.1)))
    crowd.wait(3)
    waited = []
    for _ in range(3):
        crowd.demotions.tick()
        waited.append([fields["waiting"] for fields in notes(crowd.state.take_out(), "attempt_demoted")])
        crowd.place()
    assert waited == [[task_id(10_000)], [task_id(10_001)], [task_id(10_002)]]
