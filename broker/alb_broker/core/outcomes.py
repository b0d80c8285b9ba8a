"""The result that the outcome of an attempt makes."""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core.tasks import EXITED, NO_TIME, Attempt, Cause, Outcome, Result, TaskState

SUCCEEDED: Final = TaskState.SUCCEEDED  # looked up in its class it costs thirty times as much


def result_of(attempt: Attempt, outcome: Outcome, at: float) -> Result:
    """Return the result of a task whose attempt ended so, at this cluster time."""
    # In two steps: CPython puts more than 15 named arguments into a dictionary, for five times the cost.
    result = Result(
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
        started=attempt.placed + outcome.waited_s if outcome.wall_s else NO_TIME,
    )
    if not (
        outcome.output_open
        or outcome.returned
        or outcome.unreturned
        or outcome.limit
        or outcome.mechanism
        or outcome.read_bytes
        or outcome.written_bytes
        or outcome.value
    ):
        return result  # as nearly always
    return msgspec.structs.replace(
        result,
        output_open=outcome.output_open,
        returned=outcome.returned,
        unreturned=outcome.unreturned,
        limit=outcome.limit,
        mechanism=outcome.mechanism,
        read_bytes=outcome.read_bytes,
        written_bytes=outcome.written_bytes,
        value=outcome.value,
    )


def succeeded(outcome: Outcome) -> bool:
    """Tell whether an attempt did what it was to do."""
    return outcome.cause is EXITED and outcome.exit_code == 0


def _final_state(outcome: Outcome) -> TaskState:
    if outcome.cause is EXITED:
        return SUCCEEDED if outcome.exit_code == 0 else TaskState.FAILED
    match outcome.cause:
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
