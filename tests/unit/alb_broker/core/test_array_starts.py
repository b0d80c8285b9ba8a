"""Arrays that wait, and those who wait for arrays and for tasks of theirs."""

from __future__ import annotations

import msgspec
import pytest
from tests.array_parts import ID, array_spec, children, finish, kept, leader, submit_array
from tests.broker_parts import C1, TRUE, Desks, attempt, ended, submit, task_id, to_client

from alb_core.arrays import Stride
from alb_core.messages import (
    Accepted,
    ArrayMoved,
    AttemptStarted,
    Cancel,
    Done,
    Finished,
    HoldTasks,
    Rejected,
    ReleaseTasks,
)
from alb_core.spec import After, Dependency, Retry, Start, TaskSpec
from alb_core.tasks import Result, TaskState

CPUS = 4.0


def waits(after: After, *names: str, task: TaskSpec = TRUE, **start: object) -> TaskSpec:
    """Return a command that waits for others, by their ids."""
    wanted = tuple(Dependency(after, name) for name in names)
    return msgspec.structs.replace(task, start=Start(dependencies=wanted, **start))  # type: ignore[arg-type]


def settle(each: Desks, turns: int = 4) -> None:
    """Let what moved be looked at, and what follows be written."""
    for _ in range(turns):
        each.turn()


def result_of(each: Desks, number: int) -> Result:
    """Return how a task ended."""
    done = each.state.table.done[task_id(number)].record
    assert done is not None
    assert done.result is not None
    return done.result


def test_an_array_waits_for_a_task_as_one_thing() -> None:
    """Nothing of it is made before; its tasks wait for nothing themselves, and see none of it."""
    each = leader(submit(2), cpus=CPUS)
    each.client(submit_array(array_spec(Stride(1, 3), task=waits(After.SUCCEEDED, task_id(2)))))
    settle(each)
    assert children(each) == []
    array = each.state.arrays.by_id[ID]
    assert (array.state, kept(each).kept) == (TaskState.HELD, True)
    assert task_id(2) in each.state.arrays.line(array).why
    each.worker(AttemptStarted(attempt=attempt(2)), ended(2))
    settle(each)
    assert children(each) == [1, 2, 3]
    assert (kept(each).kept, kept(each).met) == (False, (0,))
    assert all(task.spec.start == Start() for task in array.live.values())


def test_an_array_whose_dependency_fails_ends_with_the_reason() -> None:
    """Nothing of it ran, and its followers hear why."""
    each = leader(submit(2), cpus=CPUS)
    each.client(submit_array(array_spec(Stride(1, 3), task=waits(After.SUCCEEDED, task_id(2)))))
    settle(each)
    each.worker(AttemptStarted(attempt=attempt(2)), ended(2, exit_code=1))
    told = [message for _ in range(4) for message in to_client(C1, each.turn())]
    lines = [message.array for message in told if isinstance(message, ArrayMoved)]
    assert lines[-1].state is TaskState.CANCELLED
    assert "cannot be met" in lines[-1].why
    assert kept(each).finished > 0


