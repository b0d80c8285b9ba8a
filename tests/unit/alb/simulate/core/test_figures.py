"""The figures of a replay, on cases that can be reckoned by hand."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb.simulate.core.figures import SLICES, Summary, figures, jain, slowdown, summary
from alb_core.resources import Capacity, Request
from alb_core.traces import Job, Machine


class Ran(msgspec.Struct):
    """What became of jobs."""

    started: list[float]
    ended: list[float]
    wasted_s: float = 0.0
    policy_failures: int = 0


def job(submitted: float, run_s: float, cpus: float = 1.0, user: str = "ann") -> Job:
    """Return a job."""
    return Job(submitted=submitted, run_s=run_s, user=user, request=Request(cpus))


POOL = [Machine(name="w1", capacity=Capacity(cpus=4.0, memory_bytes=0))]


def test_two_users_by_hand() -> None:
    """Ann runs at once, Bob waits for 100 s and runs for 20: slowdown 6 against 1."""
    jobs = [job(10.0, 100.0, 4.0), job(10.0, 20.0, 2.0, "bob")]
    found = figures("a", jobs, POOL, Ran([10.0, 110.0], [110.0, 130.0]), default=True)
    assert found.wait_s == Summary(mean=50.0, median=0.0, p95=100.0, max=100.0)
    assert found.slowdown == Summary(mean=3.5, median=1.0, p95=6.0, max=6.0)
    assert found.makespan_s == 120.0
    assert found.utilisation == pytest.approx((400 + 40) / (4 * 120))
    assert found.fairness == pytest.approx(49 / (2 * 37))
    assert [(each.user, each.cpu_s, each.mean_wait_s, each.mean_slowdown) for each in found.users] == [
        ("ann", 400.0, 0.0, 1.0),
        ("bob", 40.0, 100.0, 6.0),
    ]
    assert len(found.waiting_series) == len(found.busy_series) == SLICES
    assert (found.waiting_series[50], found.waiting_series[-1]) == (1, 0)
    assert sum(found.busy_series) / SLICES == pytest.approx(found.utilisation)
    assert (found.busy_series[10], found.busy_series[-1]) == (pytest.approx(1.0), pytest.approx(0.5))
    assert (found.wait_percentiles[0], found.wait_percentiles[100]) == (0.0, 100.0)


@pytest.mark.parametrize(
    ("run_s", "ended", "expected"),
    [
        (100.0, 100.0, 1.0),
        (100.0, 250.0, 2.5),
        (1.0, 5.0, 1.0),
        (1.0, 50.0, 5.0),
        (100.0, 25.0, 1.0),
    ],
    ids=["at once", "waited", "short", "short and waited", "on a machine of speed 4"],
)
def test_the_slowdown_is_bounded(run_s: float, ended: float, expected: float) -> None:
    """Runs of less than ten seconds count as ten, and nobody is faster than at once."""
    assert slowdown(job(0.0, run_s), ended) == expected


def test_jain() -> None:
    """All alike: 1; one of n has everything: 1/n; nothing: 1."""
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([]) == 1.0


def test_a_summary_is_by_nearest_rank() -> None:
    """The 95th percentile of twenty values is the nineteenth."""
    assert summary([float(value) for value in range(20, 0, -1)]) == Summary(
        mean=10.5, median=10.0, p95=19.0, max=20.0
    )
    assert summary([]).max == 0.0


def test_no_jobs_have_figures_too() -> None:
    """Zeros, and no series."""
    found = figures("a", [], POOL, Ran([], []))
    assert (found.jobs, found.makespan_s, found.utilisation, found.waiting_series) == (0, 0.0, 0.0, [])


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0.1, 90)), min_size=1, max_size=20))
def test_series_add_up(drawn: list[tuple[float, float, float]]) -> None:
    """What is busy over time is what was used in all, and in the end nobody waits."""
    drawn.sort()
    jobs = [job(submitted, run_s) for submitted, _, run_s in drawn]
    began = [submitted + wait for submitted, wait, _ in drawn]
    ended = [start + run_s for start, (_, _, run_s) in zip(began, drawn, strict=True)]
    found = figures("a", jobs, POOL, Ran(began, ended))
    assert sum(found.busy_series) / SLICES == pytest.approx(found.utilisation)
    assert found.waiting_series[-1] == 0
    assert min(found.waiting_series) >= 0
