"""Whether a task is tried again after an attempt that ended, and with how much memory. Pure rules.

A failure of its own is an exit other than with 0, a signal, a limit that it broke, or a command that could
not be started. What the infrastructure lost is none: it is counted apart (``Task.crash``).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from alb_core.amounts import size
from alb_core.spec import TaskSpec
from alb_core.tasks import EXITED, Cause, Outcome

CODES: Final = {Cause.NOT_EXECUTABLE: 126, Cause.NOT_FOUND: 127, Cause.NOT_STARTED: 125}
#: Exit codes of what did not start, where its worker told none.
BROKEN: Final = frozenset(
    {Cause.SIGNALLED, Cause.TIMED_OUT, Cause.OUT_OF_MEMORY, Cause.OVER_LIMIT},
)
#: Failures without an exit code.
FAILURES: Final = frozenset(cause.value for cause in (Cause.EXITED, *BROKEN, *CODES))
#: How the table calls the end of an attempt that is no crash: of one whose task waits again, a failure.


class MoreMemory(NamedTuple):
    """What a task is given after it ran out of memory."""

    memory_bytes: int
    why_not: str = ""
    #: Why it cannot be given more; empty: it can.


def failed(outcome: Outcome) -> bool:
    """Tell whether an attempt failed by itself."""
    if outcome.cause is EXITED:
        return outcome.exit_code != 0
    return outcome.cause in BROKEN or outcome.cause in CODES


def is_tried_again(spec: TaskSpec, failures: int, outcome: Outcome) -> bool:
    """Tell whether a task is tried again after an attempt.

    Args:
        spec: Of the task.
        failures: How often it was tried again already.
        outcome: How the attempt ended.
    """
    retry = spec.retry
    if failures >= retry.times or not failed(outcome):
        return False
    if not retry.exit_codes:
        return True
    if outcome.cause in BROKEN:  # who wants more memory after it ran out wants another attempt
        return wants_more_memory(spec, outcome)
    code = CODES.get(outcome.cause) if outcome.exit_code is None else outcome.exit_code
    return code in retry.exit_codes


def wants_more_memory(spec: TaskSpec, outcome: Outcome) -> bool:
    """Tell whether the attempt after one that ended so is to be given more memory."""
    return spec.retry.memory_factor > 1 and outcome.cause is Cause.OUT_OF_MEMORY


def more_memory(spec: TaskSpec, memory_bytes: int, outcome: Outcome, memory_max: int) -> MoreMemory:
    """Return how much memory the attempt after this one is given: more where it ran out.

    Args:
        spec: Of the task.
        memory_bytes: What it was given instead of what its specification says; 0: nothing else.
        outcome: How the attempt ended.
        memory_max: What the largest worker that suits the task has; 0: nobody knows.
    """
    if not wants_more_memory(spec, outcome):
        return MoreMemory(memory_bytes)
    had = memory_bytes or spec.request.memory_bytes or spec.bounds.memory_bytes or outcome.memory_bytes
    wanted = math.ceil(had * spec.retry.memory_factor)
    if not memory_max or wanted <= memory_max:
        return MoreMemory(wanted)
    if memory_max > had:
        return MoreMemory(memory_max)
    return MoreMemory(
        memory_bytes, f"it ran out of {size(had)} of memory, and no worker has more than {size(memory_max)}"
    )


def told(outcome: Outcome) -> str:
    """Return how an attempt ended, for a sentence about it."""
    if outcome.cause is EXITED:
        return f"exited with {outcome.exit_code}"
    if outcome.cause is Cause.SIGNALLED:
        return f"was ended by signal {outcome.signal}"
    words = _TOLD.get(outcome.cause, outcome.cause.value)
    return f"{words} ({outcome.why})" if outcome.why else words


_TOLD: Final = {
    Cause.TIMED_OUT: "ran out of time",
    Cause.OUT_OF_MEMORY: "ran out of memory",
    Cause.OVER_LIMIT: "broke a limit",
    Cause.NOT_FOUND: "was not found",
    Cause.NOT_EXECUTABLE: "could not be executed",
    Cause.NOT_STARTED: "could not be started",
}


def with_memory(spec: TaskSpec, memory_bytes: int) -> TaskSpec:
    """Return a specification that asks for so much memory, and may use as much more as it asked for more.

    Args:
        spec: As its user made it.
        memory_bytes: 0: as it is.
    """
    if not memory_bytes:
        return spec
    own = spec.request
    request = msgspec.structs.replace(own, memory_bytes=memory_bytes)
    bounds = spec.bounds
    if bounds.memory_bytes is not None:
        before = own.memory_bytes or bounds.memory_bytes
        scaled = max(memory_bytes, bounds.memory_bytes * memory_bytes // before)
        bounds = msgspec.structs.replace(bounds, memory_bytes=scaled)
    return msgspec.structs.replace(spec, request=request, bounds=bounds)
