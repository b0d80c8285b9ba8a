"""The results of an array's tasks: delivered once each, no more than are taken, and found again."""

from __future__ import annotations

from tests.unit.alb.core.array_driver import ARRAY, ArrayDriver
from tests.unit.alb.core.core_driver import result

from alb.core import actions, events
from alb.core.children import ATTACHES_MAX, UNTAKEN_MAX, WAITING_MAX
from alb_core.arrays import Counts, Stretch
from alb_core.messages import AttachArray, Error, Heartbeat, QueryArray, Rejected
from alb_core.tasks import TaskState

GOOD, BAD, CUT = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED


def skipped(driver: ArrayDriver) -> list[Stretch]:
    """Return what the last event passed on without a result."""
    return [action.stretch for action in driver.only(actions.SkipResults)]


def asked(driver: ArrayDriver) -> list[int]:
    """Return from which positions on the last event asked what ended."""
    return [message.after for message in driver.sent() if isinstance(message, QueryArray)]


def test_a_result_is_delivered_once_and_acknowledged_when_it_was_taken() -> None:
    """Doubles before that say nothing, doubles after it are acknowledged again."""
    driver = ArrayDriver().begin()
    driver.end(1)
    assert (driver.settled(), driver.acknowledged()) == (["1"], [])
    driver.end(1)
    assert (driver.settled(), driver.acknowledged()) == ([], [])
    driver.take(0)
    assert driver.acknowledged() == ["1"]
    driver.end(1)
    assert (driver.settled(), driver.acknowledged()) == ([], ["1"])


def test_a_consumer_that_stops_gets_a_window_and_no_more() -> None:
    """Some wait here, within a bound; what comes beyond is dropped, and comes again."""
    driver = ArrayDriver(total=10_000).begin()
    delivered = 0
    for index in range(1, UNTAKEN_MAX + WAITING_MAX + 100):
        driver.end(index)
        delivered += len(driver.settled())
    assert delivered == UNTAKEN_MAX
    driver.take(*range(UNTAKEN_MAX))
    assert len(driver.settled()) == UNTAKEN_MAX
    driver.end(UNTAKEN_MAX + WAITING_MAX + 1)
    driver.take(*range(UNTAKEN_MAX, 2 * UNTAKEN_MAX))
    assert len(driver.settled()) == UNTAKEN_MAX


def test_in_order_the_next_one_is_never_behind_others() -> None:
    """Later ones wait for it, however many; it is delivered as soon as it comes."""
    total = UNTAKEN_MAX + WAITING_MAX + 100
    driver = ArrayDriver(total=total).begin(ordered=True)
    delivered = 0
    for index in range(2, total):
        driver.end(index)
        delivered += len(driver.settled())
    assert delivered == UNTAKEN_MAX - 1
    driver.end(1)
    assert driver.settled() == ["1"]
    driver.take(*range(10), reached=10)
    assert driver.settled() == [str(UNTAKEN_MAX + n) for n in range(1, 11)]


def test_large_output_is_fetched_before_a_result_is_delivered() -> None:
    """As of any task; it is acknowledged only when it was taken."""
    driver = ArrayDriver().begin()
    driver.end(1, result(b"x" * 4096, size=10_000))
    assert driver.settled() == []
    grants = driver.only(actions.SendGrant)
    assert {grant.grant.task for grant in grants} == {f"{ARRAY}.1"}


def test_what_ended_unheard_is_found_and_attached_to() -> None:
    """After a change of leaders: only what is not here, each until it comes."""
    driver = ArrayDriver(total=5).begin()
    driver.end(2)
    driver.take(1)
    driver.lose_leader()
    assert AttachArray(id=ARRAY, results=True) in driver.sent()
    assert asked(driver) == []
    driver.move()
    assert asked(driver) == [0]
    driver.answer(Stretch(0, 2, GOOD), Stretch(3, 1, BAD, 3))
    assert driver.attached() == ["1", "4"]
    driver.now += 2.1
    driver.hear(Heartbeat())
    driver.tick()
    assert driver.attached() == ["1", "4"]
    driver.end(1)
    assert driver.settled() == ["1"]
    driver.lose_leader()
    assert "4" in driver.attached() or "4" in (driver.tick(), driver.attached())[1]


