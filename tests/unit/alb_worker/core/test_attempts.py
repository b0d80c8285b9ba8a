"""Attempts: every edge of the step table, every refusal, and reports until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from tests.worker_parts import TRUE, attempt, ended, kinds, of_kind, only, run
from tests.worker_yard import A1, A2, Yard

from alb_core import codec, limits
from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.errors import InvalidTransition
from alb_core.files import FileRef
from alb_core.messages import (
    AttemptAck,
    AttemptDemoted,
    AttemptEnded,
    AttemptId,
    AttemptStarted,
    Demote,
    Kill,
    Revoke,
    Run,
)
from alb_core.notes import Note
from alb_core.resources import GPUS, Request, counts_of
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.core import attempts as module
from alb_worker.core.actions import KillAttempt, LaunchAttempt, WorkerAction
from alb_worker.core.attempts import STOP_GRACE_S, Attempts
from alb_worker.core.events import AttemptLaunched, RunnerDemoted, RunnerEnded, RunnerLost
from alb_worker.core.record import Phase
from alb_worker.core.stimuli import RoomMade, RoomMissed, Superseded
from alb_worker.core.stimuli import WorkerStops as Stops

LATE = limits.AHEAD_KEPT_S + 0.01


#: For every edge of the table: how to walk it, the phase after it (None: forgotten), its actions.
Walk = Callable[[Yard, AttemptId], list[WorkerAction]]
EDGES: dict[tuple[Phase, type], tuple[Walk, Phase | None, list[str]]] = {
    (Phase.WAITING, Run): (lambda y, a: y.run(run(a)), Phase.WAITING, ["AttemptStarted"]),
    (Phase.WAITING, Kill): (lambda y, a: y.kill(a), Phase.ENDED, ["AttemptEnded"]),
    (Phase.WAITING, Demote): (lambda y, a: y.demote(a), Phase.WAITING, []),
    (Phase.WAITING, Revoke): (lambda y, a: y.revoke(a), Phase.ENDED, ["AttemptEnded"]),
    (Phase.WAITING, AttemptAck): (lambda y, a: y.ack(a), Phase.WAITING, []),
    (Phase.WAITING, Superseded): (lambda y, _: y.run(run(attempt(1, 3))), Phase.ENDED, ["AttemptEnded"]),
    (Phase.WAITING, RoomMade): (
        lambda y, _: y.ended(ended(A1, cause=Cause.KILLED)),
        Phase.LAUNCHING,
        ["AttemptEnded", "LaunchAttempt"],
    ),
    (Phase.WAITING, RoomMissed): (
        lambda y, _: y.give_back(LATE),
        Phase.ENDED,
        ["AttemptEnded"],
    ),
    (Phase.WAITING, Stops): (lambda y, _: y.stop(), Phase.ENDED, ["KillAttempt", "AttemptEnded"]),
    (Phase.LAUNCHING, Run): (lambda y, a: y.run(run(a)), Phase.LAUNCHING, ["AttemptStarted"]),
    (Phase.LAUNCHING, Kill): (lambda y, a: y.kill(a), Phase.LAUNCHING, ["KillAttempt"]),
    (Phase.LAUNCHING, Demote): (lambda y, a: y.demote(a), Phase.LAUNCHING, []),
    (Phase.LAUNCHING, Revoke): (lambda y, a: y.revoke(a), Phase.LAUNCHING, ["AttemptStarted"]),
    (Phase.LAUNCHING, AttemptAck): (lambda y, a: y.ack(a), Phase.LAUNCHING, []),
    (Phase.LAUNCHING, Superseded): (lambda y, _: y.run(run(A2)), Phase.LAUNCHING, ["KillAttempt"]),
    (Phase.LAUNCHING, Stops): (lambda y, _: y.stop(), Phase.LAUNCHING, ["KillAttempt"]),
    (Phase.LAUNCHING, AttemptLaunched): (lambda y, a: y.launched(a), Phase.RUNNING, ["AttemptStarted"]),
    (Phase.LAUNCHING, RunnerEnded): (
        lambda y, a: y.ended(ended(a, cause=Cause.NOT_FOUND)),
        Phase.ENDED,
        ["AttemptEnded"],
    ),
    (Phase.LAUNCHING, RunnerLost): (lambda y, _: y.runner_lost(), Phase.ENDED, ["AttemptEnded"]),
    (Phase.RUNNING, Run): (lambda y, a: y.run(run(a)), Phase.RUNNING, ["AttemptStarted"]),
    (Phase.RUNNING, Kill): (lambda y, a: y.kill(a), Phase.RUNNING, ["KillAttempt"]),
    (Phase.RUNNING, Demote): (lambda y, a: y.demote(a), Phase.RUNNING, ["DemoteAttempt"]),
    (Phase.RUNNING, RunnerDemoted): (lambda y, a: y.demoted(a), Phase.RUNNING, ["AttemptDemoted"]),
    (Phase.RUNNING, Revoke): (lambda y, a: y.revoke(a), Phase.RUNNING, ["AttemptStarted"]),
    (Phase.RUNNING, AttemptAck): (lambda y, a: y.ack(a), Phase.RUNNING, []),
    (Phase.RUNNING, Superseded): (lambda y, _: y.run(run(A2)), Phase.RUNNING, ["KillAttempt"]),
    (Phase.RUNNING, Stops): (lambda y, _: y.stop(), Phase.RUNNING, ["KillAttempt"]),
    (Phase.RUNNING, RunnerEnded): (lambda y, a: y.ended(ended(a)), Phase.ENDED, ["AttemptEnded"]),
    (Phase.RUNNING, RunnerLost): (lambda y, _: y.runner_lost(), Phase.ENDED, ["AttemptEnded"]),
    (Phase.ENDED, Run): (lambda y, a: y.run(run(a)), Phase.ENDED, ["AttemptEnded"]),
    (Phase.ENDED, Kill): (lambda y, a: y.kill(a), Phase.ENDED, ["AttemptEnded"]),
    (Phase.ENDED, Demote): (lambda y, a: y.demote(a), Phase.ENDED, ["AttemptEnded"]),
    (Phase.ENDED, RunnerDemoted): (lambda y, a: y.demoted(a), Phase.ENDED, []),
    (Phase.ENDED, Revoke): (lambda y, a: y.revoke(a), Phase.ENDED, ["AttemptEnded"]),
    (Phase.ENDED, AttemptAck): (lambda y, a: y.ack(a), None, []),
}


def test_every_edge_is_walked() -> None:
    """The walks below and the step table name the same edges."""
    assert set(EDGES) == set(Attempts.STEPS)


@pytest.mark.parametrize("edge", list(EDGES), ids=lambda edge: f"{edge[0].name}-{edge[1].__name__}")
def test_an_edge_leads_where_the_table_says(edge: tuple[Phase, type]) -> None:
    """From its phase, the stimulus gives the expected actions and phase, and its reason enters the story."""
    walk, after, expected = EDGES[edge]
    yard = Yard()
    start = {
        Phase.WAITING: yard.waiting,
        Phase.LAUNCHING: yard.launching,
        Phase.RUNNING: yard.running,
        Phase.ENDED: yard.over,
    }
    of = yard.crowded() if edge == (Phase.WAITING, RoomMissed) else start[edge[0]]()
    record = yard.attempts.records[of]
    assert record.phase is edge[0]
    assert kinds(walk(yard, of)) == expected
    assert yard.phase(of) is after
    assert Attempts.STEPS[edge][1] in record.story


def test_an_unknown_attempt_is_launched_with_its_specification() -> None:
    """Run of something new is one order to the runner; the answer comes when it was launched."""
    yard = Yard()
    assert yard.run(run(A1)) == [LaunchAttempt(attempt=A1, spec=TRUE)]
    assert only(AttemptStarted, yard.launched(A1)).attempt == A1
    assert yard.attempts.live == 1


def test_while_files_are_to_come_a_command_is_said_not_to_run() -> None:
    """To whoever asks meanwhile, and to a leader that it registers with; once it runs, that is said."""
    yard, spec = (
        Yard(),
        TaskSpec(command=("/bin/true",), files=(FileRef(name="f", sha256="0" * 64, size_bytes=1),)),
    )
    yard.run(run(A1, spec))
    assert yard.attempts.launching() == (A1,)
    assert only(AttemptStarted, yard.run(run(A1, spec))) == AttemptStarted(
        attempt=A1, began=True, launching=True
    )
    assert only(AttemptStarted, yard.launched(A1)) == AttemptStarted(attempt=A1, began=True)
    assert yard.attempts.launching() == ()


def test_an_outcome_is_reported_as_the_runner_told_it() -> None:
    """The report carries the runner's outcome unchanged."""
    yard = Yard()
    yard.running()
    event = ended(A1, stdout=b"hello")
    assert only(AttemptEnded, yard.ended(event)) == AttemptEnded(attempt=A1, outcome=event.outcome)
    assert yard.attempts.live == 0


