"""How busy the machine is: differences between two readings of its counters, as fractions of what is offered.

Where a control group bounds the worker, its own use is what counts, since others' use does not take from it;
else that of the whole machine, or of the processors that its affinity leaves it. What is offered is as free
as there is so much left: where a part of a machine is offered, what is used takes from the rest first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import psutil

from alb_core.resources import Capacity, Load
from alb_worker.shell.capacity import Machine
from alb_worker.shell.cgroup import Cgroup
from alb_worker.shell.gpus import Gpus


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """One reading. All times and bytes of traffic only rise."""

    cpu_s: float
    #: Processor time spent on anything but idling.
    cpus: float = 0.0
    #: Processors that spent it, or idled.
    memory_bytes: int
    #: To be had now without swapping.
    received_bytes: int
    sent_bytes: int
    gpu: float = 0.0
    #: How busy the GPUs that are offered are, from 0 to 1; that is no counter.


class LoadMeter:
    """Turns readings into loads.

    Args:
        capacity: What is offered.
        read: Gives a reading.
    """

    def __init__(self, capacity: Capacity, read: Callable[[], Counters]) -> None:
        self._capacity = capacity
        self._read = read
        self._last: tuple[float, Counters] | None = None

    def measure(self, at: float) -> Load:
        """Return the load since the last call; the first call knows only memory.

        Args:
            at: Monotonic seconds.
        """
        now, capacity = self._read(), self._capacity
        before_at, before = self._last or (at, now)
        elapsed_s = at - before_at
        offered = capacity.memory_bytes
        memory = max(0, offered - now.memory_bytes) / offered if offered else 0.0
        if elapsed_s <= 0:
            self._last = self._last or (at, now)
            return Load(memory=round(memory, 4))
        self._last = (at, now)
        beyond_s = elapsed_s * max(0.0, now.cpus - capacity.cpus)  # what is not offered could spend so much
        return Load(
            cpu=_fraction(now.cpu_s - before.cpu_s - beyond_s, elapsed_s * capacity.cpus),
            memory=round(memory, 4),
            net=_fraction(8 * _busier_way(now, before), elapsed_s * capacity.net_bps),
            gpu=round(now.gpu, 4),
        )


def machine_counters(
    machine: Machine, cgroup: Cgroup | None = None, gpus: Gpus | None = None, offered_gpus: int = 0
) -> Callable[[], Counters]:
    """Return what reads the counters of this machine.

    Args:
        machine: Tells the interface, and whether a control group bounds this process.
        cgroup: The control group; None: that of this process.
        gpus: Its GPUs; None: it has none.
        offered_gpus: Of which so many are offered.
    """
    group = cgroup or Cgroup()

    def read() -> Counters:
        cpu_s = group.cpu_used_s() if machine.confined_cpu else None
        used_bytes = group.memory_used_bytes() if machine.confined_memory else None
        traffic = psutil.net_io_counters(pernic=True, nowrap=True).get(machine.interface)
        return Counters(
            cpu_s=_machine_cpu_s(machine.processors) if cpu_s is None else cpu_s,
            cpus=_counted_cpus(machine) if cpu_s is None else machine.cpus,
            memory_bytes=_available_bytes() if used_bytes is None else machine.memory_bytes - used_bytes,
            received_bytes=traffic.bytes_recv if traffic else 0,
            sent_bytes=traffic.bytes_sent if traffic else 0,
            gpu=_mean(gpus.busy()[:offered_gpus]) if gpus is not None and offered_gpus else 0.0,
        )

    return read


def _mean(parts: tuple[float, ...]) -> float:
    return sum(parts) / len(parts) if parts else 0.0


def _busier_way(now: Counters, before: Counters) -> int:
    """Return the bytes of the busier direction: a link carries its speed both ways at once."""
    return max(now.received_bytes - before.received_bytes, now.sent_bytes - before.sent_bytes)


def _fraction(used: float, available: float) -> float:
    """Return a share; 0 where nothing is known to be available, or where a counter began anew."""
    return round(max(used, 0.0) / available, 4) if available > 0 else 0.0


def _counted_cpus(machine: Machine) -> float:
    """Return how many processors `_machine_cpu_s` looks at."""
    return float(len(machine.processors) or psutil.cpu_count() or machine.cpus)


def _machine_cpu_s(processors: tuple[int, ...]) -> float:
    """Return what some processors have spent, by their numbers; none are named: all of them."""
    if not processors:
        return _busy_s(psutil.cpu_times())
    each = psutil.cpu_times(percpu=True)
    return sum(_busy_s(each[number]) for number in processors if number < len(each))


def _busy_s(times: Any) -> float:
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _available_bytes() -> int:
    return int(psutil.virtual_memory().available)
