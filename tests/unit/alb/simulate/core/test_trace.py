"""A trace on other machines: parts of it, its load, and what is too large for them."""

from __future__ import annotations

import math

import pytest

from alb.simulate.core.trace import Trace, fitted, offered_load, ordered, pool, user_name, window, with_load
from alb_core.errors import ConfigError
from alb_core.resources import Capacity, Count, Request
from alb_core.traces import Job, Machine


def job(submitted: float, run_s: float = 10.0, **fields: object) -> Job:
    """Return a job."""
    return Job(submitted=submitted, run_s=run_s, request=Request(**fields))  # type: ignore[arg-type]


def test_a_window_begins_at_zero() -> None:
    """From a time on, up to a time, and at most so many; what is left out is said."""
    trace = Trace(source="a", jobs=[job(float(at)) for at in range(0, 100, 10)])
    part = window(trace, 20.0, 80.0, 3)
    assert [each.submitted for each in part.jobs] == [0.0, 10.0, 20.0]
    assert part.remarks == ["7 jobs of 10 are not in the part that was chosen"]
    assert window(trace, None, None, None) is trace


def test_the_load_is_stretched_to() -> None:
    """Twice the time between submissions is half the load; all at once has none that could be stretched."""
    machines = pool(2, 1.0, 1, (1.0, 3.0))
    trace = Trace(source="a", jobs=[job(0.0), job(5.0), job(10.0)])
    assert offered_load(trace.jobs, machines) == pytest.approx(30 / 40)
    slower = with_load(trace, machines, 0.375)
    assert [each.submitted for each in slower.jobs] == pytest.approx([0.0, 10.0, 20.0])
    assert offered_load(slower.jobs, machines) == pytest.approx(0.375)
    at_once = Trace(source="a", jobs=[job(0.0), job(0.0)])
    assert offered_load(at_once.jobs, machines) == math.inf
    with pytest.raises(ConfigError, match="--load"):
        with_load(at_once, machines, 0.5)


def test_a_pool_has_speeds_in_turn() -> None:
    """As many machines as asked for, with names of their own."""
    machines = pool(5, 4.0, 8, (1.0, 2.0))
    assert [machine.speed for machine in machines] == [1.0, 2.0, 1.0, 2.0, 1.0]
    assert len({machine.name for machine in machines}) == 5


def test_what_is_too_large_is_clipped_and_counted() -> None:
    """To the largest machine; everything else is left as it was, and is the same object."""
    trace = Trace(source="a", jobs=[job(0.0, cpus=9.0), job(1.0, cpus=1.0, memory_bytes=99), job(2.0)])
    clipped = fitted(trace, [*pool(1, 2.0, 50, (1.0,)), *pool(1, 4.0, 20, (1.0,))])
    assert [each.request for each in clipped.jobs] == [Request(4.0), Request(1.0, 50), Request(1.0)]
    assert clipped.remarks == [
        "1 job asked for more cpus than the largest worker has, and were given all of its",
        "1 job asked for more memory than the largest worker has, and were given all of its",
    ]
    small = Trace(source="a", jobs=[job(0.0)])
    assert fitted(small, pool(1, 2.0, 50, (1.0,))).jobs is small.jobs


def test_labels_are_kept() -> None:
    """Who asks for a label gets the largest machine that has it; where nobody is left, there is an error."""
    labelled = Machine(name="ssd", capacity=Capacity(cpus=2.0, memory_bytes=0, labels=("ssd",)))
    trace = Trace(source="a", jobs=[job(0.0, cpus=3.0, labels=("ssd",))])
    (fit,) = fitted(trace, [labelled, *pool(1, 8.0, 0, (1.0,))]).jobs
    assert fit.request == Request(2.0, labels=("ssd",))
    with pytest.raises(ConfigError, match="ask for ssd"):
        fitted(trace, pool(1, 8.0, 0, (1.0,)))


def test_what_no_machine_could_run_is_left_out() -> None:
    """And counted: one such task in a dump, which waits for a worker with a GPU, must not stop the replay."""
    trace = Trace(
        source="a", jobs=[job(0.0, counts=(Count("gpus", 2),)), job(5.0, labels=("ssd",)), job(7.0, cpus=9.0)]
    )
    machines = [Machine(name="w", capacity=Capacity(cpus=2.0, memory_bytes=0, counts=(Count("gpus", 1),)))]
    kept = fitted(trace, machines)
    assert [(each.submitted, each.request) for each in kept.jobs] == [(0.0, Request(2.0))]
    assert kept.remarks[:2] == [
        "1 job left out that ask for gpus=2, which no worker of the replay has",
        "1 job left out that ask for ssd, which no worker of the replay has",
    ]
    two = job(0.0, cpus=3.0, counts=(Count("gpus", 1),), prefers=("fast",))
    (fit,) = fitted(Trace(source="a", jobs=[two]), machines).jobs
    assert fit.request == Request(2.0, counts=(Count("gpus", 1),), prefers=("fast",))


def test_order_and_names() -> None:
    """The first submission is the beginning; a user's name is printable and bounded."""
    assert [each.submitted for each in ordered([job(30.0), job(20.0)])] == [0.0, 10.0]
    assert ordered([]) == []
    assert user_name("a\nb") == "a?b"
    assert (user_name(""), len(user_name("x" * 999))) == ("nobody", 48)
