"""Corrections of speed at the desks of a leader: what counts, who hears of it, and what it changes."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    W1,
    W2,
    Desks,
    attempt,
    make_task,
    notes,
    of_type,
    outcome,
    submit,
    to_client,
)

from alb_broker.core.corrections import RUN_COUNTS_S
from alb_broker.core.speed_desk import CORRECT_S, RUNS_MAX
from alb_core.messages import AttemptEnded, QueryWorkers, WorkersPage
from alb_core.tasks import Outcome


def run_all(desks: Desks, *numbers: int, slow: float = 4.0, demoted: bool = False, **fields: float) -> None:
    """Let tasks run: on w2 they take so many times as long."""
    desks.run(*numbers)
    for number in numbers:
        if demoted:
            task = desks.task(number)
            task.attempts = tuple(msgspec.structs.replace(each, demoted=5.0) for each in task.attempts)
        _, worker = desks.task(number).assignment()
        wall_s = 10.0 if worker == "w1" else 10.0 * slow
        told: Outcome = outcome(**{"wall_s": wall_s, "cpu_s": wall_s, **fields})
        desks.worker(AttemptEnded(attempt=attempt(number), outcome=told), peer=W1 if worker == "w1" else W2)
    desks.commit()


@pytest.fixture
def desks() -> Desks:
    """Return a leader with two workers that say that they are alike."""
    made = Desks()
    made.greet("ann")
    made.join("w1", cpus=16.0)
    made.join("w2", cpus=16.0, peer=W2)
    return made


def corrections(desks: Desks) -> dict[str, float]:
    """Return what lists show."""
    desks.client(QueryWorkers(seq=1))
    (page,) = of_type(WorkersPage, to_client(C1, desks.commit()))
    return {line.worker: line.correction for line in page.workers}


def tick(desks: Desks, after_s: float = CORRECT_S) -> list[dict[str, object]]:
    """Let time pass; returns what the log says of corrections."""
    desks.state.at += after_s
    desks.book.speeds.tick()
    return notes(desks.state.take_out(), "worker_speed_corrected")


def test_a_slow_worker_is_seen_to_be_slow(desks: Desks) -> None:
    """Lists and the log show it, and it holds until nobody remembers why; a new start changes nothing."""
    run_all(desks, *range(1, 21))
    assert [note["worker"] for note in tick(desks)] == ["w1", "w2"]
    found = corrections(desks)
    assert found["w1"] / found["w2"] == pytest.approx(4.0)
    before = desks.state.workers.by_name["w1"]
    desks.state.workers.add(type(before)("w1", "w1-2", 0.0))
    assert desks.state.workers.by_name["w1"].correction == found["w1"]
    assert tick(desks) == []
    assert [note["correction"] for note in tick(desks, RUN_COUNTS_S)] == [1.0, 1.0]


@pytest.mark.parametrize(
    "fields",
    [{"exit_code": 1}, {"cpu_s": 0.1}, {"wall_s": 0.5}, {"demoted": True}],
    ids=["it failed", "it waited", "it was short", "it had what others left over"],
)
def test_some_runs_tell_nothing(desks: Desks, fields: dict[str, float]) -> None:
    """Of the machine that they ran on."""
    run_all(desks, *range(1, 21), **fields)
    assert tick(desks) == []
    assert set(corrections(desks).values()) == {1.0}


def test_of_very_many_runs_the_newest_tell(desks: Desks) -> None:
    """What so many others came after before anybody looked is not looked at."""

    def learn(name: str, wall_s: float, times: int) -> None:
        worker, told = desks.state.workers.by_name[name], outcome(wall_s=wall_s, cpu_s=wall_s)
        for _ in range(times):
            desks.book.speeds.on_success(make_task(1), worker, told, desks.state.now())

    learn("w1", 10.0, 20)
    learn("w2", 40.0, RUNS_MAX - 10)
    assert len(tick(desks)) == 2
    learn("w1", 40.0, 20)
    learn("w2", 40.0, RUNS_MAX)
    assert tick(desks) == []  # else w1 would be known to be as slow as w2 by now


def test_what_goes_on_from_somewhere_tells_nothing(desks: Desks) -> None:
    """An attempt that was given increments did only the rest of the work."""
    desks.client(*(submit(number) for number in range(1, 21)))
    for number in range(1, 21):
        desks.task(number).incremental = True
    run_all(desks)
    desks.turn()
    for number in range(1, 21):
        _, worker = desks.task(number).assignment()
        seconds = 10.0 if worker == "w1" else 90.0
        ended = AttemptEnded(attempt=attempt(number), outcome=outcome(wall_s=seconds, cpu_s=seconds))
        desks.worker(ended, peer=W1 if worker == "w1" else W2)
    assert tick(desks) == []
