"""The retry loop of arrays: their submission, their inputs, their end."""

from __future__ import annotations

import pytest
from tests.unit.alb.core.array_driver import ARRAY, ArrayDriver

from alb.core import actions, events, notices
from alb.core.arrays import PIECE_LINES, SILENT_S
from alb_core.arrays import Stride
from alb_core.messages import (
    Accepted,
    ArrayInputs,
    AttachArray,
    Busy,
    Cancel,
    CancelNoted,
    Heartbeat,
    InputsKept,
    Message,
    Rejected,
    SubmitArray,
)
from alb_core.tasks import TaskState


def kinds(driver: ArrayDriver) -> list[type[Message]]:
    """Return the kinds of messages about arrays that the last event sent."""
    wanted = (SubmitArray, AttachArray, ArrayInputs, Cancel)
    return [type(message) for message in driver.sent() if isinstance(message, wanted)]


def inputs_of(driver: ArrayDriver) -> ArrayInputs:
    """Return the inputs that the last event sent."""
    (found,) = [message for message in driver.sent() if isinstance(message, ArrayInputs)]
    return found


def test_an_array_s_journey() -> None:
    """Submitted, accepted, each task taken and acknowledged, then the array itself."""
    driver = ArrayDriver().begin()
    for index in (2, 1, 3):
        driver.end(index)
        assert driver.settled() == [str(index)]
        assert driver.acknowledged() == []
    driver.over()
    assert driver.only(actions.SettleArray) == []
    driver.take(1, 0)
    assert driver.acknowledged() == ["2", "1"]
    driver.take(2)
    assert driver.acknowledged() == ["3", "all"]
    (settled,) = driver.only(actions.SettleArray)
    assert settled.line.counts.succeeded == 3


def test_an_array_without_results_is_only_told_of() -> None:
    """Its lines are passed on; the last one ends it."""
    driver = ArrayDriver().begin(results=False)
    driver.move(running=2)
    assert [told.line.running for told in driver.only(actions.TellArray)] == [2]
    driver.over()
    assert driver.acknowledged() == ["all"]
    assert len(driver.only(actions.SettleArray)) == 1
    assert driver.over() == [actions.Send(driver.link, message) for message in driver.sent()]
    assert driver.acknowledged() == ["all"]


def test_an_unanswered_submission_is_sent_again_with_the_same_bytes() -> None:
    """To the same leader and to the next one; once it is accepted it is only attached to."""
    driver = ArrayDriver()
    assert driver.request() == []
    driver.connect()
    (first,) = [message for message in driver.sent() if isinstance(message, SubmitArray)]
    for _ in range(25):
        driver.now += 0.1
        driver.hear(Heartbeat())
    driver.tick()
    assert first in driver.sent()
    driver.lose_leader()
    assert first in driver.sent()
    driver.hear(Accepted(id=ARRAY))
    driver.lose_leader()
    assert kinds(driver) == [AttachArray]


def test_after_the_holding_time_the_outcome_is_unknown() -> None:
    """It might run a second time."""
    driver = ArrayDriver(holding_s=60.0).connect()
    assert isinstance(driver, ArrayDriver)
    driver.request()
    driver.now += 55
    driver.lose_leader()
    (failed,) = driver.only(actions.FailTask)
    assert (failed.id, failed.code) == (ARRAY, "unknown")


def test_busy_is_obeyed() -> None:
    """And told; the array is submitted after the delay."""
    driver = ArrayDriver()
    driver.connect()
    driver.request()
    driver.hear(Busy(id=ARRAY, delay_s=2.0))
    assert driver.told() == [notices.TableFull(id=ARRAY, delay_s=2.0)]
    driver.tick(1.9)
    assert kinds(driver) == []
    driver.tick(0.2)
    assert kinds(driver) == [SubmitArray]


