"""A task, its attempts and its result, as the table keeps them and as they travel.

The forms are immutable values. Who may change a task's state, and when, is the broker's
``alb_broker.core.task``; here is only what a state means.
"""

from __future__ import annotations

import base64
import enum
from typing import Final

import msgspec

from alb_core import limits
from alb_core.files import FileRef, wrong_references
from alb_core.spec import TaskSpec

WHY_LENGTH_MAX: Final = 1000
WORD_LENGTH_MAX: Final = 32
SIGNAL_MAX: Final = 64
EXIT_CODE_MAX: Final = 255
AMOUNT_MAX: Final = 2**62
#: Of seconds and bytes that an attempt used.
NO_TIME: Final = 0.0
#: None was measured, or none is set. The encoder leaves a field out only where it holds this very object.


class TaskState(enum.Enum):
    """Where a task stands."""

    HELD = "HELD"  #: Accepted and durable; something of its `Start`, or somebody, keeps it back.
    QUEUED = "QUEUED"  #: Accepted and durable; waits for room on a worker.
    RUNNING = "RUNNING"  #: At least one live attempt; see ``TaskRecord.attempts``.
    SUCCEEDED = "SUCCEEDED"  #: The command exited with 0.
    FAILED = "FAILED"  #: The command exited with another status, by a signal, or could not be executed.
    TIMEOUT = "TIMEOUT"  #: Killed at its limit of wall-clock or processor time.
    OOM = "OOM"  #: Killed because memory ran out, its own or the machine's.
    LIMIT = "LIMIT"  #: Killed because it used more than it may of something else.
    CANCELLED = "CANCELLED"  #: Somebody cancelled it.
    LOST = "LOST"  #: Its worker was lost, and it must not, or must no longer, run again.

    __hash__ = object.__hash__  # states are keys of the hottest tables; Enum's own hash is Python code

    @property
    def terminal(self) -> bool:
        """Whether the task has its one result."""
        return self not in _UNFINISHED


_UNFINISHED: Final = frozenset((TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING))
QUEUED: Final = TaskState.QUEUED
RUNNING: Final = TaskState.RUNNING
#: For what is asked of every task again and again: before Python 3.12 a member costs 900 instructions each
#: time that it is looked up in its class, a name of a module 30.


class AttemptState(enum.Enum):
    """Where an attempt stands, as far as the table knows."""

    LIVE = "live"  #: Given to its worker; may deliver.
    LOST = "lost"  #: Its worker is thought lost; may deliver until a later attempt is placed.
    OVER = "over"  #: Superseded, refused or ended; what it reports is dropped.


LIVE: Final = AttemptState.LIVE
OVER: Final = AttemptState.OVER
#: As `QUEUED` is.


class Attempt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One execution of a task on one incarnation of a worker. Times are cluster time."""

    n: int
    #: From 1, strictly rising within the task, never reused.
    worker: str
    incarnation: str
    epoch: int
    #: Of the leader that placed it.
    state: AttemptState
    placed: float = 0.0
    policy: str = ""
    #: That chose the worker.
    candidates: int = 0
    #: Workers that it could choose from.
    ahead: bool = False
    #: It was given to the worker before there was room for it.
    demoted: float = 0.0
    #: When its processors became others', and it runs on with the rest; 0: they did not.
    part: str = ""
    #: Of a reservation: ``reserved``, the worker was set aside for it; ``backfilled``, for another.
    copy_of: int = 0
    #: It was placed beside this attempt, which lagged; 0: it is no copy.
    ended: float = 0.0
    #: When that was recorded; 0: it is not over, or nobody knows.
    ended_as: str = ""
    #: The value of its `Cause`, or ``lost``, or ``outrun``: it was killed, for another one counts.
    exit_code: int | None = None
    #: Of its command; None: it has none, or nobody knows.


def shown_of(attempts: tuple[Attempt, ...]) -> Attempt | None:
    """Return which attempt of an unfinished task people hear of: the oldest that lives, else the newest.

    Its output is read while it runs; that of a copy only when it has delivered the result.
    """
    for attempt in attempts:
        if attempt.state is AttemptState.LIVE:
            return attempt
    return attempts[-1] if attempts else None


class Stream(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One output stream as a result records it: how long it is, and its last bytes."""

    size_bytes: int = 0
    #: Length of what is kept of the stream, and can be read: all of it unless something below says otherwise.
    text: str = ""
    #: The last bytes, at most ``INLINE_OUTPUT_BYTES``, where they are valid UTF-8.
    base64: str = ""
    #: The last bytes where they are not.
    truncated: bool = False
    #: The command wrote more, which the spool did not keep.
    left_out_bytes: int = 0
    #: Where its bound let only head and tail be kept: what is missing between them, in place of a line that
    #: says so.

    @classmethod
    def of(cls, tail: bytes, length: int, *, truncated: bool = False, left_out: int = 0) -> Stream:
        """Make the record of a stream.

        Args:
            tail: Its last bytes; only the last ``INLINE_OUTPUT_BYTES`` are kept.
            length: Its whole length in bytes.
            truncated: Whether the command wrote more than was kept.
            left_out: How many bytes are missing between its head and its tail.
        """
        if not length and not truncated:
            return EMPTY_STREAM
        tail = tail[-limits.INLINE_OUTPUT_BYTES :]
        try:
            return cls(length, tail.decode(), "", truncated, left_out)
        except UnicodeDecodeError:
            return cls(length, "", base64.b64encode(tail).decode(), truncated, left_out)

    def tail(self) -> bytes:
        """Return the last bytes of the stream; all of them where ``complete``."""
        return base64.b64decode(self.base64) if self.base64 else self.text.encode()

    @property
    def oversize(self) -> bool:
        """Whether it holds more than a result may keep."""
        return (
            len(self.text) > limits.INLINE_OUTPUT_BYTES or len(self.base64) > 2 * limits.INLINE_OUTPUT_BYTES
        )

    def bounded(self) -> Stream:
        """Return the stream with no more than a result may keep."""
        if not self.oversize:
            return self
        return Stream.of(self.tail(), self.size_bytes, truncated=self.truncated, left_out=self.left_out_bytes)

    @property
    def complete(self) -> bool:
        """Whether ``tail`` is the whole stream."""
        return self.size_bytes <= limits.INLINE_OUTPUT_BYTES


