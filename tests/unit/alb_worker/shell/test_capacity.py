"""What a worker offers: the least of machine and control group, bent by flags as far as that is safe."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec
import psutil
import pytest

from alb_core.config import WorkerConfig
from alb_core.errors import ConfigError
from alb_core.resources import counts_of
from alb_core.speeds import Speeds
from alb_worker.shell.capacity import Machine, default_interface, examine, link_speed_bps, offer
from alb_worker.shell.cgroup import Cgroup
from alb_worker.shell.gpus import NoGpus

MACHINE = Machine(cpus=4.0, memory_bytes=8000, interface="eth0", link_bps=1_000_000_000)


def config(**fields: object) -> WorkerConfig:
    """Return a worker's settings."""
    return WorkerConfig(zk="zk1:2181", name="w1", **fields)  # type: ignore[arg-type]


class _Confined(Cgroup):
    """A control group of given limits."""

    def __init__(self, cpus: float | None, memory_bytes: int | None) -> None:
        self.limits = (cpus, memory_bytes)

    def cpus_max(self) -> float | None:
        return self.limits[0]

    def memory_max_bytes(self) -> int | None:
        return self.limits[1]


def test_without_flags_the_machine_is_offered() -> None:
    """Processors, memory, link speed, and what the machine is."""
    capacity, notes = offer(config(labels=("gpu", "zone=a")), MACHINE)
    assert (capacity.cpus, capacity.memory_bytes, capacity.net_bps) == (4.0, 8000, 1_000_000_000)
    assert (capacity.arch, capacity.kernel) == (platform.machine(), platform.release())
    assert capacity.labels == ("gpu", "zone=a")
    assert capacity.host
    assert capacity.version
    assert notes == []


def test_flags_offer_less() -> None:
    """An operator keeps a part of the machine back."""
    capacity, notes = offer(config(cpus=1.5, memory_bytes=100, net_bps=5), MACHINE)
    assert (capacity.cpus, capacity.memory_bytes, capacity.net_bps) == (1.5, 100, 5)
    assert notes == []


@pytest.mark.parametrize(
    ("oversubscribe", "offered", "event"),
    [(False, 4.0, "cpus_not_there"), (True, 16.0, "cpus_oversubscribed")],
)
def test_more_processors_than_there_are_are_offered_on_demand_only(
    oversubscribe: bool,  # noqa: FBT001 (a table)
    offered: float,
    event: str,
) -> None:
    """They are shared then; who did not ask for that is told what he gets."""
    capacity, notes = offer(config(cpus=16, oversubscribe=oversubscribe), MACHINE)
    assert capacity.cpus == offered
    said = {"wanted": 16, "present": 4.0, "offered": offered}
    assert [(note.event, note.fields) for note in notes] == [(event, said)]


def test_an_interface_that_is_not_there_is_refused() -> None:
    """A load of 0 for ever would look like an idle network; the message names those that there are."""
    with pytest.raises(ConfigError, match=r"there is no 'nope0' here, only .*\blo\b"):
        examine("nope0")
    assert examine("lo").interface == "lo"


@pytest.mark.parametrize(("bound", "offered"), [(256 << 20, 192 << 20), (100 << 20, 50 << 20)])
def test_a_group_holds_the_worker_too(bound: int, offered: int) -> None:
    """What is promised to commands leaves room for agent and runner; a flag is taken as it is."""
    machine = Machine(cpus=1, memory_bytes=bound, confined_memory=True)
    assert offer(config(), machine)[0].memory_bytes == offered
    assert offer(config(memory_bytes=bound), machine)[0].memory_bytes == bound


def test_more_memory_than_there_is_is_refused() -> None:
    """It would kill the commands that were promised it; the message names both numbers."""
    with pytest.raises(ConfigError, match=r"8001 bytes .* allows 8000"):
        offer(config(memory_bytes=8001), MACHINE)


def test_an_unknown_bandwidth_is_said() -> None:
    """Tasks that reserve bandwidth will not come here, and the operator learns why."""
    capacity, notes = offer(config(), Machine(cpus=1, memory_bytes=1))
    assert capacity.net_bps == 0
    assert [note.event for note in notes] == ["bandwidth_unknown"]


def test_a_control_group_bounds_the_machine() -> None:
    """The least of hardware and group counts, and which of them it was is remembered."""
    machine = examine(cgroup=_Confined(0.5, 4096))
    assert (machine.cpus, machine.memory_bytes) == (0.5, 4096)
    assert machine.confined_cpu
    assert machine.confined_memory


