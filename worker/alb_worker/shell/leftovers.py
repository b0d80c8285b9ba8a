"""What a dead worker left on this machine: found by its home directory, killed, and waited for.

A worker's home (its ``work_dir``) tells its processes from those of any other worker, also of one with the
same name in another cluster. They are found three ways: by the control group that a runner made and all its
commands inherit; by the dye that commands carry; by ``ALB_WORKER_HOME`` in the environment of runners and
commands. A lock in the directory makes sure that no living worker uses it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import time
from pathlib import Path
from typing import Final

import msgspec

from alb_core.errors import ConfigError
from alb_worker.runner import cgroup, dye, processes

HOME: Final = "ALB_WORKER_HOME"
RUNNER: Final = "ALB_RUNNER"
TASK: Final = "ALB_TASK_ID"
MARKS: Final = frozenset((HOME, RUNNER, TASK))
#: Environment variables that mark runners (HOME and RUNNER) and commands (HOME and TASK).

PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.005


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was killed because its worker is dead."""

    pid: int
    task: str = ""
    #: Where its environment tells.
    gone: bool = True
    #: False: it could not be killed within the patience; it may hang in the kernel.


class WorkDirLock:
    """The right to use a worker's directory, held until ``close`` or the death of this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Give the directory up."""
        os.close(self._descriptor)


def lock_work_dir(work_dir: str) -> WorkDirLock:
    """Make a worker's directory where it is missing, and lock it.

    Raises:
        ConfigError: It cannot be used, or another worker process that lives uses it.
    """
    path = Path(work_dir)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(
                f"work_dir {work_dir} belongs to another user, or others may write to it: choose another"
            )
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"work_dir {work_dir} cannot be used: {error.strerror}") from error
    try:
        _lock(descriptor, work_dir)
    except BaseException:
        os.close(descriptor)
        raise
    return WorkDirLock(descriptor)


def _lock(descriptor: int, work_dir: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise ConfigError(f"work_dir {work_dir} cannot be locked: {error.strerror}") from error
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        raise ConfigError(
            f"work_dir {work_dir} is in use by another worker on this machine (process {holder}): "
            "stop it first, or give this worker another name or work_dir"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def kill_leftovers(work_dir: str, *, patience_s: float = PATIENCE_S) -> list[Leftover]:
    """Kill every runner and every command of a worker's directory, and wait until they are gone.

    Args:
        work_dir: The directory; the caller holds its lock and has no runner.
        patience_s: How long to wait.

    Returns:
        What was killed.
    """
    home = os.path.realpath(work_dir)
    deadline = time.monotonic() + patience_s
    killed: dict[int, str] = {}
    for group in cgroup.groups_of(home):
        killed |= {pid: _task_of(pid) for pid in cgroup.members(group)}
        cgroup.kill(group, patience_s)
    spared = _self_and_ancestors()
    while True:
        found = _find(home, spared)
        killed |= {pid: task for pid, task in found.items() if pid not in killed}
        if not found or time.monotonic() > deadline:
            break
        for pid in found:
            _kill(pid, home)
        time.sleep(_PAUSE_S)
    return [Leftover(pid=pid, task=task, gone=pid not in found) for pid, task in sorted(killed.items())]


def _task_of(pid: int) -> str:
    return processes.environment_of(pid).get(TASK.encode(), b"").decode(errors="replace")


def _self_and_ancestors() -> set[int]:
    pid, line = os.getpid(), set[int]()
    while pid > 0 and pid not in line:
        line.add(pid)
        found = processes.stat_of(pid)
        pid = found.parent if found else 0
    return line


def _find(home: str, spared: set[int]) -> dict[int, str]:
    """Find the living processes of a home; reap those that became our own children and are dead."""
    found: dict[int, str] = {}
    for pid in processes.all_processes():
        if pid not in spared and _is_of(pid, home):
            process = processes.stat_of(pid)
            if process is not None and process.state not in "ZX":
                found[pid] = _task_of(pid)
            elif process is not None and process.parent == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
    return found


def _is_of(pid: int, home: str) -> bool:
    with contextlib.suppress(ProcessLookupError):
        if dye.is_of_home(dye.read(pid), home):
            return True
        environment = processes.environment_of(pid)
        return environment.get(HOME.encode()) == os.fsencode(home) and (
            TASK.encode() in environment or RUNNER.encode() in environment
        )
    return False


def _kill(pid: int, home: str) -> None:
    """Kill a process, unless its number has become another's since it was found."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if _is_of(pid, home):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