@pytest.mark.parametrize(("seen", "waited_s"), [(True, 2.0), (False, 1.5)])
def test_how_long_it_waited_is_reported(*, seen: bool, waited_s: float) -> None:
    """From the order to the start, which a command that ends at once tells only by how long it ran."""
    yard = Yard()
    yard.run(run(A1), at=10.0)
    if seen:
        yard.attempts.on_runner(AttemptLaunched(at=12.0, attempt=A1, pid=7))
    outcome = msgspec.structs.replace(ended(A1).outcome, wall_s=0.5)
    (report,) = of_kind(AttemptEnded, yard.ended(RunnerEnded(at=12.0, attempt=A1, outcome=outcome)))
    assert report.outcome.waited_s == waited_s


def test_what_never_started_did_not_wait_for_it() -> None:
    """Its report has no time of a start."""
    yard = Yard()
    yard.run(run(A1), at=10.0)
    (report,) = of_kind(AttemptEnded, yard.ended(ended(A1, at=12.0, cause=Cause.NOT_STARTED)))
    assert report.outcome.waited_s == 0.0


def test_a_lower_number_than_the_highest_known_is_refused() -> None:
    """A late Run of an old attempt starts nothing and answers nothing, whatever became of the newer one."""
    yard = Yard()
    yard.run(run(A2))
    for _ in range(2):
        note = only(Note, yard.run(run(A1)))
        assert note.event == "message_dropped"
        assert (note.fields["trigger"], note.fields["current"]) == ("stale_attempt", 2)
        yard.ended(ended(A2)) if yard.phase(A2) is Phase.LAUNCHING else None
        yard.ack(A2)


