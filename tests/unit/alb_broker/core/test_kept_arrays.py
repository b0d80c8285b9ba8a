"""What keeps an array back as one thing, and what lets it start; and retries of its tasks."""

from __future__ import annotations

from typing import Any

import pytest
from tests.array_parts import array_spec, children, finish, kept, leader, nodes, submit_array
from tests.broker_parts import C1, CLAIMED_S, TRUE, Desks, of_type, outcome, submit, task_id, to_client
from tests.unit.alb_broker.core.test_array_takeover import take_over

from alb_core import codec
from alb_core.arrays import Counts, Stride, child_id
from alb_core.messages import (
    ArraysPage,
    AttemptEnded,
    AttemptId,
    Cancel,
    Done,
    Error,
    HoldTasks,
    QueryArrays,
    Rejected,
    ReleaseTasks,
    SubmitArray,
)
from alb_core.spec import After, Dependency, Retry, Start, TaskSpec
from alb_core.tasks import TaskState

A1, A2 = task_id(1), task_id(2)


def start(*names: str, after: After = After.SUCCEEDED, **fields: Any) -> Start:
    """Return a start that waits for these."""
    return Start(dependencies=tuple(Dependency(after, name) for name in names), **fields)


def waiting(wanted: Start, *, number: int = 1, name: str = "", count: int = 2, **fields: Any) -> SubmitArray:
    """Return the submission of an array with a start."""
    task = TaskSpec(command="x", name=name, start=wanted)
    return submit_array(array_spec(Stride(1, count), task=task, **fields), number=number)


def state_of(each: Desks, number: int = 1) -> TaskState:
    """Return where an array stands."""
    return each.state.arrays.by_id[task_id(number)].state


def why_of(each: Desks, number: int = 1) -> str:
    """Return what lists say of an array."""
    (page,) = of_type(ArraysPage, to_client(C1, each.client(QueryArrays(seq=1)) + each.commit()))
    return next(line.why for line in page.arrays if line.id == task_id(number))


def rejections(each: Desks, *messages: Any) -> list[str]:
    """Return why what a client says is refused."""
    return [message.why for message in of_type(Rejected, to_client(C1, each.client(*messages) + each.turn()))]


def test_an_array_waits_as_one_and_its_tasks_do_not() -> None:
    """Nothing of it is made before; its tasks wait for nothing more, in the table and on the wire."""
    each = leader(submit(9), waiting(start(task_id(9))), cpus=1.0)
    assert (state_of(each), children(each)) == (TaskState.HELD, [])
    assert why_of(each) == f"it waits for afterok:{task_id(9)}, which has not ended"
    each.book.cancel(each.task(9), b"", 0.0)
    each.turn()
    each = leader(submit_array(array_spec(Stride(1, 1)), number=3), waiting(start(task_id(3))), cpus=1.0)
    assert children(each) == [1]
    task = each.state.table.live[child_id(task_id(3), 1)]
    from_worker(each, task.id)
    assert (state_of(each), children(each)) == (TaskState.RUNNING, [1, 2])
    made = each.state.table.live[f"{A1}.1"]
    assert made.spec.start == codec.decode_spec(bytes(made.spec_wire())).start == Start()


def from_worker(each: Desks, name: str, exit_code: int = 0) -> None:
    """Let a task end, and whatever waited for it go on."""
    task = each.state.table.live[name]
    each.worker(AttemptEnded(attempt=AttemptId(name, task.attempts[-1].n), outcome=outcome(exit_code)))
    for _ in range(4):
        each.turn()


def test_an_array_that_would_wait_for_ever_is_cancelled() -> None:
    """With the reason, and so, in turn, is what waits for its success."""
    each = leader(submit(9), waiting(start(task_id(9))), waiting(start(A1), number=2), cpus=1.0)
    from_worker(each, task_id(9), exit_code=1)
    for number, other in ((1, task_id(9)), (2, A1)):
        record = kept(each, number)
        assert record.why == f"dependency afterok:{other} cannot be met: it did not end well"
        assert (state_of(each, number), record.counts) == (TaskState.CANCELLED, Counts(cancelled=2))
    assert each.state.holds.woken == {}


