"""The attempts of this worker: what waits, runs, and is over but not yet acknowledged by the leader.

One table, ``STEPS``, holds every move of an attempt. Knows nothing of links: what it wants said is a
SendToLeader action, and its owner drops it while nobody listens. Reports are given again until acknowledged.

Attempts start in the order in which they came, as soon as there is room: the leader may give some ahead of
it. What waits too long for room is given back.
"""

# ruff: noqa: S101 (asserts narrow types, and state what cannot be otherwise)
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, TypeAlias

import msgspec

from alb_core import codec, limits
from alb_core.bounds import NO_BOUNDS, settled
from alb_core.errors import InvalidTransition, RemoteProtocolError
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
from alb_core.notes import Level, Note
from alb_core.resources import Capacity, Request, Room
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_worker.core.actions import DemoteAttempt, KillAttempt, LaunchAttempt, SendToLeader, WorkerAction
from alb_worker.core.events import AttemptLaunched, RunnerDemoted, RunnerEnded, RunnerLost
from alb_worker.core.gpus import Gpus
from alb_worker.core.record import ENDED, LAUNCHING, LIVE, RUNNING, WAITING, Phase, Record
from alb_worker.core.stimuli import RoomMade, RoomMissed, Superseded, WorkerStops

NEWEST_KEPT_MAX: Final = 50_000
#: Tasks whose highest attempt number is remembered, so that a late Run cannot start an old attempt.
REPORTS_PER_PORTION: Final = 200
#: Reports given again at once; the rest follows with the next ticks.
STORY_KEPT_MAX: Final = 8
STOP_GRACE_S: Final = 5.0
#: The most that a command gets between TERM and KILL when the worker stops.

Actions: TypeAlias = list[WorkerAction]

_STOPPED: Final = Outcome(cause=Cause.GIVEN_BACK, why="the worker stops")
_EVICTED: Final = Outcome(cause=Cause.GIVEN_BACK, why="it was evicted before it was started")
_REVOKED: Final = Outcome(cause=Cause.GIVEN_BACK, why="it was asked back before it was started")
#: What was not started is no crash: another worker takes it at once.

_WHY_ENDED: Final = {
    Cause.INTERRUPTED: "the worker was stopped",
    Cause.EVICTED: "its worker is drained, and the deadline has come",
    Cause.PREEMPTED: "others needed its memory, and it is preemptible",
}
_GOES_ON: Final = {"evicted": Cause.EVICTED, "preempted": Cause.PREEMPTED}
#: Why the leader ends an attempt whose task is to run again, and how the attempt is said to have ended.

Stimulus: TypeAlias = (
    Run
    | Kill
    | Demote
    | Revoke
    | AttemptAck
    | AttemptLaunched
    | RunnerDemoted
    | RunnerEnded
    | RunnerLost
    | WorkerStops
    | Superseded
    | RoomMade
    | RoomMissed
)

Step: TypeAlias = "Callable[[Attempts, float, Record, Stimulus], Actions]"


