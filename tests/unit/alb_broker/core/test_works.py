"""What was done well: found in the table, while it runs, and in the store; never what failed or is gone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import C1, Desks, attempt, ended, make_task, of_type, submit, task_id, to_client
from tests.broker_parts import record as make_record
from tests.store_rows import finished

from alb_broker.core import works as module
from alb_broker.core.actions import Action, GetRows
from alb_broker.core.past import marked_as_going
from alb_broker.core.table import DoneTask
from alb_broker.store import events
from alb_core import limits, rows
from alb_core.messages import AttemptEnded, Cancel, Error, QueryWorks, WorksPage
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome, Result, TaskState
from alb_core.works import work_of

URL = "sqlite:////somewhere"


def spec(name: str) -> TaskSpec:
    """Return what does a work of its own."""
    return TaskSpec(command=f"make {name}")


def work(name: str, user: str = "ann") -> str:
    """Return its work."""
    return work_of(user, spec(name))


def desks(**fields: Any) -> Desks:
    """Return the desks of a leader, a client and a worker."""
    each = Desks(**fields)
    each.greet("ann")
    each.join("w1", cpus=8.0)
    return each


def run(each: Desks, number: int, name: str, exit_code: int | None = 0) -> None:
    """Let a task run; to its end unless there is no exit code."""
    each.client(submit(number, spec(name)))
    each.turn()
    if exit_code is not None:
        each.worker(ended(number, exit_code=exit_code))
    each.commit()


def ask(each: Desks, *names: str, seq: int = 1) -> list[Action]:
    """Ask for works; returns what leaves at once."""
    return each.client(QueryWorks(seq=seq, works=tuple(map(work, names))))


def heard(each: Desks) -> Any:
    """Return the one answer."""
    (said,) = [said for said in to_client(C1, each.commit()) if isinstance(said, WorksPage | Error)]
    return said


def found(page: Any) -> dict[str, str]:
    """Return which task does which work."""
    assert isinstance(page, WorksPage)
    names = {work(name): name for name in "abcdef"}
    return {names[key]: f"{line.id[-1]} {line.state.value}" for key, line in page.tasks.items()}


def test_the_table_tells_what_was_done_and_what_is_under_way() -> None:
    """What succeeded, waits or runs; not what failed, nor what nobody ever asked for."""
    each = desks()
    run(each, 1, "a")
    run(each, 2, "b", exit_code=1)
    run(each, 3, "c", exit_code=None)
    each.client(submit(4, spec("d")))
    assert ask(each, "a", "b", "c", "d", "e") == []
    page = heard(each)
    assert (found(page), page.stored) == ({"a": "1 SUCCEEDED", "c": "3 RUNNING", "d": "4 QUEUED"}, False)


def test_later_questions_see_what_happened_meanwhile() -> None:
    """A task that ended, one that failed, one that came, and one that is being cancelled."""
    each = desks()
    for number, name in ((1, "a"), (2, "b"), (3, "c")):
        run(each, number, name, exit_code=None)
    ask(each, "a")
    assert found(heard(each)) == {"a": "1 RUNNING"}
    each.worker(ended(1), ended(2, exit_code=1))
    each.client(Cancel(id=task_id(3)))
    run(each, 4, "d", exit_code=None)
    each.commit()
    ask(each, "a", "b", "c", "d", seq=2)
    assert found(heard(each)) == {"a": "1 SUCCEEDED", "d": "4 RUNNING"}


def test_a_good_result_is_not_forgotten_for_a_later_failure() -> None:
    """The same work again, badly: the first result stands."""
    each = desks()
    run(each, 1, "a")
    run(each, 2, "a", exit_code=1)
    ask(each, "a")
    assert found(heard(each)) == {"a": "1 SUCCEEDED"}
    run(each, 3, "a", exit_code=1)
    ask(each, "a", seq=2)
    assert found(heard(each)) == {"a": "1 SUCCEEDED"}


def test_what_left_the_table_does_not_count_without_a_store() -> None:
    """Nobody could give its result."""
    each = desks()
    run(each, 1, "a")
    ask(each, "a")
    heard(each)
    del each.state.table.done[task_id(1)]
    ask(each, "a", seq=2)
    assert found(heard(each)) == {}


def test_what_did_not_come_back_does_not_count() -> None:
    """Who runs it for its files would have none."""
    each = desks()
    for number, name, unreturned in ((1, "a", ""), (2, "b", "the depot was full")):
        each.client(submit(number, spec(name)))
        each.turn()
        outcome = Outcome(cause=Cause.EXITED, exit_code=0, unreturned=unreturned)
        each.worker(AttemptEnded(attempt=attempt(number), outcome=outcome))
        each.commit()
    ask(each, "a", "b")
    assert found(heard(each)) == {"a": "1 SUCCEEDED"}


def test_the_store_is_asked_for_the_others() -> None:
    """First who did them, then whether it still has those tasks; what was removed does not count."""
    each = desks(store=URL)
    run(each, 1, "a")
    (first,) = of_type(GetRows, ask(each, "a", "b", "c", "d"))
    assert (first.family, first.keys) == (rows.Work, tuple((work(name),) for name in "bcd"))
    did = [rows.Work(work=work("b"), task=task_id(8)), rows.Work(work=work("c"), task=task_id(9))]
    answer(each, first, *did)
    (second,) = of_type(GetRows, each.state.take_out())
    assert (second.family, second.keys) == (rows.FinishedTask, ((task_id(8),), (task_id(9),)))
    answer(each, second, finished(task_id(8)))
    page = heard(each)
    assert (found(page), page.stored) == ({"a": "1 SUCCEEDED", "b": "8 SUCCEEDED"}, True)


def test_what_leaves_the_store_does_not_count() -> None:
    """Its output may be gone already: who wants the result has it made again."""
    each = desks(store=URL)
    (first,) = of_type(GetRows, ask(each, "b", "c"))
    did = [rows.Work(work=work("b"), task=task_id(8)), rows.Work(work=work("c"), task=task_id(9))]
    answer(each, first, *did)
    (second,) = of_type(GetRows, each.state.take_out())
    answer(each, second, marked_as_going(finished(task_id(8))), finished(task_id(9)))
    assert found(heard(each)) == {"c": "9 SUCCEEDED"}


def answer(each: Desks, asked: GetRows, *found: rows.Row, error: str | None = None) -> None:
    """Let the store answer."""
    event = events.StoreScanned(at=0.0, epoch=1, token=asked.token, rows=found, error=error)
    assert each.state.store.on_event(event)


@pytest.mark.parametrize("step", [1, 2])
def test_a_store_that_does_not_answer_is_an_error(step: int) -> None:
    """Running everything again in silence would be no answer; asking once more works."""
    each = desks(store=URL)
    (asked,) = of_type(GetRows, ask(each, "a"))
    if step == 2:
        answer(each, asked, rows.Work(work=work("a"), task=task_id(8)))
        (asked,) = of_type(GetRows, each.state.take_out())
    answer(each, asked, error="locked")
    error = heard(each)
    assert isinstance(error, Error)
    assert (error.code, error.seq, "locked" in error.why) == ("error", 1, True)
    assert len(of_type(GetRows, ask(each, "a"))) == 1


def test_a_question_that_is_sent_again_is_asked_once() -> None:
    """The store has it already."""
    each = desks(store=URL)
    (asked,) = of_type(GetRows, ask(each, "a"))
    assert ask(each, "a") == []
    answer(each, asked)
    assert found(heard(each)) == {}


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in its size, and all in their number; the refusal names the bound or what to do."""
    each = desks(store=URL)
    each.client(QueryWorks(seq=1, works=("w",) * (limits.WORKS_MAX + 1)))
    error = heard(each)
    assert (error.code, str(limits.WORKS_MAX) in error.why) == ("invalid", True)
    monkeypatch.setattr(module, "QUESTIONS_MAX", 1)
    ask(each, "a", seq=2)
    ask(each, "a", seq=3)
    error = heard(each)
    assert (error.code, error.seq, "again" in error.why) == ("error", 3, True)


