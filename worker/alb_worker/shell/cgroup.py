"""The control group that this process lives in: what it allows, and what it uses. Versions 1 and 2.

A limit of any ancestor holds too, so limits are looked up from the group to the root. Nothing is an error:
where there is no control group, or its files are not visible, there is no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alb_worker.runner.hierarchies import AGENT_LEAF

_UNLIMITED_V1: Final = 1 << 60
#: Version 1 writes "no limit" as a huge number.


class Cgroup:
    """The control group of this process.

    Args:
        root: Where ``proc`` and the mounts are looked up; another folder in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._cpu: list[Path] = []
        #: Folders of the cpu controller, the group's own first, then its ancestors.
        self._usage: list[Path] = []
        #: Those of the controller that counts processor time: in version 1 one of its own.
        self._memory: list[Path] = []
        self._version = 2
        groups = _groups(_text(root / "proc/self/cgroup"))
        for mount_root, mount_point, kind, controllers in _mounts(_text(root / "proc/self/mountinfo")):
            if kind == "cgroup2" and "" in groups:
                folders = self._ancestry(mount_root, mount_point, groups[""])
                self._cpu = self._cpu or folders
                self._usage = self._usage or folders
                self._memory = self._memory or folders
                continue
            for controller in controllers & groups.keys() & {"cpu", "cpuacct", "memory"}:
                folders = self._ancestry(mount_root, mount_point, groups[controller])
                self._version = 1
                if controller == "cpu":
                    self._cpu = folders
                elif controller == "cpuacct":
                    self._usage = folders
                else:
                    self._memory = folders

    def cpus_max(self) -> float | None:
        """Return how many processors the group may use at once, None for no limit."""
        found = [_cpus_v1(folder) if self._version == 1 else _cpus_v2(folder) for folder in self._cpu]
        return min((limit for limit in found if limit is not None), default=None)

    def memory_max_bytes(self) -> int | None:
        """Return how much memory the group may use, None for no limit."""
        name = "memory.limit_in_bytes" if self._version == 1 else "memory.max"
        found = [_number(folder / name) for folder in self._memory]
        return min((limit for limit in found if limit is not None and limit < _UNLIMITED_V1), default=None)

    def cpu_used_s(self) -> float | None:
        """Return the processor time that the group has used so far, None where it is not known."""
        for folder in self._usage[:1]:
            if self._version == 1:
                nanoseconds = _number(folder / "cpuacct.usage")
                return None if nanoseconds is None else nanoseconds / 1e9
            microseconds = _field(folder / "cpu.stat", "usage_usec")
            return None if microseconds is None else microseconds / 1e6
        return None

    def memory_used_bytes(self) -> int | None:
        """Return the memory that the group uses and cannot give back at once, None where it is not known."""
        for folder in self._memory[:1]:
            name = "memory.usage_in_bytes" if self._version == 1 else "memory.current"
            used = _number(folder / name)
            cached = _field(folder / "memory.stat", "inactive_file") or 0
            return None if used is None else max(used - cached, 0)
        return None

    def _ancestry(self, mount_root: str, mount_point: str, group: str) -> list[Path]:
        """Return the group's folder and its ancestors below the mount, as far as they are visible."""
        relative = group.removeprefix(mount_root.rstrip("/")).strip("/")
        top = self._root / mount_point.strip("/")
        parts = [part for part in relative.split("/") if part]
        folders = [top.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]
        return [folder for folder in folders if folder.is_dir()]


def _groups(text: str) -> dict[str, str]:
    """Return the group of each controller from ``/proc/self/cgroup``; version 2 has the controller ''."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # An agent that made way for its commands' groups counts as being where it was: limits are there.
        groups |= dict.fromkeys(controllers.split(","), path.removesuffix(f"/{AGENT_LEAF}"))
    return groups


def _mounts(text: str) -> Iterator[tuple[str, str, str, set[str]]]:
    """Read ``/proc/self/mountinfo`` (proc(5)): root in the file system, mount point, type, super options."""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if separator and len(fields) >= 5 and kinds and kinds[0] in ("cgroup", "cgroup2"):
            yield fields[3], fields[4], kinds[0], set(kinds[-1].split(","))


def _cpus_v2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _cpus_v1(folder: Path) -> float | None:
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and period and quota > 0 else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _field(path: Path, name: str) -> int | None:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