def test_an_acknowledged_attempt_is_never_run_again() -> None:
    """A Run that was doubled on its way and comes after the acknowledgement starts nothing."""
    yard = Yard()
    yard.over()
    yard.ack(A1)
    assert yard.attempts.idle
    assert kinds(yard.run(run(A1))) == ["message_dropped"]


def test_a_later_attempt_waits_until_the_older_one_is_gone() -> None:
    """Two copies of a task never overlap here: the old one is killed, the new one launched at its end."""
    yard = Yard()
    yard.running()
    assert kinds(yard.run(run(A2))) == ["KillAttempt"]
    assert set(yard.attempts.held()) == {A1, A2}
    actions = yard.ended(ended(A1, cause=Cause.KILLED))
    assert only(LaunchAttempt, actions).attempt == A2


def test_of_several_later_attempts_only_the_last_starts() -> None:
    """One that waits is superseded too, and reported as killed."""
    yard = Yard()
    yard.waiting()
    actions = yard.run(run(attempt(1, 3)))
    assert only(AttemptEnded, actions).outcome.cause is Cause.KILLED
    assert only(LaunchAttempt, yard.ended(ended(A1))).attempt == attempt(1, 3)


def test_after_a_lost_runner_the_one_that_waits_starts() -> None:
    """The old attempt is interrupted with its runner, which clears the way in the new one."""
    yard = Yard()
    yard.waiting()
    actions = yard.runner_lost()
    assert only(AttemptEnded, actions).outcome.cause is Cause.INTERRUPTED
    assert only(LaunchAttempt, actions).attempt == A2


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (msgspec.Raw(b"\xc1"), "not a task specification"),
        (msgspec.Raw(msgspec.msgpack.encode({"command": 5})), "not a task specification"),
        (msgspec.Raw(msgspec.msgpack.encode(TaskSpec(command=()))), "the command is empty"),
        (msgspec.Raw(msgspec.msgpack.encode(TaskSpec(command="a\0b"))), "NUL"),
    ],
)
def test_a_malformed_specification_ends_the_attempt_at_once(spec: msgspec.Raw, why: str) -> None:
    """It is reported as not started, with what is wrong; nothing reaches the runner."""
    yard = Yard()
    report = only(AttemptEnded, yard.run(Run(attempt=A1, spec=spec)))
    assert report.outcome.cause is Cause.NOT_STARTED
    assert why in report.outcome.why
    assert yard.phase(A1) is Phase.ENDED