def test_a_large_table_is_hashed_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question waits for that; what comes meanwhile is found too."""
    monkeypatch.setattr(module, "PORTION", 1)
    each = desks()
    for number, name in enumerate("abc", 1):
        run(each, number, name)
    ask(each, "a", "c", "d")
    assert to_client(C1, each.commit()) == []
    run(each, 4, "d")
    each.tick(0.1)
    assert WorksPage not in map(type, to_client(C1, each.commit()))
    each.tick(0.2)
    assert found(heard(each)) == {"a": "1 SUCCEEDED", "c": "3 SUCCEEDED", "d": "4 SUCCEEDED"}


def test_after_a_takeover_a_question_waits_for_the_records() -> None:
    """Before, a leader knows only the ids of what ended."""
    each = desks()
    each.state.recollected = False
    record = make_record(7, spec=spec("a"), state=TaskState.SUCCEEDED)
    ask(each, "a")
    assert to_client(C1, each.commit()) == []
    result = Result(state=TaskState.SUCCEEDED, exit_code=0, finished=5.0)
    done = DoneTask(task_id(7), 5.0, make_record(7, spec=spec("a"), state=TaskState.SUCCEEDED, result=result))
    each.state.table.finish(done)
    each.state.recollected = True
    each.tick(0.1)
    assert found(heard(each)) == {"a": "7 SUCCEEDED"}
    assert record.result is None


def test_nothing_is_hashed_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the first question, and not for ever after the last one."""
    hashed: list[str] = []
    monkeypatch.setattr(module, "work_of", lambda user, what: hashed.append(user) or work_of(user, what))
    each = desks()
    run(each, 1, "a")
    assert hashed == []
    ask(each, "a")
    heard(each)
    ask(each, "a", seq=2)
    heard(each)
    assert len(hashed) == 1
    each.tick(module.UNUSED_S + 1.0)
    each.greet("ann")
    ask(each, "a", seq=3)
    assert (found(heard(each)), len(hashed)) == ({"a": "1 SUCCEEDED"}, 2)


def test_works_of_tasks_that_left_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory follows the table."""
    monkeypatch.setattr(module, "SLACK", 0)
    each = desks()
    for number in range(1, 30):
        each.state.table.add(make_task(number, spec=spec(str(number))))
    ask(each, "a")
    heard(each)
    for number in range(1, 30):
        each.state.table.remove(each.task(number))
    ask(each, "a", seq=2)
    heard(each)
    index = each.works._index
    assert index is not None
    assert (index.tasks, index._works, index._judged) == ({}, {}, set())
