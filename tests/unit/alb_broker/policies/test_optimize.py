"""``optimize``: time against resources, by the vector of a task or of the cluster."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import request
from tests.policy_parts import GIB, TASK, candidate, chosen

from alb_broker.policies import Candidate, check_parameters, completed, wishes_of
from alb_broker.policies.optimize import choose, cost, run_time, take, vector_of
from alb_core.resources import Load
from alb_core.spec import TaskSpec
from alb_core.vectors import parse_vector, weighed

IDLE_FAST = candidate("idle and fast", speed=1.4)
NEARLY_FULL = candidate("nearly full", free=1, attempts=3)

machines = st.builds(
    candidate,
    st.sampled_from(["w1", "w2", "w3", "w4"]),
    free=st.sampled_from([1.0, 2.0, 4.0]),
    memory=st.floats(0, 1),
    attempts=st.integers(0, 3),
    speed=st.floats(0.1, 10),
    load=st.builds(Load, cpu=st.floats(0, 2), memory=st.floats(0, 1)),
)
weights = st.floats(0, 1)


def task(text: str) -> TaskSpec:
    """Return a task with this vector."""
    return TaskSpec(command="x", request=request(1, optimize=parse_vector(text)))


def test_time_takes_the_fastest_and_resources_who_is_busy() -> None:
    """A worker that runs nothing is woken by who hurries, and left alone by who saves."""
    each = (
        candidate("idle and fast", speed=4.0),
        candidate("half full", free=2, attempts=2, speed=3.0),
        NEARLY_FULL,
    )
    assert chosen(choose, *each, task=task("time")) == "idle and fast"
    assert chosen(choose, *each, task=task("resources")) == "half full"


def test_a_slow_worker_is_no_saving() -> None:
    """Where the task holds its part for so long that a fast one is sooner awake and asleep again."""
    slow = candidate("slow", free=2, attempts=2, speed=0.2)
    assert chosen(choose, slow, candidate("idle"), task=task("resources")) == "idle"


def test_a_tasks_own_vector_goes_before_the_clusters() -> None:
    """Which decides for who says nothing."""
    each = (IDLE_FAST, NEARLY_FULL)
    thrifty = {"time": 0.0, "resources": 1.0}
    assert chosen(choose, *each, parameters=thrifty) == "nearly full"
    assert chosen(choose, *each, parameters=thrifty, task=task("time")) == "idle and fast"


def test_of_equals_who_hurries_spreads_and_who_saves_packs() -> None:
    """Neighbours cost time, and a worker that stays empty can be switched off."""
    full, empty = candidate("full", free=1, attempts=3), candidate("empty", attempts=1)
    assert chosen(choose, full, empty, task=task("time")) == "empty"
    assert chosen(choose, full, empty, task=task("resources")) == "full"


def test_a_machine_that_does_other_work_is_slow() -> None:
    """Four processes on a processor each take four times as long; reservations know nothing of them."""
    busy = candidate("busy", speed=2.0, load=Load(cpu=4.0))
    assert chosen(choose, busy, candidate("idle"), task=task("time")) == "idle"


def test_memory_counts_where_it_is_asked_for() -> None:
    """What a task takes of a worker is the part of what it takes most of."""
    wide = candidate("wide", cpus=16, free=8, attempts=1)
    wants = TaskSpec(command="x", request=request(1, 4 * GIB, optimize=parse_vector("resources")))
    assert take(TASK, wide, 1.0) < 0.6
    assert take(wants, wide, 1.0) == 1.0


@given(machines, st.floats(10, 20))
def test_costs_are_counted_in_runs_on_the_fastest(each: Candidate, fastest: float) -> None:
    """Nobody is sooner done than that, undisturbed; and nobody takes more than a whole worker meanwhile."""
    assert run_time(TASK, each, fastest) >= fastest / each.speed
    assert 0 < take(TASK, each, fastest) <= fastest / each.speed


@given(st.lists(machines, min_size=2, max_size=6, unique_by=lambda each: each.worker), weights, weights)
def test_more_weight_on_time_is_never_later(each: list[Candidate], one: float, other: float) -> None:
    """And less weight on resources never takes less of them: the curve is one of trade-offs."""
    fastest = max(candidate.speed for candidate in each)
    less, more = sorted((one, other))
    if more - less < 0.01:
        return

    def best(time: float) -> Candidate:
        vector = weighed(time, 1.0 - time)
        return min(each, key=lambda candidate: cost(TASK, candidate, fastest, vector))

    hurried, thrifty = best(more), best(less)
    assert run_time(TASK, hurried, fastest) <= run_time(TASK, thrifty, fastest) + 1e-3
    assert take(TASK, hurried, fastest) >= take(TASK, thrifty, fastest) - 1e-3


@given(st.lists(machines, min_size=1, max_size=6), weights)
def test_speeds_count_only_as_ratios(each: list[Candidate], time: float) -> None:
    """Another unit of speed chooses the same worker."""
    spec = TaskSpec(command="x", request=request(1, optimize=weighed(time, 1.0 - time)))
    doubled = [msgspec.structs.replace(candidate, speed=2 * candidate.speed) for candidate in each]
    assert chosen(choose, *each, task=spec) == chosen(choose, *doubled, task=spec)


@pytest.mark.parametrize(
    "text", ["time=0.3", "resources=0.25", "time=2", "time=7,resources=3", "resources=0,time=1"]
)
def test_a_cluster_s_weights_mean_what_those_of_a_task_do(text: str) -> None:
    """One vector, one grammar: of any sum, and one alone means the rest by the other."""
    given = {name: float(number) for name, _, number in (word.partition("=") for word in text.split(","))}
    assert check_parameters(choose, given) is None
    assert vector_of({**wishes_of(choose).parameters, **completed(choose, given)}) == parse_vector(text)


def test_what_are_no_weights_is_said() -> None:
    """With what to write; nothing given means half and half."""
    for wrong in ({"time": 2.0, "resources": -1.0}, {"time": 0.0, "resources": 0.0}, {"time": -1.0}):
        assert "time=0.7, or time=7 resources=3" in str(check_parameters(choose, wrong))
    assert check_parameters(choose, {}) is None
    assert vector_of(wishes_of(choose).parameters) == weighed(1, 1)