EMPTY_STREAM = Stream()


class Cause(enum.Enum):
    """How an attempt ended, as its worker saw it."""

    EXITED = "exited"  #: By itself, with ``exit_code``.
    SIGNALLED = "signalled"  #: By ``signal``, which the worker did not send.
    TIMED_OUT = "timed_out"  #: Killed by the worker at its limit of time; `limit` says which.
    KILLED = "killed"  #: Killed by the worker because the leader said so.
    OUT_OF_MEMORY = "out_of_memory"  #: Killed because memory ran out.
    OVER_LIMIT = "over_limit"  #: Killed by the worker because it used too much of what `limit` says.
    NOT_EXECUTABLE = "not_executable"  #: Found, but could not be executed: exit code 126.
    NOT_FOUND = "not_found"  #: No such command: exit code 127.
    NOT_STARTED = "not_started"  #: The worker could not start it: exit code 125; ``why`` says the reason.
    GIVEN_BACK = "given_back"  #: It never started: the worker had no room for it in time, or stops.
    EVICTED = "evicted"  #: Killed because the leader wants it to run elsewhere: no crash.
    PREEMPTED = "preempted"  #: Killed because others need its memory: it runs again later, and no crash.
    INTERRUPTED = (
        "interrupted"  #: The worker was stopped or its runner died, and the command with it: a crash.
    )

    __hash__ = object.__hash__  # as those of states

    @classmethod
    def _missing_(cls, _value: object) -> Cause:
        """A later version's cause: whatever it means, the attempt brought no result that we understand."""
        return cls.INTERRUPTED


EXITED: Final = Cause.EXITED
#: As `QUEUED` is.