def test_a_wide_control_group_bounds_nothing() -> None:
    """Limits above the hardware leave the hardware; so does the absence of limits."""
    for group in (_Confined(1e6, 1 << 59), _Confined(None, None)):
        machine = examine(cgroup=group)
        assert machine.cpus == len(os.sched_getaffinity(0))
        assert machine.memory_bytes == psutil.virtual_memory().total
        assert not machine.confined_cpu
        assert not machine.confined_memory


def test_affinity_bounds_the_processors() -> None:
    """A process bound to one processor offers one, and knows which."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        machine = examine(cgroup=_Confined(None, None))
        assert machine.cpus == 1.0
        assert machine.processors == ((max(before),) if psutil.cpu_count() > 1 else ())
    finally:
        os.sched_setaffinity(0, before)


def write(proc: Path, name: str, text: str) -> None:
    """Write a file of a made-up /proc."""
    (proc / "net").mkdir(exist_ok=True)
    (proc / "net" / name).write_text(text)


def test_the_default_route_names_the_interface(tmp_path: Path) -> None:
    """Of several default routes the one with the lowest metric counts; other routes do not."""
    write(
        tmp_path,
        "route",
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0\n"
        "eth1 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n"
        "eth2 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n",
    )
    assert default_interface(tmp_path) == "eth1"


def test_a_machine_with_ipv6_only_has_an_interface_too(tmp_path: Path) -> None:
    """The kernel lists an unreachable default on lo, which is none."""
    zero = "0" * 32
    write(tmp_path, "route", "Iface Destination\n")
    write(
        tmp_path,
        "ipv6_route",
        f"{zero} 00 {zero} 00 fe80{'0' * 28} 00000400 1 0 00450003 eth6\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n",
    )
    assert default_interface(tmp_path) == "eth6"


def test_no_route_is_no_interface(tmp_path: Path) -> None:
    """And an interface that does not exist has no speed."""
    assert default_interface(tmp_path) == ""
    assert link_speed_bps("no-such-0") == 0


def test_named_counts_and_gpus_are_offered_as_told() -> None:
    """GPUs that nobody found may be offered, with a warning: the operator knows better, or tests."""
    capacity, notes = offer(config(resources=("licence=5",), gpus_count=2), MACHINE)
    assert capacity.counts == counts_of({"licence": 5, "gpus": 2})
    assert [(note.event, note.fields) for note in notes] == [("gpus_unverified", {"offered": 2, "found": 0})]


def test_gpus_that_are_found_are_offered_with_their_models() -> None:
    """All, or the first of them; none where the operator wants none."""
    machine = msgspec.structs.replace(MACHINE, gpus=("A100", "T4"))
    capacity, notes = offer(config(), machine)
    assert (capacity.gpus, capacity.labels, notes) == (2, ("gpu-model=A100", "gpu-model=T4"), [])
    assert offer(config(gpus_count=1), machine)[0].labels == ("gpu-model=A100",)
    assert offer(config(gpus_count=0), machine)[0].counts == ()


def test_the_machine_tells_its_gpus() -> None:
    """By way of whoever can see them."""

    class Two(NoGpus):
        def models(self) -> tuple[str, ...]:
            return ("a", "b")

    assert examine(gpus=Two()).gpus == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resources": ("licence",)}, "NAME=COUNT"),
        ({"resources": ("licence=0",)}, "licence=0 is no count"),
        ({"resources": ("licence=1", "licence=2")}, "twice"),
        ({"resources": ("cpus=2",)}, "option of their own"),
        ({"resources": tuple(f"r{n}=1" for n in range(17))}, "more than 16"),
        ({"gpus_count": -1}, "0 or more"),
        ({"gpus_count": 5000}, "1024"),
        ({"gpus_count": 1, "resources": ("gpus=2",)}, "given once"),
    ],
)
def test_counts_that_are_none_are_refused(fields: dict[str, object], words: str) -> None:
    """Before anything is registered."""
    with pytest.raises(ConfigError, match=words):
        config(**fields).validate()


def test_what_was_measured_is_offered_or_what_its_operator_says() -> None:
    """The mean of the kinds of work is the speed in general; without either a machine is an ordinary one."""
    speeds = Speeds(integer=1.0, memory=2.0, floating=4.0)
    measured = offer(config(), MACHINE, speeds=speeds)[0]
    assert (measured.speed, measured.speeds) == (2.0, speeds)
    told, unknown = offer(config(speed=3.0), MACHINE)[0], offer(config(), MACHINE)[0]
    assert [(each.speed, each.speeds) for each in (told, unknown)] == [(3.0, None), (1.0, None)]
