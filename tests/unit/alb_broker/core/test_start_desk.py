"""What keeps tasks from being queued, and what lets them go: at the desks of a leader."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import (
    C1,
    C2,
    CLAIMED_S,
    W1,
    W2,
    Desks,
    attempt,
    ended,
    make_task,
    of_type,
    submit,
    task_id,
    to_client,
)
from tests.store_rows import finished

from alb_broker.core.actions import GetRows
from alb_broker.core.table import DoneTask
from alb_broker.core.task import Task
from alb_broker.store import events
from alb_core import zk, znodes
from alb_core.messages import (
    Accepted,
    AttemptStarted,
    Busy,
    Cancel,
    Done,
    Error,
    Finished,
    HoldTasks,
    QueryTask,
    Rejected,
    ReleaseTasks,
    TaskMoved,
    TaskPage,
)
from alb_core.spec import After, Dependency, Retry, Start, TaskSpec
from alb_core.tasks import TaskState

URL = "sqlite:////somewhere"
HOLDING_S = 600.0


def desks(*, workers: int = 1, **fields: Any) -> Desks:
    """Return a leader with two clients and some workers of one processor."""
    each = Desks(**fields)
    each.greet("ann", "bob")
    for number, peer in zip(range(workers), (W1, W2), strict=False):
        each.join(f"w{number + 1}", peer=peer)
    return each


def spec(
    *dependencies: tuple[After, int], name: str = "", retry: Retry | None = None, **start: Any
) -> TaskSpec:
    """Return a command that waits for others."""
    wanted = tuple(Dependency(after, task_id(number)) for after, number in dependencies)
    return TaskSpec(command="x", name=name, retry=retry or Retry(), start=Start(dependencies=wanted, **start))


def end(each: Desks, number: int, exit_code: int = 0, n: int = 1) -> None:
    """Let the attempt of a task end."""
    each.worker(AttemptStarted(attempt=attempt(number, n)), ended(number, n, exit_code=exit_code))
    each.turn()
    each.turn()  # others go on once the end is in the table


def state_of(each: Desks, number: int) -> TaskState:
    """Return where a task stands, live or finished."""
    task = each.state.table.live.get(task_id(number))
    if task is not None:
        return task.state
    record = each.state.table.done[task_id(number)].record
    assert record is not None
    return record.state


def why_of(each: Desks, number: int) -> str:
    """Return why a task waits, as its user is told."""
    each.client(QueryTask(seq=1, id=task_id(number)))
    (page,) = of_type(TaskPage, to_client(C1, each.commit()))
    return page.why


@pytest.mark.parametrize(
    ("after", "exit_code", "state"),
    [
        (After.SUCCEEDED, 0, TaskState.RUNNING),
        (After.SUCCEEDED, 1, TaskState.CANCELLED),
        (After.FAILED, 0, TaskState.CANCELLED),
        (After.FAILED, 1, TaskState.RUNNING),
        (After.ENDED, 0, TaskState.RUNNING),
        (After.ENDED, 1, TaskState.RUNNING),
    ],
)
def test_a_dependency_comes_true_or_ends_the_task(after: After, exit_code: int, state: TaskState) -> None:
    """The task waits for the other's end; one that it cannot be happy with is told as its reason."""
    each = desks()
    each.run(1)
    each.client(submit(2, spec((after, 1))))
    each.turn()
    assert state_of(each, 2) is TaskState.HELD
    end(each, 1, exit_code)
    assert state_of(each, 2) is state
    if state is TaskState.CANCELLED:
        record = each.state.table.done[task_id(2)].record
        assert record is not None
        assert record.result is not None
        assert record.result.why.startswith(f"dependency {after.value}:{task_id(1)} cannot be met: it ")


def test_after_waits_for_the_beginning_only() -> None:
    """The other's placement is enough."""
    each = desks(workers=2)
    each.client(submit(1), submit(2, spec((After.STARTED, 1))))
    each.turn()
    each.turn()
    assert (state_of(each, 1), state_of(each, 2)) == (TaskState.RUNNING, TaskState.RUNNING)


