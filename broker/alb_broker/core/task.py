"""One task as the leader holds it, and the table of what may happen to it.

This module owns a task's state and its attempts; every change goes through `Task.take`. It knows neither
queues nor workers nor messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from alb_core import codec, ids
from alb_core.errors import InvalidTransition
from alb_core.increments import Resume
from alb_core.messages import AttemptId
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import Attempt, AttemptState, Cause, Outcome, Result, TaskRecord, TaskState

STORY_LENGTH: Final = 12
ATTEMPTS_KEPT: Final = 16
#: Attempts that are over beyond these are dropped from the record; their numbers are never reused.


class Step(msgspec.Struct, frozen=True, gc=False):
    """The base of what may happen to a task. `at` is cluster time."""

    at: float


class Placed(Step, frozen=True):
    """A worker was chosen."""

    worker: str
    incarnation: str
    epoch: int
    policy: str = ""
    candidates: int = 0
    ahead: bool = False


class Ended(Step, frozen=True):
    """A live (or lost, but not superseded) attempt delivered its outcome."""

    n: int
    outcome: Outcome
    crash_limit: int


class WorkerLost(Step, frozen=True):
    """The worker of a live attempt is thought lost."""

    n: int
    worker: str
    crash_limit: int
    ahead: bool = False
    #: It waited there for room, as far as the leader knows: no fault of the task.


class Returned(Step, frozen=True):
    """The worker of a lost attempt is back, and still has it."""

    n: int


class CancelAsked(Step, frozen=True):
    """Somebody wants the task to end."""


class Task:
    """One task. Its fields mirror its record in the table, plus what lives only in memory.

    Args:
        record: As the table holds it.
        size_bytes: What it counts for in admission: about the size of its record.
        spec_wire: The specification as it came; encoded again where it is needed, if nothing is given.
    """

    __slots__ = (
        "_moves",
        "_spec_wire",
        "array",
        "attempts",
        "cancel",
        "crashes",
        "digest",
        "id",
        "incremental",
        "queued_since",
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

    def __init__(self, record: TaskRecord, size_bytes: int, spec_wire: bytes = b"") -> None:
        self.id: Final = record.id
        self.array: Final = ids.array_of(record.id)  #: That it belongs to; empty: none.
        self.user: Final = record.user
        self.digest: Final = record.digest
        self.spec: Final[TaskSpec] = record.spec
        self.size_bytes: Final = size_bytes
        self.submitted: Final = record.submitted
        self.state = record.state
        self.attempts: tuple[Attempt, ...] = record.attempts
        self.crashes = record.crashes
        self.cancel = record.cancel
        self.result = record.result
        self.incremental = record.incremental or record.spec.steps > 0 or bool(record.spec.checkpoints)
        #: A later attempt is given what the results store has of its increments.
        self.resume: tuple[int, Resume] | None = None  #: What was read for which attempt.
        self.queued_since = record.submitted  #: Cluster time from which it waits for a worker.
        self.submitter = b""  #: The only client that submitted it in this reign; empty: unknown, or several.
        self.watchers: dict[bytes, Watcher] = {}  #: Clients that want to hear of it.
        self._moves: tuple[tuple[TaskState, TaskState, str], ...] = ()  #: Its last steps: from, to, why.
        self._spec_wire = spec_wire

    @property
    def spec_wire(self) -> msgspec.Raw:
        """The specification as it goes to a worker."""
        return msgspec.Raw(self._spec_wire or codec.encode_spec(self.spec))

    @property
    def story(self) -> tuple[str, ...]:
        """Its last transitions, for errors and dumps."""
        return tuple(f"{before.value} -> {after.value}: {why}" for before, after, why in self._moves)

    def record(self) -> TaskRecord:
        """Return the task as its znode holds it."""
        return TaskRecord(
            id=self.id,
            state=self.state,
            user=self.user,
            digest=self.digest,
            spec=self.spec,
            submitted=self.submitted,
            attempts=self.attempts,
            crashes=self.crashes,
            cancel=self.cancel,
            incremental=self.incremental,
            result=self.result,
        )

    def attempt(self, n: int) -> Attempt | None:
        """Return attempt `n`, or None where the task has none of this number."""
        for attempt in self.attempts:
            if attempt.n == n:
                return attempt
        return None

    def attempt_id(self, attempt: Attempt) -> AttemptId:
        """Return the full name of one of its attempts."""
        return AttemptId(self.id, attempt.n)

    def live(self) -> list[Attempt]:
        """Return the attempts that run, as far as the table knows."""
        return [attempt for attempt in self.attempts if attempt.state is AttemptState.LIVE]

    def newest(self) -> Attempt | None:
        """Return the attempt with the highest number."""
        return self.attempts[-1] if self.attempts else None

    def assignment(self) -> tuple[int, str]:
        """Return the number of the newest attempt and its worker; 0 and nobody before the first."""
        newest = self.newest()
        return (newest.n, newest.worker) if newest is not None else (0, "")

    def take(self, step: Step) -> str:
        """Let a step happen.

        Returns:
            The reason of the transition: a sentence for the log.

        Raises:
            InvalidTransition: The task's state does not allow the step. Nothing changed.
        """
        edge = TASK_STEPS.get((self.state, type(step)))
        if edge is None:
            raise InvalidTransition(f"task {self.id}", self.state.value, type(step).__name__, self.story)
        handler, reason = edge
        before = self.state
        detail = handler(self, step) or reason
        self._moves = (*self._moves[-STORY_LENGTH:], (before, self.state, detail))
        return detail

    def replace_attempt(self, n: int, state: AttemptState, ended: float = 0.0, ended_as: str = "") -> None:
        """Give attempt `n` another state, with the time and the manner of its end."""
        self.attempts = tuple(
            msgspec.structs.replace(attempt, state=state, ended=ended, ended_as=ended_as)
            if attempt.n == n
            else attempt
            for attempt in self.attempts
        )

    def close_attempts(self) -> None:
        """Nothing that an attempt reports from now on changes the task."""
        if any(attempt.state is not AttemptState.OVER for attempt in self.attempts):
            self.attempts = tuple(
                attempt
                if attempt.state is AttemptState.OVER
                else msgspec.structs.replace(attempt, state=AttemptState.OVER)
                for attempt in self.attempts
            )

    def finish(self, result: Result) -> None:
        """Give the task its one result."""
        self.close_attempts()
        self.result = result
        self.state = result.state

    def crash(self, at: float, crash_limit: int, why: str) -> str:
        """The infrastructure lost an attempt: queue again, or end the task."""
        self.crashes += 1
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
        if not self.live():
            self.state = TaskState.QUEUED
            self.queued_since = at
        return why

    def wait_again(self, at: float, why: str) -> str:
        """An attempt came to nothing by nobody's fault: queue again, as old as before, or end cancelled."""
        if self.cancel:
            self.finish(Result(state=TaskState.CANCELLED, why="cancelled", finished=at))
        elif not self.live():
            self.state = TaskState.QUEUED
        return why


