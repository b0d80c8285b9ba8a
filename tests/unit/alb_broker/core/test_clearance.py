"""The clearance: what leaves the results store, in which order, in which steps, and what never does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import C1, C2, CLAIMED_S, Desks, notes, of_type, submit, task_id, to_client
from tests.store_rows import finished, load

from alb_broker.core import clearance as module
from alb_broker.core.actions import Action, ClearStore, GetRows, MeasureStore, ScanStore, StoreRows
from alb_broker.core.past import is_going, marked_as_going
from alb_broker.core.table import DoneTask
from alb_broker.store import events
from alb_core import ids
from alb_core.messages import ClusterPage, QueryCluster
from alb_core.rows import FinishedTask, Increment, LoadSample, Output, PastAttempt, Row, Span, Work
from alb_core.spec import TaskSpec
from alb_core.works import work_of

URL = "sqlite:////somewhere"
DAY_S = 86_400.0
MIB = 1024 * 1024


class Stage:
    """A leader whose clearance asks; the test answers."""

    def __init__(self, **fields: Any) -> None:
        self.desks = Desks(store=URL, **fields)
        self.clearance = self.desks.clearance
        self.now = 0.0
        self.marked: list[str] = []

    def tick(self, seconds: float = 0.0) -> list[Action]:
        """Let time pass; returns what is asked, after a commit."""
        self.now += seconds
        self.desks.at(self.now)
        self.clearance.tick()
        return self.mark(self.asked())

    def asked(self) -> list[Action]:
        """Return what is asked, after a commit."""
        return self.desks.state.take_out() + self.desks.commit()

    def begin(self) -> Any:
        """Let the first round begin; returns its one question."""
        (question,) = self.tick(module.FIRST_S)
        return question

    def find(self, question: Any, *found: Row, error: str | None = None) -> list[Action]:
        """Answer a scan; returns what is asked next."""
        event = events.StoreScanned(at=0.0, epoch=1, token=question.token, rows=found, error=error)
        self.desks.state.store.on_event(event)
        return self.mark(self.asked())

    def mark(self, asked: list[Action]) -> list[Action]:
        """Where tasks are marked, answer that; returns what is asked next."""
        marks = of_type(StoreRows, asked)
        if not marks:
            return asked
        (marking,) = marks
        assert all(isinstance(row, FinishedTask) and is_going(row) for row in marking.rows)
        self.marked += [row.task for row in marking.rows if isinstance(row, FinishedTask)]
        self.desks.state.store.on_event(events.StoreWritten(at=0.0, epoch=1, tokens=(marking.token,)))
        return self.asked()

    def measure(self, question: Any, size_bytes: int) -> list[Action]:
        """Tell the size; returns what is asked next."""
        assert isinstance(question, MeasureStore)
        event = events.StoreMeasured(at=0.0, epoch=1, token=question.token, size_bytes=size_bytes)
        self.desks.state.store.on_event(event)
        return self.asked()

    def removed(self, question: Any, count: int = 0, error: str | None = None) -> list[Action]:
        """Answer a removal; returns what is asked next."""
        event = events.StoreRemoved(at=0.0, epoch=1, token=question.token, count=count, error=error)
        self.desks.state.store.on_event(event)
        return self.asked()

    def remove_step(self, parts: list[Action]) -> list[Action]:
        """Answer the removals of a step and the pause after it; returns what is asked next."""
        (ending,) = self.remove_parts(parts)
        assert isinstance(ending, ClearStore)
        self.removed(ending, len(ending.spans))
        return self.tick()

    def remove_parts(self, parts: list[Action]) -> list[Action]:
        """Answer the removals of a step's parts; returns what is asked next."""
        answer: list[Action] = []
        for part in parts:
            assert answer == []
            answer = self.removed(part)
        return answer


def old(number: int, age_s: float = 40 * DAY_S, **fields: Any) -> FinishedTask:
    """Return a task that ended so long before the claim; it did no work well, unless it is said to."""
    ended = CLAIMED_S - age_s
    standard = {"submitted": ended - 10.0, "finished": ended, "state": "FAILED"}
    return finished(task_id(number), **(standard | fields))