class Attempts:
    """All attempts, by id.

    Args:
        capacity: What the worker offers: what runs here never needs more.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._room = Room(capacity)
        self._gpus = Gpus(capacity.gpus)
        self._stopping = False
        #: Nothing starts any more.
        self.records: dict[AttemptId, Record] = {}
        self.live = 0
        #: Attempts whose processes may exist.
        self._reported: dict[AttemptId, float] = {}
        #: The ended ones, with the time of their last report; the longest unreported first.
        self._of_task: dict[str, AttemptId] = {}
        #: The attempt of a task that is LAUNCHING or RUNNING.
        self._waiting: dict[str, AttemptId] = {}
        #: The attempt of a task that is WAITING, in the order in which they came.
        self._newest: OrderedDict[str, int] = OrderedDict()
        #: The highest attempt number of each task heard of, the longest untouched first.
        self._of_old_table: set[str] = set()
        #: Tasks whose numbers here are those of the table before, until nothing of them is left.

    # --- questions ----------------------------------------------------------------------------------------

    def held(self) -> tuple[AttemptId, ...]:
        """Return every attempt that waits, runs, or is not acknowledged."""
        return tuple(self.records)

    def runs(self, attempt: AttemptId) -> bool:
        """Tell whether processes of an attempt may exist."""
        record = self.records.get(attempt)
        return record is not None and record.phase in LIVE

    def launching(self) -> tuple[AttemptId, ...]:
        """Return every attempt whose files are still to come."""
        return tuple(attempt for attempt, record in self.records.items() if _awaits_files(record))

    def newest(self, task: str) -> AttemptId | None:
        """Return the newest attempt of a task that this worker heard of."""
        n = self._newest.get(task)
        return None if n is None else AttemptId(task, n)

    @property
    def waiting(self) -> int:
        """How many attempts wait."""
        return len(self._waiting)

    @property
    def saves(self) -> bool:
        """Whether something that runs has checkpoints: its end takes as long as the last save."""
        return any(
            record.spec is not None and record.spec.checkpoints
            for record in map(self.records.__getitem__, self._of_task.values())
        )

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is unacknowledged."""
        return not self.records

    # --- what the leader says -----------------------------------------------------------------------------

    def on_run(self, at: float, message: Run) -> Actions:
        """Take an attempt, which starts when there is room; or say again how it is."""
        record = self.records.get(message.attempt)
        if record is not None:
            return self._step(at, record, message)
        attempt = message.attempt
        newest = self._newest.get(attempt.task, 0)
        if attempt.n <= newest:
            fields = {"trigger": "stale_attempt", "attempt": str(attempt), "current": newest}
            return [Note("message_dropped", fields, Level.WARNING)]
        if self._stopping:
            return self._add_ended(at, attempt, _STOPPED)
        try:
            spec, wrong = codec.read_spec(bytes(message.spec))
        except RemoteProtocolError as error:
            return self._add_ended(at, attempt, Outcome(cause=Cause.NOT_STARTED, why=str(error)))
        if wrong is not None:
            return self._add_ended(at, attempt, Outcome(cause=Cause.NOT_STARTED, why=wrong))
        return self._add(at, message, spec)

    def on_kill(self, at: float, message: Kill) -> Actions:
        """End an attempt; one that never came is marked as ended, so that a late Run cannot start it."""
        record = self.records.get(message.attempt)
        if record is not None:
            return self._step(at, record, message)
        cause = ends_as(message)
        why = f"{message.why} before it reached the worker, or long ended"
        return self._add_ended(at, message.attempt, Outcome(cause=cause, why=why))

    def on_demote(self, at: float, message: Demote) -> Actions:
        """Let attempts run on without their processors; of one that is not here, say so."""
        actions: Actions = []
        for attempt in message.attempts:
            record = self.records.get(attempt)
            if record is not None:
                actions += self._step(at, record, message)
            else:
                actions.append(SendToLeader(message=AttemptDemoted(attempt=attempt)))
        return actions

    def on_revoke(self, at: float, message: Revoke) -> Actions:
        """Give back what has not begun; one that never came is marked, so that a late Run cannot start it."""
        actions: Actions = []
        for attempt in message.attempts:
            record = self.records.get(attempt)
            if record is not None:
                actions += self._step(at, record, message)
            elif attempt.n > self._newest.get(attempt.task, 0):
                actions += self._add_ended(at, attempt, _REVOKED)
        return actions

    def on_ack(self, at: float, message: AttemptAck) -> Actions:
        """Forget a report."""
        record = self.records.get(message.attempt)
        return [] if record is None else self._step(at, record, message)

    def on_new_table(self) -> None:
        """Forget the attempt numbers of tasks that are not here: another table counts anew.

        Those of what is here go with it: they may have been given after the backup that was restored.
        """
        self._of_old_table = {attempt.task for attempt in self.records}
        self._newest = OrderedDict(
            (task, n) for task, n in self._newest.items() if task in self._of_old_table
        )

    # --- what the runner says, and the rest ---------------------------------------------------------------

    def on_runner(self, event: AttemptLaunched | RunnerDemoted | RunnerEnded) -> Actions:
        """Take what the runner says of one attempt."""
        record = self.records.get(event.attempt)
        if record is None:
            raise InvalidTransition(str(event.attempt), "unknown", type(event).__name__)
        return self._step(event.at, record, event)

    def on_all(self, at: float, stimulus: RunnerLost | WorkerStops, phases: frozenset[Phase]) -> Actions:
        """Take what happens to every attempt in some phases."""
        self._stopping = self._stopping or isinstance(stimulus, WorkerStops)
        touched = [record for record in self.records.values() if record.phase in phases]
        return [action for record in touched for action in self._step(at, record, stimulus)]

    def give_back_overdue(self, at: float) -> Actions:
        """Give back what waited too long for room, the newest first: each is queued at the head again."""
        overdue = [
            self.records[attempt]
            for task, attempt in self._waiting.items()
            if task not in self._of_task and at - self.records[attempt].since > limits.AHEAD_KEPT_S
        ]
        actions: Actions = []
        for record in reversed(overdue):
            if record.phase is WAITING:
                actions += self._step(at, record, RoomMissed(at=at))
        return actions

    def report_all(self, at: float) -> Actions:
        """Begin to give every unacknowledged report again: the leader may never have heard them."""
        self._reported = dict.fromkeys(self._reported, float("-inf"))
        return self.report_due(at)

    def report_due(self, at: float) -> Actions:
        """Give a portion of the reports again whose acknowledgement is late."""
        due: list[AttemptId] = []
        for attempt, reported_at in self._reported.items():
            if reported_at + limits.RESEND_S > at or len(due) >= REPORTS_PER_PORTION:
                break
            due.append(attempt)
        return [self._report(at, self.records[attempt]) for attempt in due]

    def report(self, at: float, attempt: AttemptId) -> Actions:
        """Give the report of an attempt, if it has one: what held it back is over."""
        return [self._report(at, self.records[attempt])] if self.ended(attempt) else []

    def ended(self, attempt: AttemptId) -> bool:
        """Tell whether an attempt is over and its report not acknowledged."""
        record = self.records.get(attempt)
        return record is not None and record.phase is ENDED

    # --- leaves -------------------------------------------------------------------------------------------

    def _step(self, at: float, record: Record, stimulus: Stimulus) -> Actions:
        edge = _EDGES[record.phase].get(type(stimulus))
        if edge is None:
            raise InvalidTransition(
                str(record.attempt), record.phase.name, type(stimulus).__name__, tuple(record.story)
            )
        step, reason = edge
        story = record.story
        story.append(reason)
        if len(story) > STORY_KEPT_MAX:
            del story[0]
        return step(self, at, record, stimulus)

    def _remember(self, attempt: AttemptId) -> None:
        if self._of_old_table:
            self._of_old_table.discard(attempt.task)
        newest = self._newest.pop(attempt.task, 0)
        self._newest[attempt.task] = max(newest, attempt.n)
        if len(self._newest) > NEWEST_KEPT_MAX:
            self._newest.popitem(last=False)

    def _add(self, at: float, run: Run, spec: TaskSpec) -> Actions:
        attempt = run.attempt
        actions = self._supersede(at, attempt.task)
        self._remember(attempt)
        self.records[attempt] = Record(
            attempt=attempt,
            phase=WAITING,
            since=at,
            spec=spec,
            resume=run.resume,
            bounds=run.bounds  # the leader settled it; one of an earlier version says nothing
            if run.bounds != NO_BOUNDS
            else settled(spec.bounds, spec.request.memory_bytes, NO_BOUNDS),
            time_limit_s=spec.time_limit_s if run.time_limit_s is None else run.time_limit_s,
        )
        self._waiting[attempt.task] = attempt
        actions += self._fill(at)
        return actions

    def _supersede(self, at: float, task: str) -> Actions:
        """End what is here of a task of which a later attempt came: most often nothing."""
        actions: Actions = []
        if task in self._waiting:
            actions += self._step(at, self.records[self._waiting[task]], Superseded(at=at))
        if task in self._of_task:
            actions += self._step(at, self.records[self._of_task[task]], Superseded(at=at))
        return actions

    def _fill(self, at: float) -> Actions:
        """Start what waits, in order, until there is no room for the next."""
        actions: Actions = []
        while self._waiting and not self._stopping and (record := self._next()) is not None:
            actions += self._step(at, record, RoomMade(at=at))
        return actions

    def _next(self) -> Record | None:
        """Return the attempt whose turn it is, if there is room for it."""
        for task, attempt in self._waiting.items():
            if task in self._of_task:
                continue  # it waits for an older attempt, and nobody waits for it
            record = self.records[attempt]
            return record if self._room.holds(record.reserves()) else None
        return None

    def _add_ended(self, at: float, attempt: AttemptId, outcome: Outcome) -> Actions:
        record = Record(attempt=attempt, phase=ENDED, outcome=outcome)
        self._remember(attempt)
        self.records[attempt] = record
        return [self._report(at, record)]

    def _report(self, at: float, record: Record) -> SendToLeader:
        assert record.outcome is not None
        self._reported.pop(record.attempt, None)
        self._reported[record.attempt] = at
        return SendToLeader(message=AttemptEnded(attempt=record.attempt, outcome=record.outcome))

    def _end(self, at: float, record: Record, outcome: Outcome) -> Actions:
        """Record the end of an attempt, report it, and start what waited for it."""
        task = record.attempt.task
        if record.phase in LIVE:
            self.live -= 1
            del self._of_task[task]
            self._room.give_back(record.reserves())
            if record.gpus is not None:
                self._gpus.give_back(record.gpus)
        else:
            del self._waiting[task]
        record.phase = ENDED
        record.outcome = outcome
        record.spec = record.resume = record.gpus = None
        report = self._report(at, record)
        return [report, *self._fill(at)] if self._waiting else [report]

    # --- the steps ----------------------------------------------------------------------------------------

    def _launch(self, _at: float, record: Record, _stimulus: Stimulus) -> Actions:
        assert record.spec is not None
        del self._waiting[record.attempt.task]
        self._of_task[record.attempt.task] = record.attempt
        self.live += 1
        self._room.take(record.reserves())
        if self._gpus.count:
            record.gpus = self._gpus.take(record.spec.request.gpus)
        record.phase = LAUNCHING
        return [
            LaunchAttempt(
                attempt=record.attempt,
                spec=record.spec,
                resume=record.resume,
                bounds=record.bounds,
                time_limit_s=record.time_limit_s,
                gpus=record.gpus,
            )
        ]

    def _start(self, at: float, record: Record, stimulus: Stimulus) -> Actions:
        record.phase = RUNNING
        record.launched = at
        started = self._say_started(at, record, stimulus)
        return [*started, DemoteAttempt(attempt=record.attempt)] if record.demoted else started

    def _demote(self, at: float, record: Record, _stimulus: Stimulus) -> Actions:
        """Give its processors to others, once; have the runner see to it whenever the leader asks."""
        actions: Actions = []
        if not record.demoted:
            held = record.reserves()
            record.demoted = True
            if record.phase in LIVE:
                self._room.give_back(held)
                self._room.take(record.reserves())
                actions += self._fill(at)
        if record.phase is RUNNING:
            actions.insert(0, DemoteAttempt(attempt=record.attempt))
        return actions

    def _say_demoted(self, _at: float, record: Record, stimulus: Stimulus) -> Actions:
        assert isinstance(stimulus, RunnerDemoted)
        return [SendToLeader(message=AttemptDemoted(attempt=record.attempt, mechanism=stimulus.mechanism))]

    def _say_started(self, _at: float, record: Record, _stimulus: Stimulus) -> Actions:
        began = record.phase in LIVE
        launching = _awaits_files(record)
        started = AttemptStarted(attempt=record.attempt, began=began, launching=launching)
        return [SendToLeader(message=started)]

    def _say_ended(self, at: float, record: Record, _stimulus: Stimulus) -> Actions:
        return [self._report(at, record)]

    def _kill(self, _at: float, record: Record, stimulus: Stimulus) -> Actions:
        """Tell the runner once: the leader repeats it until the end, which must not start the grace anew."""
        record.ends_as = ends_as(stimulus)
        if record.killed:
            return []
        record.killed = True
        assert record.spec is not None
        resumes = record.ends_as is not Cause.KILLED
        return [KillAttempt(attempt=record.attempt, grace_s=record.spec.grace_s, resumes=resumes)]

    def _stop(self, _at: float, record: Record, stimulus: Stimulus) -> Actions:
        assert isinstance(stimulus, WorkerStops)
        if not record.killed:
            record.ends_as = Cause.INTERRUPTED
        record.killed = True
        assert record.spec is not None
        grace_s = min(record.spec.grace_s, stimulus.grace_s)
        resumes = stimulus.grace_s > 0 and record.ends_as is not Cause.KILLED
        return [KillAttempt(attempt=record.attempt, grace_s=grace_s, resumes=resumes)]

    def _end_as_told(self, at: float, record: Record, stimulus: Stimulus) -> Actions:
        assert isinstance(stimulus, RunnerEnded)
        outcome = stimulus.outcome
        if record.killed and outcome.cause is Cause.KILLED and record.ends_as in _WHY_ENDED:
            why = _WHY_ENDED[record.ends_as]
            outcome = msgspec.structs.replace(outcome, cause=record.ends_as, why=why)
        if outcome.wall_s:
            launched = at - outcome.wall_s if record.launched is None else record.launched
            outcome = msgspec.structs.replace(outcome, waited_s=max(0.0, launched - record.since))
        return self._end(at, record, outcome)

    def _end_interrupted(self, at: float, record: Record, _stimulus: Stimulus) -> Actions:
        return self._end(at, record, Outcome(cause=Cause.INTERRUPTED, why="the worker's runner died"))

    def _end_unstarted(self, at: float, record: Record, stimulus: Stimulus) -> Actions:
        if isinstance(stimulus, WorkerStops):
            return self._end(at, record, _STOPPED)
        if isinstance(stimulus, Revoke):
            return self._end(at, record, _REVOKED)
        cause = ends_as(stimulus)
        if cause is Cause.EVICTED:
            return self._end(at, record, _EVICTED)
        return self._end(at, record, Outcome(cause=cause, why="ended before it was started"))

    def _give_back(self, at: float, record: Record, _stimulus: Stimulus) -> Actions:
        why = "its worker had no room for it in time"
        return self._end(at, record, Outcome(cause=Cause.GIVEN_BACK, why=why))

    def _forget(self, _at: float, record: Record, _stimulus: Stimulus) -> Actions:
        del self.records[record.attempt]
        del self._reported[record.attempt]
        task = record.attempt.task
        if task in self._of_old_table and all(attempt.task != task for attempt in self.records):
            self._of_old_table.remove(task)
            self._newest.pop(task, None)
        return []

    def _ignore(self, _at: float, _record: Record, _stimulus: Stimulus) -> Actions:
        return []

    STEPS: ClassVar[Mapping[tuple[Phase, type[Stimulus]], tuple[Step, str]]] = {
        (WAITING, Run): (_say_started, "the leader asked again"),
        (WAITING, Kill): (_end_unstarted, "the leader ended it"),
        (WAITING, Demote): (_demote, "others wait for its processors"),
        (WAITING, Revoke): (_end_unstarted, "the leader wants it back"),
        (WAITING, AttemptAck): (_ignore, "there is no report to acknowledge yet"),
        (WAITING, Superseded): (_end_unstarted, "a later attempt of the task came"),
        (WAITING, RoomMade): (_launch, "there is room for it"),
        (WAITING, RoomMissed): (_give_back, "there was no room for it in time"),
        (WAITING, WorkerStops): (_end_unstarted, "the worker stops"),
        (LAUNCHING, Run): (_say_started, "the leader asked again"),
        (LAUNCHING, Kill): (_kill, "the leader ended it"),
        (LAUNCHING, Demote): (_demote, "others wait for its processors"),
        (LAUNCHING, Revoke): (_say_started, "the leader wants it back, and it has begun"),
        (LAUNCHING, AttemptAck): (_ignore, "there is no report to acknowledge yet"),
        (LAUNCHING, Superseded): (_kill, "a later attempt of the task came"),
        (LAUNCHING, WorkerStops): (_stop, "the worker stops"),
        (LAUNCHING, AttemptLaunched): (_start, "its process was started"),
        (LAUNCHING, RunnerEnded): (_end_as_told, "it ended at once, or could not be started"),
        (LAUNCHING, RunnerLost): (_end_interrupted, "the runner died"),
        (RUNNING, Run): (_say_started, "the leader asked again"),
        (RUNNING, Kill): (_kill, "the leader ended it"),
        (RUNNING, Demote): (_demote, "others wait for its processors"),
        (RUNNING, RunnerDemoted): (_say_demoted, "it has the lowest weight"),
        (RUNNING, Revoke): (_say_started, "the leader wants it back, and it has begun"),
        (RUNNING, AttemptAck): (_ignore, "there is no report to acknowledge yet"),
        (RUNNING, Superseded): (_kill, "a later attempt of the task came"),
        (RUNNING, WorkerStops): (_stop, "the worker stops"),
        (RUNNING, RunnerEnded): (_end_as_told, "its processes are gone"),
        (RUNNING, RunnerLost): (_end_interrupted, "the runner died"),
        (ENDED, Run): (_say_ended, "the leader asked again"),
        (ENDED, Kill): (_say_ended, "the leader ended it"),
        (ENDED, Demote): (_say_ended, "others wait for its processors"),
        (ENDED, RunnerDemoted): (_ignore, "it has ended meanwhile"),
        (ENDED, Revoke): (_say_ended, "the leader wants it back"),
        (ENDED, AttemptAck): (_forget, "the leader has its report"),
    }
    #: Every move of an attempt: in which phase, on what, which step, and why.

    def check_invariants(self) -> None:
        """Raise AssertionError where indexes and records disagree; tests call it after every event."""
        in_phase: dict[Phase, set[AttemptId]] = {phase: set() for phase in Phase}
        for attempt, record in self.records.items():
            assert record.attempt == attempt
            assert (record.outcome is not None) == (record.phase is ENDED)
            in_phase[record.phase].add(attempt)
        assert in_phase[ENDED] == set(self._reported)
        assert in_phase[WAITING] == set(self._waiting.values())
        live = in_phase[LAUNCHING] | in_phase[RUNNING]
        assert live == set(self._of_task.values())
        assert len(live) == self.live
        assert self._room.holds(Request(cpus=0.0))
        assert all(free >= 0 for free in self._room.counts.values())
        self._gpus.check(self.records[attempt].gpus for attempt in live)
        assert len(self._newest) <= NEWEST_KEPT_MAX


_EDGES: Final = tuple(
    {kind: edge for (phase, kind), edge in Attempts.STEPS.items() if phase == number}
    for number in range(max(Phase) + 1)
)
#: The steps by phase: the hash of a pair asks the phase for its own, which is a call of Python.


def ends_as(stimulus: Stimulus) -> Cause:
    """Return how an attempt ends that is killed for this: for good, or so that its task runs again."""
    return _GOES_ON.get(stimulus.why, Cause.KILLED) if isinstance(stimulus, Kill) else Cause.KILLED


def _awaits_files(record: Record) -> bool:
    """Tell whether an attempt takes files along and its command does not run yet."""
    waits = record.phase in {Phase.WAITING, Phase.LAUNCHING}
    return waits and record.spec is not None and bool(record.spec.luggage)
