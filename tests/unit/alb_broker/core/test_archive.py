"""The archive: what is handed over when, what is kept back for it, and what is read from it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    TRUE,
    Desks,
    attempt,
    ended,
    notes,
    of_type,
    outcome,
    submit,
    task_id,
    to_client,
)

from alb_broker.core import archive as module
from alb_broker.core.actions import Action, ScanStore, StoreRows, TaskKept
from alb_broker.core.archive import rows_of
from alb_broker.core.store_desk import NOBODY
from alb_broker.store import events
from alb_core import rows
from alb_core.files import FileRef
from alb_core.messages import ClusterPage, Error, HistoryPage, QueryCluster, QueryHistory
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_core.works import work_of

URL = "sqlite:////somewhere"


def desks(**fields: Any) -> Desks:
    """Return the desks of a leader with a results store, a client and a worker."""
    each = Desks(store=URL, done_kept_max=0, **fields)
    each.greet("ann")
    each.join("w1")
    return each


def commit(each: Desks) -> list[Action]:
    """Commit, as the reign does: what is kept then may be archived."""
    actions = each.commit()
    for action in of_type(TaskKept, actions):
        each.state.table.kept.append(action.task)
    return actions


def finish(each: Desks, *numbers: int) -> None:
    """Let tasks run and end, one after the other."""
    for number in numbers:
        each.client(submit(number))
        each.turn()
        each.worker(ended(number))
        commit(each)


def hand_over(each: Desks) -> list[StoreRows]:
    """Return what is handed over in a turn."""
    each.archive.end_turn()
    return of_type(StoreRows, each.state.take_out())


def written(*tokens: int) -> events.StoreWritten:
    """Return the store's answer."""
    return events.StoreWritten(at=0.0, epoch=1, tokens=tokens)


def kinds(action: StoreRows) -> list[str]:
    """Return the families of the rows."""
    return [row.family for row in action.rows]


def test_a_task_is_handed_over_after_its_commit() -> None:
    """Not before: history would tell what may never be."""
    each = desks()
    each.client(submit(1))
    each.turn()
    each.worker(ended(1))
    assert hand_over(each) == []
    commit(each)
    (action,) = hand_over(each)
    assert kinds(action) == ["tasks", "attempts", "works"]
    assert hand_over(each) == []


def test_the_rows_say_what_the_record_says() -> None:
    """Who, what, where, when, how it was decided and how it ended."""
    each = desks()
    each.client(submit(1, TaskSpec(command=("echo", "a b"), name="job")))
    each.turn()
    each.worker(ended(1, cause=Cause.EVICTED))
    each.at(2.0)
    each.turn()
    each.at(5.0)
    each.worker(ended(1, n=2, exit_code=3))
    commit(each)
    record = each.state.table.done[task_id(1)].record
    assert record is not None
    task, first, second = rows_of(record)
    assert isinstance(task, rows.FinishedTask)
    begin = each.state.clock.claimed
    assert (task.user, task.name, task.command, task.state) == ("ann", "job", "echo 'a b'", "FAILED")
    assert (task.exit_code, task.worker, task.attempt, task.finished) == (3, "w1", 2, begin + 5.0)
    assert isinstance(first, rows.PastAttempt)
    assert isinstance(second, rows.PastAttempt)
    assert (first.n, first.cause, first.exit_code, first.ended) == (1, "evicted", None, begin)
    assert (second.n, second.cause, second.exit_code, second.waited_s) == (2, "exited", 3, 2.0)
    assert (second.policy, second.candidates, second.ahead) == ("least-loaded", 1, False)


