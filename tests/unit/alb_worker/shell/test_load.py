"""Load: what was used between two readings, as fractions of what is offered."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from alb_core.resources import Capacity, Load
from alb_worker.shell.capacity import Machine
from alb_worker.shell.cgroup import Cgroup
from alb_worker.shell.gpus import NoGpus
from alb_worker.shell.load import Counters, LoadMeter, machine_counters

CAPACITY = Capacity(cpus=2.0, memory_bytes=1000, net_bps=8000)


def reading(
    cpu_s: float = 0.0, free: int = 1000, received: int = 0, sent: int = 0, cpus: float = 2.0
) -> Counters:
    """Return one reading."""
    return Counters(cpu_s=cpu_s, cpus=cpus, memory_bytes=free, received_bytes=received, sent_bytes=sent)


def meter(*readings: Counters, capacity: Capacity = CAPACITY) -> LoadMeter:
    """Return a meter that finds these readings."""
    rest: Iterator[Counters] = iter(readings)
    return LoadMeter(capacity, lambda: next(rest))


def test_the_first_measurement_knows_only_memory() -> None:
    """Rates need two readings."""
    assert meter(reading(cpu_s=99, free=750, sent=10**9)).measure(0.0) == Load(memory=0.25)


def test_differences_over_time_are_fractions_of_the_offer() -> None:
    """One of two processors, a quarter of the memory, 500 bytes a second of 8,000 bits."""
    meter_ = meter(reading(10), reading(12, 750, received=1000, sent=10))
    meter_.measure(0.0)
    assert meter_.measure(2.0) == Load(cpu=0.5, memory=0.25, net=0.5)


def test_each_measurement_starts_where_the_last_ended() -> None:
    """A busy second does not colour the idle one after it."""
    meter_ = meter(reading(0), reading(2), reading(2))
    assert [meter_.measure(at).cpu for at in (0.0, 1.0, 2.0)] == [0.0, 1.0, 0.0]


def test_the_busier_direction_counts() -> None:
    """A link carries its speed both ways at once."""
    for now in (reading(received=1000, sent=900), reading(received=900, sent=1000)):
        meter_ = meter(reading(), now)
        meter_.measure(0.0)
        assert meter_.measure(1.0).net == 1.0


def test_load_may_exceed_what_is_offered() -> None:
    """Others use the machine too."""
    meter_ = meter(reading(), reading(cpu_s=4))
    meter_.measure(0.0)
    assert meter_.measure(1.0) == Load(cpu=2.0)


def test_what_is_left_of_the_machine_is_free_of_its_offer() -> None:
    """Where a part of it is offered, what others use takes from the rest first."""
    for free, load in ((10**6, 0.0), (1000, 0.0), (400, 0.6), (0, 1.0)):
        assert meter(reading(free=free)).measure(0.0).memory == load


@pytest.mark.parametrize(
    ("present", "used_s", "load"),
    [
        (64.0, 40.0, 0.0),  # two of 64 processors are offered, and 24 idle
        (64.0, 63.0, 0.5),  # one idles
        (64.0, 64.0, 1.0),
        (2.0, 1.0, 0.5),  # all are offered
        (1.0, 1.0, 0.5),  # more are offered than there are: they are shares of those
    ],
)
def test_processors_that_are_not_offered_are_used_first(present: float, used_s: float, load: float) -> None:
    """Two of a large machine are free as long as two of its processors are, whatever the others do."""
    meter_ = meter(reading(cpus=present), reading(used_s, cpus=present))
    meter_.measure(0.0)
    assert meter_.measure(1.0).cpu == load


def test_a_counter_that_began_anew_is_no_negative_load() -> None:
    """An interface that was made again counts from zero."""
    meter_ = meter(reading(received=5000), reading(received=10))
    meter_.measure(0.0)
    assert meter_.measure(1.0).net == 0.0


def test_what_is_not_known_to_be_offered_has_no_load() -> None:
    """Unknown bandwidth, no load of it."""
    capacity = Capacity(cpus=1.0, memory_bytes=0)
    meter_ = meter(reading(), reading(free=5, sent=10**6), capacity=capacity)
    meter_.measure(0.0)
    assert meter_.measure(1.0) == Load()


def test_two_measurements_at_one_time_divide_by_nothing() -> None:
    """The second waits for time to pass, and the next one covers the whole interval."""
    meter_ = meter(reading(), reading(1), reading(2))
    meter_.measure(0.0)
    assert meter_.measure(0.0).cpu == 0.0
    assert meter_.measure(1.0).cpu == 1.0


class _Group(Cgroup):
    """A control group that has used this much."""

    def __init__(self, cpu_s: float | None, memory_bytes: int | None) -> None:
        self.used = (cpu_s, memory_bytes)

    def cpu_used_s(self) -> float | None:
        return self.used[0]

    def memory_used_bytes(self) -> int | None:
        return self.used[1]


def test_a_confined_worker_counts_its_own_use() -> None:
    """Where the control group is the bound, what others use of the machine does not matter."""
    machine = Machine(cpus=0.5, memory_bytes=100, confined_cpu=True, confined_memory=True)
    counters = machine_counters(machine, _Group(3.5, 77))()
    assert (counters.cpu_s, counters.cpus, counters.memory_bytes) == (3.5, 0.5, 23)


def test_a_free_worker_counts_the_machines() -> None:
    """Not confined, or the group cannot tell: the whole machine, whose counters only rise."""
    free = Machine(cpus=1, memory_bytes=1, interface="lo")
    blind = Machine(cpus=1, memory_bytes=1, confined_cpu=True, confined_memory=True)
    for read in (machine_counters(free, _Group(1e12, 1)), machine_counters(blind, _Group(None, None))):
        before, after = read(), read()
        assert 0 < before.cpu_s <= after.cpu_s < 1e12
        assert before.cpus == psutil.cpu_count()
        assert before.memory_bytes > 1_000_000
        assert before.received_bytes <= after.received_bytes


def test_of_a_workers_own_processors_no_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where affinity leaves it some, those alone are looked at; one that is not there has spent nothing."""
    each = [SimpleNamespace(user=2.0**n, nice=0, system=1, irq=0, softirq=0, steal=0) for n in range(4)]
    monkeypatch.setattr("psutil.cpu_times", lambda percpu: each if percpu else None)
    counters = machine_counters(Machine(cpus=3, processors=(1, 3, 9), memory_bytes=1), _Group(None, None))()
    assert (counters.cpu_s, counters.cpus) == (12.0, 3.0)


def test_gpus_that_are_offered_are_measured() -> None:
    """Their mean, and that of no others; where none is offered nobody asks."""

    class Busy(NoGpus):
        def busy(self) -> tuple[float, ...]:
            return (0.5, 1.0, 0.0)

    machine = Machine(cpus=1, memory_bytes=1)
    assert machine_counters(machine, gpus=Busy(), offered_gpus=2)().gpu == 0.75
    assert machine_counters(machine, gpus=Busy())().gpu == 0.0
    assert machine_counters(machine, gpus=NoGpus(), offered_gpus=2)().gpu == 0.0
