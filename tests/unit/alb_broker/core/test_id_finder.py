"""Which ids begin or end with a few digits: found in the whole table, in portions that hold nobody up."""

from __future__ import annotations

from typing import Any

import pytest
from tests.array_parts import ID as ARRAY
from tests.array_parts import array_spec, leader, submit_array
from tests.broker_parts import C1, C2, Desks, ended, make_task, of_type, submit, task_id, to_client

from alb_broker.core import id_finder as module
from alb_broker.core.actions import SendToClient
from alb_broker.core.table import DoneTask
from alb_core.arrays import Stride
from alb_core.messages import Error, IdsPage, QueryIds
from alb_core.tasks import TaskState


def desks(*numbers: int) -> Desks:
    """Return a leader with two clients, a worker of one processor, and tasks of ann."""
    each = Desks()
    each.greet("ann", "bob")
    each.join()
    each.run(*numbers)
    return each


def ask(each: Desks, part: str) -> Any:
    """Return the one answer to a question."""
    assert to_client(C1, each.client(QueryIds(seq=1, part=part))) == [], "said before the commit"
    (answer,) = to_client(C1, each.commit())
    return answer


def names(page: Any) -> list[str]:
    """Return the ids on a page."""
    assert isinstance(page, IdsPage)
    return [each.id for each in page.found]


def test_an_id_is_found_by_its_end_and_by_its_beginning() -> None:
    """Live tasks and finished ones, each with its state."""
    each = desks(0x1BEEF, 0x2CAFE)
    each.worker(ended(0x1BEEF))
    each.turn()
    each.commit()
    (found,) = ask(each, "beef").found
    assert (found.id, found.state) == (task_id(0x1BEEF), TaskState.SUCCEEDED)
    (found,) = ask(each, "2cafe").found
    assert (found.id, found.state) == (task_id(0x2CAFE), TaskState.RUNNING)
    assert names(ask(each, "dead")) == []
    assert names(ask(each, task_id(0x2CAFE)[:30])) == [task_id(0x2CAFE)]


def test_of_many_a_few_are_named() -> None:
    """One more than a person is shown, so that there are more is known."""
    each = desks(*range(1, 10))
    assert len(names(ask(each, "0000"))) == module.FOUND_MAX


def test_of_the_tasks_of_an_array_the_array_is_meant() -> None:
    """Neither by the end of the array's id nor by an index is a task of it found."""
    each = leader(submit_array(array_spec(Stride(1, 5))), cpus=5.0)
    assert names(ask(each, ARRAY[-6:])) == [ARRAY]
    assert all("." not in name for name in names(ask(each, "3")))


def test_what_ended_under_an_earlier_leader_is_found_before_its_record_is_read() -> None:
    """Its id is known from the first moment; its state is not."""
    each = desks()
    each.state.table.finish(DoneTask(task_id(7), 0.0, None))
    (found,) = ask(each, "07").found
    assert (found.id, found.state) == (task_id(7), None)


@pytest.mark.parametrize("part", ["", "BEEF", "x", "0.1", "a" * 33, "7\n"])
def test_what_is_in_no_id_is_refused(part: str) -> None:
    """With a sentence, and nothing is looked through for it."""
    answer = ask(desks(1), part)
    assert isinstance(answer, Error)
    assert (answer.code, answer.seq) == ("invalid", 1)
    assert "32 lower-case hex digits" in answer.why


def test_a_large_table_is_looked_through_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many comparisons an interval of the clock; who asks meanwhile is answered by the next look."""
    monkeypatch.setattr(module, "LOOKS_MAX", 10)
    each = desks()
    for number in range(1, 26):
        each.state.table.add(make_task(number))
    each.client(QueryIds(seq=1, part="019"))
    each.client(QueryIds(seq=2, part="01"), peer=C2)
    answers = []
    for interval in range(6):
        left = of_type(SendToClient, each.state.take_out() + each.commit())
        answers += [(interval, said.peer, *names(said.message)) for said in left]
        each.answers.tick()
    assert answers == [(2, C1, task_id(25)), (4, C2, task_id(1))]


def test_a_question_that_is_asked_twice_is_looked_for_once() -> None:
    """A client asks again until it is answered: that is the same question."""
    each = desks(1)
    each.answers._ids._left = 0
    for _ in range(3):
        each.client(QueryIds(seq=4, part="01"))
    each.answers.tick()
    assert [said.seq for said in to_client(C1, each.state.take_out() + each.commit())] == [4]


def test_too_many_questions_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do instead; those that wait are answered."""
    monkeypatch.setattr(module, "QUESTIONS_MAX", 2)
    each = desks(1)
    each.answers._ids._left = 0
    for seq in (1, 2, 3):
        each.client(QueryIds(seq=seq, part="01"))
    each.answers.tick()
    refused, *answered = to_client(C1, each.state.take_out() + each.commit())
    assert isinstance(refused, Error)
    assert (refused.seq, "the whole id" in refused.why) == (3, True)
    assert [said.seq for said in answered] == [1, 2]


def test_what_left_the_table_meanwhile_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes several intervals tells what is there at its end."""
    monkeypatch.setattr(module, "LOOKS_MAX", 1)
    each = desks()
    for number in (1, 2):
        each.state.table.add(make_task(number))
    each.answers.tick()
    each.client(QueryIds(seq=1, part="0"))
    each.state.table.remove(each.state.table.live[task_id(1)])
    each.answers.tick()
    (page,) = to_client(C1, each.state.take_out() + each.commit())
    assert names(page) == [task_id(2)]


def test_what_is_submitted_is_found_at_once() -> None:
    """There is no index that could be behind."""
    each = desks()
    each.client(submit(0xABC))
    each.commit()
    assert names(ask(each, "abc")) == [task_id(0xABC)]
