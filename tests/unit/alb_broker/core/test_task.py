"""What may happen to a task, edge by edge; and that nothing else may."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.broker_parts import make_attempt, make_task, outcome, record

from alb_broker.core.steps import (
    CancelAsked,
    Copied,
    Demoted,
    DependenciesMet,
    Doomed,
    Ended,
    Freed,
    HoldAsked,
    Placed,
    ReleaseAsked,
    Returned,
    Step,
    WorkerLost,
)
from alb_broker.core.task import (
    ATTEMPTS_KEPT,
    ENDS,
    STORY_LENGTH,
    TASK_STEPS,
    WILLED,
    Task,
    Watcher,
    Watchers,
)
from alb_core import znodes
from alb_core.errors import InvalidTransition
from alb_core.resources import Request
from alb_core.spec import OnLost, Retry, TaskSpec
from alb_core.tasks import AttemptState, Cause, Result, TaskRecord, TaskState

LIVE, LOST, OVER = AttemptState.LIVE, AttemptState.LOST, AttemptState.OVER
PLACED = Placed(1.0, make_attempt(1, "w2"))
AGAIN = Placed(1.0, make_attempt(2, "w2"))
COPIED = Copied(1.0, make_attempt(2, "w2", copy_of=1))
CANCEL = CancelAsked(1.0)
DEMOTED = Demoted(1.0, n=1, waiting="t2")
HOLD = HoldAsked(1.0, by="ann")
RELEASE = ReleaseAsked(1.0)
MET = DependenciesMet(1.0, met=(0,))
FREED = Freed(1.0)
DOOMED = Doomed(1.0, why="dependency afterok:x cannot be met")
MUST_NOT_RERUN = TaskSpec(command="x", on_lost=OnLost.FAIL)


def placement(task: Task) -> Placed:
    """Return the next placement of a task, on w2."""
    return Placed(1.0, make_attempt(task.next_n(), "w2"))


def ended(n: int = 1, cause: Cause = Cause.EXITED, exit_code: int = 0) -> Ended:
    """Return the end of an attempt; up to two attempts may be lost."""
    return Ended(1.0, n=n, outcome=outcome(exit_code, cause), crash_limit=2)


def lost(n: int = 1) -> WorkerLost:
    """Return the loss of an attempt's worker; up to two attempts may be lost."""
    return WorkerLost(1.0, n=n, worker="w1", crash_limit=2)


def queued() -> Task:
    """Return a task that waits."""
    return make_task(1)


def running() -> Task:
    """Return a task that runs."""
    return make_task(1, make_attempt())


def waiting_again() -> Task:
    """Return a task that waits because its worker is thought lost."""
    return make_task(1, make_attempt(state=LOST), crashes=1)


def held() -> Task:
    """Return a task that something keeps back."""
    return make_task(1, state=TaskState.HELD)


def finished(state: TaskState) -> Task:
    """Return a task that has its result."""
    return make_task(1, make_attempt(state=OVER), state=state, result=Result(state=state))


def states(task: Task) -> list[AttemptState]:
    """Return the states of a task's attempts."""
    return [attempt.state for attempt in task.attempts]


#: Every walk: where it begins, the step, and where it ends.
WALKS: list[tuple[Callable[[], Task], Step, TaskState]] = [
    (queued, PLACED, TaskState.RUNNING),
    (waiting_again, AGAIN, TaskState.RUNNING),
    (waiting_again, ended(), TaskState.SUCCEEDED),
    (waiting_again, Returned(1.0, n=1), TaskState.RUNNING),
    (queued, CANCEL, TaskState.CANCELLED),
    (queued, HOLD, TaskState.HELD),
    (held, HOLD, TaskState.HELD),
    (held, RELEASE, TaskState.HELD),
    (held, MET, TaskState.HELD),
    (held, FREED, TaskState.QUEUED),
    (held, DOOMED, TaskState.CANCELLED),
    (held, CANCEL, TaskState.CANCELLED),
    (running, COPIED, TaskState.RUNNING),
    (running, ended(), TaskState.SUCCEEDED),
    (running, lost(), TaskState.QUEUED),
    (running, DEMOTED, TaskState.RUNNING),
    (running, CANCEL, TaskState.RUNNING),
    *((lambda state=state: finished(state), CANCEL, state) for state in TaskState if state.terminal),  # type: ignore[misc]
]


@pytest.mark.parametrize(("begin", "step", "end"), WALKS)
def test_each_edge_leads_where_it_should(begin: Callable[[], Task], step: Step, end: TaskState) -> None:
    """A step that is allowed leads to its state, and is told in the task's story."""
    task = begin()
    before = task.state
    reason = task.take(step)
    assert task.state is end
    assert task.story[-1] == f"{before.value} -> {end.value}: {reason}"


