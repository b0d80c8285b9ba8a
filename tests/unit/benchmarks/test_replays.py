"""The benchmarks in virtual time, at the smallest size, and the yardstick that stands beside policies."""

from __future__ import annotations

from array import array

import pytest

import bench_policies
import bench_simulate
import bench_tradeoff
from alb.simulate.core.trace import pool
from alb_broker.replay.replay import Ran
from alb_core.resources import Request
from alb_core.traces import Job
from list_scheduler import run_list


def job(submitted: float, run_s: float, cpus: float) -> Job:
    """Return a job."""
    return Job(submitted=submitted, run_s=run_s, request=Request(cpus))


def test_the_list_scheduler_by_hand() -> None:
    """The first goes to the faster worker; a wide one waits for two slots of one, a narrow one does not."""
    jobs = [job(0.0, 8.0, 1.0), job(0.0, 10.0, 2.0), job(1.0, 6.0, 2.0), job(2.0, 2.0, 1.0)]
    ran = run_list(jobs, pool(2, 2.0, 0, (1.0, 2.0)))
    assert list(ran.started) == [0.0, 0.0, 4.0, 2.0]
    assert list(ran.ended) == [4.0, 10.0, 7.0, 3.0]


def test_the_bound_is_one() -> None:
    """The work of all at the speed of all, or the longest on the fastest."""
    machines = bench_policies.make_machines()
    assert bench_policies.bound_s([job(0.0, 112.0, 4.0)] * 7, machines) == pytest.approx(28.0)
    assert bench_policies.bound_s([job(0.0, 112.0, 1.0)] * 8, machines) == pytest.approx(28.0)
    jobs = bench_policies.make_jobs(300, seed=1)
    ran = run_list([job(0.0, each.run_s, each.request.cpus) for each in jobs], machines)
    assert max(ran.ended) >= bench_policies.bound_s(jobs, machines)


def test_the_same_workload_every_time() -> None:
    """The generators draw from a seed; their shapes are those that were asked for."""
    assert bench_policies.make_jobs(50, seed=1) == bench_policies.make_jobs(50, seed=1)
    jobs = bench_simulate.make_jobs(500)
    assert jobs == bench_simulate.make_jobs(500)
    assert {each.request for each in jobs} == set(bench_simulate.SHAPES)


def test_nudges_are_small_and_the_same_every_time() -> None:
    """Each run is longer by less than anybody would notice."""
    jobs = bench_policies.make_jobs(50, seed=1)
    nudged = bench_policies.nudge(jobs, 3)
    assert nudged == bench_policies.nudge(jobs, 3) != bench_policies.nudge(jobs, 4)
    longer = [after.run_s - before.run_s for before, after in zip(jobs, nudged, strict=True)]
    assert 0 <= min(longer) < max(longer) <= bench_policies.NUDGE_S


def test_worker_seconds_count_a_moment_once() -> None:
    """However many tasks ran on a worker then; what nobody ran on counts for nothing."""
    ran = Ran(
        started=array("d", [0.0, 1.0, 5.0, 0.0]),
        ended=array("d", [2.0, 3.0, 6.0, 10.0]),
        machine=array("l", [0, 0, 0, 1]),
        attempts=4,
        wasted_s=0.0,
        policy_failures=0,
    )
    assert bench_tradeoff.worker_seconds(ran) == pytest.approx(3.0 + 1.0 + 10.0)


def test_a_curve_has_two_ends() -> None:
    """Who saves holds fewer worker seconds than who hurries, on a small workload, too."""
    thrifty, hurried = bench_tradeoff.sweep(60, 1, (0.0, 1.0))
    assert thrifty.worker_s < hurried.worker_s
    assert thrifty.slowdown >= 1 <= hurried.slowdown