def test_of_a_work_the_newest_good_task_is_named() -> None:
    """Once for many of the same; not for what failed, nor for what brought files back or a large value."""
    each = desks()
    finish(each, 1, 2)
    for number, spec, status in ((3, "other", 0), (4, "bad", 1), (5, "back", 0)):
        returns = ("*",) if spec == "back" else ()
        each.client(submit(number, TaskSpec(command=spec, returns=returns)))
        each.turn()
        each.worker(ended(number, exit_code=status))
        commit(each)
    each.client(submit(6, TaskSpec(command="valued", kind="mine")))
    each.turn()
    value = FileRef(name=".alb/value", sha256="1" * 64, size_bytes=1)
    valued = ended(6)
    each.worker(msgspec.structs.replace(valued, outcome=outcome(0, returned=(value,))))
    commit(each)
    (action,) = hand_over(each)
    named = {row.work: row.task for row in action.rows if isinstance(row, rows.Work)}
    assert named == {work_of("ann", TRUE): task_id(2), work_of("ann", TaskSpec(command="other")): task_id(3)}


def test_nothing_leaves_the_table_before_the_store_has_it() -> None:
    """The answer lets it go."""
    each = desks(holding_s=0.0)
    finish(each, 1)
    (action,) = hand_over(each)
    each.tick(1.0)
    assert task_id(1) in each.state.table.done
    each.state.store.on_event(written(action.token))
    each.tick(2.0)
    assert task_id(1) not in each.state.table.done
    assert each.archive.backlog == 0


def test_so_much_is_under_way_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest waits in the table, in its order."""
    monkeypatch.setattr(module, "UNDER_WAY_MAX", 2)
    monkeypatch.setattr(module, "TASKS_AT_ONCE", 2)
    each = desks()
    finish(each, 1, 2, 3)
    (action,) = hand_over(each)
    assert len(action.rows) == 5
    assert (hand_over(each), each.archive.backlog) == ([], 3)
    each.state.store.on_event(written(action.token))
    (rest,) = hand_over(each)
    assert {getattr(row, "task", "") for row in rest.rows} == {task_id(3)}


def test_what_earlier_leaders_finished_is_handed_over_again() -> None:
    """Nobody knows whether the store has it; it does not mind."""
    each = desks()
    finish(each, 1)
    hand_over(each)
    each.state.table.kept.append(task_id(1))  # as a takeover does when it has read the record
    (action,) = hand_over(each)
    each.state.store.on_event(written(action.token))
    each.state.table.kept.append(task_id(1))
    assert hand_over(each) == []


def test_what_is_not_archived_takes_room() -> None:
    """Else a store that stays away would let the table grow for ever."""
    each = desks(pending_max=3)
    finish(each, 1, 2, 3)
    assert not each.state.table.admits("ann", 10)
    for action in hand_over(each):
        each.state.store.on_event(written(action.token))
    each.state.table.unacknowledged.clear()
    each.state.table.done.clear()
    assert each.state.table.admits("ann", 10)


def test_loads_are_sampled_while_the_store_takes_them() -> None:
    """Every ten seconds, of workers that are heard; not while it is away: they are worth no memory."""
    each = desks()
    each.at(module.SAMPLE_EVERY_S)
    each.archive.tick()
    (action,) = of_type(StoreRows, each.state.take_out())
    assert (action.token, kinds(action)) == (NOBODY, ["loads"])
    each.archive.tick()
    each.state.store.on_event(events.StoreAway(at=0.0, epoch=1, why="locked"))
    each.at(5 * module.SAMPLE_EVERY_S)
    each.archive.tick()
    assert of_type(StoreRows, each.state.take_out()) == []


def test_a_store_that_is_away_is_told() -> None:
    """In the log and in the state of the cluster, with what waits for it."""
    each = desks()
    finish(each, 1)
    each.state.store.on_event(events.StoreAway(at=0.0, epoch=1, why="disk full"))
    assert notes(each.state.take_out(), "store_away") == [{"why": "disk full", "waiting": 1}]
    page = to_client(C1, each.client(QueryCluster(seq=1)) + each.commit())[-1]
    assert isinstance(page, ClusterPage)
    assert (page.store, page.unarchived) == ("disk full", 1)
    each.state.store.on_event(events.StoreBack(at=0.0, epoch=1, seconds=3.0))
    assert notes(each.state.take_out(), "store_back") == [{"seconds": 3.0, "waiting": 1}]
    assert each.state.store.away == ""


def test_without_a_store_nothing_is_handed_over_and_history_is_refused() -> None:
    """The answer says what is missing."""
    each = Desks()
    each.greet("ann")
    each.join("w1")
    finish(each, 1)
    assert hand_over(each) == []
    (error,) = to_client(C1, each.client(QueryHistory(seq=7)) + each.commit())
    assert isinstance(error, Error)
    assert (error.code, error.seq, "--store" in error.why) == ("invalid", 7, True)


# --- history ------------------------------------------------------------------------------------------------


def row(number: int, **fields: Any) -> rows.FinishedTask:
    """Return a finished task's row."""
    each = desks()
    finish(each, number)
    record = each.state.table.done[task_id(number)].record
    assert record is not None
    (made,) = (found for found in rows_of(record) if isinstance(found, rows.FinishedTask))
    return type(made)(**{name: getattr(made, name) for name in made.__struct_fields__} | fields)