def test_every_edge_is_walked() -> None:
    """No edge is in the table that no test walks."""
    walked = {(begin().state, type(step)) for begin, step, _ in WALKS}
    assert walked == set(TASK_STEPS)


@pytest.mark.parametrize("state", list(TaskState))
@pytest.mark.parametrize(
    "step", [PLACED, COPIED, ended(), lost(), DEMOTED, Returned(1.0, n=1), CANCEL, HOLD, FREED, DOOMED]
)
def test_every_other_step_is_refused_with_the_story(state: TaskState, step: Step) -> None:
    """A step that the state does not allow changes nothing, and its error tells what happened before."""
    if (state, type(step)) in TASK_STEPS:
        return
    task = make_task(1)
    task.take(placement(task))
    task.state = state
    before = task.record()
    with pytest.raises(InvalidTransition) as caught:
        task.take(step)
    assert task.record() == before
    told = str(caught.value)
    assert f"in state {state.value} cannot take {type(step).__name__}" in told
    assert "QUEUED -> RUNNING: a worker had room (attempt 1 on w2)" in told


def test_attempt_numbers_rise_and_are_never_used_again() -> None:
    """However often a task is placed, each attempt has a new number; only the newest are kept."""
    task = queued()
    for n in range(1, ATTEMPTS_KEPT + 10):
        task.take(placement(task))
        assert task.attempts[-1].n == n
        task.take(WorkerLost(1.0, n=n, worker="w2", crash_limit=1000))
    assert len(task.attempts) == ATTEMPTS_KEPT + 1


def test_the_story_is_bounded() -> None:
    """A task that goes round and round remembers its newest steps only."""
    task = queued()
    for n in range(1, 30):
        task.take(placement(task))
        task.take(WorkerLost(1.0, n=n, worker="w2", crash_limit=1000))
    assert len(task.story) == STORY_LENGTH + 1


def test_a_new_attempt_supersedes_a_lost_one() -> None:
    """From the placement on, a lost attempt can deliver nothing any more."""
    task = waiting_again()
    task.take(placement(task))
    assert states(task) == [OVER, LIVE]


def test_a_lost_attempt_that_comes_back_lives_again() -> None:
    """While nobody else has the task, its worker's return makes the attempt live."""
    task = waiting_again()
    task.take(Returned(1.0, n=1))
    assert states(task) == [LIVE]
    assert task.crashes == 1


@pytest.mark.parametrize(
    ("cause", "exit_code", "state", "status"),
    [
        (Cause.EXITED, 0, TaskState.SUCCEEDED, 0),
        (Cause.EXITED, 3, TaskState.FAILED, 3),
        (Cause.SIGNALLED, 0, TaskState.FAILED, 125),
        (Cause.TIMED_OUT, 0, TaskState.TIMEOUT, 124),
        (Cause.OUT_OF_MEMORY, 0, TaskState.OOM, 137),
        (Cause.OVER_LIMIT, 0, TaskState.LIMIT, 137),
        (Cause.NOT_FOUND, 0, TaskState.FAILED, 125),
        (Cause.NOT_EXECUTABLE, 0, TaskState.FAILED, 125),
        (Cause.NOT_STARTED, 0, TaskState.FAILED, 125),
    ],
)
def test_how_an_attempt_ended_decides_the_result(
    cause: Cause, exit_code: int, state: TaskState, status: int
) -> None:
    """Each cause has its state; the result names the attempt and the worker that delivered."""
    task = running()
    task.take(ended(cause=cause, exit_code=exit_code))
    assert task.result is not None
    assert (task.result.state, task.result.exit_status()) == (state, status)
    assert (task.result.attempt, task.result.worker) == (1, "w1")
    assert states(task) == [OVER]


@pytest.mark.parametrize("cause", [Cause.INTERRUPTED, Cause.KILLED])
def test_an_interrupted_attempt_is_a_crash(cause: Cause) -> None:
    """What the infrastructure ended is not the command's failure: the task waits again."""
    task = running()
    task.take(ended(cause=cause))
    assert (task.state, task.crashes, task.queued_since) == (TaskState.QUEUED, 1, 1.0)
    assert states(task) == [OVER]


@pytest.mark.parametrize("cause", [Cause.INTERRUPTED, Cause.KILLED, Cause.GIVEN_BACK, *WILLED])
def test_the_end_of_a_lost_attempt_is_not_a_second_crash(cause: Cause) -> None:
    """Its loss was counted already; the report of no result leaves the task waiting."""
    task = waiting_again()
    task.take(ended(cause=cause))
    assert (task.state, task.crashes) == (TaskState.QUEUED, 1)
    assert states(task) == [OVER]


