"""Quarantine at the desks of a leader: who is given nothing, who hears of it, and when it is over."""

from __future__ import annotations

import pytest
from tests.broker_parts import C1, W2, Desks, attempt, ended, make_task, of_type, task_id, to_client

from alb_broker.core.quarantine import QUARANTINE_S, QUICK_S, WINDOW_S
from alb_broker.core.ward_desk import SUCCESSES_MAX
from alb_core.messages import AttemptEnded, QueryWorkers, WorkersPage
from alb_core.notes import Note
from alb_core.tasks import Cause, Outcome, TaskState


def two_workers() -> Desks:
    """Return a leader with two workers of many processors."""
    desks = Desks()
    desks.greet("ann")
    desks.join("w1", cpus=16.0)
    desks.join("w2", cpus=16.0, peer=W2)
    return desks


def end_all(desks: Desks, *numbers: int, outcome: Outcome | None = None) -> None:
    """Let tasks run: on w1 they end so, on w2 well."""
    desks.run(*numbers)
    for number in numbers:
        task = desks.task(number)
        n, worker = task.assignment()
        if worker == "w1":
            how = outcome or Outcome(cause=Cause.NOT_FOUND, exit_code=127)
            desks.worker(AttemptEnded(attempt=attempt(number, n), outcome=how))
        else:
            desks.worker(ended(number, n), peer=W2)
    desks.commit()


def test_a_black_hole_is_given_nothing_for_a_while() -> None:
    """Its line tells until when and why, the log does, and then it is given tasks again."""
    desks = two_workers()
    end_all(desks, *range(1, 11))
    worker = desks.state.workers.by_name["w1"]
    assert not worker.placeable
    desks.run(11, 12)
    assert {desks.task(number).assignment()[1] for number in (11, 12)} == {"w2"}
    desks.client(QueryWorkers(seq=1))
    (page,) = of_type(WorkersPage, to_client(C1, desks.commit()))
    quarantine = page.workers[0].quarantine
    assert quarantine is not None
    assert quarantine.until == desks.state.now() + QUARANTINE_S
    assert "failed at once on it" in quarantine.why
    assert page.workers[1].quarantine is None
    desks.state.at += QUARANTINE_S
    desks.book.ward.tick()
    assert worker.placeable
    assert [note.event for note in of_type(Note, desks.state.take_out())] == ["worker_trusted"]


def succeed(desks: Desks, number: int, name: str, times: int = 1) -> None:
    """Let a task succeed on a worker, as far as its desk hears."""
    worker, now = desks.state.workers.by_name[name], desks.state.now()
    for _ in range(times):
        desks.book.ward.on_success(make_task(number), worker, now)


def fail(desks: Desks, *numbers: int) -> None:
    """Let tasks fail on w1, one after the other, as far as its desk hears."""
    worker, how = desks.state.workers.by_name["w1"], Outcome(cause=Cause.NOT_FOUND, exit_code=127)
    for number in numbers:
        desks.book.ward.on_other_end(make_task(number), worker, how, desks.state.now())


def test_successes_before_any_failure_count() -> None:
    """They are looked at when the first one fails: also after a while, and should they be very many."""
    for wait_s, blamed in ((0.0, True), (WINDOW_S / 2, True), (WINDOW_S + 1, False)):
        desks = two_workers()
        succeed(desks, 1, "w1")
        succeed(desks, 2, "w2", times=SUCCESSES_MAX)
        desks.state.at += wait_s
        desks.book.ward.tick()
        fail(desks, 3, 4, 5)
        assert desks.state.workers.by_name["w1"].placeable is not blamed


def test_a_success_between_failures_clears_a_worker() -> None:
    """While failures count, each success is looked at when it comes; after that they never count again."""
    desks = two_workers()
    succeed(desks, 1, "w2")
    fail(desks, 2, 3)
    succeed(desks, 4, "w1")
    succeed(desks, 5, "w2", times=2 * SUCCESSES_MAX)
    fail(desks, 6, 7)
    assert desks.state.workers.by_name["w1"].placeable
    desks.state.at += WINDOW_S + 1
    succeed(desks, 8, "w2", times=2 * SUCCESSES_MAX)
    fail(desks, 9, 10)
    assert desks.state.workers.by_name["w1"].placeable
    fail(desks, 11)
    assert not desks.state.workers.by_name["w1"].placeable


def test_a_quarantine_outlives_the_workers_life() -> None:
    """A new incarnation of the name is in quarantine, too."""
    desks = two_workers()
    end_all(desks, *range(1, 11))
    before = desks.state.workers.by_name["w1"]
    desks.state.workers.add(type(before)("w1", "w1-2", 0.0))
    assert desks.state.workers.by_name["w1"].quarantine == before.quarantine


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(cause=Cause.EXITED, exit_code=1, wall_s=QUICK_S + 0.1),
        Outcome(cause=Cause.OUT_OF_MEMORY),
        Outcome(cause=Cause.GIVEN_BACK),
    ],
)
def test_only_quick_failures_count(outcome: Outcome) -> None:
    """What ran for a while, broke a limit, or came to nothing by nobody's fault says nothing of a worker."""
    desks = two_workers()
    end_all(desks, *range(1, 11), outcome=outcome)
    assert desks.state.workers.by_name["w1"].placeable
    assert all(
        task_id(number) in desks.state.table.done or desks.task(number).state is TaskState.QUEUED
        for number in range(1, 11)
    )