def consistent(record: TaskRecord) -> bool:
    """Tell whether a record can be that of a live task: what waits has no live attempt, what runs has one."""
    runs = bool(record.attempts) and any(attempt.state is AttemptState.LIVE for attempt in record.attempts)
    return record.result is None and record.state is (TaskState.RUNNING if runs else TaskState.QUEUED)


class Watcher(msgspec.Struct):
    """What one client wants to hear of a task."""

    moves: bool = False
    window: int = 0
    stdout: int = 0
    stderr: int = 0


def _place(task: Task, step: Placed) -> str:
    newest = task.newest()
    n = newest.n + 1 if newest else 1
    task.close_attempts()  # a lost attempt is superseded now: its report will be dropped
    attempt = Attempt(
        n=n,
        worker=step.worker,
        incarnation=step.incarnation,
        epoch=step.epoch,
        state=AttemptState.LIVE,
        placed=step.at,
        policy=step.policy,
        candidates=step.candidates,
        ahead=step.ahead,
    )
    task.attempts = (*task.attempts[-ATTEMPTS_KEPT:], attempt)
    task.state = TaskState.RUNNING
    return f"a worker had room (attempt {n} on {step.worker})"


def _end(task: Task, step: Ended) -> str | None:
    outcome = step.outcome
    attempt = task.attempt(step.n)
    assert attempt is not None  # noqa: S101 (the caller found it)
    task.replace_attempt(step.n, AttemptState.OVER, step.at, outcome.cause.value)
    if outcome.cause is Cause.GIVEN_BACK:
        return task.wait_again(step.at, outcome.why)
    if outcome.cause is Cause.EVICTED and task.spec.on_lost is OnLost.RERUN:
        return task.wait_again(step.at, outcome.why)
    crashed = outcome.cause in (Cause.INTERRUPTED, Cause.EVICTED)
    if crashed or (outcome.cause is Cause.KILLED and not task.cancel):
        return task.crash(step.at, step.crash_limit, outcome.why or f"worker {attempt.worker} interrupted it")
    task.finish(_result(attempt, outcome, step.at))
    return f"attempt {step.n} on {attempt.worker} {outcome.cause.value}"