def test_a_task_is_accepted_as_what_it_is_in_one_commit() -> None:
    """HELD with what it waits for, or QUEUED at once where that has come true; each is one node."""
    each = desks(workers=0)
    each.client(submit(1), submit(2, spec((After.SUCCEEDED, 1)), moves=True), submit(3, spec(delay_s=0.0)))
    each.starts.end_turn()
    said = to_client(C1, each.commit())
    assert [message.state for message in of_type(Accepted, said)] == [
        TaskState.QUEUED,
        TaskState.HELD,
        TaskState.QUEUED,
    ]
    (moved,) = [message for message in of_type(TaskMoved, said) if message.id == task_id(2)]
    assert moved.why == f"it waits for afterok:{task_id(1)}, which has not begun"
    assert [type(operation) for operation in each.written] == [zk.Create] * 3


def test_all_dependencies_must_come_true_and_are_remembered() -> None:
    """What came true is in the table: it may be forgotten long before the rest does."""
    each = desks(workers=2)
    each.run(1, 2)
    each.client(submit(3, spec((After.SUCCEEDED, 1), (After.ENDED, 2))))
    end(each, 1)
    assert state_of(each, 3) is TaskState.HELD
    written = [operation for operation in each.written if operation.path == znodes.task_path(task_id(3))]
    assert znodes.decode_task(written[-1].path, written[-1].data).met == (0,)  # type: ignore[union-attr]
    del each.state.table.done[task_id(1)]
    end(each, 2, exit_code=1)
    each.worker(ended(2, exit_code=1), peer=W2)
    each.turn()
    each.turn()
    assert state_of(each, 3) is TaskState.RUNNING


def test_what_is_not_known_yet_may_come_and_else_ends_the_task() -> None:
    """Submissions may overtake each other: the other one has the holding time; then the task ends."""
    each = desks(workers=0, holding_s=HOLDING_S)
    each.client(submit(2, spec((After.SUCCEEDED, 1))), submit(3, spec((After.ENDED, 9))))
    each.turn()
    assert "which neither the table nor the results store knows" in why_of(each, 2)
    each.client(submit(1))
    each.turn()
    assert "which has not begun" in why_of(each, 2)
    each.at(HOLDING_S - 1).turn()
    assert (state_of(each, 2), state_of(each, 3)) == (TaskState.HELD, TaskState.HELD)
    each.at(HOLDING_S + 1).turn()
    assert (state_of(each, 2), state_of(each, 3)) == (TaskState.HELD, TaskState.CANCELLED)


def test_nobody_takes_the_room_of_those_that_he_waits_for() -> None:
    """While submissions are turned away, so is one that waits for an unknown task: it may be one of them."""
    each = desks(workers=0, pending_max=3)
    each.client(submit(1), submit(2), submit(3), submit(4, spec((After.ENDED, 3))))
    assert [type(said) for said in to_client(C1, each.commit())] == [Accepted, Accepted, Busy, Busy]
    each.client(Cancel(id=task_id(1)))
    each.turn()
    each.client(submit(4, spec((After.ENDED, 3))))
    assert of_type(Busy, to_client(C1, each.commit()))
    each.client(submit(3), submit(4, spec((After.ENDED, 3))))
    assert state_of(each, 3) is TaskState.QUEUED


def test_the_results_store_is_asked_for_what_left_the_table() -> None:
    """Its answer decides; while it does not answer, the task waits and the store is asked again."""
    each = desks(store=URL)
    (asked,) = of_type(GetRows, each.client(submit(2, spec((After.SUCCEEDED, 1)))))
    silent = events.StoreScanned(at=0.0, epoch=1, token=asked.token, rows=(), error="away")
    each.state.store.on_event(silent)
    each.turn()
    assert state_of(each, 2) is TaskState.HELD
    each.tick(5.0)
    each.starts.end_turn()
    (asked,) = of_type(GetRows, each.state.take_out())
    row = finished(task_id(1), state="SUCCEEDED")
    each.state.store.on_event(
        events.StoreScanned(at=5.0, epoch=1, token=asked.token, rows=(row,), error=None)
    )
    each.turn()
    assert state_of(each, 2) is TaskState.QUEUED


