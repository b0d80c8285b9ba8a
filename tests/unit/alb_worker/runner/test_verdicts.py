"""Each bound has its verdict: the cause, the bound's name, and a sentence with the numbers."""

from __future__ import annotations

import pytest

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.tasks import Cause
from alb_worker.runner.verdicts import Usage, breach, over_time, watched

MIB = 1024**2
ALL = Bounds(cpu_s=2.0, memory_bytes=100 * MIB, processes=10, scratch_bytes=5 * MIB)


def test_what_stays_within_its_bounds_is_left_alone() -> None:
    """As much as is allowed is allowed; and without bounds everything is."""
    usage = Usage(processes=10, memory_bytes=100 * MIB, cpu_s=2.0, scratch_bytes=5 * MIB)
    assert breach(ALL, usage) is None
    assert breach(NO_BOUNDS, Usage(processes=9999, memory_bytes=2**50, cpu_s=1e9, kernel_kills=3)) is None


@pytest.mark.parametrize(
    ("usage", "cause", "limit", "patient", "says"),
    [
        (
            Usage(memory_bytes=101 * MIB),
            Cause.OUT_OF_MEMORY,
            "memory_bytes",
            False,
            "100 MiB: its peak was 101",
        ),
        (
            Usage(kernel_kills=1, peak_bytes=100 * MIB),
            Cause.OUT_OF_MEMORY,
            "memory_bytes",
            False,
            "needed more memory than its limit of 100 MiB: its peak was 100 MiB",
        ),
        (Usage(processes=11), Cause.OVER_LIMIT, "processes", False, "limit of 10: 11 were seen"),
        (Usage(processes=3, refused_forks=1), Cause.OVER_LIMIT, "processes", False, "refused it one more"),
        (Usage(scratch_bytes=6 * MIB), Cause.OVER_LIMIT, "scratch_bytes", False, "held 6 MiB"),
        (Usage(cpu_s=2.01), Cause.TIMED_OUT, "cpu_s", True, "used 2.01 s of processor time"),
    ],
)
def test_each_breach_says_what_was_broken(
    usage: Usage, cause: Cause, limit: str, *, patient: bool, says: str
) -> None:
    """The verdict names the bound and the numbers; only time that is over lets an attempt have its grace."""
    found = breach(ALL, usage)
    assert found is not None
    assert (found.cause, found.limit, found.patient) == (cause, limit, patient)
    assert says in found.why


def test_the_most_harmful_breach_is_told() -> None:
    """Of several it is memory, then processes."""
    usage = Usage(memory_bytes=2**40, processes=99, cpu_s=99.0)
    found = breach(ALL, usage)
    assert found is not None
    assert found.limit == "memory_bytes"


def test_the_wall_clock_limit_is_named_as_the_task_names_it() -> None:
    """Whoever reads a result finds the field of the specification."""
    found = over_time(1.5)
    assert (found.cause, found.limit, found.patient) == (Cause.TIMED_OUT, "time_limit_s", True)
    assert "1.5 s" in found.why


def test_only_what_can_be_broken_is_watched() -> None:
    """The kernel refuses files, and output is cut: nobody needs to look."""
    assert not watched(NO_BOUNDS)
    assert not watched(Bounds(open_files=10, output_bytes=10))
    assert watched(Bounds(scratch_bytes=10))
