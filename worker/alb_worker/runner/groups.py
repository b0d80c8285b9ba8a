"""A control group for each attempt that lives long enough to be worth it, in every hierarchy that lets us.

Making a group and moving a process into it costs a quarter of a millisecond, and a lone move waits up to
12 ms for the kernel's grace period (measured: 2 cores, Linux 6.18); moves that follow at once take 0.1 ms. So
an attempt is born into the runner's group, and those that have grown up are moved together.

What the kernel counts begins with the move: what was used before is the sampling's to see.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import Final

from alb_core.bounds import Bounds
from alb_worker.runner.hierarchies import AGENT_LEAF, Place, own_places

YOUNG: Final = "young"
#: The runner's own, and that of attempts that have none yet.
CGROUP2: Final = "cgroup2"
CGROUP1: Final = "cgroup1"
SAMPLING: Final = "sampling"
YOUNG_PROCESSES_MIN: Final = 2000
YOUNG_PROCESSES_A_CPU: Final = 500
#: All young attempts together have so many processes and threads at most: what forks faster than it can be
#: looked at must not take the processor from who looks.
FREEZE_S: Final = 0.2
#: A group of version 1 is frozen within this, or killed as it is.
_HOLDING: Final = frozenset({"memory", "pids"})
_WEIGHING: Final = frozenset({"cpu"})
WEIGHT_MIN: Final = "1"
#: ``cpu.weight``; others have 100.
_ATTEMPT: Final = re.compile(rb"/a(\d+)$", re.MULTILINE)


def _mechanism(versions: set[int]) -> str:
    if not versions:
        return SAMPLING
    return CGROUP2 if versions == {2} else CGROUP1


class Use:
    """What the kernel tells of a group since the attempt was moved there."""

    __slots__ = ("cpu_s", "kernel_kills", "peak_bytes", "refused_forks")

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.peak_bytes = 0
        #: Files that it has read or written included, as far as they were in memory.
        self.kernel_kills = 0
        self.refused_forks = 0


class AttemptGroup:
    """The groups of one attempt, one in each hierarchy.

    Args:
        number: Of the attempt; no other one of this runner has it.
        places: The groups, which do not exist yet.
        bounds: What the kernel is to hold the attempt to.

    Raises:
        OSError: They cannot be made; nothing is left of them.
    """

    def __init__(self, number: int, places: list[Place], bounds: Bounds) -> None:
        self.number = number
        self._places = places
        self._members: set[int] = set()
        #: Those that were moved here; their children need not be.
        wanted = {"memory": bounds.memory_bytes, "pids": bounds.processes}
        self.holds = frozenset(
            name for place in places for name in place.controllers & _HOLDING if wanted[name] is not None
        )
        #: Controllers that hold the attempt to a bound.
        versions = {place.version for place in places if place.controllers & self.holds}
        self.mechanism = _mechanism(versions)
        try:
            for place in places:
                os.mkdir(place.path)  # noqa: PTH102 (a path as text)
                _bound(place, bounds)
        except OSError:
            self.remove()
            raise

    def add(self, pid: int) -> None:
        """Move a process here, unless it is here or gone."""
        if pid not in self._members:
            self._members.add(pid)
            for place in self._places:
                with contextlib.suppress(ProcessLookupError):
                    _write(f"{place.path}/cgroup.procs", str(pid))

    def known(self, pid: int) -> bool:
        """Tell whether a process was moved here, or found here."""
        return pid in self._members

    def members(self) -> list[int]:
        """Return the processes that are here."""
        return [int(pid) for pid in _read(f"{self._places[0].path}/cgroup.procs").split()]

    def use(self) -> Use:
        """Ask the kernel what was used."""
        use = Use()
        for place in self._places:
            if place.version == 2:
                _use_v2(place, use)
            else:
                _use_v1(place, use)
        return use

    def kill(self) -> bool:
        """Kill everything that is here, whatever forks meanwhile; returns whether that could be done."""
        for place in self._places:
            if place.version == 2 and _try_write(f"{place.path}/cgroup.kill", "1"):
                return True
        for place in self._places:
            if "freezer" in place.controllers and place.version == 1:
                self._kill_frozen(place)
                return True
        return False

    def weaken(self) -> bool:
        """Give everything that is here the lowest weight; returns whether that could be done."""
        return any(
            _try_write(f"{place.path}/cpu.weight", WEIGHT_MIN)
            for place in self._places
            if place.version == 2 and "cpu" in place.controllers
        )

    def _kill_frozen(self, place: Place) -> None:
        state = f"{place.path}/freezer.state"
        _try_write(state, "FROZEN")
        deadline = time.monotonic() + FREEZE_S
        while _read(state).strip() == b"FREEZING" and time.monotonic() < deadline:
            time.sleep(0.001)
        for pid in map(int, _read(f"{place.path}/cgroup.procs").split()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _try_write(state, "THAWED")

    @property
    def killer(self) -> str:
        """What ends everything that is here."""
        return CGROUP2 if self._places[0].version == 2 else CGROUP1

    def remove(self) -> bool:
        """Remove the groups; returns whether they are gone: while somebody is in one, it stays."""
        for place in self._places:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rmdir(place.path)  # noqa: PTH106 (a path as text)
                except OSError:
                    return False
        return True


class RunnerGroups:
    """The groups of a runner: its own, and those of its attempts below.

    Args:
        name: Of its group, unique among all runners.
        wanted: ``cgroup2`` or ``cgroup1``: use only those; ``sampling``: use none; empty: use what there is.
    """

    def __init__(self, name: str, wanted: str = "") -> None:
        self._bases: list[Place] = []
        self._serial = 0
        self._left: list[AttemptGroup] = []
        #: Those of attempts that are over which could not be removed yet.
        versions = {CGROUP2: {2}, CGROUP1: {1}, SAMPLING: set[int]()}.get(wanted, {1, 2})
        provided: set[str] = set()
        for place in own_places():
            if place.version not in versions:
                continue
            if place.version == 2:
                base = _enter_v2(place, name)
            elif place.controllers - provided - (frozenset({"freezer"}) if self.kills else frozenset()):
                base = _enter(place, name)
            else:
                continue
            if base is not None:
                self._bases.append(base)
                provided |= base.controllers
        _bound_all(self._bases)

    @property
    def path(self) -> str:
        """The runner's group, of version 2 where there is one; empty where there is none."""
        return self._bases[0].path if self._bases else ""

    @property
    def kills(self) -> bool:
        """Whether everything in a group can be killed exactly."""
        return any(
            "freezer" in base.controllers if base.version == 1 else Path(base.path, "cgroup.kill").exists()
            for base in self._bases
        )

    @property
    def mechanism(self) -> str:
        """What can hold attempts to bounds of memory and processes."""
        versions = {base.version for base in self._bases if base.controllers & _HOLDING}
        return _mechanism(versions)

    def make(self, bounds: Bounds) -> AttemptGroup | None:
        """Make groups for an attempt; None where that is not possible."""
        if not self._bases:
            return None
        self._serial += 1
        try:
            return AttemptGroup(
                self._serial, [base.below(f"a{self._serial}") for base in self._bases], bounds
            )
        except OSError:
            return None

    def discard(self, group: AttemptGroup) -> None:
        """Remove a group whose attempt is over, and those that could not be removed before."""
        self._left = [each for each in (*self._left, group) if not each.remove()]

    def number_of(self, pid: int) -> int:
        """Return the number of the attempt in whose group a process is; 0: in none."""
        found = _ATTEMPT.search(_read(f"/proc/{pid}/cgroup")) if self._bases else None
        return int(found[1]) if found else 0

    def leave(self) -> None:
        """Go back to where the runner came from and remove its groups, if nothing else is in them."""
        for base in self._bases:
            with contextlib.suppress(OSError):
                Path(base.path).parent.joinpath("cgroup.procs").write_text("0")
            for directory, _, _ in os.walk(base.path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)  # noqa: PTH106 (a path as text)