def test_a_rejection_fails_the_array() -> None:
    """With its code, whether it was submitted or attached to."""
    driver = ArrayDriver()
    driver.connect()
    driver.request()
    driver.hear(Rejected(id=ARRAY, code="invalid", why="no"))
    assert driver.only(actions.FailTask) == [actions.FailTask(ARRAY, "invalid", "no")]
    driver.do(events.ArrayAttachRequested, id=ARRAY, spec=driver.spec)
    assert kinds(driver) == [AttachArray]
    driver.hear(Rejected(id=ARRAY, code="gone", why="no such array"))
    assert driver.only(actions.FailTask) == [actions.FailTask(ARRAY, "gone", "no such array")]


def test_a_leader_that_is_silent_about_an_array_is_asked_again() -> None:
    """It may not know that somebody follows."""
    driver = ArrayDriver().begin()
    driver.move()
    for _ in range(int(SILENT_S)):
        driver.now += 1.0
        driver.hear(Heartbeat())
        driver.tick()
        assert kinds(driver) == []
    driver.now += 1.0
    driver.hear(Heartbeat())
    driver.tick()
    assert kinds(driver) == [AttachArray]


# --- inputs -------------------------------------------------------------------------------------------------


def give(driver: ArrayDriver, *lines: str, whole: bool = False) -> None:
    """Give more inputs."""
    driver.do(events.InputsGiven, id=ARRAY, lines=lines, whole=whole)


def test_inputs_follow_in_pieces_one_at_a_time() -> None:
    """Each until it is counted; what gathers meanwhile goes in one piece; the last one closes the array."""
    driver = ArrayDriver(total=0).begin(inputs=("a",), whole=False)
    give(driver, "b")
    assert (inputs_of(driver).first, inputs_of(driver).lines) == (1, ("b",))
    give(driver, "c")
    give(driver, "d", whole=True)
    assert kinds(driver) == []
    driver.now += 1.0
    driver.hear(Heartbeat())
    driver.tick(1.1)
    assert inputs_of(driver).lines == ("b",)
    driver.hear(InputsKept(id=ARRAY, count=2))
    assert driver.only(actions.CountInputs) == [actions.CountInputs(ARRAY, 2, whole=False)]
    last = inputs_of(driver)
    assert (last.first, last.lines, last.whole) == (2, ("c", "d"), True)
    driver.hear(InputsKept(id=ARRAY, count=4))
    assert driver.only(actions.CountInputs) == [actions.CountInputs(ARRAY, 4, whole=True)]
    assert kinds(driver) == []


def test_inputs_that_were_kept_in_part_are_sent_from_there_on() -> None:
    """The leader says how many it has."""
    driver = ArrayDriver(total=0).begin(whole=False)
    give(driver, "a", "b", "c")
    driver.hear(InputsKept(id=ARRAY, count=2))
    assert (inputs_of(driver).first, inputs_of(driver).lines) == (2, ("c",))


def test_a_piece_is_bounded() -> None:
    """However many are given at once."""
    driver = ArrayDriver(total=0).begin(whole=False)
    give(driver, *map(str, range(PIECE_LINES + 5)), whole=True)
    assert len(inputs_of(driver).lines) == PIECE_LINES
    assert not inputs_of(driver).whole


def test_the_next_leader_gets_the_piece_that_is_not_counted() -> None:
    """And an array that is closed without further inputs is closed by an empty piece."""
    driver = ArrayDriver(total=0).begin(whole=False)
    give(driver, "a")
    driver.lose_leader()
    assert inputs_of(driver).lines == ("a",)
    driver.hear(InputsKept(id=ARRAY, count=1))
    give(driver, whole=True)
    assert (inputs_of(driver).lines, inputs_of(driver).whole) == ((), True)


def test_an_array_that_was_not_closed_after_all_is_closed_again() -> None:
    """An older answer may have hidden that the last piece was lost."""
    driver = ArrayDriver(total=0).begin(inputs=("a",), whole=False)
    give(driver, whole=True)
    driver.hear(InputsKept(id=ARRAY, count=1))
    driver.move(whole=False)
    assert inputs_of(driver).whole
    driver.hear(InputsKept(id=ARRAY, count=1))
    driver.move(whole=True)
    assert kinds(driver) == []