def test_a_finished_task_whose_record_is_unread_is_waited_for() -> None:
    """After a takeover finished tasks are known by their ids only; then their records tell."""
    each = desks()
    each.run(1)
    end(each, 1)
    done = each.state.table.done[task_id(1)]
    record = done.record
    assert record is not None
    assert record.result is not None
    each.state.table.done[task_id(1)] = unread = DoneTask(task_id(1), done.finished, None)
    each.client(submit(2, spec((After.SUCCEEDED, 1))))
    each.turn()
    assert state_of(each, 2) is TaskState.HELD
    unread.know(record, record.result)
    each.state.recollected = True
    each.tick(1.0)
    each.turn()
    assert state_of(each, 2) is TaskState.RUNNING


def test_no_task_waits_for_itself() -> None:
    """Not directly, and not through others that were submitted before it."""
    each = desks()
    each.client(
        submit(1, spec((After.ENDED, 1))),
        submit(2, spec((After.ENDED, 3))),
        submit(3, spec((After.ENDED, 2))),
    )
    refused = of_type(Rejected, to_client(C1, each.turn()))
    assert [(message.id, message.why) for message in refused] == [
        (task_id(1), "it depends on itself"),
        (task_id(3), f"it would wait for itself: task {task_id(2)}, for which it is to wait, waits for it"),
    ]


def test_the_end_of_one_ends_all_that_wait_for_its_success() -> None:
    """A chain of dependencies that cannot be met falls as a whole."""
    each = desks()
    each.run(1)
    for number in range(2, 6):
        each.client(submit(number, spec((After.SUCCEEDED, number - 1))))
    each.turn()
    end(each, 1, exit_code=1)
    for _ in range(4):
        each.turn()
    assert {state_of(each, number) for number in range(2, 6)} == {TaskState.CANCELLED}
    assert not each.state.holds.is_awaited(task_id(4))


def test_singletons_run_one_after_the_other() -> None:
    """In the order of their submission; other users' and other names do not matter."""
    each = desks(workers=2)
    each.client(*(submit(number, spec(singleton=True, name="nightly")) for number in (1, 2, 3)))
    each.client(submit(4, spec(singleton=True, name="nightly")), peer=C2)
    each.turn()
    assert [state_of(each, number) for number in (1, 2, 3, 4)] == [
        TaskState.RUNNING,
        TaskState.HELD,
        TaskState.HELD,
        TaskState.RUNNING,
    ]
    assert why_of(each, 3) == f"task {task_id(1)} of the same name has not ended"
    end(each, 1)
    assert (state_of(each, 2), state_of(each, 3)) == (TaskState.RUNNING, TaskState.HELD)


@pytest.mark.parametrize("start", [{"begin": CLAIMED_S + 10.0}, {"delay_s": 10.0}])
def test_a_task_begins_at_its_time(start: dict[str, float]) -> None:
    """Not before; and at once when the time has come."""
    each = desks()
    each.client(submit(1, spec(**start)))
    each.at(9.0).turn()
    assert state_of(each, 1) is TaskState.HELD
    assert why_of(each, 1) == "it begins in 1 s"
    each.at(10.1).turn()
    assert state_of(each, 1) is TaskState.RUNNING