@pytest.mark.parametrize("cause", [Cause.GIVEN_BACK, *WILLED])
def test_an_attempt_that_is_given_back_is_no_crash(cause: Cause) -> None:
    """It never started, or was to end: the task waits again, as old as it was."""
    task = running()
    since = task.queued_since
    task.take(ended(cause=cause))
    assert (task.state, task.crashes, task.queued_since) == (TaskState.QUEUED, 0, since)
    assert (states(task), task.preemptions) == ([OVER], cause is Cause.PREEMPTED)


def test_an_attempt_that_waited_on_a_lost_worker_is_no_crash() -> None:
    """What killed the worker was another's command; the attempt may still deliver, should it have begun."""
    task = running()
    task.take(WorkerLost(1.0, n=1, worker="w1", crash_limit=0, ahead=True))
    assert (task.state, task.crashes, states(task)) == (TaskState.QUEUED, 0, [LOST])


@pytest.mark.parametrize("cause", WILLED)
def test_an_eviction_of_what_must_not_run_twice_is_a_loss(cause: Cause) -> None:
    """The leader asks for none; whatever a worker says, the command does not run again."""
    task = make_task(1, make_attempt(), spec=MUST_NOT_RERUN)
    task.take(ended(cause=cause))
    assert task.state is TaskState.LOST


@pytest.mark.parametrize("cause", [Cause.GIVEN_BACK, *WILLED])
def test_a_cancelled_attempt_that_is_given_back_ends_the_task(cause: Cause) -> None:
    """There is nothing left to kill."""
    task = running()
    task.take(CANCEL)
    task.take(ended(cause=cause))
    assert task.result is not None
    assert (task.result.state, task.result.attempt) == (TaskState.CANCELLED, 0)


def test_a_cancelled_attempt_that_was_killed_ends_the_task() -> None:
    """The kill that a cancellation asked for is its result."""
    task = running()
    task.take(CANCEL)
    task.take(ended(cause=Cause.KILLED))
    assert task.result is not None
    assert task.result.state is TaskState.CANCELLED


def test_a_result_that_came_first_wins_over_the_cancellation() -> None:
    """A command that ended before the kill reached it has its own result."""
    task = running()
    task.take(CANCEL)
    task.take(ended())
    assert task.state is TaskState.SUCCEEDED


def test_a_cancelled_task_is_never_queued_again() -> None:
    """The loss of its worker ends it."""
    task = running()
    task.take(CANCEL)
    task.take(lost())
    assert task.state is TaskState.CANCELLED


def test_a_task_that_must_not_run_twice_ends_lost() -> None:
    """With ``--on-lost fail`` the loss of the worker is the result."""
    task = make_task(1, make_attempt(), spec=MUST_NOT_RERUN)
    task.take(lost())
    assert task.state is TaskState.LOST
    assert task.result is not None
    assert "on-lost fail" in task.result.why


def test_too_many_crashes_end_a_task() -> None:
    """The limit is the number of losses that a task survives."""
    task = make_task(1, make_attempt(), crashes=1)
    task.take(lost())
    assert task.state is TaskState.QUEUED
    task.take(placement(task))
    task.take(lost(n=2))
    assert (task.state, task.crashes) == (TaskState.LOST, 3)


def test_a_result_never_changes() -> None:
    """A cancellation after the end leaves the result and everything else as it was."""
    task = finished(TaskState.FAILED)
    before = task.record()
    task.take(CANCEL)
    assert task.record() == before


def test_a_record_survives_the_table() -> None:
    """A task made from its record is the same task."""
    original = record(1, make_attempt(state=OVER), make_attempt(2), crashes=1, cancel=True)
    assert make_task(1, *original.attempts, crashes=1, cancel=True).record() == original


def retried(**fields: object) -> Task:
    """Return a task that runs and may be tried again twice."""
    return make_task(1, make_attempt(), spec=TaskSpec(command="x", retry=Retry(**{"times": 2, **fields})))  # type: ignore[arg-type]


def test_a_failure_is_tried_again_after_a_while() -> None:
    """The task waits, longer each time, and keeps how each attempt ended; the last failure is the result."""
    task = retried(delay_s=10.0)
    for n, not_before in ((1, 11.0), (2, 21.0)):
        task.take(ended(n, exit_code=3))
        assert (task.state, task.failures, task.not_before) == (TaskState.QUEUED, n, not_before)
        assert (task.postponed, task.waits_for_room, task.failed_on) == (
            True,
            False,
            task.attempts[-1].worker,
        )
        task.postponed = False
        task.take(placement(task))
    assert task.not_before == 0
    task.take(ended(3, exit_code=4))
    assert task.result is not None
    assert (task.result.state, task.result.exit_code, task.failures) == (TaskState.FAILED, 4, 2)
    assert [(each.ended_as, each.exit_code) for each in task.attempts] == [
        ("exited", 3),
        ("exited", 3),
        ("exited", 4),
    ]


