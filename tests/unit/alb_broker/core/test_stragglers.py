"""Who lags, who is watched, and what is remembered of workers."""

from __future__ import annotations

from tests.broker_parts import TRUE, attempt, make_attempt, make_task, make_worker, outcome, record

from alb_broker.core import stragglers
from alb_broker.core.stragglers import KINDS_MAX, Stragglers
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_core.copies import CopiesNode
from alb_core.messages import AttemptId, AttemptProgress
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Result, TaskState

SPEC = TaskSpec(command="x", speculative=True)


def workers(*speeds: float) -> Workers:
    """Return workers w1, w2, … of these speeds."""
    found = Workers()
    for number, speed in enumerate(speeds, 1):
        found.add(make_worker(f"w{number}", speed=speed))
    return found


def run_on(each: Stragglers, worker: Worker, number: int, placed: float = 0.0) -> Task:
    """Return a task that runs on a worker, and is watched."""
    task = make_task(number, make_attempt(1, worker.name, placed=placed), spec=SPEC)
    worker.reserve(attempt(number), task.request)
    each.watch(task)
    return task


def end_on(each: Stragglers, worker: Worker, number: int, wall_s: float) -> None:
    """Let a task have run there for so long."""
    task = run_on(each, worker, number)
    task.finish(Result(state=TaskState.SUCCEEDED))
    each.on_end(task, task.attempts[0], worker, outcome(wall_s=wall_s))
    worker.release(attempt(number))


def placed_at(_worker: Worker, _attempt: AttemptId, placed: float) -> float:
    """Let all have begun when they were placed."""
    return placed


def lagging(each: Stragglers, pool: Workers, now: float) -> list[str]:
    """Return the tasks that lag, as their numbers."""
    return [found.task.id.lstrip("0") for found in each.look(pool, now, placed_at)[0]]


def one_behind() -> tuple[Stragglers, Workers]:
    """Return two workers: on the first eight tasks ended after 2 s each, on the second their like runs."""
    each, pool = Stragglers(), workers(1.0, 1.0)
    w1, w2 = pool
    for number in range(10, 18):
        end_on(each, w1, number, 2.0)
    run_on(each, w2, 1)
    return each, pool


def test_what_ends_farthest_in_the_future_comes_first() -> None:
    """Of two that lag the one that began later ends later; the one that is as fast as all does not lag."""
    each, pool = Stragglers(), workers(1.0, 1.0, 1.0)
    w1, w2, w3 = pool
    for number in range(10, 18):
        end_on(each, w1, number, 2.0)
    run_on(each, w1, 1, placed=0.0)
    run_on(each, w2, 2, placed=5.0)
    run_on(each, w3, 3, placed=19.5)
    assert lagging(each, pool, 20.0) == ["1", "2"]


def test_time_does_not_count_before_a_command_begins() -> None:
    """While its files come nothing lags; afterwards it is as late as its command is."""
    each, pool = one_behind()
    _, w2 = pool
    w2.launching.add(attempt(1))
    assert lagging(each, pool, 20.0) == []
    w2.begin(attempt(1), 19.0)
    ((found,), _) = each.look(pool, 20.0 + 9.0, lambda worker, name, _: worker.begun[name])
    assert (found.task.id, found.left_s) == (make_task(1).id, 10.0)


def test_what_is_ended_on_purpose_does_not_lag() -> None:
    """Its worker is drained, for example, and its task goes on elsewhere by that: no copy is needed."""
    each, pool = one_behind()
    _, w2 = pool
    assert lagging(each, pool, 20.0) == ["1"]
    w2.order_end(attempt(1))
    assert lagging(each, pool, 20.0) == []


def test_a_slow_machine_is_expected_to_take_longer() -> None:
    """8 s on a machine of a quarter of the speed is no straggler by itself, 13 s is."""
    each, pool = Stragglers(), workers(4.0, 1.0)
    fast, slow = pool
    for number in range(10, 15):
        end_on(each, fast, number, 2.0)
    run_on(each, slow, 1)
    found, paces = each.look(pool, 7.9, placed_at)
    assert [round(straggler.left_s, 1) for straggler in found] == [0.1]
    assert paces["w2"] == 1.0
    (straggler,), paces = each.look(pool, 13.0, placed_at)
    assert (straggler.left_s, straggler.work) == (13.0, 8.0)
    assert paces["w2"] < 0.5