def test_inputs_that_are_refused_close_the_array() -> None:
    """What was counted runs to its end; that no more are taken is told, with the reason."""
    driver = ArrayDriver(total=0).begin(inputs=("a",), whole=False)
    give(driver, "b")
    driver.hear(Rejected(id=ARRAY, code="invalid", why="too many"))
    assert driver.only(actions.RefuseInputs) == [actions.RefuseInputs(ARRAY, "too many")]
    assert (inputs_of(driver).lines, inputs_of(driver).whole) == ((), True)
    driver.hear(Rejected(id=ARRAY, code="invalid", why="it is cancelled"))
    assert driver.only(actions.FailTask) == []
    driver.total = 1
    driver.end(1)
    driver.take(0)
    driver.over()
    assert len(driver.only(actions.SettleArray)) == 1


# --- cancelling ---------------------------------------------------------------------------------------------


def test_parts_are_cancelled_one_after_another() -> None:
    """The answer names only the array, so the next part waits for it; the same part is asked for once."""
    driver = ArrayDriver().begin()
    parts = ((Stride(1, 1),), (Stride(2, 3),))
    driver.do(events.CancelRequested, token=7, id=ARRAY, strides=parts[0])
    assert Cancel(id=ARRAY, strides=parts[0]) in driver.sent()
    driver.do(events.CancelRequested, token=8, id=ARRAY, strides=parts[0])
    driver.do(events.CancelRequested, token=9, id=ARRAY, strides=parts[1])
    assert kinds(driver) == []
    driver.hear(CancelNoted(id=ARRAY))
    assert [answer.token for answer in driver.only(actions.AnswerQuery)] == [7, 8]
    driver.tick()
    assert Cancel(id=ARRAY, strides=parts[1]) in driver.sent()
    driver.hear(CancelNoted(id=ARRAY))
    assert [answer.token for answer in driver.only(actions.AnswerQuery)] == [9]


def test_an_array_that_was_never_sent_is_cancelled_here() -> None:
    """Nobody need be told."""
    driver = ArrayDriver()
    driver.request()
    driver.do(events.CancelRequested, token=7, id=ARRAY)
    assert [failed.code for failed in driver.only(actions.FailTask)] == ["cancelled"]
    assert driver.only(actions.AnswerQuery) == [actions.AnswerQuery(7, CancelNoted(id=ARRAY))]


@pytest.mark.parametrize("accepted", [True, False])
def test_an_array_cancelled_before_its_answer_ends_as_the_leader_says(accepted: bool) -> None:  # noqa: FBT001
    """It is submitted to no other leader: either the table has it and it is followed, or it is none."""
    driver = ArrayDriver()
    driver.connect()
    driver.request()
    driver.do(events.CancelRequested, token=7, id=ARRAY)
    driver.lose_leader()
    assert kinds(driver) == [Cancel]
    if accepted:
        driver.hear(CancelNoted(id=ARRAY))
        assert kinds(driver) == [AttachArray]
    else:
        driver.hear(Rejected(id=ARRAY, code="gone", why="no such array"))
        assert [failed.code for failed in driver.only(actions.FailTask)] == ["cancelled"]
    assert driver.only(actions.AnswerQuery) == [actions.AnswerQuery(7, CancelNoted(id=ARRAY))]


def test_a_refused_cancellation_leaves_the_array_alone() -> None:
    """Only who cancelled hears of it."""
    driver = ArrayDriver().begin()
    driver.do(events.CancelRequested, token=7, id=ARRAY)
    refusal = Rejected(id=ARRAY, code="conflict", why="not yours")
    driver.hear(refusal)
    assert driver.out == [actions.AnswerQuery(7, refusal)]


def test_an_abandoned_array_is_forgotten() -> None:
    """Nothing is sent for it any more; what comes of it all the same is acknowledged."""
    driver = ArrayDriver().begin()
    driver.end(1)
    driver.do(events.TaskAbandoned, id=ARRAY)
    driver.lose_leader()
    assert kinds(driver) == []
    driver.end(2)
    assert driver.acknowledged() == ["2"]
    driver.move(TaskState.SUCCEEDED)
    assert driver.acknowledged() == ["all"]