def test_a_held_task_waits_for_its_release() -> None:
    """Held at its submission or later; twice is as once; nobody hears Done before the table has it."""
    each = desks()
    each.client(submit(1, spec(hold=True)), submit(2, spec((After.STARTED, 1))))
    each.client(submit(3))
    each.client(HoldTasks(seq=1, ids=(task_id(2), task_id(3))), peer=C2)
    assert to_client(C2, each.turn()) == [Done(seq=1)]
    assert {state_of(each, number) for number in (1, 2, 3)} == {TaskState.HELD}
    assert why_of(each, 3) == f"bob holds it: alb release {task_id(3)}"
    for _ in range(2):
        each.client(ReleaseTasks(seq=2, ids=(task_id(1), task_id(2), task_id(3))), peer=C2)
        assert to_client(C2, each.turn()) == [Done(seq=2)]
    assert sorted(state_of(each, number).value for number in (1, 3)) == ["QUEUED", "RUNNING"]


def test_only_what_has_not_begun_is_held() -> None:
    """What runs, has ended, or is unknown is refused with a sentence, and nothing of the request happens."""
    each = desks()
    each.run(1)
    each.client(submit(2))
    for ids, said in (
        ((task_id(2), task_id(1)), "runs already"),
        ((task_id(7),), "there is no task"),
        ((), "0 ids"),
    ):
        each.client(HoldTasks(seq=1, ids=ids))
        (error,) = of_type(Error, to_client(C1, each.turn()))
        assert said in error.why
    assert state_of(each, 2) is TaskState.QUEUED
    end(each, 1)
    each.client(HoldTasks(seq=1, ids=(task_id(1),)))
    (error,) = of_type(Error, to_client(C1, each.turn()))
    assert "has ended already" in error.why


def test_a_held_task_can_be_cancelled() -> None:
    """It ends, and whoever waited for it is told."""
    each = desks()
    each.client(submit(1, spec(hold=True)), submit(2, spec((After.SUCCEEDED, 1))))
    each.client(Cancel(id=task_id(1)))
    said = of_type(Finished, to_client(C1, each.turn() + each.turn()))
    assert [message.id for message in said] == [task_id(1), task_id(2)]
    assert each.state.holds.woken == {}


def test_a_failed_task_waits_for_its_time_and_is_queued_again() -> None:
    """It is offered to nobody before, a cancel reaches it, and `alb status` tells how long."""
    each = desks(workers=2)
    again = spec(retry=Retry(times=2, delay_s=10.0))
    each.client(submit(1, again, moves=True))
    each.turn()
    end(each, 1, exit_code=1)
    assert (state_of(each, 1), each.task(1).failures) == (TaskState.QUEUED, 1)
    assert why_of(each, 1) == "it failed 1 times, and is tried again in 10 s"
    each.at(9.0).turn()
    assert state_of(each, 1) is TaskState.QUEUED
    each.at(10.1).turn()
    assert (state_of(each, 1), each.task(1).assignment()) == (TaskState.RUNNING, (2, "w2"))
    each.worker(ended(1, 2, exit_code=1), peer=W2)
    each.client(Cancel(id=task_id(1)))
    each.turn()
    assert state_of(each, 1) is TaskState.CANCELLED
    each.at(1000.0).turn()
    assert len(each.state.holds.alarms.times) == 0


def test_the_next_leader_knows_who_waits_for_what() -> None:
    """From records alone: held ones are judged anew, and what failed waits for the same moment."""
    each = desks()
    retry = make_task(1, spec=spec(retry=Retry(times=2)), failures=1, not_before=CLAIMED_S + 10.0)
    held = make_task(2, spec=spec((After.SUCCEEDED, 1)), state=TaskState.HELD)
    free = make_task(
        3, spec=spec((After.SUCCEEDED, 8), hold=True), state=TaskState.HELD, met=(0,), released=True
    )
    for task in (retry, held, free):
        again = Task(task.record(), 1)
        each.state.table.add(again)
        each.state.holds.know(again)
        each.state.line_up(again)
    each.turn()
    assert [state_of(each, number) for number in (1, 2, 3)] == [
        TaskState.QUEUED,
        TaskState.HELD,
        TaskState.RUNNING,
    ]
    end(each, 3)
    assert state_of(each, 1) is TaskState.QUEUED
    each.at(10.1).turn()
    assert state_of(each, 1) is TaskState.RUNNING
