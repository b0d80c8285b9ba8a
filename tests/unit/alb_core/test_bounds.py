"""Bounds: which of two holds, and which cannot be."""

from __future__ import annotations

import math

import msgspec
import pytest

from alb_core.bounds import NO_BOUNDS, SHIPPED, Bounds, LimitsNode, check_bounds, check_limits, settled

GIB = 1 << 30


def test_an_own_bound_replaces_the_default() -> None:
    """Whichever is lower; what neither names is not bounded, and time is none of these."""
    defaults = LimitsNode(cpu_s=10.0, processes=100, output_bytes=5, time_limit_s=3.0)
    own = Bounds(cpu_s=20.0, processes=7)
    assert settled(own, 0, defaults) == Bounds(cpu_s=20.0, processes=7, output_bytes=5)
    assert settled(NO_BOUNDS, 0, LimitsNode()) == NO_BOUNDS


def test_memory_that_is_reserved_may_be_used() -> None:
    """Whatever the default says; only an own bound says otherwise."""
    defaults = LimitsNode(memory_bytes=GIB)
    assert settled(NO_BOUNDS, 0, defaults).memory_bytes == GIB
    assert settled(NO_BOUNDS, 4 * GIB, defaults).memory_bytes == 4 * GIB
    assert settled(Bounds(memory_bytes=2 * GIB), 4 * GIB, defaults).memory_bytes == 2 * GIB


def test_what_is_shipped_can_be() -> None:
    """A new cluster must not refuse its own limits, which bound a fork bomb and nothing else."""
    assert check_limits(SHIPPED) is None
    assert msgspec.structs.replace(SHIPPED, processes=None) == LimitsNode()


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(cpu_s=0.0), "0.0 is no bound cpu_s: it is 0.01 seconds at least"),
        (Bounds(cpu_s=math.nan), "cpu_s"),
        (Bounds(memory_bytes=1000), "it is 1,048,576 bytes at least"),
        (Bounds(processes=0), "processes"),
        (Bounds(open_files=3), "open_files"),
        (Bounds(output_bytes=-1), "output_bytes"),
        (Bounds(scratch_bytes=2**62), "scratch_bytes"),
    ],
)
def test_a_bound_that_cannot_be_is_found(bounds: Bounds, words: str) -> None:
    """A command under it could not even start, or nobody means it."""
    assert words in (check_bounds(bounds) or "")


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, 1e9])
def test_a_time_limit_that_cannot_be_is_found(seconds: float) -> None:
    """Of the cluster as of a task; the bounds of the node are looked at too."""
    assert "more than 0, and a year at most" in (check_limits(LimitsNode(time_limit_s=seconds)) or "")
    assert "processes" in (check_limits(LimitsNode(time_limit_s=1.0, processes=0)) or "")
