"""The specification of a task: what is to run, and how.

The form is an immutable value; equal specifications give equal bytes. What becomes of a task is ``tasks.py``.
"""

from __future__ import annotations

import enum
import hashlib
import math
import re
from typing import Final

import msgspec

from alb_core import ids, limits
from alb_core.bounds import NO_BOUNDS, Bounds, check_bounds
from alb_core.files import FileRef, check_files
from alb_core.kinds import COMMAND_KIND, check_binaries, check_kind
from alb_core.resources import Request, check_request

_LOGIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")


class OnLost(enum.Enum):
    """What becomes of a task whose worker is lost."""

    RERUN = "rerun"  #: It is queued again; the lost copy may still run for a while.
    FAIL = "fail"  #: It ends LOST: it must not run twice.


class Retry(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """When a task that failed by itself, or whose workers were lost, is tried again."""

    times: int = 0
    #: After so many failures of its own; what the infrastructure loses counts apart.
    exit_codes: tuple[int, ...] = ()
    #: Only after these; empty: after any failure, a signal or a limit that it broke too.
    delay_s: float = 1.0
    #: Before the first retry; each further one waits twice as long,
    delay_s_max: float = 300.0
    #: at most so long.
    memory_factor: float = 1.0
    #: After an attempt that ran out of memory the next one is given so many times as much.
    crash_limit: int | None = None
    #: Attempts that the infrastructure may lose; None: as many as the cluster allows.


class After(enum.Enum):
    """What a task waits for in another one."""

    STARTED = "after"  #: That it was placed, or ended.
    ENDED = "afterany"  #: That it ended.
    SUCCEEDED = "afterok"  #: That it ended well.
    FAILED = "afternotok"  #: That it ended otherwise.


class Dependency(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Something that must have happened to another task, or to an array, before a task is queued."""

    after: After
    task: str


class Start(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What keeps an accepted task from being queued at once: it is HELD until none of it does any more."""

    dependencies: tuple[Dependency, ...] = ()
    #: All of them must come true.
    singleton: bool = False
    #: It waits until no earlier task of its user and name is left.
    hold: bool = False
    #: Until somebody releases it.
    begin: float = 0.0
    #: Not before this cluster time.
    delay_s: float = 0.0
    #: Not before so long after it was accepted.


_NO_RETRY: Final = Retry()
_AT_ONCE: Final = Start()
_ONE_CPU: Final = Request()
_GRACE_S: Final = 5.0
#: What nearly every task has: a decoded one has these very objects, so nobody checks their fields again.


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
    grace_s: float = _GRACE_S
    #: Between TERM and KILL.
    request: Request = _ONE_CPU
    priority: int = 0
    #: Higher first.
    on_lost: OnLost = OnLost.RERUN
    preemptible: bool = False
    #: It may be ended, to run again later, where others need its memory.
    name: str = ""
    steps: int = 0
    #: Run the command once for each step from 1 to this; 0: it is no task of steps.
    files: tuple[FileRef, ...] = ()
    #: Put into its fresh directory before it starts.
    returns: tuple[str, ...] = ()
    #: Globs, relative to that directory: what they match when the command is over goes back.
    checkpoints: tuple[str, ...] = ()
    #: Globs, relative to that directory: what they match is saved while it runs, for the next attempt.
    bounds: Bounds = NO_BOUNDS
    #: What it may use; for what it does not say, the cluster's defaults hold.
    retry: Retry = _NO_RETRY
    start: Start = _AT_ONCE
    stdin: bytes = b""
    #: What it reads.
    stdin_file: str = ""
    #: One of its files, which it reads instead; with neither, it reads nothing.
    umask: int | None = None
    nice: int = 0
    run_as: str = ""
    #: Login name on the worker; empty: the worker's own. The worker decides whom it allows.
    kind: str = COMMAND_KIND
    #: Which plug-in of the worker runs it; to other kinds `command` is what people are shown.
    payload: bytes = b""
    #: What only its kind understands.
    binaries: dict[str, FileRef] = {}
    #: Of the kind ``binary``, the program by architecture; `command` is then its arguments, the name first.
    speculative: bool | None = None
    #: It may run twice at once: when it lags, a copy of it is started elsewhere. None: as the cluster's
    #: default says.

    @property
    def luggage(self) -> tuple[FileRef, ...]:
        """Every file that some attempt of it may take along, wherever that runs."""
        return (*self.files, *self.binaries.values()) if self.binaries else self.files


def digest(spec: bytes) -> str:
    """Return the digest of a specification as it was sent: tells a resubmission from a conflict."""
    return hashlib.blake2b(spec, digest_size=12).hexdigest()


def plain(spec: TaskSpec) -> TaskSpec:
    """Return an equal specification that is encoded without what it says although it is so anyway.

    msgspec leaves out a number or a structure only if it is the very object that is the default, and clients
    name some of them: a fifth of the record of a small task.
    """
    return msgspec.structs.replace(
        spec,
        grace_s=_GRACE_S if spec.grace_s == _GRACE_S else spec.grace_s,
        request=_ONE_CPU if spec.request == _ONE_CPU else spec.request,
        bounds=NO_BOUNDS if spec.bounds == NO_BOUNDS else spec.bounds,
        retry=_NO_RETRY if spec.retry == _NO_RETRY else spec.retry,
        start=_AT_ONCE if spec.start == _AT_ONCE else spec.start,
    )


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
        or _check_speculative(spec)
        or _check_numbers(spec)
        or check_request(spec.request)
        or check_files(spec.files, spec.returns, spec.checkpoints, spec.cwd)
        or check_bounds(spec.bounds)
        or _check_retry(spec.retry)
        or _check_start(spec)
        or _check_execution(spec)
        or check_kind(spec.kind, spec.payload, fresh=spec.cwd is None, stepped=spec.steps > 0)
        or check_binaries(spec.kind, spec.binaries, spec.files, spec.request.archs)
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


def _check_speculative(spec: TaskSpec) -> str | None:
    if not spec.speculative:
        return None
    if spec.on_lost is OnLost.FAIL:
        return "a task that must not run twice (--on-lost fail) cannot be speculative: say one of both"
    if spec.checkpoints:
        return "a task with checkpoints cannot be speculative: a copy would save over what the other saved"
    return None


def _check_numbers(spec: TaskSpec) -> str | None:
    if spec.time_limit_s is not None and not 0 < spec.time_limit_s <= limits.TIME_LIMIT_S_MAX:
        return f"a time limit of {spec.time_limit_s:g} s cannot be: it is more than 0, and a year at most"
    if not 0 <= spec.grace_s <= limits.GRACE_S_MAX:
        return f"the grace of {spec.grace_s} s is not between 0 and {limits.GRACE_S_MAX:.0f}"
    if not 0 <= spec.steps <= limits.STEPS_MAX:
        return f"{spec.steps} steps are not between 0 and {limits.STEPS_MAX}"
    if not -(2**31) <= spec.priority < 2**31:
        return f"the priority {spec.priority} is not a 32-bit number"
    if spec.preemptible and spec.on_lost is OnLost.FAIL:
        return "what is preemptible runs again: it cannot be --on-lost fail, which forbids that"
    return None


def _check_retry(retry: Retry) -> str | None:  # noqa: PLR0911 (one return a rule)
    if retry is _NO_RETRY:
        return None
    if not 0 <= retry.times <= limits.RETRIES_MAX:
        return f"{retry.times} retries are not between 0 and {limits.RETRIES_MAX}"
    if any(not 1 <= code <= 255 for code in retry.exit_codes) or len(retry.exit_codes) > 256:
        return "an exit code to retry on is not between 1 and 255"
    if not 0 <= retry.delay_s <= retry.delay_s_max <= limits.RETRY_DELAY_S_MAX:
        return (
            f"a retry waits for 0 to {limits.RETRY_DELAY_S_MAX:.0f} s, the first one no longer than the "
            f"last: not {retry.delay_s:g} s to {retry.delay_s_max:g} s"
        )
    if not 1 <= retry.memory_factor <= 16:
        return f"the factor {retry.memory_factor:g} of memory after running out of it is not between 1 and 16"
    if retry.crash_limit is not None and not 0 <= retry.crash_limit <= limits.RETRIES_MAX:
        return f"the crash limit {retry.crash_limit} is not between 0 and {limits.RETRIES_MAX}"
    return None


def _check_start(spec: TaskSpec) -> str | None:
    start = spec.start
    if start is _AT_ONCE:
        return None
    if len(start.dependencies) > limits.DEPENDENCIES_MAX:
        return (
            f"there are {len(start.dependencies)} dependencies, more than {limits.DEPENDENCIES_MAX}; "
            "let one task gather them"
        )
    for dependency in start.dependencies:
        if not ids.is_task_id(dependency.task):
            return f"the dependency {dependency.task[:80]!r} is no task id of 32 lower-case hex digits"
    if start.singleton and not spec.name:
        return "a singleton waits for tasks of its own name: give it one (--name)"
    if not (0 <= start.delay_s <= limits.TIME_LIMIT_S_MAX and 0 <= start.begin < 2**40):
        return "a task begins within a year"
    return None


def _check_execution(spec: TaskSpec) -> str | None:
    if len(spec.stdin) > limits.STDIN_BYTES_MAX:
        return (
            f"its standard input has {len(spec.stdin)} bytes, more than {limits.STDIN_BYTES_MAX}: "
            "let it be a file (--stdin FILE)"
        )
    if spec.stdin_file and (spec.stdin or spec.stdin_file not in {file.name for file in spec.files}):
        return f"its standard input {spec.stdin_file[:80]!r} is none of its files"
    if spec.umask is not None and not 0 <= spec.umask <= 0o777:
        return f"the umask {spec.umask:o} is not between 0 and 777"
    if not -20 <= spec.nice <= 19:
        return f"the niceness {spec.nice} is not between -20 and 19"
    if spec.run_as and not is_login(spec.run_as):
        return f"{spec.run_as[:40]!r} is no login name"
    return None


def is_login(name: str) -> bool:
    """Tell whether a user of a worker can be called so."""
    return _LOGIN.match(name) is not None


def delay_before_retry(retry: Retry, failures: int) -> float:
    """Return how long a task waits after its failure number `failures` (from 1), in seconds."""
    return min(retry.delay_s_max, retry.delay_s * math.ldexp(1.0, min(failures, 64) - 1))