def spans(*numbers: int) -> tuple[Span, ...]:
    """Return the spans of tasks."""
    return tuple(Span(prefix=(task_id(number),)) for number in numbers)


@pytest.mark.parametrize("fields", [{}, {"store_keep_s": 1.0, "store": ""}])
def test_without_a_wish_nothing_is_asked(fields: dict[str, Any]) -> None:
    """History stays for ever where nobody said how long; without a store there is nothing to clear."""
    stage = Stage()
    stage.desks = Desks(**{"store": URL, **fields})
    stage.clearance = stage.desks.clearance
    assert not stage.clearance.enabled
    assert stage.tick(10 * DAY_S) == []


def test_old_tasks_go_whole_their_own_row_last() -> None:
    """What belongs to them first: a successor finds the rest by that row."""
    stage = Stage(store_keep_s=30 * DAY_S)
    scan = stage.begin()
    assert isinstance(scan, ScanStore)
    cutoff = CLAIMED_S + stage.now - 30 * DAY_S
    assert (scan.family, scan.span) == (FinishedTask, Span(before=(ids.first_of(cutoff),)))
    assert not scan.newest_first
    parts = stage.find(scan, old(1), old(2))
    removals = of_type(ClearStore, parts)
    assert {each.family for each in removals} == {Output, Increment, PastAttempt}
    assert {each.spans for each in removals} == {spans(1, 2)}
    (ending,) = stage.remove_parts(parts)
    assert isinstance(ending, ClearStore)
    assert (ending.family, ending.spans) == (FinishedTask, spans(1, 2))
    assert stage.removed(ending, 2) == []
    (samples,) = stage.tick()
    assert isinstance(samples, ScanStore)
    assert samples.family is LoadSample
    said = stage.find(samples)
    assert notes(said, "store_cleared") == [{"tasks": 2, "samples": 0}]
    assert stage.desks.state.counters["store_tasks_cleared"] == 2
    assert stage.tick(module.REST_S - 1) == []
    assert len(of_type(ScanStore, stage.tick(1.0))) == 1


def test_what_ended_lately_stays_however_old_its_id() -> None:
    """A task that ran for weeks is kept as long as others, counted from its end."""
    stage = Stage(store_keep_s=30 * DAY_S)
    parts = stage.find(stage.begin(), old(1, 29 * DAY_S), old(2, 31 * DAY_S))
    assert {each.spans for each in of_type(ClearStore, parts)} == {spans(2)}


@pytest.mark.parametrize("state", ["live", "done"])
def test_what_the_table_holds_stays(state: str) -> None:
    """A task that waits or runs again under its old id, and one whose result somebody may still fetch."""
    stage = Stage(store_keep_s=DAY_S)
    if state == "live":
        stage.desks.greet("ann")
        stage.desks.client(submit(1))
        stage.desks.commit()
    else:
        stage.desks.state.table.finish(DoneTask(task_id(1), CLAIMED_S, None, C1))
    parts = stage.find(stage.begin(), old(1), old(2))
    assert {each.spans for each in of_type(ClearStore, parts)} == {spans(2)}


def test_it_waits_for_the_commit_of_what_left_the_table() -> None:
    """Removed from memory is not yet removed from ZooKeeper: the next leader may find it there."""
    stage = Stage(store_keep_s=DAY_S)
    scan = stage.begin()
    event = events.StoreScanned(at=0.0, epoch=1, token=scan.token, rows=(old(1),))
    stage.desks.state.store.on_event(event)
    (marking,) = of_type(StoreRows, stage.desks.state.take_out())
    stage.desks.state.store.on_event(events.StoreWritten(at=0.0, epoch=1, tokens=(marking.token,)))
    assert of_type(ClearStore, stage.desks.state.take_out()) == []
    assert len(of_type(ClearStore, stage.desks.commit())) == 3


def gone_in(step: list[Action]) -> tuple[Span, ...]:
    """Return whose parts a step removes."""
    (found,) = {each.spans for each in of_type(ClearStore, step)}
    return found