def test_without_any_end_those_that_run_are_compared() -> None:
    """Three that tell of their steps are enough to see that one of them lags."""
    each, pool = Stragglers(), workers(1.0, 1.0, 1.0)
    for number, (worker, steps) in enumerate(zip(pool, (20, 20, 2), strict=True), 1):
        spec = TaskSpec(command="x", speculative=True, steps=40)
        task = make_task(number, make_attempt(1, worker.name), spec=spec)
        worker.reserve(attempt(number), task.request)
        each.watch(task)
        each.note_progress((AttemptProgress(attempt=attempt(number), increments=steps, step=steps),), 1.0)
    assert lagging(each, pool, 1.0) == ["3"]


def test_one_with_a_copy_does_not_lag_again() -> None:
    """As long as two live, neither gets another one."""
    each, pool = Stragglers(), workers(1.0, 1.0)
    w1, w2 = pool
    for number in range(10, 14):
        end_on(each, w1, number, 2.0)
    task = make_task(1, make_attempt(1, "w1"), make_attempt(2, "w2", placed=5.0), spec=SPEC)
    for n, worker in enumerate((w1, w2), 1):
        worker.reserve(attempt(1, n), task.request)
    each.watch(task)
    assert lagging(each, pool, 20.0) == []


def test_only_good_ends_tell_something() -> None:
    """How long something took that failed, or was killed, says nothing of its siblings."""
    each, pool = Stragglers(), workers(1.0)
    (w1,) = pool
    for number in range(1, 9):
        task = run_on(each, w1, number)
        task.finish(Result(state=TaskState.FAILED))
        how = outcome(exit_code=1, wall_s=2.0) if number % 2 else outcome(cause=Cause.KILLED, wall_s=2.0)
        each.on_end(task, task.attempts[0], w1, how)
        w1.release(attempt(number))
    run_on(each, w1, 9)
    assert lagging(each, pool, 99.0) == []


def test_watched_are_those_that_may_run_twice_and_run() -> None:
    """Others cost nothing; what is over is forgotten; other bounds change who is watched."""
    each, (worker, *_) = Stragglers(), workers(1.0)
    plain = make_task(1, make_attempt(), spec=TRUE)
    wished = make_task(2, make_attempt(), spec=SPEC)
    each.watch(plain)
    each.watch(wished)
    assert list(each.watched) == [wished.id]
    each.use(CopiesNode(unasked=True), (plain, wished, make_task(3)))
    assert list(each.watched) == [plain.id, wished.id]
    each.use(CopiesNode(share=0.0, unasked=True), (plain, wished))
    assert not each.watched
    each.use(CopiesNode(), (wished,))
    wished.finish(Result(state=TaskState.SUCCEEDED))
    each.on_end(wished, wished.attempts[0], worker, outcome(wall_s=1.0))
    assert not each.watched


def test_everything_is_bounded() -> None:
    """Kinds of siblings, progress of what is not watched, and tasks that left otherwise are let go."""
    each, pool = Stragglers(), workers(1.0)
    for number in range(KINDS_MAX + 5):
        spec = TaskSpec(command=f"x {number}", speculative=True)
        result = Result(state=TaskState.SUCCEEDED, wall_s=1.0, worker="w1")
        each.learn(record(number, spec=spec, state=TaskState.SUCCEEDED, result=result), pool)
    assert len(each._kinds) == KINDS_MAX
    each.note_progress((AttemptProgress(attempt=attempt(1), increments=1),), 1.0)
    assert not each._advances
    for number in range(stragglers.SLACK + 1):
        task = make_task(number, make_attempt(), spec=SPEC)
        each.watch(task)
        task.state = TaskState.QUEUED
    each.tidy(pool)
    assert not each.watched
