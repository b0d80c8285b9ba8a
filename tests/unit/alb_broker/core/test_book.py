"""Orders that wait for their commit, and what becomes of them when their attempt is given up meanwhile."""

from __future__ import annotations

from tests.broker_parts import C1, W1, Desks, attempt, submit

from alb_broker.core.actions import SendToClient, SendToWorker
from alb_core.messages import Accepted, Heartbeat, Run


def placed() -> tuple[Desks, SendToWorker]:
    """Return a leader that placed task 1 on worker w1, and the order to run it."""
    desks = Desks()
    desks.greet("ann")
    desks.join()
    desks.client(submit(1))
    desks.place()
    order = desks.book.run_message(desks.task(1), attempt(1))
    return desks, SendToWorker(W1, 1, order)


def test_an_order_of_a_live_attempt_goes_out() -> None:
    """As long as the attempt lives, the order to run it is sent when its commit is answered."""
    desks, order = placed()
    assert not desks.book.is_overtaken(order)


def test_an_order_is_held_back_once_its_worker_was_lost() -> None:
    """An attempt that was given up while its commit was under way is not started: its room is others'."""
    desks, order = placed()
    worker = desks.state.workers.by_name["w1"]
    desks.book.release(worker, attempt(1))
    desks.book.lose(desks.task(1), 1, worker, 1.0)
    assert desks.book.is_overtaken(order)


def test_an_order_is_held_back_once_its_task_is_no_more() -> None:
    """An order of a task that left the table says nothing to anybody."""
    desks, order = placed()
    desks.state.table.remove(desks.task(1))
    assert desks.book.is_overtaken(order)


def test_other_messages_are_never_held_back() -> None:
    """Only orders to run can be overtaken."""
    desks, order = placed()
    assert isinstance(order.message, Run)
    desks.state.table.remove(desks.task(1))
    assert not desks.book.is_overtaken(SendToWorker(W1, 1, Heartbeat()))
    assert not desks.book.is_overtaken(SendToClient(C1, 1, Accepted(id=submit(1).id)))
