"""A task, its attempts and its result, as the table keeps them and as they travel.

The forms are immutable values. Who may change a task's state, and when, is the broker's
``alb_broker.core.task``; here is only what a state means.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from typing import Final

import msgspec

from alb_core import limits
from alb_core.files import FileRef, check_files, wrong_references
from alb_core.resources import Request

WHY_LENGTH_MAX: Final = 1000
SIGNAL_MAX: Final = 64
EXIT_CODE_MAX: Final = 255


class TaskState(enum.Enum):
    """Where a task stands."""

    QUEUED = "QUEUED"  #: Accepted and durable; waits for room on a worker.
    RUNNING = "RUNNING"  #: At least one live attempt; see ``TaskRecord.attempts``.
    SUCCEEDED = "SUCCEEDED"  #: The command exited with 0.
    FAILED = "FAILED"  #: The command exited with another status, by a signal, or could not be executed.
    TIMEOUT = "TIMEOUT"  #: Killed at its time limit.
    OOM = "OOM"  #: Killed because memory ran out.
    CANCELLED = "CANCELLED"  #: Somebody cancelled it.
    LOST = "LOST"  #: Its worker was lost, and it must not, or must no longer, run again.

    __hash__ = object.__hash__  # states are keys of the hottest tables; Enum's own hash is Python code

    @property
    def terminal(self) -> bool:
        """Whether the task has its one result."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


class OnLost(enum.Enum):
    """What becomes of a task whose worker is lost."""

    RERUN = "rerun"  #: It is queued again; the lost copy may still run for a while.
    FAIL = "fail"  #: It ends LOST: it must not run twice.


