"""The retry loop of submissions, and what becomes of tasks."""

from __future__ import annotations

import pytest
from tests.unit.alb.core.core_driver import BROKERS, OTHER, SPEC, TASK, Driver, leader, result

from alb.core import actions, events, notices
from alb_core.limits import WINDOW_BYTES_MAX
from alb_core.messages import (
    Accepted,
    Ack,
    Attach,
    Busy,
    Cancel,
    CancelNoted,
    Finished,
    Heartbeat,
    Rejected,
    Submit,
    TaskMoved,
)
from alb_core.tasks import TaskState


def submits(driver: Driver) -> list[str]:
    """Return the tasks that the last event submitted."""
    return [message.id for message in driver.sent() if isinstance(message, Submit)]


def attaches(driver: Driver) -> list[str]:
    """Return the tasks that the last event attached to."""
    return [message.id for message in driver.sent() if isinstance(message, Attach)]


def lose_leader(driver: Driver) -> None:
    """Let the leader die, and another be found."""
    driver.do(events.LinkClosed, link=driver.link)
    driver.epoch += 1
    driver.do(events.LeaderFound, leader=leader("b2", driver.epoch), brokers=BROKERS)
    driver.welcome("b2")


def test_a_task_s_journey() -> None:
    """Submitted, accepted, finished: one Submit, one Ack, one Settle."""
    driver = Driver().connect()
    driver.submit()
    (message,) = driver.sent()
    assert isinstance(message, Submit)
    assert (message.id, bytes(message.spec), message.window) == (TASK, SPEC, 0)
    assert driver.accept() == []
    what = result(b"hello\n")
    assert driver.finish(what) == [actions.Send(driver.link, Ack(id=TASK)), actions.Settle(TASK, what)]


def test_a_task_submitted_before_a_leader_is_known_waits_for_one() -> None:
    """Nothing is sent without a leader; its Welcome is answered with what waits."""
    driver = Driver()
    driver.tick()
    assert driver.submit() == []
    driver.do(events.LeaderFound, leader=leader("b1", 1), brokers=BROKERS)
    driver.welcome("b1")
    assert submits(driver) == [TASK]


def test_a_result_may_come_before_the_acceptance() -> None:
    """Messages that overtake each other settle the task once; the late Accepted changes nothing."""
    driver = Driver().connect()
    driver.submit()
    driver.finish()
    assert len(driver.only(actions.Settle)) == 1
    assert driver.accept() == []


def test_results_are_acknowledged_always_and_settled_once() -> None:
    """Doubles, and results that nobody here waits for, are acknowledged and nothing else."""
    driver = Driver().connect()
    driver.submit()
    driver.finish()
    for task in (TASK, OTHER):
        assert driver.hear(Finished(id=task, result=result())) == [actions.Send(driver.link, Ack(id=task))]


def test_an_unanswered_submission_is_sent_again_with_the_same_bytes() -> None:
    """The pauses double from two seconds up to eight; the bytes are the same each time."""
    driver = Driver().connect()
    driver.submit()
    times = []
    for _ in range(300):
        driver.now += 0.1
        driver.hear(Heartbeat())
        driver.tick()
        for message in driver.sent():
            if isinstance(message, Submit):
                assert bytes(message.spec) == SPEC
                times.append(round(driver.now, 1))
    assert times == pytest.approx([2.0, 6.0, 14.0, 22.0], abs=0.5)


def test_an_unaccepted_submission_goes_to_the_next_leader_as_it_was() -> None:
    """After a failover what was not accepted is submitted again; what was accepted is only attached to."""
    driver = Driver().connect()
    driver.submit(TASK)
    driver.submit(OTHER)
    driver.accept(OTHER)
    lose_leader(driver)
    assert submits(driver) == [TASK]
    assert attaches(driver) == [OTHER]


