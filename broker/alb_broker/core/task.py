"""One task as the leader holds it, and the table of what may happen to it.

This module owns a task's state and its attempts; every change goes through `Task.take`. It knows neither
queues nor workers nor messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from alb_broker.core import retries
from alb_broker.core.outcomes import result_of, succeeded
from alb_broker.core.spec_forms import SpecForms, forms_of
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
from alb_core import codec, ids, znodes
from alb_core.copies import OUTRUN
from alb_core.errors import InvalidTransition
from alb_core.increments import Resume
from alb_core.messages import AttemptId
from alb_core.resources import Request
from alb_core.spec import OnLost, TaskSpec, delay_before_retry
from alb_core.tasks import (
    EXITED,
    LIVE,
    NO_TIME,
    OVER,
    QUEUED,
    RUNNING,
    Attempt,
    AttemptState,
    Cause,
    Result,
    TaskRecord,
    TaskState,
    shown_of,
)

STORY_LENGTH: Final = 12
#: Steps that a task remembers, besides the newest.
MOVE: Final = 3
#: Words that the story keeps of each: from, to, why. All stand in one row, which the garbage collector need
#: not know of.
STORY_WORDS: Final = MOVE * STORY_LENGTH
WILLED: Final = (Cause.EVICTED, Cause.PREEMPTED)
#: Ends of attempts by the leader's own will: the task runs again, and nothing failed.
GIVEN_BACK_MAX: Final = 3
#: Each time costs two commits, and somebody's judgement was wrong.
ATTEMPTS_KEPT: Final = 16
#: Attempts that are over beyond these are dropped from the record; their numbers are never reused.


class Watcher(msgspec.Struct, frozen=True):
    """What one client wants to hear of a task: always its end."""

    moves: bool = False
    window: int = 0
    stdout: int = 0
    stderr: int = 0


Watchers: TypeAlias = Mapping[bytes, Watcher]
#: By client. Tasks share them, for most have one watcher, who submitted thousands; so nobody changes one.
ENDS: Final = Watcher()
NOBODY: Final[Watchers] = {}


class Task:
    """One task. Its fields mirror its record in the table, plus what lives only in memory.

    Args:
        record: As the table holds it.
        size_bytes: What it counts for in admission: about the size of its record.
        forms: Of its specification; made where they are needed, if they are not given.
    """

    __slots__ = (
        "_forms",
        "_moves",
        "_path",
        "array",
        "attempts",
        "cancel",
        "crashes",
        "digest",
        "effective",
        "failures",
        "followed",
        "held_by",
        "id",
        "incremental",
        "luggage",
        "memory_bytes",
        "met",
        "not_before",
        "postponed",
        "preemptions",
        "queued_since",
        "released",
        "request",
        "result",
        "resume",
        "size_bytes",
        "spec",
        "state",
        "submitted",
        "submitter",
        "user",
        "watchers",
    )

    def __init__(self, record: TaskRecord, size_bytes: int, forms: SpecForms | None = None) -> None:
        self.id: Final = record.id
        self.array: Final = ids.array_of(record.id)  #: That it belongs to; empty: none.
        self.user: Final = record.user
        self.digest: Final = record.digest
        self.spec: Final[TaskSpec] = record.spec
        self.luggage: Final = record.spec.luggage  #: Files that an attempt of it may take along.
        self.size_bytes: Final = size_bytes
        self.submitted: Final = record.submitted
        self.state = record.state
        self.attempts: tuple[Attempt, ...] = record.attempts
        self.crashes = record.crashes
        self.failures = record.failures
        self.preemptions = record.preemptions
        self.memory_bytes = record.memory_bytes
        self.effective = (
            retries.with_memory(record.spec, record.memory_bytes) if record.memory_bytes else record.spec
        )
        #: Its specification with the memory that its next attempt is given.
        self.request: Request = self.effective.request
        #: What its next attempt reserves, and the one that lives has.
        self.not_before = record.not_before
        self.held_by = record.held_by
        self.released = record.released
        self.met = record.met
        self.postponed = False  #: QUEUED, and not to be offered before `not_before`.
        self.cancel = record.cancel
        self.result = record.result
        self.incremental = record.incremental or record.spec.steps > 0 or bool(record.spec.checkpoints)
        #: A later attempt is given what the results store has of its increments.
        self.resume: tuple[int, Resume] | None = None  #: What was read for which attempt.
        self.queued_since = record.submitted  #: Cluster time from which it waits for a worker.
        self.submitter = b""  #: The only client that submitted it in this reign; empty: unknown, or several.
        self.watchers: Watchers = NOBODY  #: Clients that want to hear of it.
        self.followed = False  #: Among them was one that wants to hear of more than its end.
        self._moves: tuple[str, ...] = ()  #: Its last steps, the oldest first: `MOVE` words each.
        self._forms = forms
        self._path = ""

    def spec_wire(self) -> msgspec.Raw:
        """The specification as it goes to a worker."""
        if self.memory_bytes:
            return msgspec.Raw(codec.encode_spec(self.effective))
        return (self._forms or self._make_forms()).wire

    def _make_forms(self) -> SpecForms:
        forms = self._forms = forms_of(self.spec)
        return forms

    @property
    def waits_for_room(self) -> bool:
        """Whether it may be placed now."""
        return self.state is QUEUED and not self.postponed

    @property
    def failed_on(self) -> str:
        """The worker on which its newest attempt failed by itself; empty: it did not."""
        newest = self.newest()
        return newest.worker if newest is not None and newest.ended_as in retries.FAILURES else ""

    @property
    def bounces(self) -> bool:
        """Whether it came back from workers unstarted so often that it waits on none any more."""
        if len(self.attempts) < GIVEN_BACK_MAX:
            return False
        return sum(each.ended_as == Cause.GIVEN_BACK.value for each in self.attempts) >= GIVEN_BACK_MAX

    @property
    def story(self) -> tuple[str, ...]:
        """Its last transitions, for errors and dumps."""
        moves = self._moves
        told = zip(moves[0::MOVE], moves[1::MOVE], moves[2::MOVE], strict=True)
        return tuple(f"{before} -> {after}: {why}" for before, after, why in told)

    def record(self) -> TaskRecord:
        """Return the task as its znode holds it."""
        return self._record(self.spec)

    def path(self) -> str:
        """Return its znode, as long as it has no result: worked out once, for it is written again."""
        path = self._path
        if not path:
            path = self._path = znodes.task_path(self.id)
        return path

    def data(self) -> bytes:
        """Return its znode's data."""
        return znodes.encode(self._record((self._forms or self._make_forms()).node))

    def _record(self, spec: TaskSpec | msgspec.Raw) -> TaskRecord:
        """Return the task as its znode holds it, its specification as a value or as it is written there."""
        return TaskRecord(  # by place: that costs half as much as by name, and it is made for each write
            self.id,
            self.state,
            self.user,
            self.digest,
            spec,  # type: ignore[arg-type]  # only the encoder sees what is written already
            self.submitted,
            self.attempts,
            self.crashes,
            self.failures,
            self.preemptions,
            self.memory_bytes,
            self.not_before,
            self.held_by,
            self.released,
            self.met,
            self.cancel,
            self.incremental,
            self.result,
        )

    def watch(self, watchers: Watchers) -> None:
        """Let clients hear of it, instead of what they wanted to hear before."""
        self.watchers = {**self.watchers, **watchers} if self.watchers else watchers
        self.followed = self.followed or any(each.moves or each.window for each in watchers.values())

    def unwatch(self, peer: bytes) -> None:
        """Let a client hear of it no more."""
        left = {other: watcher for other, watcher in self.watchers.items() if other != peer}
        self.watchers = left or NOBODY

    def attempt(self, n: int) -> Attempt | None:
        """Return attempt `n`, or None where the task has none of this number."""
        for attempt in self.attempts:
            if attempt.n == n:
                return attempt
        return None

    def next_n(self) -> int:
        """Return the number that its next attempt has."""
        return self.attempts[-1].n + 1 if self.attempts else 1

    def attempt_id(self, attempt: Attempt) -> AttemptId:
        """Return the full name of one of its attempts."""
        return AttemptId(self.id, attempt.n)

    def live(self) -> list[Attempt]:
        """Return the attempts that run, as far as the table knows."""
        return [attempt for attempt in self.attempts if attempt.state is LIVE]

    def newest(self) -> Attempt | None:
        """Return the attempt with the highest number."""
        return self.attempts[-1] if self.attempts else None

    def shown(self) -> Attempt | None:
        """Return the attempt that people hear of."""
        return shown_of(self.attempts)

    def assignment(self) -> tuple[int, str]:
        """Return the number and the worker of the attempt that is shown; 0 and nobody before the first."""
        shown = self.shown()
        return (shown.n, shown.worker) if shown is not None else (0, "")

    def take(self, step: Step) -> str:
        """Let a step happen.

        Returns:
            The reason of the transition: a sentence for the log.

        Raises:
            InvalidTransition: The task's state does not allow the step. Nothing changed.
        """
        before = self.state
        edge = TASK_STEPS.get((before, type(step)))
        if edge is None:
            raise InvalidTransition(f"task {self.id}", before.value, type(step).__name__, self.story)
        handler, reason = edge
        detail = handler(self, step) or reason
        move = (before._value_, self.state._value_, detail)
        self._moves = self._moves[-STORY_WORDS:] + move
        return detail

    def replace_attempt(
        self,
        n: int,
        state: AttemptState,
        ended: float = 0.0,
        ended_as: str = "",
        exit_code: int | None = None,
    ) -> Attempt:
        """Give attempt `n`, which it has, another state, with the time and the manner of its end.

        Returns:
            The attempt as it was.
        """
        attempt = self.attempt(n)
        assert attempt is not None  # noqa: S101 (the caller found it)
        now = replace(attempt, state=state, ended=ended, ended_as=ended_as, exit_code=exit_code)
        if len(self.attempts) == 1:
            self.attempts = (now,)  # as nearly always
        else:
            self.attempts = tuple([now if each is attempt else each for each in self.attempts])
        return attempt

    def close_attempts(self, at: float = 0.0, keep: int = 0) -> None:
        """Nothing that an attempt reports from now on changes the task.

        Args:
            at: When; what lives was outrun then.
            keep: But this one.
        """
        for attempt in self.attempts:
            if attempt.state is not OVER:
                break
        else:
            return  # as nearly always when a task ends
        self.attempts = tuple(
            [
                attempt if attempt.state is OVER or attempt.n == keep else _closed(attempt, at)
                for attempt in self.attempts
            ]
        )

    def finish(self, result: Result) -> None:
        """Give the task its one result."""
        self.close_attempts(result.finished)
        self.result = result
        self.state = result.state

    def crash(self, at: float, crash_limit: int, why: str) -> str:
        """The infrastructure lost an attempt: queue again, or end the task."""
        self.crashes += 1
        if self.live():
            return f"{why}; another attempt goes on"
        own = self.spec.retry.crash_limit
        crash_limit = crash_limit if own is None else own
        if self.cancel:
            self.finish(Result(state=TaskState.CANCELLED, why="cancelled", finished=at))
            return f"{why}; it was cancelled"
        if self.spec.on_lost is OnLost.FAIL:
            self.finish(Result(state=TaskState.LOST, why=f"{why}; --on-lost fail", finished=at))
            return f"{why}; it must not run twice"
        if self.crashes > crash_limit:
            text = f"{why}; {self.crashes} attempts were lost, the limit is {crash_limit}"
            self.finish(Result(state=TaskState.LOST, why=text, finished=at))
            return text
        self.state = QUEUED
        self.queued_since = at
        return why

    def wait_again(self, at: float, why: str) -> str:
        """An attempt came to nothing by nobody's fault: queue again, as old as before, or end cancelled."""
        if self.live():
            return f"{why}; another attempt goes on"
        if self.cancel:
            self.finish(Result(state=TaskState.CANCELLED, why="cancelled", finished=at))
        else:
            self.state = QUEUED
        return why

    def try_again(self, at: float, why: str) -> str:
        """An attempt failed by itself, and that was not the last one: queue again, after a while."""
        self.failures += 1
        self.not_before = at + delay_before_retry(self.spec.retry, self.failures)
        self.queued_since = self.not_before
        self.postponed = self.not_before > at
        self.state = QUEUED
        return f"{why}; retry {self.failures} of {self.spec.retry.times}"

    def give_memory(self, memory_bytes: int) -> None:
        """Its next attempt reserves, and may use, so much."""
        self.memory_bytes = memory_bytes
        self.effective = retries.with_memory(self.spec, memory_bytes)
        self.request = self.effective.request