@pytest.mark.parametrize(
    ("after", "exit_code", "state"),
    [
        (After.SUCCEEDED, 0, TaskState.RUNNING),
        (After.SUCCEEDED, 1, TaskState.CANCELLED),
        (After.ENDED, 1, TaskState.RUNNING),
        (After.FAILED, 1, TaskState.RUNNING),
        (After.FAILED, 0, TaskState.CANCELLED),
    ],
)
def test_a_task_waits_for_the_end_of_an_array(after: After, exit_code: int, state: TaskState) -> None:
    """Whether it ended well decides; as long as one of its tasks is left, the other waits."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=CPUS)
    each.client(submit(2, waits(after, ID)))
    settle(each)
    finish(each, 1)
    settle(each)
    assert each.task(2).state is TaskState.HELD
    finish(each, 2, exit_code=exit_code)
    settle(each)
    if state is TaskState.RUNNING:
        assert each.task(2).state is state
    else:
        assert result_of(each, 2).state is state


def test_after_an_array_has_begun() -> None:
    """The first of its tasks that is placed lets others go that wait for its beginning."""
    each = leader(submit_array(array_spec(Stride(1, 2))))
    each.client(submit(2, waits(After.STARTED, ID)))
    settle(each)
    assert each.task(2).state is TaskState.HELD
    each.join(cpus=CPUS)
    settle(each)
    assert each.task(2).state is TaskState.RUNNING


def test_a_task_waits_for_one_task_of_an_array() -> None:
    """Also for one that is not made yet."""
    each = leader(submit_array(array_spec(Stride(1, 3), at_once=1)), cpus=CPUS)
    each.client(submit(2, waits(After.SUCCEEDED, f"{ID}.2")))
    settle(each)
    finish(each, 1)
    settle(each)
    assert each.task(2).state is TaskState.HELD
    finish(each, 2)
    settle(each)
    assert each.task(2).state is TaskState.RUNNING


def test_a_task_does_not_wait_for_one_of_an_array_that_never_will_be() -> None:
    """The array was cancelled before it was made; at the next look this is seen."""
    each = leader(submit_array(array_spec(Stride(1, 3), at_once=1)), cpus=CPUS)
    each.client(submit(3, waits(After.SUCCEEDED, f"{ID}.3")))
    settle(each)
    each.client(Cancel(id=ID))
    settle(each)
    each.at(each.state.at + 2.0)
    each.array_fates.tick()
    settle(each)
    assert result_of(each, 3).state is TaskState.CANCELLED


def test_arrays_wait_for_arrays() -> None:
    """A chain: the second begins when the first has ended well."""
    first, second = array_spec(Stride(1, 2)), array_spec(Stride(1, 2), task=waits(After.SUCCEEDED, ID))
    each = leader(submit_array(first), submit_array(second, number=2), cpus=CPUS)
    settle(each)
    assert children(each) == [1, 2]
    finish(each, 1, 2)
    settle(each)
    assert sorted(each.state.table.live) == [f"{task_id(2)}.1", f"{task_id(2)}.2"]


def test_a_singleton_array_waits_for_its_likes_and_not_for_its_own_tasks() -> None:
    """An array counts as one of its name, from its submission to its end."""
    named = TaskSpec(command="x", name="nightly", start=Start(singleton=True))
    each = leader(submit_array(array_spec(Stride(1, 2), task=named)), cpus=CPUS)
    each.client(submit(2, named))
    settle(each)
    assert children(each) == [1, 2]
    assert each.task(2).state is TaskState.HELD
    finish(each, 1)
    settle(each)
    assert each.task(2).state is TaskState.HELD
    finish(each, 2)
    settle(each)
    assert each.task(2).state is TaskState.RUNNING


def test_an_array_begins_when_its_time_has_come() -> None:
    """Not before, whatever else happens."""
    later = msgspec.structs.replace(TRUE, start=Start(delay_s=60.0))
    each = leader(submit_array(array_spec(Stride(1, 2), task=later)), cpus=CPUS)
    each.at(each.state.at + 59.0)
    settle(each)
    assert children(each) == []
    each.at(each.state.at + 2.0)
    settle(each)
    assert children(each) == [1, 2]


def test_held_arrays_are_released() -> None:
    """One that was submitted to be held, and one that somebody holds; a second release changes nothing."""
    wanted = msgspec.structs.replace(TRUE, start=Start(hold=True))
    each = leader(submit_array(array_spec(Stride(1, 2), task=wanted)), cpus=CPUS)
    settle(each)
    assert children(each) == []
    assert f"alb release {ID}" in each.state.arrays.line(each.state.arrays.by_id[ID]).why
    for seq in (1, 2):
        each.client(ReleaseTasks(seq=seq, ids=(ID,)))
        told = [message for _ in range(3) for message in to_client(C1, each.turn())]
        assert Done(seq=seq) in told
    assert children(each) == [1, 2]
    each.client(submit_array(array_spec(Stride(1, 2)), number=2), HoldTasks(seq=3, ids=(task_id(2),)))
    settle(each)
    assert kept(each, 2).held_by == "ann"
    assert children(each) == [1, 2]


def test_a_kept_array_can_be_cancelled() -> None:
    """It ends at once, and nobody looks at it any more."""
    each = leader(submit_array(array_spec(Stride(1, 2), task=waits(After.SUCCEEDED, task_id(9)))))
    settle(each)
    each.client(Cancel(id=ID))
    settle(each)
    assert (kept(each).finished > 0, kept(each).counts.cancelled) == (True, 2)
    assert not each.state.holds.is_awaited(task_id(9))


def test_an_array_that_would_wait_for_itself_is_refused() -> None:
    """Directly, or through one that waits for it already."""
    each = leader()
    (told,) = to_client(
        C1,
        each.client(submit_array(array_spec(Stride(1, 2), task=waits(After.SUCCEEDED, ID)))) + each.commit(),
    )
    assert isinstance(told, Rejected)
    assert "depends on itself" in told.why
    each.client(submit(2, waits(After.SUCCEEDED, ID)))
    each.commit()
    array = submit_array(array_spec(Stride(1, 2), task=waits(After.SUCCEEDED, task_id(2))))
    (told,) = to_client(C1, each.client(array) + each.commit())
    assert isinstance(told, Rejected)
    assert "wait for itself" in told.why


def test_a_retried_task_of_an_array_counts_when_its_last_try_has_failed() -> None:
    """Until then the array neither ends nor fails too often."""
    stubborn = TaskSpec(command="x", retry=Retry(times=1, delay_s=0.0))
    each = leader(submit_array(array_spec(Stride(1, 1), task=stubborn, max_fails=0)), cpus=CPUS)
    finish(each, 1, exit_code=1)
    settle(each)
    assert (kept(each).counts.failed, kept(each).finished) == (0, 0.0)
    told = to_client(C1, finish(each, 1, exit_code=1) + each.turn())
    assert (kept(each).counts.failed, kept(each).finished > 0) == (1, True)
    assert not any(isinstance(message, Accepted | Finished) for message in told)