def test_of_a_task_whose_record_is_gone_its_state_is_passed_on() -> None:
    """There is nothing to acknowledge, and it counts as taken."""
    driver = ArrayDriver(total=1).begin()
    driver.lose_leader()
    driver.move()
    driver.answer(Stretch(0, 1, BAD, 3))
    driver.hear(Rejected(id=f"{ARRAY}.1", code="gone", why="not in the table"))
    assert skipped(driver) == [Stretch(0, 1, BAD, 3)]
    driver.move(BAD, counts=Counts(failed=1))
    assert len(driver.only(actions.SettleArray)) == 1


def test_what_was_cancelled_is_not_attached_to() -> None:
    """Most of it never was a task. What is here already is left out."""
    driver = ArrayDriver(total=10).begin()
    driver.end(4)
    driver.take(3)
    driver.move(CUT, counts=Counts(succeeded=1, cancelled=9))
    assert asked(driver) == [0]
    driver.answer(Stretch(0, 3, CUT, 125), Stretch(3, 1, GOOD), Stretch(4, 6, CUT, 125))
    assert skipped(driver) == [Stretch(0, 3, CUT, 125), Stretch(4, 6, CUT, 125)]
    assert len(driver.only(actions.SettleArray)) == 1


def test_pages_are_read_to_the_end_and_attached_to_within_a_bound() -> None:
    """The next page is asked for when the last one was looked at."""
    driver = ArrayDriver(total=1000).begin()
    driver.lose_leader()
    driver.move()
    driver.answer(Stretch(0, 500, GOOD), until=500)
    assert (len(driver.attached()), asked(driver)) == (ATTACHES_MAX, [])
    for index in range(1, 501):
        driver.end(index)
        driver.take(index - 1)
    driver.tick()
    driver.now += 2.1
    driver.hear(Heartbeat())
    driver.tick()
    assert asked(driver) in ([500], [])


def test_an_array_that_is_over_is_asked_for_what_was_not_told() -> None:
    """Again and again, not too often, until every end is known."""
    driver = ArrayDriver(total=2).begin()
    driver.end(1)
    driver.take(0)
    driver.over()
    assert asked(driver) == [1]
    driver.answer()
    assert asked(driver) == []
    driver.tick(1.1)
    assert asked(driver) == [1]
    driver.answer(Stretch(0, 2, GOOD))
    assert driver.attached() == ["2"]


def test_a_question_that_is_refused_is_asked_again() -> None:
    """Unless the array is gone: then that is its end."""
    driver = ArrayDriver(total=2).begin()
    for code, failed in (("error", []), ("gone", [actions.FailTask(ARRAY, "gone", "why")])):
        driver.lose_leader()
        driver.move()
        (question,) = [message for message in driver.sent() if isinstance(message, QueryArray)]
        driver.hear(Error(seq=question.seq, code=code, why="why"))
        assert driver.only(actions.FailTask) == failed


def test_results_that_nobody_wants_any_more_hold_nothing_back() -> None:
    """They are acknowledged, the leader is told to send no more, and the end is still told."""
    driver = ArrayDriver().begin()
    driver.end(1)
    driver.do(events.ResultsDropped, id=ARRAY)
    assert driver.acknowledged() == ["1"]
    assert AttachArray(id=ARRAY, results=False) in driver.sent()
    driver.end(2)
    assert (driver.settled(), driver.acknowledged()) == ([], ["2"])
    driver.over()
    assert len(driver.only(actions.SettleArray)) == 1


def test_an_acknowledgement_that_had_no_leader_is_made_up_for() -> None:
    """The next leader sends the result again, and is told that it is here."""
    driver = ArrayDriver().begin()
    driver.end(1)
    driver.do(events.LinkClosed, link=driver.link)
    driver.take(0)
    assert driver.acknowledged() == []
    driver.lose_leader()
    driver.end(1)
    assert (driver.settled(), driver.acknowledged()) == ([], ["1"])