def _closed(attempt: Attempt, at: float) -> Attempt:
    if attempt.state is LIVE:
        return replace(attempt, state=OVER, ended=at, ended_as=OUTRUN)
    return replace(attempt, state=OVER)


def _place(task: Task, step: Placed) -> str:
    if task.attempts:  # a lost attempt is superseded now: its report will be dropped
        task.close_attempts()
    begun = (step.attempt,)
    task.attempts = task.attempts[-ATTEMPTS_KEPT:] + begun
    task.not_before = NO_TIME
    task.state = RUNNING
    return f"a worker had room (attempt {step.attempt.n} on {step.attempt.worker})"


def _copy(task: Task, step: Copied) -> str:
    copy = step.attempt
    task.attempts = (*task.attempts[-ATTEMPTS_KEPT:], copy)
    return f"attempt {copy.copy_of} lags (attempt {copy.n} on {copy.worker} is its copy)"


def _end(task: Task, step: Ended) -> str | None:
    outcome = step.outcome
    cause = outcome.cause._value_  # its property costs as much as an attempt
    attempt = task.replace_attempt(step.n, OVER, step.at, cause, outcome.exit_code)
    if outcome.cause is not EXITED and (why := _end_unasked(task, step, attempt)) is not None:
        return why
    if not succeeded(outcome):
        if task.live():
            return f"attempt {step.n} on {attempt.worker} {cause}; another attempt goes on"
        if not task.cancel and retries.is_tried_again(task.spec, task.failures, outcome):
            more = retries.more_memory(task.spec, task.memory_bytes, outcome, step.memory_max)
            if not more.why_not:
                task.give_memory(more.memory_bytes)
                how = f"attempt {step.n} on {attempt.worker} {retries.told(outcome)}"
                return task.try_again(step.at, how)
            outcome = replace(outcome, why=more.why_not)
    task.finish(result_of(attempt, outcome, step.at))
    return f"attempt {step.n} on {attempt.worker} {cause}"


