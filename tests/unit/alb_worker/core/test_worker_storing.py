"""The core and the results store: ends that wait for it, whom that stops, and what ends the wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.worker_parts import ENDPOINT, OUTPUT, Bench, attempt, ended, kinds, of_kind, only, run, said

from alb_core import limits
from alb_core.increments import Line, Resume
from alb_core.messages import (
    AttemptAck,
    AttemptEnded,
    AttemptExited,
    AttemptId,
    Increments,
    Kill,
    Registered,
    Run,
    Stored,
    StreamName,
)
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.core import streams as streams_module
from alb_worker.core.actions import DropSpool, LaunchAttempt, SendChunk, WorkerAction
from alb_worker.core.events import (
    AttemptLaunched,
    LinkClosed,
    LinkOpened,
    OutputGrew,
    Reported,
    RunnerLost,
    SpoolDropped,
    StopRequested,
    Tick,
)
from alb_worker.core.keeping import SEND_BYTES, SEND_S
from alb_worker.core.streams import FINISHED_KEPT_MAX, Streams

A1, A2 = attempt(1), attempt(2)
LONG = bytes(limits.INLINE_OUTPUT_BYTES + 1)
ONE = Line("epoch", "1")
WHOLE = TaskSpec(command=("/bin/true",), request=Request(cpus=2.0))


def bench() -> Bench:
    """Return a core whose leader has a results store."""
    made = Bench().register()
    made.handle(said(Registered(broker="b1", output=OUTPUT, stores=True), at=0.0))
    return made


def start(each: Bench, of: AttemptId = A1, spec: TaskSpec = WHOLE, resume: Resume | None = None) -> None:
    """Run an attempt until its process is there."""
    order = run(of, spec)
    each.handle(said(Run(attempt=of, spec=order.spec, resume=resume)))
    each.handle(AttemptLaunched(at=1.0, attempt=of, pid=7))


def end_long(each: Bench, of: AttemptId = A1) -> Sequence[WorkerAction]:
    """Run an attempt to its end; the store must have its output."""
    start(each, of)
    return each.handle(ended(of, stdout=LONG))


def report(each: Bench, *lines: Line, of: AttemptId = A1) -> Sequence[WorkerAction]:
    """Let a command report."""
    return each.handle(Reported(at=1.0, attempt=of, lines=lines))


def test_an_end_is_reported_when_its_output_is_stored() -> None:
    """Before, only that its room is free is said, and again until then."""
    each = bench()
    actions = end_long(each)
    assert only(AttemptExited, actions).attempt == A1
    assert not of_kind(AttemptEnded, actions)
    assert kinds(each.handle(Tick(at=1.0 + limits.RESEND_S))) == ["Beat", "AttemptExited"]
    assert not of_kind(AttemptEnded, each.handle(said(Stored(attempt=A1, stdout=5))))
    actions = each.handle(said(Stored(attempt=A1, stdout=len(LONG))))
    assert only(AttemptEnded, actions).outcome.stdout.size_bytes == len(LONG)
    assert each.handle(said(Stored(attempt=A1, stdout=len(LONG)))) == []  # once; then the clock repeats it
    each.handle(said(AttemptAck(attempt=A1)))
    assert each.core.attempts.idle


def test_what_was_stored_before_the_end_does_not_hold_it_back() -> None:
    """A command whose last increment was stored while it ran reports at once."""
    each = bench()
    start(each)
    report(each, ONE)
    each.handle(said(Stored(attempt=A1, increments=1)))
    assert kinds(each.handle(ended(A1))) == ["AttemptEnded"]


def test_an_answer_while_the_command_runs_reports_no_end() -> None:
    """There is none yet."""
    each = bench()
    start(each)
    report(each, ONE)
    assert each.handle(said(Stored(attempt=A1, increments=1))) == []


def test_what_waits_for_the_store_takes_no_room() -> None:
    """The next command starts, for the processes are gone."""
    each = bench()
    start(each)
    each.handle(said(run(A2, WHOLE)))
    actions = each.handle(ended(A1, stdout=LONG))
    assert only(LaunchAttempt, actions).attempt == A2


def test_increments_are_sent_with_the_numbers_of_the_order() -> None:
    """An attempt that goes on begins behind what the store has; the command is given it too."""
    each = bench()
    resume = Resume(seq=7, lines=(ONE,))
    order = Run(attempt=A1, spec=run(A1).spec, resume=resume)
    assert only(LaunchAttempt, each.handle(said(order))).resume == resume
    assert only(Increments, report(each, ONE)).first == 8


def test_an_order_that_comes_again_begins_nothing_anew() -> None:
    """What the attempt reported keeps its numbers, also after its output was lost to a broken disk."""
    each = bench()
    start(each)
    report(each, ONE)
    each.handle(said(Stored(attempt=A1, increments=1)))
    each.handle(said(run(A1, WHOLE)))
    assert only(Increments, report(each, ONE)).first == 2
    each.core.handle(SpoolDropped(at=1.0, attempt=A1))
    each.core.handle(said(run(A1, WHOLE)))
    each.core.handle(said(Stored(attempt=A1, increments=2)))
    assert only(Increments, each.core.handle(Reported(at=1.0, attempt=A1, lines=(ONE,)))).first == 3


def test_a_leader_that_returns_is_told_all_again() -> None:
    """What is not stored is sent, and the end still waits for it."""
    each = bench()
    start(each)
    report(each, ONE)
    each.handle(LinkClosed(at=1.0, endpoint=ENDPOINT))
    assert of_kind(Increments, report(each, ONE, ONE)) == []
    assert of_kind(AttemptExited, each.handle(ended(A1, stdout=LONG))) == []
    each.handle(LinkOpened(at=2.0, endpoint=ENDPOINT))
    actions = each.handle(said(Registered(broker="b1", output=OUTPUT, stores=True), at=2.0))
    assert len(only(Increments, actions).lines) == 3
    assert only(SendChunk, actions).size_bytes == len(LONG)
    assert only(AttemptExited, actions).attempt == A1


def test_a_leader_without_a_store_has_the_end_at_once() -> None:
    """Nothing is owed to it."""
    each = bench()
    end_long(each)
    actions = each.handle(said(Registered(broker="b1", output=OUTPUT), at=2.0))
    assert only(AttemptEnded, actions).attempt == A1


@pytest.mark.parametrize(("why", "waived"), [("superseded", True), ("cancelled", True), ("evicted", False)])
def test_who_is_killed_while_it_waits_for_the_store(why: str, waived: bool) -> None:  # noqa: FBT001 (a column)
    """Nobody wants it any more, and its report comes at once; but an eviction wants what it did."""
    each = bench()
    end_long(each)
    actions = each.handle(said(Kill(attempt=A1, why=why)))
    assert kinds(actions) == ["AttemptEnded" if waived else "AttemptExited"]


def test_a_command_that_is_killed_owes_what_it_reported() -> None:
    """Its increments are good: whoever runs the task next goes on behind them."""
    each = bench()
    start(each)
    report(each, ONE)
    each.handle(said(Kill(attempt=A1, why="superseded")))
    assert kinds(each.handle(ended(A1, cause=Cause.KILLED))) == ["AttemptExited"]
    actions = each.handle(said(Stored(attempt=A1, increments=1)))
    assert only(AttemptEnded, actions).outcome.cause is Cause.KILLED


def test_output_that_the_spool_lost_is_not_waited_for() -> None:
    """The end is reported without: it would never be stored."""
    each = bench()
    end_long(each)
    assert kinds(each.handle(SpoolDropped(at=1.0, attempt=A1))) == ["AttemptEnded"]
    assert each.handle(SpoolDropped(at=1.0, attempt=A1)) == []


def test_a_runner_that_dies_leaves_what_its_commands_did_to_the_store() -> None:
    """Their ends wait for it like others."""
    each = bench()
    start(each)
    report(each, ONE)
    each.handle(OutputGrew(at=1.0, attempt=A1, stream=StreamName.STDOUT, size_bytes=len(LONG)))
    actions = each.handle(RunnerLost(at=1.0))
    assert only(SendChunk, actions).size_bytes == len(LONG)
    assert of_kind(AttemptExited, actions)
    each.handle(said(Stored(attempt=A1, increments=1)))
    actions = each.handle(said(Stored(attempt=A1, increments=1, stdout=len(LONG))))
    assert only(AttemptEnded, actions).outcome.cause is Cause.INTERRUPTED


def test_what_is_given_back_unstarted_owes_nothing() -> None:
    """It did nothing."""
    each = bench()
    start(each)
    each.handle(said(run(A2, WHOLE)))
    actions = each.handle(Tick(at=1.1 + limits.AHEAD_KEPT_S))
    assert only(AttemptEnded, actions).outcome.cause is Cause.GIVEN_BACK


def test_a_worker_that_stops_waits_for_the_store() -> None:
    """As long as for acknowledgements; then it leaves all the same."""
    each = bench()
    end_long(each)
    each.handle(StopRequested(at=2.0))
    each.handle(Tick(at=2.1))
    actions = each.handle(said(Stored(attempt=A1, stdout=len(LONG)), at=2.2))
    assert only(AttemptEnded, actions).attempt == A1


def test_while_nobody_leads_nothing_is_sent_by_the_clock() -> None:
    """It waits for the next leader; while there is one it is sent after its second."""
    for leads in (True, False):
        each = bench()
        start(each)
        each.handle(OutputGrew(at=1.0, attempt=A1, stream=StreamName.STDOUT, size_bytes=10))
        if not leads:
            each.handle(LinkClosed(at=1.0, endpoint=ENDPOINT))
        assert len(of_kind(SendChunk, each.handle(Tick(at=1.0 + SEND_S)))) == leads


def test_an_acknowledged_attempt_owes_nothing() -> None:
    """It was superseded: its leader wants none of it, and its output need not stay for the store."""
    each = bench()
    end_long(each)
    each.handle(said(AttemptAck(attempt=A1)))
    assert each.core.attempts.idle
    assert not each.core.keeping.owes(A1)
    assert of_kind(SendChunk, each.handle(Tick(at=20.0))) == []


def test_what_is_owed_stays_in_the_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much ends after it."""
    monkeypatch.setattr(streams_module, "FINISHED_KEPT_MAX", 1)
    each = bench()
    end_long(each)
    end_long(each, A2)
    start(each, attempt(3))
    assert only(DropSpool, each.handle(ended(attempt(3), stdout=b"x"))).attempt == attempt(3)


def test_output_for_the_store_needs_no_reader() -> None:
    """And what readers granted needs no store: each has its own pieces."""
    each = bench()
    start(each)
    actions = each.handle(OutputGrew(at=1.0, attempt=A1, stream=StreamName.STDOUT, size_bytes=SEND_BYTES))
    assert only(SendChunk, actions).reader == b""


def test_kept_output_that_is_owed_does_not_make_room_for_newer() -> None:
    """The oldest that the store has goes instead; where it has none, all stay."""
    owed = {attempt(number) for number in range(FINISHED_KEPT_MAX + 1)}
    streams = Streams(lambda _task: None, lambda each: each in owed)
    for number in range(FINISHED_KEPT_MAX + 1):
        streams.expect(attempt(number))
        assert streams.on_ended(ended(attempt(number), stdout=b"x")) == []
    owed.discard(attempt(5))
    streams.expect(attempt(FINISHED_KEPT_MAX + 1))
    (drop,) = streams.on_ended(ended(attempt(FINISHED_KEPT_MAX + 1), stdout=b"x"))
    assert drop.attempt == attempt(5)  # type: ignore[union-attr]
