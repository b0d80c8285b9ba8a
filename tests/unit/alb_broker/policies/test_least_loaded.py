"""``least-loaded``: the fastest worker, each the slower the more it is used; of equals the least used."""

from __future__ import annotations

import pytest
from tests.broker_parts import request

from alb_broker.policies import Candidate, Context
from alb_broker.policies.least_loaded import choose, pressure
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec

TASK = TaskSpec(command="x", request=request(1))
GIB = 1 << 30
IDLE = Load()


def candidate(
    worker: str,
    *,
    cpus: float = 4,
    free: float = 4,
    memory: float = 1.0,
    load: Load = IDLE,
    net: int = 0,
    speed: float = 1.0,
) -> Candidate:
    """Return a worker of 4 GiB with so much free, memory as a fraction."""
    offers = Capacity(cpus=cpus, memory_bytes=4 * GIB, net_bps=net)
    return Candidate(worker, offers, free, int(4 * GIB * memory), net, load, speed=speed)


def chosen(*candidates: Candidate, task: TaskSpec = TASK, seed: int = 1) -> str:
    """Return the name of the worker that the policy takes."""
    found = choose(task, candidates, Context(0.0, Draws(seed)))
    assert found is not None
    return found.worker


@pytest.mark.parametrize(
    ("busy", "idle"),
    [
        (candidate("busy", free=1), candidate("idle", free=3)),
        (candidate("busy", memory=0.1), candidate("idle")),
        (candidate("busy", load=Load(cpu=0.9)), candidate("idle", load=Load(cpu=0.1))),
        (candidate("busy", load=Load(memory=0.9)), candidate("idle")),
        (candidate("busy", load=Load(net=0.9)), candidate("idle")),
        (candidate("busy", cpus=2, free=2), candidate("idle", cpus=16, free=16)),
    ],
    ids=["reserved cpus", "reserved memory", "cpu load", "memory load", "net load", "size"],
)
def test_the_idler_worker_is_chosen(busy: Candidate, idle: Candidate) -> None:
    """Reserved and measured use of each resource count, in proportion to the worker's size."""
    for seed in range(5):
        assert chosen(busy, idle, seed=seed) == chosen(idle, busy, seed=seed) == "idle"


def test_measurements_do_not_add_to_reservations() -> None:
    """The larger of both counts: a task that uses what it reserved counts once."""
    reserved = candidate("w", free=2)
    measured = candidate("w", free=2, load=Load(cpu=0.5))
    assert pressure(TASK, reserved) == pressure(TASK, measured)


@pytest.mark.parametrize("speed", [2.0, 4.0])
def test_a_much_faster_worker_is_chosen_while_it_has_room(speed: float) -> None:
    """Its last processor is still better than an idle slow worker: neighbours cost less than slowness."""
    assert chosen(candidate("slow"), candidate("fast", free=1, memory=0.0, speed=speed)) == "fast"


def test_a_slightly_faster_worker_bears_slightly_more() -> None:
    """It comes first, and no longer once half of it is used and the other one idle."""
    slow = candidate("slow", cpus=10, free=10)
    for free, taken in ((10, "fast"), (6, "fast"), (4, "slow")):
        fast = candidate("fast", cpus=10, free=free, memory=free / 10, speed=1.2)
        assert chosen(slow, fast) == chosen(fast, slow) == taken


def test_a_fast_machine_that_others_keep_busy_is_slow() -> None:
    """Four processes on a processor each take four times as long; reservations know nothing of them."""
    assert chosen(candidate("busy", speed=2.0, load=Load(cpu=4.0)), candidate("idle")) == "idle"


def test_speeds_that_hardly_differ_are_alike() -> None:
    """Two measurements of one machine never agree quite: the idler one is taken, and of idle ones any."""
    busy, idle = candidate("busy", free=1, speed=1.02), candidate("idle", speed=0.98)
    assert chosen(busy, idle) == "idle"
    assert {chosen(candidate("a", speed=1.02), idle, seed=seed) for seed in range(20)} == {"a", "idle"}


def test_the_request_itself_counts() -> None:
    """A memory-hungry task goes where memory is, a small one where processors are."""
    roomy, fast = candidate("roomy", cpus=4, free=2), candidate("fast", cpus=4, free=3, memory=0.5)
    hungry = TaskSpec(command="x", request=request(0.5, 2 * GIB))
    assert chosen(roomy, fast) == "fast"
    assert chosen(roomy, fast, task=hungry) == "roomy"


def test_ties_break_evenly() -> None:
    """Equal workers get equal parts, whoever stands first."""
    each = [candidate(f"w{number}") for number in range(4)]
    draws = Draws(7)
    counts = [0] * 4
    for _ in range(4000):
        found = choose(TASK, each, Context(0.0, draws))
        assert found is not None
        counts[each.index(found)] += 1
    assert all(800 < count < 1200 for count in counts)


def test_a_worker_without_network_is_no_error() -> None:
    """An unknown bandwidth counts as unused, and a load above 1 as what it is."""
    assert pressure(TASK, candidate("w", net=0, load=Load(cpu=2.0))) > 1