def test_after_the_holding_time_the_outcome_is_unknown() -> None:
    """A submission that nobody answered for so long is never sent again: it might run a second time."""
    driver = Driver(holding_s=60.0).connect()
    driver.submit()
    driver.do(events.LinkClosed, link=driver.link)
    driver.tick(53)
    assert driver.only(actions.FailTask) == []
    driver.tick(2)
    (failed,) = driver.only(actions.FailTask)
    assert (failed.id, failed.code) == (TASK, "unknown")
    driver.do(events.LeaderFound, leader=leader("b2", 2), brokers=BROKERS)
    driver.epoch = 2
    driver.welcome("b2")
    assert submits(driver) == []


def test_busy_is_obeyed_and_starts_the_holding_time_anew() -> None:
    """The task is sent again after the delay asked for; Busy proves that the table did not hold it."""
    driver = Driver(holding_s=60.0).connect()
    driver.submit()
    for _ in range(100):
        driver.hear(Busy(id=TASK, delay_s=2.0))
        assert driver.told() == [notices.TableFull(id=TASK, delay_s=2.0)]
        driver.tick(1.9)
        assert submits(driver) == []
        driver.tick(0.2)
        assert submits(driver) == [TASK]
    assert driver.only(actions.FailTask) == []


def test_the_window_bounds_what_is_under_way_and_keeps_the_order() -> None:
    """No more submissions than allowed await their answer; each answer lets the next one go."""
    driver = Driver(unanswered_max=2).connect()
    tasks = [f"{number:032x}" for number in range(5)]
    sent = []
    for task in tasks:
        driver.submit(task)
        sent += submits(driver)
    assert sent == tasks[:2]
    driver.accept(tasks[0])
    assert submits(driver) == [tasks[2]]
    driver.hear(Rejected(id=tasks[1], code="invalid", why="no"))
    assert submits(driver) == [tasks[3]]
    driver.finish(task=tasks[2])
    assert submits(driver) == [tasks[4]]


def test_a_rejection_fails_the_task() -> None:
    """Its code and reason go to the user."""
    driver = Driver().connect()
    driver.submit()
    driver.hear(Rejected(id=TASK, code="conflict", why="another specification"))
    assert driver.out == [actions.FailTask(TASK, "conflict", "another specification")]


def test_an_id_under_way_is_not_submitted_twice() -> None:
    """A second request for the same id is left to the first."""
    driver = Driver().connect()
    driver.submit()
    assert driver.submit() == []


def test_moves_are_told_where_they_were_asked_for() -> None:
    """Accepted and TaskMoved tell where the task is, for a task that wants it."""
    driver = Driver().connect()
    driver.submit(moves=True)
    driver.accept(state=TaskState.RUNNING, attempt=1, worker="w1")
    driver_told = driver.told()
    driver.hear(TaskMoved(id=TASK, state=TaskState.QUEUED, why="its worker was lost"))
    assert [(notice.state, notice.worker, notice.why) for notice in driver_told + driver.told()] == [
        (TaskState.RUNNING, "w1", ""),
        (TaskState.QUEUED, "", "its worker was lost"),
    ]


# --- attaching --------------------------------------------------------------------------------------------


def test_attach_is_sent_again_until_it_is_answered() -> None:
    """TaskMoved is the answer; until then Attach is repeated, also to the next leader."""
    driver = Driver().connect()
    driver.do(events.AttachRequested, id=TASK, live=True, stdout=5)
    (message,) = driver.sent()
    assert message == Attach(id=TASK, stdout=5, window=WINDOW_BYTES_MAX)
    driver.tick(2.1)
    assert attaches(driver) == [TASK]
    driver.hear(TaskMoved(id=TASK, state=TaskState.RUNNING, attempt=1, worker="w1"))
    for _ in range(20):
        driver.tick(0.1)
        assert attaches(driver) == []
    lose_leader(driver)
    assert attaches(driver) == [TASK]


def test_a_task_that_is_gone_fails() -> None:
    """An unknown id is the error ``gone``, never a second run."""
    driver = Driver().connect()
    driver.submit()
    driver.accept()
    lose_leader(driver)
    driver.hear(Rejected(id=TASK, code="gone", why="not in the table"))
    assert driver.out == [actions.FailTask(TASK, "gone", "not in the table")]