def _end_unasked(task: Task, step: Ended, attempt: Attempt) -> str | None:
    """Let an attempt end that neither came to an end of its own nor was to end; None: this one did."""
    outcome = step.outcome
    if outcome.cause is Cause.GIVEN_BACK:
        return task.wait_again(step.at, outcome.why)
    if outcome.cause in WILLED and task.spec.on_lost is OnLost.RERUN:
        task.preemptions += outcome.cause is Cause.PREEMPTED and not task.live()
        return task.wait_again(step.at, outcome.why)
    crashed = outcome.cause is Cause.INTERRUPTED or outcome.cause in WILLED
    if crashed or (outcome.cause is Cause.KILLED and not task.cancel):
        return task.crash(step.at, step.crash_limit, outcome.why or f"worker {attempt.worker} interrupted it")
    return None


def _demote(task: Task, step: Demoted) -> str:
    task.attempts = tuple(
        replace(attempt, demoted=step.at) if attempt.n == step.n else attempt for attempt in task.attempts
    )
    return f"it gave its processors to {step.waiting}, and runs on with the rest"


def _end_lost(task: Task, step: Ended) -> str | None:
    """Its loss was counted, and the task waits already: a report of no result changes nothing more."""
    if step.outcome.cause in (Cause.INTERRUPTED, Cause.KILLED, Cause.GIVEN_BACK, *WILLED):
        task.replace_attempt(step.n, OVER, step.at, step.outcome.cause.value)
        return f"lost attempt {step.n} is over without a result"
    return _end(task, step)