def test_an_array_begins_at_its_time() -> None:
    """A while after its acceptance, by the cluster's clock."""
    each = leader(waiting(start(delay_s=10.0)), cpus=1.0)
    assert (kept(each).not_before, why_of(each)) == (CLAIMED_S + 10.0, "it begins in 10 s")
    each.at(9.9).turn()
    assert children(each) == []
    each.at(10.1).turn()
    each.turn()
    assert (children(each), kept(each).kept) == ([1, 2], False)


def test_an_array_is_held_and_released() -> None:
    """Since its submission or by somebody, before it starts or while it runs; saying it twice is as once."""
    each = leader(waiting(start(hold=True)), submit_array(array_spec(Stride(1, 4), at_once=1), number=2))
    assert why_of(each) == f"it was submitted to be held: alb release {A1}"
    each.client(HoldTasks(seq=1, ids=(A1, A2)), HoldTasks(seq=2, ids=(A1,)))
    assert to_client(C1, each.turn())[:2] == [Done(seq=1), Done(seq=2)]
    assert (why_of(each), why_of(each, 2)) == (
        f"ann holds it: alb release {A1}",
        f"ann holds what is left of it: alb release {A2}",
    )
    assert state_of(each, 2) is TaskState.HELD
    each.client(ReleaseTasks(seq=3, ids=(A1, A2)), ReleaseTasks(seq=4, ids=(A1,)))
    each.turn()
    each.turn()
    assert (state_of(each), state_of(each, 2)) == (TaskState.QUEUED, TaskState.QUEUED)
    assert (kept(each).held_by, kept(each).kept) == ("", False)


def test_what_cannot_be_held_is_said() -> None:
    """An array that is over, a task that is not made yet, nobody's id; nothing of such a request is done."""
    each = leader(submit_array(array_spec(Stride(1, 1))), waiting(start(hold=True), number=2), cpus=1.0)
    finish(each, 1)
    wrong = {
        A1: f"array {A1} has ended already",
        f"{A2}.1": f"task {A2}.1 is not made yet: hold or release its array, {A2}, with all that is left",
        task_id(7): f"there is no task or array {task_id(7)} that could be held or released",
    }
    for name, why in wrong.items():
        each.client(HoldTasks(seq=1, ids=(A2, name)))
        assert of_type(Error, to_client(C1, each.turn())) == [Error(code="invalid", why=why, seq=1)]
    assert kept(each, 2).held_by == ""
    each.client(ReleaseTasks(seq=2, ids=(A1,)))
    assert Done(seq=2) in to_client(C1, each.turn())


def test_an_array_counts_as_one_among_its_likes() -> None:
    """Its tasks have its name, and hold up neither it nor each other; the next of the name waits for all."""
    single = TaskSpec(command="x", name="nightly", start=start(singleton=True))
    each = leader(waiting(start(singleton=True), name="nightly"), submit(9, single), cpus=1.0)
    assert (children(each), each.task(9).state) == ([1, 2], TaskState.HELD)
    assert each.starts.why(each.task(9)) == f"array {A1} of the same name has not ended"
    each.client(waiting(start(singleton=True), name="nightly", number=2))
    each.turn()
    finish(each, 1)
    assert each.task(9).state is TaskState.HELD
    finish(each, 2)
    each.turn()
    assert (each.task(9).state, state_of(each, 2)) == (TaskState.RUNNING, TaskState.HELD)
    from_worker(each, task_id(9))
    assert children(each) == [1, 2]


@pytest.mark.parametrize("of", [A1, f"{A1}.2"])
def test_no_array_waits_for_itself(of: str) -> None:
    """Neither directly nor over others, that wait for it or for a task of it."""
    each = leader(waiting(start(of), number=2), submit(9, TaskSpec(command="x", start=start(f"{A2}.1"))))
    assert rejections(each, waiting(start(of))) == ["it depends on itself"]
    (why,) = rejections(each, waiting(start(task_id(9))))
    assert why == f"it would wait for itself: array {A2}, for which it is to wait, waits for it"
    assert rejections(each, submit_array(array_spec(Stride(1, 2)))) == []


def test_an_array_that_waits_for_nobody_ends_after_a_while() -> None:
    """The other one may be on its way: so long it is waited for, and then no more."""
    each = leader(waiting(start(task_id(7))))
    assert "neither the table nor the results store knows" in why_of(each)
    each.at(599.0).turn()
    assert state_of(each) is TaskState.HELD
    each.at(600.1).turn()
    each.turn()
    assert state_of(each) is TaskState.CANCELLED