# --- version 2 --------------------------------------------------------------------------------------------


def _enter_v2(place: Place, name: str) -> Place | None:
    """Make a group and enter it; have it share out the controllers that we may have."""
    base = _enter(place, name)
    if base is None:
        return None
    shared = frozenset(
        name
        for name in place.controllers & (_HOLDING | _WEIGHING)
        if _share(place, name) and _try_write(f"{base.path}/cgroup.subtree_control", f"+{name}")
    )
    return base._replace(controllers=shared)


def _share(place: Place, controller: str) -> bool:
    """Have our old group share a controller out to the groups below it; returns whether it does.

    It may do so only while it has no process of its own. Our agent makes way for that, if it is the only one.
    """
    control = f"{place.path}/cgroup.subtree_control"
    if controller.encode() in _read(control).split() or _try_write(control, f"+{controller}"):
        return True
    agent, leaf = os.getppid(), place.below(AGENT_LEAF).path
    if [int(pid) for pid in _read(f"{place.path}/cgroup.procs").split()] != [agent]:
        return False
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            os.mkdir(leaf, 0o755)  # noqa: PTH102 (a path as text)
        _write(f"{leaf}/cgroup.procs", str(agent))
    return _try_write(control, f"+{controller}")


def _use_v2(place: Place, use: Use) -> None:
    use.cpu_s = _field(f"{place.path}/cpu.stat", b"usage_usec") / 1e6
    if "memory" in place.controllers:
        use.peak_bytes = _number(f"{place.path}/memory.peak")
        use.kernel_kills = _field(f"{place.path}/memory.events", b"oom_kill")
    if "pids" in place.controllers:
        use.refused_forks = _field(f"{place.path}/pids.events", b"max")