def _lose(task: Task, step: WorkerLost) -> str:
    task.replace_attempt(step.n, AttemptState.LOST, step.at, "lost")
    if task.live():  # superseded at once: should its worker come back, it ends there
        task.replace_attempt(step.n, OVER, step.at, "lost")
    if step.ahead and task.spec.on_lost is OnLost.RERUN:
        return task.wait_again(step.at, f"its worker {step.worker} {step.why} while it waited there")
    return task.crash(step.at, step.crash_limit, f"its worker {step.worker} {step.why}")


def _return(task: Task, step: Returned) -> None:
    task.replace_attempt(step.n, LIVE)
    task.state = RUNNING


def _hold(task: Task, step: HoldAsked) -> str:
    task.held_by = step.by
    task.close_attempts()  # should a lost worker come back with one, that ends: nothing of it is to run
    task.postponed = False
    task.state = TaskState.HELD
    return f"held by {step.by}"


def _release(task: Task, _step: ReleaseAsked) -> None:
    task.held_by = ""
    task.released = True


def _note_met(task: Task, step: DependenciesMet) -> None:
    task.met = step.met


def _free(task: Task, step: Freed) -> None:
    task.state = QUEUED
    task.queued_since = step.at


def _doom(task: Task, step: Doomed) -> str:
    task.finish(Result(state=TaskState.CANCELLED, why=step.why, finished=step.at))
    return step.why