def test_a_store_that_is_too_large_loses_its_oldest_tasks_and_no_more() -> None:
    """Down to a little below the bound: measured again after one task, then after two, and so on."""
    stage = Stage(store_bytes=100 * MIB)
    scan, *_ = stage.measure(stage.begin(), 110 * MIB)  # 15 MiB are wanted
    assert isinstance(scan, ScanStore)
    assert scan.span.before == ()
    found = [old(number, 1.0, stdout_bytes=4 * MIB) for number in range(1, 9)]
    first = stage.find(scan, *found)
    assert gone_in(first) == spans(1)
    (measuring,) = stage.remove_step(first)
    (scan,) = stage.measure(measuring, 106 * MIB)
    assert isinstance(scan, ScanStore)
    assert scan.span.after == (task_id(1),)
    second = stage.find(scan, *found[1:])
    assert gone_in(second) == spans(2, 3)
    (measuring,) = stage.remove_step(second)
    (scan,) = stage.measure(measuring, 98 * MIB)
    third = stage.find(scan, *found[3:])
    assert gone_in(third) == spans(4)
    (samples,) = stage.remove_step(third)  # 16 MiB went by the tasks' rows: measured after a rest
    assert isinstance(samples, ScanStore)
    (trim,) = stage.find(samples, load("w1", CLAIMED_S - 100.0))
    assert isinstance(trim, ClearStore)
    assert trim.spans == (Span(prefix=("w1",), before=("w1", CLAIMED_S - 11.0)),)
    (more,) = stage.removed(trim, 5)
    assert isinstance(more, ScanStore)
    assert more.span.after == ("w1",)
    stage.find(more)
    (again,) = stage.tick(module.AGAIN_S)
    assert stage.measure(again, 90 * MIB) == []
    assert stage.marked == [task_id(number) for number in (1, 2, 3, 4)]
    assert stage.tick(module.REST_S - 1) == []


def clear_down(stage: Stage, size_bytes: int, weight_bytes: int, tasks: int) -> int:
    """Play a store whose tasks take much more than their rows tell; returns how large it is after a round."""
    (asked,) = stage.measure(stage.begin(), size_bytes)
    gone = 0
    while not (isinstance(asked, ScanStore) and asked.family is LoadSample):
        if isinstance(asked, MeasureStore):
            (asked,) = stage.measure(asked, size_bytes)
            continue
        assert isinstance(asked, ScanStore)
        rows = [old(number, 1.0) for number in range(gone + 1, tasks + 1)][: asked.limit]
        step = stage.find(asked, *rows)
        if any(isinstance(each, ClearStore) for each in step):
            went = len(gone_in(step))
            gone += went
            size_bytes -= went * weight_bytes
            step = stage.remove_step(step)
        (asked,) = step
    return size_bytes


