"""Orders that wait for their commit, and what becomes of them when their attempt is given up meanwhile."""

from __future__ import annotations

from tests.broker_parts import Desks, attempt, submit


def placed() -> Desks:
    """Return a leader that placed task 1 on worker w1."""
    desks = Desks()
    desks.greet("ann")
    desks.join()
    desks.client(submit(1))
    desks.place()
    return desks


def test_an_order_of_a_live_attempt_goes_out() -> None:
    """As long as the attempt lives, the order to run it is sent when its commit is answered."""
    desks = placed()
    assert not desks.book.is_overtaken(attempt(1))


def test_an_order_is_held_back_once_its_worker_was_lost() -> None:
    """An attempt that was given up while its commit was under way is not started: its room is others'."""
    desks = placed()
    worker = desks.state.workers.by_name["w1"]
    desks.book.release(worker, attempt(1))
    desks.book.lose(desks.task(1), 1, worker, 1.0)
    assert desks.book.is_overtaken(attempt(1))


def test_an_order_is_held_back_once_its_task_is_no_more() -> None:
    """An order of a task that left the table says nothing to anybody."""
    desks = placed()
    desks.state.table.remove(desks.task(1))
    assert desks.book.is_overtaken(attempt(1))