def test_killing_an_unknown_attempt_forbids_it() -> None:
    """It is reported as killed, and a Run that comes later gets the same report."""
    yard = Yard()
    assert only(AttemptEnded, yard.kill(A1)).outcome.cause is Cause.KILLED
    assert only(AttemptEnded, yard.run(run(A1))).outcome.cause is Cause.KILLED
    yard.ack(A1)
    assert kinds(yard.run(run(A1))) == ["message_dropped"]


def test_the_grace_is_the_tasks_own_and_is_given_once() -> None:
    """The leader repeats Kill until the end; the runner hears it once."""
    yard = Yard()
    yard.running()
    assert only(KillAttempt, yard.kill(A1)).grace_s == TRUE.grace_s
    assert yard.kill(A1) == []


def test_a_stop_interrupts_within_its_own_grace() -> None:
    """The worker stops: the grace is bounded, and KILLED is told as INTERRUPTED."""
    yard = Yard()
    yard.running()
    assert only(KillAttempt, yard.stop()).grace_s == STOP_GRACE_S
    assert only(AttemptEnded, yard.ended(ended(A1, cause=Cause.KILLED))).outcome.cause is Cause.INTERRUPTED


def test_a_stop_never_lengthens_a_grace() -> None:
    """A task that wants no grace gets none."""
    yard = Yard()
    yard.run(run(A1, TaskSpec(command="x", grace_s=0.0)))
    assert only(KillAttempt, yard.stop()).grace_s == 0.0


def test_what_the_leader_killed_before_the_stop_stays_killed() -> None:
    """The stop only shortens the grace of what is being killed already."""
    yard = Yard()
    yard.running()
    yard.kill(A1)
    assert kinds(yard.stop()) == ["KillAttempt"]
    assert only(AttemptEnded, yard.ended(ended(A1, cause=Cause.KILLED))).outcome.cause is Cause.KILLED


def test_a_command_that_ended_by_itself_during_the_stop_counts() -> None:
    """An exit code that came in time is a result, not an interruption."""
    yard = Yard()
    yard.running()
    yard.stop()
    assert only(AttemptEnded, yard.ended(ended(A1))).outcome.cause is Cause.EXITED


def test_a_stopping_worker_starts_nothing() -> None:
    """Run is answered by giving the attempt back, which is reported until acknowledged."""
    yard = Yard()
    yard.stop()
    report = only(AttemptEnded, yard.run(run(A1)))
    assert report.outcome.cause is Cause.GIVEN_BACK
    assert yard.phase(A1) is Phase.ENDED


def test_what_finds_no_room_starts_in_its_turn() -> None:
    """Attempts beyond the worker's room wait, and start in the order in which they came."""
    yard = Yard(cpus=1.0)
    orders = [yard.run(run(attempt(number))) for number in range(3)]
    assert [kinds(actions) for actions in orders] == [["LaunchAttempt"], [], []]
    assert yard.attempts.waiting == 2
    for number in range(2):
        assert only(LaunchAttempt, yard.ended(ended(attempt(number)))).attempt == attempt(number + 1)


def test_a_large_one_is_not_overtaken_by_smaller_ones_behind_it() -> None:
    """Room for the second in the row is left empty until the first has started."""
    yard = Yard(cpus=2.0)
    yard.run(run(attempt(1)))
    large = TaskSpec(command="x", request=Request(cpus=2.0))
    assert yard.run(run(attempt(2), large)) == []
    assert yard.run(run(attempt(3))) == []
    assert only(LaunchAttempt, yard.ended(ended(attempt(1)))).attempt == attempt(2)
    assert only(LaunchAttempt, yard.ended(ended(attempt(2)))).attempt == attempt(3)