def ask(each: Desks, query: QueryHistory, *found: rows.Row, error: str | None = None) -> Any:
    """Ask, let the store answer, and return what the client hears."""
    (scan,) = of_type(ScanStore, each.client(query))
    each.state.store.on_event(events.StoreScanned(at=0.0, epoch=1, token=scan.token, rows=found, error=error))
    return to_client(C1, each.state.take_out() + each.commit())[-1]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (QueryHistory(seq=1), [1, 2]),
        (QueryHistory(seq=1, user="bob"), [2]),
        (QueryHistory(seq=1, states=("FAILED",)), [2]),
        (QueryHistory(seq=1, worker="w1"), [1]),
        (QueryHistory(seq=1, name="other"), [2]),
        (QueryHistory(seq=1, since=150.0), [2]),
        (QueryHistory(seq=1, until=150.0), [1]),
        (QueryHistory(seq=1, ending="02"), [2]),
    ],
)
def test_history_is_filtered(query: QueryHistory, numbers: list[int]) -> None:
    """By user, state, worker, name, the time of the end and the end of the id."""
    each = desks()
    one = row(1, finished=100.0)
    two = row(2, user="bob", state="FAILED", worker="w2", name="other", finished=200.0)
    page = ask(each, query, one, two)
    assert isinstance(page, HistoryPage)
    assert [task.task for task in page.tasks] == [task_id(number) for number in numbers]
    assert page.cursor == ""


def test_history_comes_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full scan may be followed by more, also where nothing in it was wanted."""
    monkeypatch.setattr(module, "SCAN_ROWS", 2)
    each = desks()
    page = ask(each, QueryHistory(seq=1, user="nobody"), row(9), row(8))
    assert (page.tasks, page.cursor) == ((), task_id(8))
    (scan,) = of_type(ScanStore, each.client(QueryHistory(seq=2, cursor=page.cursor, since=86_400.0 * 2)))
    assert (scan.span.before, scan.span.after) == ((task_id(8),), (f"{86_400_000:012x}",))


def test_a_page_fits_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long specifications make short pages; each holds one at least."""
    monkeypatch.setattr(module, "PAGE_BYTES", 1500)
    each = desks()
    found = [row(number, spec="x" * size) for number, size in ((9, 2000), (8, 500), (7, 10), (6, 2000))]
    cursor, pages = "", []
    while True:
        rest = [task for task in found if not cursor or task.task < cursor]
        page = ask(each, QueryHistory(seq=1, cursor=cursor), *rest)
        pages.append([task.task for task in page.tasks])
        cursor = page.cursor
        if not cursor:
            break
    assert pages == [[task_id(9)], [task_id(8), task_id(7)], [task_id(6)]]


def test_a_store_that_does_not_answer_is_an_error() -> None:
    """With its reason; a late answer to nobody changes nothing."""
    each = desks()
    error = ask(each, QueryHistory(seq=4), error="timeout")
    assert (type(error), error.seq) == (Error, 4)
    assert "timeout" in error.why
    each.state.store.on_event(events.StoreScanned(at=0.0, epoch=1, token=99))
    assert attempt(1) not in each.state.workers.by_name