# --- version 1 --------------------------------------------------------------------------------------------


def _use_v1(place: Place, use: Use) -> None:
    if "memory" in place.controllers:
        use.peak_bytes = _number(f"{place.path}/memory.max_usage_in_bytes")
        use.kernel_kills = _field(f"{place.path}/memory.oom_control", b"oom_kill")
    if "pids" in place.controllers:
        use.refused_forks = _field(f"{place.path}/pids.events", b"max")


# --- both -------------------------------------------------------------------------------------------------


def _enter(place: Place, name: str) -> Place | None:
    """Make a group, and enter the one for the young in it."""
    base = place.below(name)
    young = base.below(YOUNG).path
    try:
        os.mkdir(base.path, 0o755)  # noqa: PTH102 (a path as text)
        os.mkdir(young, 0o755)  # noqa: PTH102 (a path as text)
        _write(f"{young}/cgroup.procs", "0")
    except OSError:
        for path in (young, base.path):
            with contextlib.suppress(OSError):
                os.rmdir(path)  # noqa: PTH106 (a path as text)
        return None
    return base


def _bound(place: Place, bounds: Bounds) -> None:
    """Write an attempt's bounds; swap is no way around them."""
    if "memory" in place.controllers and bounds.memory_bytes is not None:
        limit = str(bounds.memory_bytes)
        if place.version == 2:
            _write(f"{place.path}/memory.max", limit)
            _try_write(f"{place.path}/memory.swap.max", "0")
            _try_write(f"{place.path}/memory.oom.group", "1")
        else:
            _write(f"{place.path}/memory.limit_in_bytes", limit)
            _try_write(f"{place.path}/memory.memsw.limit_in_bytes", limit)
    if "pids" in place.controllers and bounds.processes is not None:
        _write(f"{place.path}/pids.max", str(bounds.processes))


def _bound_all(bases: list[Place]) -> None:
    """Keep half of the machine's processes for others, and a fork bomb small until it has its own group."""
    most = min(_number("/proc/sys/kernel/pid_max"), _number("/proc/sys/kernel/threads-max")) // 2
    young = max(YOUNG_PROCESSES_MIN, YOUNG_PROCESSES_A_CPU * (os.cpu_count() or 1))
    for base in bases:
        if "pids" in base.controllers and most:
            _try_write(f"{base.path}/pids.max", str(most))
            _try_write(f"{base.below(YOUNG).path}/pids.max", str(min(most, young)))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _try_write(path: str, text: str) -> bool:
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (read often)
            return file.read()
    except OSError:
        return b""


def _number(path: str) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else 0


def _field(path: str, name: bytes) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(b" ")
        if key == name and value.isdigit():
            return int(value)
    return 0
