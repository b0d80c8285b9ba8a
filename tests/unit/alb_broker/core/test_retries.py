"""Which ends of attempts are tried again, and with how much memory."""

from __future__ import annotations

import pytest
from tests.broker_parts import outcome

from alb_broker.core import retries
from alb_core.bounds import Bounds
from alb_core.resources import Request
from alb_core.spec import Retry, TaskSpec
from alb_core.tasks import Cause

FAILURES = [cause for cause in Cause if cause.value in retries.FAILURES]


def spec(request: Request | None = None, bounds: Bounds | None = None, **fields: object) -> TaskSpec:
    """Return what is tried again three times, unless told otherwise."""
    retry = Retry(**{"times": 3, **fields})  # type: ignore[arg-type]
    return TaskSpec(command="x", retry=retry, request=request or Request(), bounds=bounds or Bounds())


@pytest.mark.parametrize("cause", FAILURES)
def test_every_failure_of_its_own_is_tried_again(cause: Cause) -> None:
    """Exit codes, signals, limits and what did not start alike, as long as there are retries left."""
    end = outcome(1, cause)
    assert [retries.is_tried_again(spec(), failures, end) for failures in (0, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (Cause.EXITED, 0),
        (Cause.KILLED, 1),
        (Cause.INTERRUPTED, 1),
        (Cause.GIVEN_BACK, 1),
        (Cause.EVICTED, 1),
        (Cause.PREEMPTED, 1),
    ],
)
def test_successes_and_losses_are_no_failures(cause: Cause, code: int) -> None:
    """They use up no retry."""
    assert not retries.is_tried_again(spec(), 0, outcome(code, cause))


@pytest.mark.parametrize(
    ("cause", "code", "again"),
    [
        (Cause.EXITED, 75, True),
        (Cause.EXITED, 1, False),
        (Cause.NOT_FOUND, None, True),
        (Cause.NOT_EXECUTABLE, None, False),
        (Cause.SIGNALLED, None, False),
        (Cause.TIMED_OUT, None, False),
        (Cause.OUT_OF_MEMORY, None, False),
    ],
)
def test_with_exit_codes_only_these_count(cause: Cause, code: int | None, again: object) -> None:
    """Signals and limits have none; what was not found has 127."""
    wanted = spec(exit_codes=(75, 127))
    assert retries.is_tried_again(wanted, 0, outcome(code, cause)) is again


def test_who_wants_more_memory_wants_another_attempt() -> None:
    """Running out of memory is tried again with more, whatever exit codes were named."""
    wanted = spec(exit_codes=(75,), memory_factor=2.0)
    assert retries.is_tried_again(wanted, 0, outcome(None, Cause.OUT_OF_MEMORY))


@pytest.mark.parametrize(
    ("asked", "before", "largest", "given"),
    [
        (spec(Request(1.0, 100), memory_factor=2), 0, 1000, 200),
        (spec(Request(1.0, 100), memory_factor=2), 200, 1000, 400),
        (spec(Request(1.0, 100), memory_factor=2), 200, 300, 300),
        (spec(Request(1.0, 100), memory_factor=2), 0, 0, 200),
        (spec(None, Bounds(memory_bytes=50), memory_factor=1.5), 0, 1000, 75),
        (spec(None, None, memory_factor=2), 0, 1000, 14),
        (spec(Request(1.0, 100)), 0, 1000, 0),
    ],
)
def test_more_memory_is_a_multiple_of_what_it_had(
    asked: TaskSpec, before: int, largest: int, given: int
) -> None:
    """What it reserved, else its bound, else its peak; never more than a worker has."""
    end = outcome(None, Cause.OUT_OF_MEMORY, memory_bytes=7)
    assert retries.more_memory(asked, before, end, largest) == (given, "")


def test_there_is_no_more_than_the_largest_worker_has() -> None:
    """Whoever had all of that already is told so."""
    end = outcome(None, Cause.OUT_OF_MEMORY)
    more = retries.more_memory(spec(Request(1.0, 100), memory_factor=2), 0, end, 100)
    assert more.why_not == "it ran out of 100 bytes of memory, and no worker has more than 100 bytes"


def test_a_bound_grows_with_what_is_reserved() -> None:
    """Twice the reservation is twice the bound; a bound alone becomes what is reserved."""
    both = retries.with_memory(spec(Request(2.0, 100, 3, ("a",)), Bounds(memory_bytes=150)), 200)
    assert (both.request, both.bounds) == (Request(2.0, 200, 3, ("a",)), Bounds(memory_bytes=300))
    bound = retries.with_memory(spec(None, Bounds(memory_bytes=50)), 100)
    assert (bound.request.memory_bytes, bound.bounds.memory_bytes) == (100, 100)
    assert retries.with_memory(both, 0) is both
