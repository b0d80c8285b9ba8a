"""The control groups of a runner: everything that it ever starts is in them, and can be killed exactly.

The runner enters a group of its own when it starts, in every hierarchy that lets it; its children inherit it
at no cost. In it there is one for the runner and the attempts that are young, and one for each attempt that
has grown up (`groups`). Of version 2 ``cgroup.kill`` ends them all at once, whatever they did to hide; no
controller is needed for that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alb_worker.runner.hierarchies import DEMOTING, WANTED, mount_points, own_places

_PREFIX: Final = "alb-"


def group_prefix(home: str) -> str:
    """Return how the names of all groups of a worker's home directory begin."""
    return f"{_PREFIX}{zlib.crc32(home.encode()):08x}-"


def group_name(home: str, worker: str, incarnation: str) -> str:
    """Return the name of one runner's group."""
    return f"{group_prefix(home)}{worker}-{incarnation}"


def groups_named(name: str) -> list[Path]:
    """Return the groups of a runner that this process started, in all hierarchies."""
    found = (Path(place.below(name).path) for place in own_places(wanted=WANTED | DEMOTING))
    return [group for group in found if group.is_dir()]


def groups_of(home: str) -> Iterator[Path]:
    """Find the groups of all runners of a worker's home directory, wherever they were started."""
    prefix = group_prefix(home)
    pending = mount_points()
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name.startswith(prefix):
                        yield Path(entry.path)
                    else:
                        pending.append(entry.path)


def members(group: Path) -> list[int]:
    """Return the processes in a group and in those below it."""
    pids: list[int] = []
    for directory, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            pids += map(int, Path(directory, "cgroup.procs").read_text().split())
    return pids


def kill(group: Path, patience_s: float) -> bool:
    """Kill everything in a group, and remove the group.

    Args:
        group: Its path.
        patience_s: How long to wait for its processes to be gone.

    Returns:
        Whether the group is gone.
    """
    deadline = time.monotonic() + patience_s
    while True:
        _kill_members(group)
        _remove(group)
        if not group.exists():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)


def _kill_members(group: Path) -> None:
    try:
        (group / "cgroup.kill").write_text("1")
    except OSError:  # version 1, and Linux before 5.14, have no such file
        for directory, _, _ in os.walk(group):
            # Whoever was frozen when its runner died would never take note of the signal.
            with contextlib.suppress(OSError):
                Path(directory, "freezer.state").write_text("THAWED")
        for pid in members(group):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _remove(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