def test_an_abandoned_task_is_forgotten() -> None:
    """Nothing is sent for it any more, and the next leader hears nothing of it."""
    driver = Driver().connect()
    driver.submit()
    driver.accept()
    driver.do(events.TaskAbandoned, id=TASK)
    lose_leader(driver)
    assert attaches(driver) == []


# --- cancelling -------------------------------------------------------------------------------------------


def test_a_cancelled_task_ends_as_the_leader_says() -> None:
    """Cancel is sent until it is noted; the result comes as with any other end."""
    driver = Driver().connect()
    driver.submit()
    driver.accept()
    driver.do(events.CancelRequested, token=7, id=TASK)
    assert driver.sent() == [Cancel(id=TASK)]
    driver.tick(1.1)
    assert Cancel(id=TASK) in driver.sent()
    driver.hear(CancelNoted(id=TASK))
    assert driver.out == [actions.AnswerQuery(7, CancelNoted(id=TASK))]
    driver.finish(result(state=TaskState.CANCELLED, exit_code=None))
    assert len(driver.only(actions.Settle)) == 1


def test_a_task_that_was_never_sent_is_cancelled_here() -> None:
    """It is in no table, so no broker need be asked."""
    driver = Driver()
    driver.submit()
    driver.do(events.CancelRequested, token=7, id=TASK)
    (failed,) = driver.only(actions.FailTask)
    assert failed.code == "cancelled"
    assert driver.only(actions.AnswerQuery) == [actions.AnswerQuery(7, CancelNoted(id=TASK))]
    driver.connect()
    assert submits(driver) == []


def test_a_cancelled_submission_is_not_sent_again() -> None:
    """Cancelled before it was accepted, it goes to no other leader; one that knows nothing of it ends it."""
    driver = Driver().connect()
    driver.submit()
    driver.do(events.CancelRequested, token=7, id=TASK)
    assert driver.sent() == [Cancel(id=TASK)]
    lose_leader(driver)
    assert submits(driver) == []
    assert Cancel(id=TASK) in driver.sent()
    driver.hear(Rejected(id=TASK, code="gone", why="not in the table"))
    assert [failed.code for failed in driver.only(actions.FailTask)] == ["cancelled"]
    assert driver.only(actions.AnswerQuery) == [actions.AnswerQuery(7, CancelNoted(id=TASK))]


def test_a_cancelled_submission_that_was_accepted_after_all_is_followed() -> None:
    """CancelNoted proves that the table holds the task: its result is waited for."""
    driver = Driver().connect()
    driver.submit()
    driver.do(events.CancelRequested, token=7, id=TASK)
    lose_leader(driver)
    driver.hear(CancelNoted(id=TASK))
    assert attaches(driver) == [TASK]
    driver.finish(result(state=TaskState.CANCELLED, exit_code=None))
    assert len(driver.only(actions.Settle)) == 1


def test_cancelling_a_finished_task_is_answered() -> None:
    """A result answers whoever cancelled: the task has ended, which is what they wanted."""
    driver = Driver().connect()
    driver.do(events.CancelRequested, token=7, id=TASK)
    driver.finish()
    assert driver.only(actions.AnswerQuery) == [actions.AnswerQuery(7, CancelNoted(id=TASK))]


def test_a_refused_cancellation_leaves_the_task_alone() -> None:
    """Only those who cancelled hear of it."""
    driver = Driver().connect()
    driver.submit()
    driver.accept()
    driver.do(events.CancelRequested, token=7, id=TASK)
    refusal = Rejected(id=TASK, code="conflict", why="not yours")
    driver.hear(refusal)
    assert driver.out == [actions.AnswerQuery(7, refusal)]


def test_answers_about_unknown_tasks_change_nothing() -> None:
    """A leader may say anything about tasks that we do not know; nothing comes of it."""
    driver = Driver().connect()
    for message in (
        Accepted(id=TASK),
        Busy(id=TASK, delay_s=1),
        TaskMoved(id=TASK, state=TaskState.RUNNING),
        CancelNoted(id=TASK),
        Rejected(id=TASK, code="gone", why=""),
    ):
        assert driver.hear(message) == []
