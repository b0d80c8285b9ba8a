"""A task with two live attempts: whatever becomes of them, it has one result, and ends when both are over."""

from __future__ import annotations

import random

import pytest
from tests.broker_parts import make_attempt, make_task, outcome

from alb_broker.core.steps import CancelAsked, Copied, Ended, Step, WorkerLost
from alb_broker.core.task import Task
from alb_core.copies import OUTRUN
from alb_core.spec import Retry, TaskSpec
from alb_core.tasks import AttemptState, Cause, TaskState

LIVE, LOST, OVER = AttemptState.LIVE, AttemptState.LOST, AttemptState.OVER
SPEC = TaskSpec(command="x", speculative=True)
WALKS = 300


def copied(spec: TaskSpec = SPEC, **fields: int) -> Task:
    """Return a task that runs on w1, and a copy of it on w2."""
    task = make_task(1, make_attempt(), spec=spec, **fields)
    task.take(Copied(5.0, make_attempt(2, "w2", placed=5.0, copy_of=1)))
    return task


def ended(n: int, cause: Cause = Cause.EXITED, exit_code: int = 0) -> Ended:
    """Return the end of an attempt; up to two attempts may be lost."""
    return Ended(9.0, n=n, outcome=outcome(exit_code, cause), crash_limit=2)


def lost(n: int) -> WorkerLost:
    """Return the loss of an attempt's worker."""
    return WorkerLost(9.0, n=n, worker=f"w{n}", crash_limit=2)


def states(task: Task) -> list[AttemptState]:
    """Return the states of a task's attempts."""
    return [attempt.state for attempt in task.attempts]


def test_both_live_and_the_first_is_shown() -> None:
    """A copy changes nothing of what people see, and says whose copy it is."""
    task = copied()
    assert (states(task), task.state, task.assignment()) == ([LIVE, LIVE], TaskState.RUNNING, (1, "w1"))
    assert [attempt.copy_of for attempt in task.attempts] == [0, 1]


@pytest.mark.parametrize("first", [1, 2])
def test_the_first_success_is_the_result(first: int) -> None:
    """Whoever succeeds first delivers; the other was outrun, and when is in the record."""
    task = copied()
    task.take(ended(first))
    assert task.result is not None
    assert (task.state, task.result.attempt, states(task)) == (TaskState.SUCCEEDED, first, [OVER, OVER])
    other = task.attempts[2 - first]
    assert (other.ended_as, other.ended) == (OUTRUN, 9.0)


@pytest.mark.parametrize(
    "step",
    [
        ended(1, exit_code=1),
        ended(1, Cause.SIGNALLED),
        ended(1, Cause.TIMED_OUT),
        ended(1, Cause.OUT_OF_MEMORY),
        ended(1, Cause.GIVEN_BACK),
        ended(1, Cause.EVICTED),
        ended(1, Cause.INTERRUPTED),
        lost(1),
    ],
)
def test_while_one_lives_nothing_else_is_a_result(step: Step) -> None:
    """Whatever else becomes of one of two, the other goes on, and then is the one that is shown."""
    task = copied()
    reason = task.take(step)
    assert (task.state, task.result, states(task)) == (TaskState.RUNNING, None, [OVER, LIVE])
    assert task.assignment() == (2, "w2")
    assert "another attempt goes on" in reason
    task.take(ended(2))
    assert task.result is not None
    assert (task.result.attempt, task.state) == (2, TaskState.SUCCEEDED)


def test_the_last_failure_is_the_result() -> None:
    """When both fail the second failure counts, once: of two at the same time only one is a failure."""
    task = copied(TaskSpec(command="x", speculative=True, retry=Retry(times=1, delay_s=0.0)))
    task.take(ended(1, exit_code=1))
    task.take(ended(2, exit_code=2))
    assert (task.state, task.failures) == (TaskState.QUEUED, 1)


def test_the_crash_limit_waits_for_the_last() -> None:
    """Crashes are counted, but one that lives is not given up for them."""
    task = copied(crashes=2)
    task.take(lost(1))
    assert (task.state, task.crashes) == (TaskState.RUNNING, 3)
    task.take(ended(2))
    assert task.state is TaskState.SUCCEEDED
    task = copied(crashes=2)
    task.take(lost(1))
    task.take(lost(2))
    assert (task.state, task.crashes) == (TaskState.LOST, 4)


def test_a_cancelled_task_ends_with_its_last_attempt() -> None:
    """Who is told that it is cancelled can rely on it that nothing of it runs."""
    task = copied()
    task.take(CancelAsked(6.0))
    task.take(ended(1, Cause.KILLED))
    assert task.state is TaskState.RUNNING
    task.take(ended(2, Cause.KILLED))
    assert task.state is TaskState.CANCELLED


def _steps(task: Task, draws: random.Random) -> Step:
    """Draw something that may happen now."""
    live = task.live()
    n = draws.choice(live).n
    choices: list[Step] = [
        ended(n, draws.choice(tuple(Cause)), draws.choice((0, 1))),
        lost(n),
        CancelAsked(9.0),
    ]
    if len(live) == 1 and not task.cancel:
        choices.append(Copied(9.0, make_attempt(task.next_n(), "w9", copy_of=n)))
    return draws.choice(choices)


def test_any_walk_ends_with_at_most_one_result() -> None:
    """Whatever happens: one result at most, it runs exactly while something lives, no number twice."""
    for seed in range(WALKS):
        draws = random.Random(seed)
        task = copied()
        results = 0
        while task.state is TaskState.RUNNING:
            task.take(_steps(task, draws))
            results += task.result is not None
            assert bool(task.live()) is (task.state is TaskState.RUNNING)
            numbers = [attempt.n for attempt in task.attempts]
            assert numbers == sorted(set(numbers))
            if len(numbers) > 10:
                break
        assert results <= 1
        assert (task.result is not None) is task.state.terminal