def test_one_that_waits_for_an_older_attempt_holds_nobody_up() -> None:
    """There is room for the task behind it, and for itself once its older attempt is gone."""
    yard = Yard(cpus=2.0)
    yard.waiting()
    assert only(LaunchAttempt, yard.run(run(attempt(2)))).attempt == attempt(2)
    assert yard.give_back(LATE) == []
    assert only(LaunchAttempt, yard.ended(ended(A1))).attempt == A2


def test_what_waits_too_long_for_room_is_given_back_the_newest_first() -> None:
    """Each report comes before those of older ones: whoever queues it again at the head keeps the order."""
    yard = Yard(cpus=1.0)
    for number in range(3):
        yard.run(run(attempt(number)), at=0.0)
    yard.run(run(attempt(3)), at=LATE)
    assert yard.give_back(limits.AHEAD_KEPT_S) == []
    reports = of_kind(AttemptEnded, yard.give_back(LATE))
    assert [report.attempt for report in reports] == [attempt(2), attempt(1)]
    assert {report.outcome.cause for report in reports} == {Cause.GIVEN_BACK}
    assert yard.attempts.waiting == 1
    assert kinds(yard.run(run(attempt(1)), at=LATE)) == ["AttemptEnded"]


def test_a_stop_gives_back_what_waits_and_starts_nothing_in_its_place() -> None:
    """What never started is no crash; the room of what was given back stays empty."""
    yard = Yard(cpus=2.0)
    yard.run(run(attempt(1)))
    yard.run(run(attempt(2), TaskSpec(command="x", request=Request(cpus=2.0))))
    yard.run(run(attempt(3)))
    actions = yard.stop()
    assert kinds(actions) == ["KillAttempt", "AttemptEnded", "AttemptEnded"]
    assert {report.outcome.cause for report in of_kind(AttemptEnded, actions)} == {Cause.GIVEN_BACK}


def test_reports_are_given_again_until_acknowledged() -> None:
    """After RESEND_S the report goes out again, after the acknowledgement never."""
    yard = Yard()
    yard.over()
    assert yard.attempts.report_due(0.5) == []
    first = yard.attempts.report_due(1.0 + limits.RESEND_S)
    assert kinds(first) == ["AttemptEnded"]
    assert yard.attempts.report_due(1.1 + limits.RESEND_S) == []
    yard.ack(A1)
    assert yard.attempts.report_due(100.0) == []


def test_reports_come_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader gets all reports, but a bounded number at a time, each once before any again."""
    monkeypatch.setattr(module, "REPORTS_PER_PORTION", 3)
    yard = Yard()
    for number in range(8):
        yard.kill(attempt(number))
    portions = [yard.attempts.report_all(50.0), *(yard.attempts.report_due(50.1) for _ in range(3))]
    assert [len(portion) for portion in portions] == [3, 3, 2, 0]
    told = [report.attempt for portion in portions for report in of_kind(AttemptEnded, portion)]
    assert told == [attempt(number) for number in range(8)]


def test_the_memory_of_attempt_numbers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task untouched for longest is forgotten first."""
    monkeypatch.setattr(module, "NEWEST_KEPT_MAX", 2)
    yard = Yard()
    for number in (1, 2, 1, 3):
        n = 2 if yard.attempts.newest(attempt(number).task) else 1
        yard.run(run(attempt(number, n)))
    assert yard.attempts.newest(attempt(2).task) is None
    assert yard.attempts.newest(A1.task) == A2


def test_another_table_counts_anew_for_tasks_that_are_not_here() -> None:
    """After a restore the leader may use a number again; what is held here keeps its own."""
    yard = Yard()
    yard.over()
    yard.ack(A1)
    yard.run(run(attempt(2, 5)))
    yard.attempts.on_new_table()
    assert kinds(yard.run(run(A1))) == ["LaunchAttempt"]
    assert kinds(yard.run(run(attempt(2, 4)))) == ["message_dropped"]