def test_an_array_without_inputs_does_not_end_before_it_starts() -> None:
    """Whoever waits for it would go on too early."""
    task = TaskSpec(command="x", start=start(hold=True))
    each = leader(submit_array(array_spec(task=task)))
    assert state_of(each) is TaskState.HELD
    each.client(ReleaseTasks(seq=1, ids=(A1,)))
    each.turn()
    each.turn()
    assert state_of(each) is TaskState.SUCCEEDED


def test_a_held_array_can_be_cancelled() -> None:
    """Nothing of it was made, all of it is over, and nobody looks at it again."""
    each = leader(submit(9), waiting(start(task_id(9), delay_s=10.0)))
    each.client(Cancel(id=A1))
    each.turn()
    assert (state_of(each), kept(each).counts) == (TaskState.CANCELLED, Counts(cancelled=2))
    assert (len(each.state.holds.alarms.times), each.state.holds.is_awaited(task_id(9))) == (0, False)


def test_the_next_leader_keeps_what_was_kept() -> None:
    """What came true is remembered, although the other task has left the table; holds and times too."""
    held = TaskSpec(command="x", start=start(hold=True))
    wanted = start(task_id(9), task_id(8), after=After.ENDED, delay_s=10.0)
    old = leader(submit(9), submit(8, held), waiting(wanted), waiting(start(hold=True), number=2), cpus=1.0)
    old.client(HoldTasks(seq=1, ids=(A2,)), ReleaseTasks(seq=2, ids=(A2,)), HoldTasks(seq=3, ids=(A2,)))
    from_worker(old, task_id(9))
    assert kept(old).met == (0,)
    table = {path: data for path, data in nodes(old).items() if "/done/" not in path}
    new = take_over(table)
    new.greet("ann")
    new.turn()
    assert (state_of(new), state_of(new, 2), children(new)) == (TaskState.HELD, TaskState.HELD, [])
    assert task_id(9) not in why_of(new)
    assert why_of(new, 2) == f"ann holds it: alb release {A2}"
    new.client(Cancel(id=task_id(8)), ReleaseTasks(seq=1, ids=(A2,)))
    new.turn()
    new.at(10.1).turn()
    new.turn()
    assert sorted(children(new)) == [1, 1, 2, 2]


def test_an_array_that_is_given_up_holds_up_nobody_of_its_name() -> None:
    """Its nodes were deleted by somebody: its next like begins."""
    single = TaskSpec(command="x", name="nightly", start=start(singleton=True))
    each = leader(waiting(Start(), name="nightly"), submit(9, single))
    assert each.task(9).state is TaskState.HELD
    each.state.arrays.forget(each.state.arrays.by_id[A1])
    each.turn()
    assert each.task(9).state is TaskState.QUEUED


def test_a_task_that_is_tried_again_has_not_failed_yet() -> None:
    """It stays in the window, and counts for --max-fails and --at-once once it is over."""
    task = TaskSpec(command="x", retry=Retry(times=1, delay_s=10.0))
    each = leader(submit_array(array_spec(Stride(1, 3), task=task, at_once=1, max_fails=0)), cpus=1.0)
    each.client(submit(9, TaskSpec(command="x", start=start(f"{A1}.1", after=After.FAILED))))
    finish(each, 1, exit_code=1)
    each.at(9.0).turn()
    assert (children(each), each.state.table.live[f"{A1}.1"].postponed) == ([1], True)
    assert (kept(each).counts, each.task(9).state) == (Counts(), TaskState.HELD)
    each.at(10.1).turn()
    finish(each, 1, exit_code=1)
    each.turn()
    assert kept(each).counts == Counts(failed=1, cancelled=2)
    assert (state_of(each), each.task(9).state) == (TaskState.FAILED, TaskState.RUNNING)


def test_a_retry_that_succeeds_is_no_failure_of_the_array() -> None:
    """And the next one of its window is made only then."""
    task = TaskSpec(command=TRUE.command, retry=Retry(times=1, delay_s=0.0))
    each = leader(submit_array(array_spec(Stride(1, 2), task=task, at_once=1)), cpus=1.0)
    finish(each, 1, exit_code=1)
    assert children(each) == [1]
    finish(each, 1)
    assert children(each) == [2]
    finish(each, 2)
    assert (state_of(each), kept(each).counts) == (TaskState.SUCCEEDED, Counts(succeeded=2))