class TaskSpec(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One UNIX command and how to run it."""

    command: str | tuple[str, ...]
    #: A string runs under ``/bin/sh -c``; a vector is executed as it is.
    env: dict[str, str] = {}
    #: Added to the worker's clean environment.
    cwd: str | None = None
    #: Working directory on the worker; None: a fresh one.
    time_limit_s: float | None = None
    #: Wall-clock limit, measured by the worker.
    grace_s: float = 5.0
    #: Between TERM and KILL.
    request: Request = Request()
    priority: int = 0
    #: Higher first.
    on_lost: OnLost = OnLost.RERUN
    name: str = ""
    steps: int = 0
    #: Run the command once for each step from 1 to this; 0: it is no task of steps.
    files: tuple[FileRef, ...] = ()
    #: Put into its fresh directory before it starts.
    returns: tuple[str, ...] = ()
    #: Globs, relative to that directory: what they match when the command is over goes back.
    checkpoints: tuple[str, ...] = ()
    #: Globs, relative to that directory: what they match is saved while it runs, for the next attempt.


class AttemptState(enum.Enum):
    """Where an attempt stands, as far as the table knows."""

    LIVE = "live"  #: Given to its worker; may deliver.
    LOST = "lost"  #: Its worker is thought lost; may deliver until a later attempt is placed.
    OVER = "over"  #: Superseded, refused or ended; what it reports is dropped.


class Attempt(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
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
    ended: float = 0.0
    #: When that was recorded; 0: it is not over, or nobody knows.
    ended_as: str = ""
    #: The value of its `Cause`, or ``lost``.


class Stream(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One output stream as a result records it: how long it was, and its last bytes."""

    size_bytes: int = 0
    #: Length of the whole stream.
    text: str = ""
    #: The last bytes, at most ``INLINE_OUTPUT_BYTES``, where they are valid UTF-8.
    base64: str = ""
    #: The last bytes where they are not.
    truncated: bool = False
    #: The command wrote more, which the spool did not keep.

    @classmethod
    def of(cls, tail: bytes, length: int, *, truncated: bool = False) -> Stream:
        """Make the record of a stream.

        Args:
            tail: Its last bytes; only the last ``INLINE_OUTPUT_BYTES`` are kept.
            length: Its whole length in bytes.
            truncated: Whether the command wrote more than was kept.
        """
        if not length and not truncated:
            return EMPTY_STREAM
        tail = tail[-limits.INLINE_OUTPUT_BYTES :]
        try:
            return cls(length, tail.decode(), "", truncated)
        except UnicodeDecodeError:
            return cls(length, "", base64.b64encode(tail).decode(), truncated)

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
        return Stream.of(self.tail(), self.size_bytes, truncated=self.truncated) if self.oversize else self

    @property
    def complete(self) -> bool:
        """Whether ``tail`` is the whole stream."""
        return self.size_bytes <= limits.INLINE_OUTPUT_BYTES


EMPTY_STREAM = Stream()


class Cause(enum.Enum):
    """How an attempt ended, as its worker saw it."""

    EXITED = "exited"  #: By itself, with ``exit_code``.
    SIGNALLED = "signalled"  #: By ``signal``, which the worker did not send.
    TIMED_OUT = "timed_out"  #: Killed by the worker at its time limit.
    KILLED = "killed"  #: Killed by the worker because the leader said so.
    OUT_OF_MEMORY = "out_of_memory"  #: Killed because memory ran out.
    NOT_EXECUTABLE = "not_executable"  #: Found, but could not be executed: exit code 126.
    NOT_FOUND = "not_found"  #: No such command: exit code 127.
    NOT_STARTED = "not_started"  #: The worker could not start it: exit code 125; ``why`` says the reason.
    GIVEN_BACK = "given_back"  #: It never started: the worker had no room for it in time, or stops.
    EVICTED = "evicted"  #: Killed because the leader wants it to run elsewhere: no crash.
    INTERRUPTED = (
        "interrupted"  #: The worker was stopped or its runner died, and the command with it: a crash.
    )

    @classmethod
    def _missing_(cls, _value: object) -> Cause:
        """A later version's cause: whatever it means, the attempt brought no result that we understand."""
        return cls.INTERRUPTED


class Outcome(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a worker reports of an attempt that is over and whose processes are gone."""

    cause: Cause
    exit_code: int | None = None
    signal: int | None = None
    why: str = ""
    #: A sentence for a person, where the cause alone does not say it.
    wall_s: float = 0.0
    cpu_s: float = 0.0
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


def bounded(outcome: Outcome) -> Outcome:
    """Return an outcome that fits into the table, whatever a worker reported."""
    if outcome.signal is not None and not 0 < outcome.signal <= SIGNAL_MAX:
        outcome = msgspec.structs.replace(outcome, signal=None)
    if outcome.exit_code is not None and not 0 <= outcome.exit_code <= EXIT_CODE_MAX:
        outcome = msgspec.structs.replace(outcome, exit_code=None)
    if len(outcome.why) > WHY_LENGTH_MAX:
        outcome = msgspec.structs.replace(outcome, why=outcome.why[:WHY_LENGTH_MAX])
    if len(outcome.unreturned) > WHY_LENGTH_MAX:
        outcome = msgspec.structs.replace(outcome, unreturned=outcome.unreturned[:WHY_LENGTH_MAX])
    if outcome.stdout.oversize or outcome.stderr.oversize:
        streams = {"stdout": outcome.stdout.bounded(), "stderr": outcome.stderr.bounded()}
        outcome = msgspec.structs.replace(outcome, **streams)
    if outcome.returned and wrong_references(outcome.returned, limits.FILES_MAX) is not None:
        outcome = msgspec.structs.replace(outcome, returned=())
    return outcome


class Result(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The one recorded outcome of a task. Once committed it never changes."""

    state: TaskState
    exit_code: int | None = None
    signal: int | None = None
    why: str = ""
    attempt: int = 0
    #: The attempt that delivered; 0 when none did (cancelled in the queue, lost).
    worker: str = ""
    finished: float = 0.0
    #: Cluster time.
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    stdout: Stream = EMPTY_STREAM
    stderr: Stream = EMPTY_STREAM
    output_open: bool = False
    returned: tuple[FileRef, ...] = ()
    #: Files that came back; the depots keep them as long as the table keeps the result.
    unreturned: str = ""
    #: Why files that should have come back did not.

    def exit_status(self) -> int:
        """Return what a shell would: the command's own status, 128 + signal, 124 time limit, 125 alb."""
        if self.state is TaskState.TIMEOUT:
            return 124
        if self.signal is not None:
            return 128 + self.signal
        return 125 if self.exit_code is None else self.exit_code


class TaskRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
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
    cancel: bool = False
    #: Somebody cancelled it while it ran; it is never placed again.
    incremental: bool = False
    #: It reported increments: a later attempt is given what the results store has of them.
    result: Result | None = None


def digest(spec: bytes) -> str:
    """Return the digest of a specification as it was sent: tells a resubmission from a conflict."""
    return hashlib.blake2b(spec, digest_size=12).hexdigest()


def check_spec(spec: TaskSpec, encoded_bytes: int) -> str | None:
    """Find what is wrong with a specification.

    Args:
        spec: The specification, decoded (its types are right already).
        encoded_bytes: Its size on the wire.

    Returns:
        A sentence that says what is wrong and what to do, or None.
    """
    if encoded_bytes > limits.SPEC_BYTES_MAX:
        return too_large(encoded_bytes)
    return (
        _check_words(spec)
        or _check_numbers(spec)
        or check_files(spec.files, spec.returns, spec.checkpoints, spec.cwd)
    )


def too_large(encoded_bytes: int) -> str:
    """Return the sentence for a specification above the limit."""
    return (
        f"the specification has {encoded_bytes} bytes, more than {limits.SPEC_BYTES_MAX}; "
        "put large environments or inputs into a file that the workers can read"
    )


def _check_words(spec: TaskSpec) -> str | None:  # noqa: PLR0911 (one return a rule)
    words = (spec.command,) if isinstance(spec.command, str) else spec.command
    if not words or not words[0]:
        return "the command is empty; give a program to run"
    if len(words) > limits.ARGUMENTS_MAX:
        return f"the command has {len(words)} arguments, more than {limits.ARGUMENTS_MAX}"
    if any("\0" in word for word in words):
        return "the command contains a NUL character, which no UNIX program can receive"
    for key, value in spec.env.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            return f"the environment variable {key[:40]!r} cannot exist: empty name, '=' or NUL"
    if spec.cwd is not None and (not spec.cwd.startswith("/") or "\0" in spec.cwd):
        return f"the directory {spec.cwd[:80]!r} is not an absolute path"
    if len(spec.name) > limits.NAME_LENGTH_MAX or not spec.name.isprintable():
        return f"the name is longer than {limits.NAME_LENGTH_MAX} characters or not printable"
    return None


def _check_numbers(spec: TaskSpec) -> str | None:  # noqa: PLR0911 (one return a rule)
    if spec.time_limit_s is not None and not 0 < spec.time_limit_s <= limits.TIME_LIMIT_S_MAX:
        return f"the time limit of {spec.time_limit_s} s is not between 0 and a year"
    if not 0 <= spec.grace_s <= limits.GRACE_S_MAX:
        return f"the grace of {spec.grace_s} s is not between 0 and {limits.GRACE_S_MAX:.0f}"
    if not 0 < spec.request.cpus <= 1e6:
        return f"{spec.request.cpus} cpus cannot be reserved; ask for more than 0"
    if not 0 <= spec.request.memory_bytes < 2**62 or not 0 <= spec.request.net_bps < 2**62:
        return "memory and bandwidth cannot be negative or absurdly large"
    if not 0 <= spec.steps <= limits.STEPS_MAX:
        return f"{spec.steps} steps are not between 0 and {limits.STEPS_MAX}"
    if not -(2**31) <= spec.priority < 2**31:
        return f"the priority {spec.priority} is not a 32-bit number"
    return None