def _cancel_queued(task: Task, step: CancelAsked) -> None:
    task.cancel = True
    task.finish(Result(state=TaskState.CANCELLED, why="cancelled before it ran", finished=step.at))


def _cancel_running(task: Task, _step: CancelAsked) -> None:
    task.cancel = True


def _nothing(_task: Task, _step: CancelAsked) -> None:
    """The task has its result, and it never changes."""


TASK_STEPS: Final[Mapping[tuple[TaskState, type[Step]], tuple[Callable[[Task, Any], str | None], str]]] = {
    (TaskState.HELD, DependenciesMet): (_note_met, "some of what it waits for came true"),
    (TaskState.HELD, Freed): (_free, "nothing keeps it any more"),
    (TaskState.HELD, Doomed): (_doom, "what it waits for cannot come true"),
    (TaskState.HELD, HoldAsked): (_hold, "held"),
    (TaskState.HELD, ReleaseAsked): (_release, "released"),
    (TaskState.HELD, CancelAsked): (_cancel_queued, "cancelled while it was held"),
    (TaskState.QUEUED, HoldAsked): (_hold, "held"),
    (TaskState.QUEUED, Placed): (_place, "a worker had room"),
    (TaskState.QUEUED, Ended): (_end_lost, "an attempt thought lost delivered"),
    (TaskState.QUEUED, Returned): (_return, "its lost worker came back with it"),
    (TaskState.QUEUED, CancelAsked): (_cancel_queued, "cancelled in the queue"),
    (TaskState.RUNNING, Copied): (_copy, "it lags"),
    (TaskState.RUNNING, Ended): (_end, "its attempt ended"),
    (TaskState.RUNNING, Demoted): (_demote, "others waited for its processors"),
    (TaskState.RUNNING, WorkerLost): (_lose, "its worker was lost"),
    (TaskState.RUNNING, CancelAsked): (_cancel_running, "cancelled while it ran"),
    **{(state, CancelAsked): (_nothing, "it had ended already") for state in TaskState if state.terminal},
}
#: What may happen in which state, who carries it out, and the sentence for the log.