def test_another_table_counts_anew_once_nothing_of_a_task_is_left() -> None:
    """What ended under the old table, and was reported to the new, may be placed there for the first time."""
    yard = Yard()
    yard.over()
    yard.attempts.on_new_table()
    assert kinds(yard.run(run(A1))) == ["AttemptEnded"]
    yard.ack(A1)
    assert kinds(yard.run(run(A1))) == ["LaunchAttempt"]
    yard.ended(ended(A1, cause=Cause.KILLED))
    yard.ack(A1)
    assert kinds(yard.run(run(A1))) == ["message_dropped"]


def test_an_acknowledgement_of_nothing_is_ignored() -> None:
    """The leader may acknowledge twice."""
    assert Yard().ack(A1) == []


def test_a_runner_that_breaks_its_contract_is_a_defect() -> None:
    """A second start, or news of an attempt that was never launched, raises with the record's story."""
    yard = Yard()
    yard.running()
    with pytest.raises(InvalidTransition, match=r"RUNNING cannot take AttemptLaunched .*there is room"):
        yard.launched(A1)
    with pytest.raises(InvalidTransition, match="unknown"):
        yard.launched(A2)
    assert yard.phase(A1) is Phase.RUNNING


# --- evictions --------------------------------------------------------------------------------------------


def test_an_evicted_command_is_ended_in_order_and_reported_as_such() -> None:
    """TERM and its own grace, once however often it is said; the leader reads that it is no crash."""
    yard = Yard()
    (order,) = of_kind(KillAttempt, yard.evict(yard.running()))
    assert order.grace_s == TRUE.grace_s
    assert yard.evict(A1) == []
    yard.ended(ended(A1, cause=Cause.KILLED))
    assert yard.cause(A1) is Cause.EVICTED


def test_what_is_preempted_says_so_whether_it_had_started_or_not() -> None:
    """It goes on later, so it saves at its end; and the leader counts how often a task was ended so."""
    yard = Yard()
    (order,) = of_kind(KillAttempt, yard.kill(yard.running(), why="preempted"))
    assert order.resumes
    yard.ended(ended(A1, cause=Cause.KILLED))
    assert yard.cause(A1) is Cause.PREEMPTED
    yard = Yard()
    yard.kill(yard.crowded(), why="preempted")
    assert yard.cause(A1) is Cause.PREEMPTED


def test_a_command_that_ends_by_itself_while_it_is_evicted_has_its_result() -> None:
    """The eviction came too late."""
    yard = Yard()
    yard.evict(yard.running())
    yard.ended(ended(A1))
    assert yard.cause(A1) is Cause.EXITED


def test_what_was_not_started_is_given_back_at_once() -> None:
    """Nothing ran, so nothing is ended."""
    yard = Yard()
    assert kinds(yard.evict(yard.crowded())) == ["AttemptEnded"]
    assert yard.cause(A1) is Cause.GIVEN_BACK


def test_an_eviction_of_what_never_came_is_answered() -> None:
    """A late Run of it starts nothing; whether it ended here long ago nobody knows any more."""
    yard = Yard()
    yard.evict(A1)
    assert yard.cause(A1) is Cause.EVICTED
    assert "LaunchAttempt" not in kinds(yard.run(run(A1)))


def test_who_wanted_the_end_last_decides_what_it_counts_as() -> None:
    """A cancellation after an eviction ends the task; a stop of the worker after it changes nothing."""
    yard = Yard()
    yard.evict(yard.running())
    yard.kill(A1)
    yard.ended(ended(A1, cause=Cause.KILLED))
    assert yard.cause(A1) is Cause.KILLED
    yard = Yard()
    yard.evict(yard.running())
    yard.stop()
    yard.ended(ended(A1, cause=Cause.KILLED))
    assert yard.cause(A1) is Cause.EVICTED


