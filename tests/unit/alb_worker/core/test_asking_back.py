"""What the leader asks back: given back and never started, or begun; exactly one of the two."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.worker_parts import Bench, attempt, ended, kinds, of_kind, only, run, said

from alb_core.messages import AttemptAck, AttemptEnded, AttemptId, AttemptStarted, Revoke
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.core.actions import LaunchAttempt, WorkerAction
from alb_worker.core.events import AttemptLaunched

WIDE = TaskSpec(command="x", request=Request(cpus=2.0))
#: All that the worker has.


@pytest.fixture
def bench() -> Bench:
    """Return a worker of two processors that is registered."""
    return Bench().register()


def revoke(bench: Bench, *attempts: AttemptId) -> list[WorkerAction]:
    """Let the leader ask for attempts."""
    return bench.handle(said(Revoke(attempts=attempts)))


def causes(actions: list[WorkerAction]) -> list[Cause]:
    """Return how attempts are said to have ended."""
    return [report.outcome.cause for report in of_kind(AttemptEnded, actions)]


def test_each_is_answered_by_one_of_two(bench: Bench) -> None:
    """What has begun goes on; what waits is given back, and an order that comes again does not start it."""
    begun, waits = attempt(1), attempt(2)
    bench.handle(said(run(begun, WIDE)))
    bench.handle(said(run(waits)))
    told = revoke(bench, begun, waits)
    assert kinds(told) == ["AttemptStarted", "AttemptEnded"]
    assert only(AttemptStarted, told) == AttemptStarted(attempt=begun, began=True)
    assert only(AttemptEnded, told).attempt == waits
    assert causes(told) == [Cause.GIVEN_BACK]
    assert kinds(bench.handle(said(run(waits)))) == ["AttemptEnded"]


def test_what_is_on_its_way_to_the_runner_has_begun(bench: Bench) -> None:
    """Nobody can stop it from starting any more."""
    bench.handle(said(run(attempt(1))))
    assert only(AttemptStarted, revoke(bench, attempt(1))).began
    started = bench.handle(AttemptLaunched(at=1.0, attempt=attempt(1), pid=7))
    assert only(AttemptStarted, started).began


def test_what_waits_does_not_say_that_it_has_begun(bench: Bench) -> None:
    """An answer to a repeated Run tells the one from the other."""
    bench.handle(said(run(attempt(1), WIDE)))
    bench.handle(said(run(attempt(2))))
    assert not only(AttemptStarted, bench.handle(said(run(attempt(2))))).began


def test_what_never_came_cannot_start_any_more(bench: Bench) -> None:
    """Its order was lost, or is still on its way."""
    assert causes(revoke(bench, attempt(1))) == [Cause.GIVEN_BACK]
    assert of_kind(LaunchAttempt, bench.handle(said(run(attempt(1))))) == []


def test_what_is_over_is_reported_as_it_ended(bench: Bench) -> None:
    """The report was on its way when the leader asked."""
    bench.handle(said(run(attempt(1))))
    bench.handle(ended(attempt(1)))
    assert causes(revoke(bench, attempt(1))) == [Cause.EXITED]


def test_what_was_acknowledged_is_not_given_back(bench: Bench) -> None:
    """Asked late, or twice: it has begun, and nobody may be told otherwise."""
    bench.handle(said(run(attempt(1))))
    bench.handle(ended(attempt(1)))
    bench.handle(said(AttemptAck(attempt=attempt(1))))
    assert revoke(bench, attempt(1)) == []


def test_what_waits_behind_it_starts_when_there_is_room(bench: Bench) -> None:
    """A wide one held up a small one that fits."""
    bench.handle(said(run(attempt(1))))
    bench.handle(said(run(attempt(2), WIDE)))
    bench.handle(said(run(attempt(3))))
    assert kinds(revoke(bench, attempt(2))) == ["AttemptEnded", "LaunchAttempt"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["run", "revoke", "end"]), st.integers(1, 4)), max_size=14))
def test_nothing_is_both_given_back_and_started(steps: list[tuple[str, int]]) -> None:
    """In whatever order orders, wishes and ends come."""
    bench = Bench().register()
    started: set[AttemptId] = set()
    over: set[AttemptId] = set()
    given_back: set[AttemptId] = set()
    for verb, number in steps:
        name = attempt(number)
        if verb == "run":
            actions = bench.handle(said(run(name)))
        elif verb == "revoke":
            actions = revoke(bench, name)
        elif name in started - over:
            over.add(name)
            actions = bench.handle(ended(name))
        else:
            continue
        started |= {launch.attempt for launch in of_kind(LaunchAttempt, actions)}
        reports = of_kind(AttemptEnded, actions)
        given_back |= {each.attempt for each in reports if each.outcome.cause is Cause.GIVEN_BACK}
        assert not started & given_back
