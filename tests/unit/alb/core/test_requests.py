"""Questions are asked until they are answered, and each answer reaches who asked."""

from __future__ import annotations

from tests.unit.alb.core.core_driver import BROKERS, TASK, Driver, leader

from alb.core import actions, events
from alb_core.messages import (
    Cancel,
    CancelNoted,
    ClientMessage,
    DumpPage,
    Error,
    QueryDump,
    QueryTask,
    QueryWorkers,
    WorkersPage,
)


def ask(driver: Driver, token: int, message: QueryWorkers | QueryTask | QueryDump) -> ClientMessage | None:
    """Ask, and return what was sent."""
    driver.do(events.QueryRequested, token=token, message=message)
    sent = driver.sent()
    return sent[0] if sent else None  # type: ignore[return-value]


def test_answers_find_their_questions() -> None:
    """Two questions under way, answered in the other order, also with an error."""
    driver = Driver().connect()
    first = ask(driver, 1, QueryWorkers(seq=0))
    second = ask(driver, 2, QueryTask(seq=0, id=TASK))
    assert isinstance(first, QueryWorkers)
    assert isinstance(second, QueryTask)
    assert first.seq != second.seq
    error = Error(code="gone", why="no such task", seq=second.seq)
    assert driver.hear(error) == [actions.AnswerQuery(2, error)]
    page = WorkersPage(seq=first.seq, workers=())
    assert driver.hear(page) == [actions.AnswerQuery(1, page)]
    assert driver.hear(page) == []


def test_a_question_waits_for_a_leader_and_is_asked_again() -> None:
    """It is sent at the Welcome, again after a second, and to the next leader."""
    driver = Driver()
    driver.tick()
    assert ask(driver, 1, QueryDump(seq=0)) is None
    driver.connect()
    assert driver.sent() == [QueryDump(seq=1)]
    driver.tick(1.1)
    assert QueryDump(seq=1) in driver.sent()
    driver.do(events.LinkClosed, link=driver.link)
    driver.epoch = 2
    driver.do(events.LeaderFound, leader=leader("b2", 2), brokers=BROKERS)
    driver.welcome("b2")
    assert driver.sent() == [QueryDump(seq=1)]


def test_an_abandoned_question_is_forgotten() -> None:
    """It is not asked again, and its answer is dropped."""
    driver = Driver().connect()
    ask(driver, 1, QueryDump(seq=0))
    driver.do(events.RequestAbandoned, token=1)
    driver.tick(1.1)
    assert QueryDump(seq=1) not in driver.sent()
    assert driver.hear(DumpPage(seq=1, data=b"")) == []


def test_several_who_cancel_a_task_are_all_answered() -> None:
    """One Cancel is sent for all of them; one who left is not answered, the cancellation stays."""
    driver = Driver().connect()
    for token in (1, 2, 3):
        driver.do(events.CancelRequested, token=token, id=TASK)
    assert driver.sent() == []
    driver.do(events.RequestAbandoned, token=2)
    driver.tick(1.1)
    assert Cancel(id=TASK) in driver.sent()
    noted = CancelNoted(id=TASK)
    assert driver.hear(noted) == [actions.AnswerQuery(1, noted), actions.AnswerQuery(3, noted)]
