"""What this machine offers: the least of hardware, affinity, control group (less its own need), flags.

More processors than there are an operator may offer if he says so: commands then share them, and tests do so
on purpose. More memory than there is would kill commands that were promised it, so that is refused.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

import msgspec
import psutil

from alb_core import __version__
from alb_core.config import WorkerConfig
from alb_core.errors import ConfigError
from alb_core.io.clock import host_name
from alb_core.notes import Level, Note
from alb_core.resources import GPUS, Capacity, amount_of, counts_of
from alb_core.speeds import Speeds
from alb_worker.shell.cgroup import Cgroup
from alb_worker.shell.gpus import Gpus, model_labels

OWN_MEMORY_BYTES: Final = 64 * 1024 * 1024
#: Agent and runner take some 45 MiB, a health check 30 MiB for a moment.


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine allows this process."""

    cpus: float
    #: Processors: the least of hardware, affinity and control group.
    processors: tuple[int, ...] = ()
    #: The numbers of those that affinity allows; empty: all of the machine's.
    memory_bytes: int
    #: The least of hardware and control group.
    interface: str = ""
    #: Of the default route; empty: there is none.
    link_bps: int = 0
    #: Speed of that interface in bits per second; 0: unknown.
    gpus: tuple[str, ...] = ()
    #: The model of each, in the order of their indexes.
    confined_cpu: bool = False
    #: The control group, not the hardware, bounds the processors.
    confined_memory: bool = False


def examine(interface: str = "", cgroup: Cgroup | None = None, gpus: Gpus | None = None) -> Machine:
    """Look at the machine.

    Args:
        interface: The network interface to use; empty: that of the default route.
        cgroup: The control group to heed; None: that of this process.
        gpus: Its GPUs; None: it has none.

    Raises:
        ConfigError: There is no such interface.
    """
    cgroup = cgroup or Cgroup()
    if interface and interface not in (present := psutil.net_if_stats()):
        raise ConfigError(
            f"--net-interface: there is no {interface!r} here, only {', '.join(sorted(present))}"
        )
    allowed = os.sched_getaffinity(0)
    cpus = float(len(allowed))
    memory_bytes = psutil.virtual_memory().total
    group_cpus, group_memory = cgroup.cpus_max(), cgroup.memory_max_bytes()
    interface = interface or default_interface()
    return Machine(
        cpus=cpus if group_cpus is None else min(cpus, group_cpus),
        processors=tuple(sorted(allowed)) if len(allowed) < (os.cpu_count() or 1) else (),
        memory_bytes=memory_bytes if group_memory is None else min(memory_bytes, group_memory),
        interface=interface,
        link_bps=link_speed_bps(interface),
        gpus=() if gpus is None else gpus.models(),
        confined_cpu=group_cpus is not None and group_cpus < cpus,
        confined_memory=group_memory is not None and group_memory < memory_bytes,
    )


def offer(
    config: WorkerConfig, machine: Machine, kinds: tuple[str, ...] = (), speeds: Speeds | None = None
) -> tuple[Capacity, list[Note]]:
    """Decide what the worker offers.

    Args:
        config: What its operator wants.
        machine: What there is.
        kinds: Labels of the kinds of task that it runs.
        speeds: As measured; None: they are not known, or the operator's word holds.

    Returns:
        The capacity, and what an operator should know about it.

    Raises:
        ConfigError: More memory is to be offered than there is.
    """
    notes: list[Note] = []
    if config.memory_bytes > machine.memory_bytes:
        raise ConfigError(
            f"--memory: {config.memory_bytes} bytes cannot be offered, "
            f"this machine or its control group allows {machine.memory_bytes}"
        )
    cpus = config.cpus or machine.cpus
    if cpus > machine.cpus:
        wanted = cpus
        cpus = wanted if config.oversubscribe else machine.cpus
        excess = {"wanted": wanted, "present": machine.cpus, "offered": cpus}
        event = "cpus_oversubscribed" if config.oversubscribe else "cpus_not_there"
        notes.append(Note(event, excess, Level.WARNING))
    net_bps = config.net_bps or machine.link_bps
    if not net_bps:
        fields = {"interface": machine.interface, "hint": "tasks that reserve bandwidth need --net-bps"}
        notes.append(Note("bandwidth_unknown", fields))
    counts = config.counts()
    if config.gpus_count is None and machine.gpus and not amount_of(counts, GPUS):
        counts = counts_of({GPUS: len(machine.gpus)} | {count.name: count.amount for count in counts})
    gpus = amount_of(counts, GPUS)
    if gpus > len(machine.gpus):
        excess = {"offered": gpus, "found": len(machine.gpus)}
        notes.append(Note("gpus_unverified", excess, Level.WARNING))
    capacity = Capacity(
        cpus=cpus,
        memory_bytes=config.memory_bytes or _shared(machine),
        net_bps=net_bps,
        arch=platform.machine(),
        kernel=platform.release(),
        host=host_name(),
        labels=(*config.labels, *kinds, *model_labels(machine.gpus[:gpus])),
        version=__version__,
        counts=counts,
        speed=config.speed or (1.0 if speeds is None else round(speeds.mean(), 3)),
        speeds=speeds,
    )
    return capacity, notes


def _shared(machine: Machine) -> int:
    """Return the memory that commands may have: in a group's bound the worker itself lives, too."""
    if not machine.confined_memory:
        return machine.memory_bytes
    return max(machine.memory_bytes - OWN_MEMORY_BYTES, machine.memory_bytes // 2)


def default_interface(proc: Path = Path("/proc")) -> str:
    """Return the interface of the default route with the lowest metric, IPv4 before IPv6; '' without one."""
    routes = _default_routes_v4(proc) or _default_routes_v6(proc)
    return min(routes)[1] if routes else ""


def link_speed_bps(interface: str) -> int:
    """Return the speed that the interface tells in bits per second, 0 where it tells none."""
    stats = psutil.net_if_stats().get(interface)
    return stats.speed * 1_000_000 if stats and stats.speed > 0 else 0


def _default_routes_v4(proc: Path) -> list[tuple[int, str]]:
    rows = (line.split() for line in _lines(proc / "net/route")[1:])
    return [
        (int(row[6]), row[0])
        for row in rows
        if len(row) > 7 and row[1] == "00000000" and row[7] == "00000000"
    ]


def _default_routes_v6(proc: Path) -> list[tuple[int, str]]:
    rows = (line.split() for line in _lines(proc / "net/ipv6_route"))
    return [
        (int(row[5], 16), row[9])
        for row in rows
        if len(row) > 9 and row[0] == "0" * 32 and row[1] == "00" and row[9] != "lo"
    ]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