def test_a_success_and_a_cancelled_failure_are_final() -> None:
    """What went well, or was cancelled, is not tried again."""
    good, cancelled = retried(), retried()
    good.take(ended())
    cancelled.take(CANCEL)
    cancelled.take(ended(exit_code=1))
    assert (good.state, cancelled.state) == (TaskState.SUCCEEDED, TaskState.FAILED)


def test_failures_and_crashes_are_counted_apart() -> None:
    """A lost worker uses up no retry, a failure no crash; the task's own crash limit counts."""
    task = retried(delay_s=0.0, crash_limit=1)
    task.take(lost())
    task.take(placement(task))
    task.take(ended(2, exit_code=1))
    assert (task.crashes, task.failures, task.postponed) == (1, 1, False)
    task.take(placement(task))
    task.take(lost(3))
    assert task.state is TaskState.LOST


def test_the_failure_of_an_attempt_thought_lost_is_one() -> None:
    """It waits again already; now it waits for its time, and has one retry less."""
    task = retried()
    task.take(lost())
    task.take(ended(exit_code=1))
    assert (task.state, task.crashes, task.failures, task.postponed) == (TaskState.QUEUED, 1, 1, True)


def test_an_attempt_that_ran_out_of_memory_is_followed_by_one_with_more() -> None:
    """The next attempt reserves and is sent with more, as the next leader will see; at the most, it fails."""
    spec = TaskSpec(command="x", request=Request(1.0, 100), retry=Retry(times=5, delay_s=0, memory_factor=2))
    task = make_task(1, make_attempt(), spec=spec)
    oom = outcome(None, Cause.OUT_OF_MEMORY)
    for n, memory_bytes in ((1, 200), (2, 250)):
        task.take(Ended(1.0, n=n, outcome=oom, crash_limit=2, memory_max=250))
        assert (task.request.memory_bytes, task.record().memory_bytes) == (memory_bytes, memory_bytes)
        again = Task(task.record(), 1)
        assert again.request == task.request
        assert again.spec_wire() == task.spec_wire()
        assert again.spec == spec
        task.take(placement(task))
    task.take(Ended(1.0, n=3, outcome=oom, crash_limit=2, memory_max=250))
    assert task.result is not None
    assert task.state is TaskState.OOM
    assert task.result.why == "it ran out of 250 bytes of memory, and no worker has more than 250 bytes"


def test_a_record_is_written_as_it_was_read() -> None:
    """Each field of a record is in the record, and in the data, of the task that is made of it."""
    counts = {"crashes": 2, "failures": 3, "preemptions": 4, "memory_bytes": 5}
    flags = {"released": True, "cancel": True, "incremental": True}
    waits = {"not_before": 6.0, "held_by": "ann", "met": (7,)}
    end = {"state": TaskState.LOST, "result": Result(state=TaskState.LOST)}
    kept = record(1, make_attempt(state=OVER), **counts, **flags, **waits, **end)
    assert all(getattr(kept, name) for name in TaskRecord.__struct_fields__)
    assert Task(kept, 1).record() == kept
    assert Task(kept, 1).data() == znodes.encode(kept)


def test_a_held_task_takes_back_nothing() -> None:
    """An attempt that was thought lost does not go on once its task is held."""
    task = waiting_again()
    task.take(HOLD)
    assert (states(task), task.held_by) == ([OVER], "ann")
    task.take(RELEASE)
    assert (task.held_by, task.released) == ("", True)


def test_tasks_share_who_watches_and_none_changes_another() -> None:
    """Thousands have one submitter; who wants to hear of one of them, or no more, is that one's matter."""
    alone: Watchers = {b"ann": ENDS}
    first, second = make_task(1), make_task(2)
    for task in (first, second):
        task.watch(alone)
    assert first.watchers is second.watchers
    first.watch({b"bob": Watcher(moves=True)})
    assert (list(first.watchers), list(second.watchers)) == ([b"ann", b"bob"], [b"ann"])
    assert (first.followed, second.followed) == (True, False)
    first.unwatch(b"ann")
    second.unwatch(b"ann")
    assert (list(first.watchers), list(second.watchers), list(alone)) == ([b"bob"], [], [b"ann"])