class Outcome(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a worker reports of an attempt that is over and whose processes are gone."""

    cause: Cause
    exit_code: int | None = None
    signal: int | None = None
    why: str = ""
    #: A sentence for a person, where the cause alone does not say it.
    wall_s: float = NO_TIME
    cpu_s: float = NO_TIME
    #: User and system time of the command and its reaped children.
    memory_bytes: int = 0
    #: Peak resident set of the largest process.
    stdout: Stream = EMPTY_STREAM
    stderr: Stream = EMPTY_STREAM
    output_open: bool = False
    #: Something that the command left behind still held its output open; it was killed.
    returned: tuple[FileRef, ...] = ()
    #: What the return patterns matched; each file is in a depot.
    unreturned: str = ""
    #: Why files that should have come back did not, as a sentence; empty: all did.
    limit: str = ""
    #: The bound that it broke, as `Bounds` calls it; ``time_limit_s`` for wall-clock time.
    mechanism: str = ""
    #: What held it to its bounds, or else what ended it: ``cgroup2``, ``cgroup1`` or ``sampling``; empty:
    #: nothing had to.
    waited_s: float = NO_TIME
    #: On the worker, from the order to run it to its start.
    read_bytes: int = 0
    #: From storage, by its processes.
    written_bytes: int = 0
    value: bytes = b""
    #: What its kind returns.


def bounded(outcome: Outcome) -> Outcome:
    """Return an outcome that fits into the table, whatever a worker reported."""
    whole = outcome.memory_bytes | outcome.read_bytes | outcome.written_bytes  # below 2^62 as long as all are
    if not (0 <= whole < AMOUNT_MAX and 0 <= outcome.wall_s < AMOUNT_MAX and 0 <= outcome.cpu_s < AMOUNT_MAX):
        outcome = _countable(outcome)
    if outcome.signal is not None and not 0 < outcome.signal <= SIGNAL_MAX:
        outcome = msgspec.structs.replace(outcome, signal=None)
    if outcome.exit_code and not 0 < outcome.exit_code <= EXIT_CODE_MAX:
        outcome = msgspec.structs.replace(outcome, exit_code=None)
    if outcome.why or outcome.unreturned or outcome.limit or outcome.mechanism or outcome.value:
        outcome = _bounded_words(outcome)
    quiet = outcome.stdout is EMPTY_STREAM and outcome.stderr is EMPTY_STREAM  # most: they tell of no output
    if not quiet and (outcome.stdout.oversize or outcome.stderr.oversize):
        streams = {"stdout": outcome.stdout.bounded(), "stderr": outcome.stderr.bounded()}
        outcome = msgspec.structs.replace(outcome, **streams)
    if outcome.returned and wrong_references(outcome.returned, limits.FILES_MAX) is not None:
        outcome = msgspec.structs.replace(outcome, returned=())
    return outcome


def _bounded_words(outcome: Outcome) -> Outcome:
    if len(outcome.why) > WHY_LENGTH_MAX:
        outcome = msgspec.structs.replace(outcome, why=outcome.why[:WHY_LENGTH_MAX])
    if len(outcome.unreturned) > WHY_LENGTH_MAX:
        outcome = msgspec.structs.replace(outcome, unreturned=outcome.unreturned[:WHY_LENGTH_MAX])
    if len(outcome.limit) > WORD_LENGTH_MAX or len(outcome.mechanism) > WORD_LENGTH_MAX:
        words = {"limit": outcome.limit[:WORD_LENGTH_MAX], "mechanism": outcome.mechanism[:WORD_LENGTH_MAX]}
        outcome = msgspec.structs.replace(outcome, **words)
    if len(outcome.value) > limits.VALUE_BYTES_MAX:
        outcome = msgspec.structs.replace(outcome, value=b"")
    return outcome


def _countable(outcome: Outcome) -> Outcome:
    """Return an outcome without what is no amount: JSON has no word for it, the node would be unreadable."""
    amounts = ("wall_s", "cpu_s", "memory_bytes", "read_bytes", "written_bytes")
    odd = [name for name in amounts if not 0 <= getattr(outcome, name) < AMOUNT_MAX]
    return msgspec.structs.replace(outcome, **{name: getattr(_NOTHING_USED, name) for name in odd})


_NOTHING_USED: Final = Outcome(cause=Cause.EXITED)


class Result(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The one recorded outcome of a task. Once committed it never changes."""

    state: TaskState
    exit_code: int | None = None
    signal: int | None = None
    why: str = ""
    attempt: int = 0
    #: The attempt that delivered; 0 when none did (cancelled in the queue, lost).
    worker: str = ""
    finished: float = NO_TIME
    #: Cluster time.
    wall_s: float = NO_TIME
    cpu_s: float = NO_TIME
    memory_bytes: int = 0
    stdout: Stream = EMPTY_STREAM
    stderr: Stream = EMPTY_STREAM
    output_open: bool = False
    returned: tuple[FileRef, ...] = ()
    #: Files that came back; the depots keep them as long as the table keeps the result.
    unreturned: str = ""
    #: Why files that should have come back did not.
    limit: str = ""
    #: The bound that it broke, as `Bounds` calls it; ``time_limit_s`` for wall-clock time.
    mechanism: str = ""
    #: What held it to its bounds.
    started: float = NO_TIME
    #: Cluster time; 0: it never was. It ended `wall_s` later.
    read_bytes: int = 0
    written_bytes: int = 0
    value: bytes = b""
    #: What its kind returned.

    def exit_status(self) -> int:
        """Return what a shell would: the command's own status, 128 + signal, 124 time limit, 125 alb."""
        if self.state is TaskState.TIMEOUT:
            return 124
        if self.state in (TaskState.OOM, TaskState.LIMIT):
            return 137
        if self.signal is not None:
            return 128 + self.signal
        return 125 if self.exit_code is None else self.exit_code


class TaskRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One task as its znode holds it."""

    id: str
    state: TaskState
    user: str
    digest: str
    spec: TaskSpec
    submitted: float
    #: Cluster time; orders tasks of equal priority.
    attempts: tuple[Attempt, ...] = ()
    crashes: int = 0
    #: Attempts that the infrastructure lost.
    failures: int = 0
    #: Attempts that failed by themselves, and after which it was tried again.
    preemptions: int = 0
    #: Attempts that ended because others needed their memory.
    memory_bytes: int = 0
    #: What it reserves and may use since it ran out of memory; 0: what its specification says.
    not_before: float = NO_TIME
    #: Cluster time until which it waits after a failure, or for its beginning.
    held_by: str = ""
    #: Who holds it, apart from its `Start`; empty: nobody.
    released: bool = False
    #: The hold of its `Start` was lifted.
    met: tuple[int, ...] = ()
    #: Places in its `Start` of the dependencies that came true, as long as others did not.
    cancel: bool = False
    #: Somebody cancelled it while it ran; it is never placed again.
    incremental: bool = False
    #: It reported increments: a later attempt is given what the results store has of them.
    result: Result | None = None

    def shown(self) -> Attempt | None:
        """Return the attempt that people hear of: the one that delivered, else see `shown_of`."""
        n = self.result.attempt if self.result is not None else 0
        return next((attempt for attempt in self.attempts if attempt.n == n), None) or shown_of(self.attempts)