def test_only_what_goes_on_elsewhere_saves_at_its_end() -> None:
    """Evicted or stopped it does; not cancelled, and not where a newer incarnation has the worker's name."""
    ways: list[tuple[Callable[[Yard], list[WorkerAction]], bool]] = [
        (lambda yard: yard.evict(A1), True),
        (lambda yard: yard.stop(), True),
        (lambda yard: yard.kill(A1), False),
        (lambda yard: yard.stop(grace_s=0.0), False),
    ]
    for way, resumes in ways:
        yard = Yard()
        yard.run(run(A1, TaskSpec(command="x", checkpoints=("a",))))
        assert yard.attempts.saves
        (killed,) = [action for action in way(yard) if isinstance(action, KillAttempt)]
        assert killed.resumes is resumes
    assert not Yard().attempts.saves


@pytest.mark.parametrize(
    ("said", "bounds", "limit_s"),
    [
        ((Bounds(cpu_s=3.0), 7.0), Bounds(cpu_s=3.0), 7.0),
        ((NO_BOUNDS, None), Bounds(processes=5, memory_bytes=600), 9.0),
    ],
)
def test_bounds_are_what_the_leader_settled(
    said: tuple[Bounds, float | None], bounds: Bounds, limit_s: float
) -> None:
    """The leader's word counts; one of an earlier version says nothing, and then the task's own does."""
    spec = TaskSpec(
        command="true", bounds=Bounds(processes=5), request=Request(memory_bytes=600), time_limit_s=9.0
    )
    raw = msgspec.Raw(codec.encode_spec(spec))
    message = Run(attempt=A1, spec=raw, bounds=said[0], time_limit_s=said[1])
    launched = only(LaunchAttempt, Yard().run(message))
    assert (launched.bounds, launched.time_limit_s) == (bounds, limit_s)


# --- demotion -------------------------------------------------------------------------------------------


def test_a_demoted_attempt_makes_room_for_what_waits() -> None:
    """Its processors are the next one's at once; asked again, nothing is given twice."""
    yard = Yard(cpus=1.0)
    yard.running()
    assert yard.run(run(attempt(2))) == []
    actions = yard.demote(A1)
    assert kinds(actions) == ["DemoteAttempt", "LaunchAttempt"]
    assert yard.run(run(attempt(3))) == []
    assert kinds(yard.demote(A1)) == ["DemoteAttempt"]
    assert kinds(yard.ended(ended(A1))) == ["AttemptEnded"], "its processors were given away before"
    assert kinds(yard.ended(ended(attempt(2)))) == ["AttemptEnded", "LaunchAttempt"]


def test_what_is_demoted_before_it_runs_begins_so() -> None:
    """Its files may still be fetched: the runner is told when there is something to demote."""
    yard = Yard()
    yard.launching()
    assert yard.demote(A1) == []
    assert kinds(yard.launched(A1)) == ["AttemptStarted", "DemoteAttempt"]


def test_the_leader_hears_what_demoted_it() -> None:
    """And of an attempt that is not here, that nothing did."""
    yard = Yard()
    yard.running()
    yard.demote(A1)
    assert only(AttemptDemoted, yard.demoted(A1)) == AttemptDemoted(attempt=A1, mechanism="nice")
    assert only(AttemptDemoted, yard.demote(attempt(9))) == AttemptDemoted(attempt=attempt(9))


# --- GPUs -------------------------------------------------------------------------------------------------


def _asks(number: int, gpus: int) -> Run:
    counts = counts_of({GPUS: gpus} if gpus else {})
    return run(attempt(number), TaskSpec(command="x", request=Request(cpus=0.1, counts=counts)))


def test_each_attempt_has_gpus_of_its_own() -> None:
    """Distinct ones while they live; who asks for none is told so; who finds none free waits."""
    yard = Yard(gpus=3)
    assert [only(LaunchAttempt, yard.run(_asks(n, gpus))).gpus for n, gpus in ((1, 1), (2, 2), (3, 0))] == [
        (0,),
        (1, 2),
        (),
    ]
    assert of_kind(LaunchAttempt, yard.run(_asks(4, 1))) == []
    assert only(LaunchAttempt, yard.ended(ended(attempt(2)))).gpus == (1,)
    yard.runner_lost()
    assert only(LaunchAttempt, yard.run(_asks(5, 3))).gpus == (0, 1, 2)


def test_a_worker_without_gpus_says_nothing_of_them() -> None:
    """Whatever a command's environment has of them stays as it is."""
    assert only(LaunchAttempt, Yard().run(run(A1))).gpus is None
