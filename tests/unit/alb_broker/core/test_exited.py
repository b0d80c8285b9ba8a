"""Attempts that are over but for what must be stored of them: room is free, the report is still to come."""

from __future__ import annotations

import pytest
from tests.broker_parts import (
    W1,
    W2,
    Desks,
    attempt,
    ended,
    make_worker,
    notes,
    register,
    request,
    task_id,
    to_worker,
)

from alb_core.messages import AttemptAck, AttemptExited, Kill, Run
from alb_core.tasks import TaskState

A1 = attempt(1)
EXITED = AttemptExited(attempt=A1)


def desks(*numbers: int) -> Desks:
    """Return a leader with one worker of one processor, on which the first of these tasks runs."""
    each = Desks()
    each.greet("ann")
    each.join("w1")
    each.run(*numbers)
    return each


# --- the worker's accounts ----------------------------------------------------------------------------------


def test_what_exited_gives_its_room_back_once() -> None:
    """Its report, whenever it comes, gives back nothing more."""
    worker = make_worker(cpus=2, memory_bytes=100)
    worker.reserve(A1, request(1.5, 60))
    assert worker.exit(A1)
    assert (worker.room.cpus, worker.room.memory_bytes) == (2, 100)
    assert not worker.exit(A1)
    assert worker.release(A1)
    assert not worker.release(A1)
    assert (worker.room.cpus, worker.room.memory_bytes) == (2, 100)


def test_what_exited_is_still_held() -> None:
    """A leader that forgot it would take its report for a stranger's; lists show it apart."""
    worker = make_worker()
    worker.reserve(A1, request())
    worker.exit(A1)
    assert worker.holds(A1)
    assert worker.attempts() == [A1]
    line = worker.line()
    assert (line.running, line.storing, line.reserved_cpus) == (0, 1, 0)
    worker.reserve(A1, request())
    assert (worker.line().running, worker.line().storing) == (0, 1)
    worker.release(A1)
    assert (worker.holds(A1), worker.line().storing) == (False, 0)


def test_what_was_never_held_cannot_exit() -> None:
    """Nobody's room comes free by it."""
    worker = make_worker(cpus=2)
    assert not worker.exit(A1)
    assert (worker.room.cpus, worker.attempts()) == (2, [])


def test_what_waits_behind_it_has_its_room() -> None:
    """As on the worker, which starts it."""
    worker = make_worker(cpus=1)
    worker.reserve(A1, request())
    worker.reserve(attempt(2), request())
    assert list(worker.ahead) == [attempt(2)]
    worker.exit(A1)
    assert (list(worker.ahead), list(worker.reserved)) == ([], [attempt(2)])


def test_what_exits_before_it_was_thought_started_waits_no_more() -> None:
    """A leader may hear of the end first; the row behind it moves."""
    worker = make_worker(cpus=1)
    worker.reserve(A1, request())
    worker.reserve(attempt(2), request())
    assert worker.exit(attempt(2))
    assert (list(worker.ahead), worker.line().storing) == ([], 1)


def test_an_order_to_what_exited_is_answered() -> None:
    """Neither Run nor Kill is sent again."""
    worker = make_worker()
    worker.reserve(A1, request())
    worker.unconfirmed[A1] = worker.killing[A1] = 0.0
    worker.exit(A1)
    assert (worker.unconfirmed, worker.killing) == ({}, {})


def test_its_end_counts_once_in_the_pace() -> None:
    """What a worker may hold ahead follows from it."""
    worker = make_worker()
    worker.reserve(A1, request())
    worker.exit(A1)
    worker.release(A1)
    assert worker.ended == 1


# --- the leader ---------------------------------------------------------------------------------------------


def test_the_next_task_gets_the_room_before_the_report_comes() -> None:
    """The store may be away for minutes; nobody waits for it with an idle processor."""
    each = desks(1, 2)
    each.worker(EXITED)
    each.place()
    assert [each.task(number).state for number in (1, 2)] == [TaskState.RUNNING, TaskState.RUNNING]
    assert each.state.shares.line("ann", 0).cpus == 1.0
    each.worker(EXITED, EXITED)
    assert each.state.shares.line("ann", 0).cpus == 1.0


def test_the_report_ends_the_task_and_frees_nothing_twice() -> None:
    """Neither the worker's room nor the user's share."""
    each = desks(1, 2)
    each.worker(EXITED)
    each.turn()
    each.worker(ended(1))
    each.commit()
    assert task_id(1) in each.state.table.done
    worker = each.state.workers.by_name["w1"]
    assert (worker.room.cpus, worker.attempts()) == (0, [attempt(2)])
    assert each.state.shares.line("ann", 0).cpus == 1.0


def test_what_exited_is_lost_with_its_worker() -> None:
    """Its output died with it: the task runs again."""
    each = desks(1)
    each.worker(EXITED)
    each.join("w2", peer=W2)
    each.workers._lose(each.state.workers.by_name["w1"], "test")
    assert (each.task(1).state, each.task(1).crashes) == (TaskState.QUEUED, 1)
    assert each.state.shares.users() == []
    each.turn()
    assert each.task(1).assignment() == (2, "w2")


def test_a_stranger_that_exited_is_freed_and_acknowledged() -> None:
    """It was superseded, or its task is over: its worker need not store anything of it."""
    each = desks(1)
    actions = each.worker(AttemptExited(attempt=attempt(9)))
    assert notes(actions, "message_dropped")[0]["trigger"] == "stale_attempt"
    assert to_worker(W1, each.commit()) == [AttemptAck(attempt=attempt(9))]


def test_a_foreign_attempt_that_exited_blocks_its_worker_no_more() -> None:
    """Nothing was placed on it, for nobody knew what that took; its processes are gone."""
    each = desks()
    each.join("w1", attempt(9))
    worker = each.state.workers.by_name["w1"]
    assert not worker.placeable
    each.worker(AttemptExited(attempt=attempt(9)))
    assert worker.placeable


def test_what_another_worker_says_of_it_does_not_count() -> None:
    """Only the incarnation that has the attempt knows."""
    each = desks(1)
    each.join("w2", peer=W2)
    each.worker(EXITED, peer=W2)
    assert each.state.workers.by_name["w1"].room.cpus == 0


def test_a_worker_that_registers_again_with_it_is_not_ordered_to_run_it() -> None:
    """It holds it: its report is what is waited for, and its room stays free."""
    each = desks(1)
    each.worker(EXITED)
    each.worker(register("w1", A1))
    worker = each.state.workers.by_name["w1"]
    assert (worker.line().storing, worker.room.cpus) == (1, 1)
    each.tick(1.5)
    assert Run not in {type(message) for message in to_worker(W1, each.commit())}


@pytest.mark.parametrize("why", ["cancelled", "evicted"])
def test_a_kill_of_what_exited_is_sent_until_its_report_comes(why: str) -> None:
    """A cancelled task need not wait for the store: its worker gives up what it owes."""
    each = desks(1)
    each.worker(EXITED)
    worker = each.state.workers.by_name["w1"]
    each.task(1).cancel = why == "cancelled"
    worker.order_end(A1)
    each.tick(1.0)
    assert to_worker(W1, each.commit()) == [Kill(attempt=A1, why=why)]
    each.worker(ended(1))
    each.commit()
    assert worker.killing == {}