@pytest.mark.parametrize("weight_mib", [1, 16])
def test_tasks_with_large_increments_go_no_further_than_needed(weight_mib: int) -> None:
    """Their rows tell nothing of those: what is measured ends the round, at most one task too late."""
    stage = Stage(store_bytes=1000 * MIB)
    left = clear_down(stage, 1600 * MIB, weight_mib * MIB, 1600 // weight_mib)
    assert 950 - weight_mib < left / MIB <= 950


def test_a_store_that_does_not_become_smaller_loses_a_bounded_number_of_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others may fill the same database: the round ends, and the next one begins with a single task."""
    monkeypatch.setattr(module, "ROUND_TASKS", 20)
    stage = Stage(store_bytes=1000 * MIB)
    assert clear_down(stage, 1600 * MIB, 0, 500) == 1600 * MIB
    assert len(stage.marked) == 1 + 2 + 4 + 8 + 16


def test_the_size_is_shown_to_clients() -> None:
    """As measured last."""
    stage = Stage(store_bytes=100 * MIB)
    stage.desks.greet("ann")
    stage.measure(stage.begin(), 7 * MIB)
    (page,) = to_client(C1, stage.desks.client(QueryCluster(seq=1)) + stage.desks.commit())
    assert isinstance(page, ClusterPage)
    assert page.store_bytes == 7 * MIB


def test_both_bounds_together() -> None:
    """Room is made first; beyond that only what is old enough goes."""
    stage = Stage(store_bytes=100 * MIB, store_keep_s=30 * DAY_S)
    (scan,) = stage.measure(stage.begin(), 96 * MIB)
    assert isinstance(scan, ScanStore)
    assert scan.span.before != ()
    stage = Stage(store_bytes=100 * MIB, store_keep_s=30 * DAY_S)
    (scan,) = stage.measure(stage.begin(), 101 * MIB)
    found = [old(1, 1.0, stdout_bytes=50 * MIB), old(2), old(3, 1.0)]
    first = stage.find(scan, *found)
    assert {each.spans for each in of_type(ClearStore, first)} == {spans(1)}
    second = stage.remove_step(first)
    assert {each.spans for each in of_type(ClearStore, second)} == {spans(2)}


def test_steps_are_bounded_in_tasks_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no write waits long behind one."""
    monkeypatch.setattr(module, "TASKS_AT_ONCE", 3)
    stage = Stage(store_keep_s=DAY_S)
    scan = stage.begin()
    assert scan.limit == 3
    parts = stage.find(scan, old(1, stdout_bytes=20 * MIB), old(2, stdout_bytes=20 * MIB), old(3))
    steps = []
    while isinstance(parts[0], ClearStore):
        steps.append(of_type(ClearStore, parts)[0].spans)
        parts = stage.remove_step(parts)
    assert steps == [spans(1), spans(2, 3)]
    (scan,) = parts
    assert isinstance(scan, ScanStore)
    assert scan.span.after == (task_id(3),)


def test_large_parts_go_piece_by_piece() -> None:
    """Where as many rows went as a call may take, there may be more of them."""
    stage = Stage(store_keep_s=DAY_S)
    first, second, third = stage.find(stage.begin(), old(1))
    stage.removed(first, module.PART_ROWS)
    stage.removed(second)
    again = stage.removed(third)
    assert {each.family for each in of_type(ClearStore, again)} == {Output, Increment, PastAttempt}
    (ending,) = stage.remove_parts(again)
    assert isinstance(ending, ClearStore)
    assert ending.family is FinishedTask


def test_a_step_is_followed_by_a_rest_as_long() -> None:
    """A slow store has half of its time for writes."""
    stage = Stage(store_keep_s=DAY_S)
    parts = stage.find(stage.begin(), old(1))
    stage.now += 4.0
    stage.desks.at(stage.now)
    (ending,) = stage.remove_parts(parts)
    stage.removed(ending, 1)
    assert stage.tick(3.9) == []
    assert len(stage.tick(0.1)) == 1


def test_samples_go_worker_by_worker() -> None:
    """Also those of workers that are gone; a bounded number at once."""
    stage = Stage(store_keep_s=DAY_S)
    (scan,) = stage.find(stage.begin())
    assert isinstance(scan, ScanStore)
    assert (scan.family, scan.span, scan.limit) == (LoadSample, Span(), 1)
    (trim,) = stage.find(scan, load("w1", 5.0))
    assert isinstance(trim, ClearStore)
    (trim,) = stage.removed(trim, trim.limit)
    (scan,) = stage.removed(trim, 7)
    assert isinstance(scan, ScanStore)
    assert scan.span.after == ("w1",)
    (scan,) = stage.find(scan, load("w2", CLAIMED_S))  # it is young
    assert isinstance(scan, ScanStore)
    assert scan.span.after == ("w2",)
    said = stage.find(scan)
    assert notes(said, "store_cleared") == [{"tasks": 0, "samples": module.SAMPLES_AT_ONCE + 7}]


def test_a_store_of_samples_only_keeps_those_of_a_day() -> None:
    """And says that it cannot be made as small as it should."""
    stage = Stage(store_bytes=100 * MIB)
    (scan,) = stage.measure(stage.begin(), 200 * MIB)
    (scan,) = stage.find(scan)
    (trim,) = stage.find(scan, load("w1", 5.0))
    assert isinstance(trim, ClearStore)
    assert trim.spans[0].before == ("w1", CLAIMED_S + stage.now - DAY_S)
    (scan,) = stage.removed(trim, 0)
    assert len(notes(stage.find(scan), "store_too_large")) == 1


def test_an_error_ends_the_round_and_makes_the_next_steps_smaller() -> None:
    """Nothing is repeated at once: writes matter more."""
    stage = Stage(store_keep_s=DAY_S)
    first, second, _ = stage.find(stage.begin(), old(1), old(2))
    said = stage.removed(first, error="too slow")
    assert notes(said, "clearance_failed") == [{"why": "too slow", "stage": "parting"}]
    assert stage.removed(second) == []  # a late answer
    (scan,) = stage.tick(module.REST_S)
    found = [old(number) for number in range(1, module.TASKS_AT_ONCE + 1)]
    parts = stage.find(scan, *found)
    assert len(of_type(ClearStore, parts)[0].spans) == module.TASKS_AT_ONCE // 2
    stage = Stage(store_keep_s=DAY_S)
    assert len(notes(stage.find(stage.begin(), error="away"), "clearance_failed")) == 1
    stage = Stage(store_bytes=100 * MIB)
    question = stage.begin()
    stage.desks.state.store.on_event(
        events.StoreMeasured(at=0.0, epoch=1, token=question.token, error="no such table")
    )
    assert len(notes(stage.asked(), "clearance_failed")) == 1


def test_while_the_store_is_away_nothing_is_asked() -> None:
    """It has enough to do when it comes back."""
    stage = Stage(store_keep_s=DAY_S)
    stage.desks.state.store.away = "locked"
    assert stage.tick(DAY_S) == []
    stage.desks.state.store.away = ""
    assert len(stage.tick(1.0)) == 1


def test_answers_to_others_are_not_its_own() -> None:
    """Questions of clients have tokens from the same counter."""
    stage = Stage(store_keep_s=DAY_S)
    scan = stage.begin()
    stage.desks.state.store.on_event(
        events.StoreScanned(at=0.0, epoch=1, token=scan.token + 1, rows=(old(1),))
    )
    stage.desks.state.store.on_event(events.StoreRemoved(at=0.0, epoch=1, token=scan.token + 1, count=1))
    stage.desks.state.store.on_event(events.StoreMeasured(at=0.0, epoch=1, token=scan.token + 1))
    assert stage.asked() == []
    assert to_client(C2, stage.find(scan)) == []


def test_what_names_a_task_as_the_one_that_did_a_work_goes_with_it() -> None:
    """Unless a later task did the same work: that one is found by it."""
    stage = Stage(store_keep_s=DAY_S)
    first, second = (
        old(number, state="SUCCEEDED", spec=f'{{"command":["true","{number}"]}}') for number in (1, 2)
    )
    asked = stage.find(stage.begin(), first, second)
    (get,) = of_type(GetRows, asked)
    assert get.family is Work
    works = [work_of("ann", TaskSpec(command=("true", f"{number}"))) for number in (1, 2)]
    assert get.keys == ((works[0],), (works[1],))
    assert stage.remove_parts([part for part in asked if isinstance(part, ClearStore)]) == []
    said = stage.find(get, Work(work=works[0], task=task_id(1)), Work(work=works[1], task=task_id(9)))
    unnamed, ending = of_type(ClearStore, said)
    assert (unnamed.family, unnamed.spans) == (Work, (Span(prefix=(works[0],)),))
    assert (ending.family, ending.spans) == (FinishedTask, spans(1, 2))


def test_what_an_earlier_leader_began_to_remove_goes_even_if_there_is_room_now() -> None:
    """Half of it is gone: the first round looks for such tasks, the next ones need not."""
    stage = Stage(store_bytes=100 * MIB)
    (scan,) = stage.measure(stage.begin(), 10 * MIB)
    parts = stage.find(scan, marked_as_going(old(1)), old(2))
    assert {each.spans for each in of_type(ClearStore, parts)} == {spans(1)}
    assert stage.marked == []
    assert notes(stage.remove_step(parts), "store_cleared") == [{"tasks": 1, "samples": 0}]
    (again,) = stage.tick(module.REST_S)
    assert stage.measure(again, 10 * MIB) == []