def _end_lost(task: Task, step: Ended) -> str | None:
    """Its loss was counted, and the task waits already: a report of no result changes nothing more."""
    if step.outcome.cause in (Cause.INTERRUPTED, Cause.KILLED, Cause.GIVEN_BACK, Cause.EVICTED):
        task.replace_attempt(step.n, AttemptState.OVER, step.at, step.outcome.cause.value)
        return f"lost attempt {step.n} is over without a result"
    return _end(task, step)


def _result(attempt: Attempt, outcome: Outcome, at: float) -> Result:
    return Result(
        state=_final_state(outcome),
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        why=outcome.why,
        attempt=attempt.n,
        worker=attempt.worker,
        finished=at,
        wall_s=outcome.wall_s,
        cpu_s=outcome.cpu_s,
        memory_bytes=outcome.memory_bytes,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        output_open=outcome.output_open,
        returned=outcome.returned,
        unreturned=outcome.unreturned,
        limit=outcome.limit,
        mechanism=outcome.mechanism,
        started=attempt.placed + outcome.waited_s if outcome.wall_s else 0.0,
        read_bytes=outcome.read_bytes,
        written_bytes=outcome.written_bytes,
        value=outcome.value,
    )


def _final_state(outcome: Outcome) -> TaskState:
    match outcome.cause:
        case Cause.EXITED:
            return TaskState.SUCCEEDED if outcome.exit_code == 0 else TaskState.FAILED
        case Cause.TIMED_OUT:
            return TaskState.TIMEOUT
        case Cause.OUT_OF_MEMORY:
            return TaskState.OOM
        case Cause.OVER_LIMIT:
            return TaskState.LIMIT
        case Cause.KILLED:
            return TaskState.CANCELLED
        case _:
            return TaskState.FAILED


def _lose(task: Task, step: WorkerLost) -> str:
    task.replace_attempt(step.n, AttemptState.LOST, step.at, "lost")
    if step.ahead and task.spec.on_lost is OnLost.RERUN:
        return task.wait_again(step.at, f"its worker {step.worker} was lost while it waited there")
    return task.crash(step.at, step.crash_limit, f"its worker {step.worker} was lost")


def _return(task: Task, step: Returned) -> None:
    task.replace_attempt(step.n, AttemptState.LIVE)
    task.state = TaskState.RUNNING


def _cancel_queued(task: Task, step: CancelAsked) -> None:
    task.cancel = True
    task.finish(Result(state=TaskState.CANCELLED, why="cancelled before it ran", finished=step.at))


def _cancel_running(task: Task, _step: CancelAsked) -> None:
    task.cancel = True


def _nothing(_task: Task, _step: CancelAsked) -> None:
    """The task has its result, and it never changes."""


TASK_STEPS: Final[Mapping[tuple[TaskState, type[Step]], tuple[Callable[[Task, Any], str | None], str]]] = {
    (TaskState.QUEUED, Placed): (_place, "a worker had room"),
    (TaskState.QUEUED, Ended): (_end_lost, "an attempt thought lost delivered"),
    (TaskState.QUEUED, Returned): (_return, "its lost worker came back with it"),
    (TaskState.QUEUED, CancelAsked): (_cancel_queued, "cancelled in the queue"),
    (TaskState.RUNNING, Ended): (_end, "its attempt ended"),
    (TaskState.RUNNING, WorkerLost): (_lose, "its worker was lost"),
    (TaskState.RUNNING, CancelAsked): (_cancel_running, "cancelled while it ran"),
    **{(state, CancelAsked): (_nothing, "it had ended already") for state in TaskState if state.terminal},
}
#: What may happen in which state, who carries it out, and the sentence for the log.
