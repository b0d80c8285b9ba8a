"""Tasks of other users on a worker that runs as root: what they must reach of its directory, and no more.

The way through the worker's directory is opened (others may pass, not list), so that a command finds its own
fresh directory under its full name. Everything else in there stays closed to it: spool, cache, prepared and
kept files, and what other users' tasks have.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from alb_core.errors import ConfigError
from alb_worker.runner.logins import Login, find_login

PASSABLE: Final = 0o711


def open_way(work_dir: str, allowed: tuple[str, ...]) -> None:
    """Open the way through a worker's directory, where somebody is to go it.

    Args:
        work_dir: It exists, and belongs to us.
        allowed: Login names of users whom tasks may run as.

    Raises:
        ConfigError: Only root can run tasks as other users, or they cannot reach the directory.
    """
    if not allowed:
        return
    if os.geteuid() != 0:
        raise ConfigError("--allow-run-as needs a worker that runs as root; this one cannot change users")
    home = Path(work_dir).resolve()
    home.chmod(PASSABLE)
    for parent in home.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise ConfigError(
                f"work_dir {home} lies in {parent}, which other users cannot pass: tasks of --allow-run-as "
                "could not reach their directories; choose another work_dir"
            )


def guest(run_as: str, allowed: tuple[str, ...]) -> Login | None:
    """Return the user whose files a task is to find; None: they are ours, or the runner will not start it."""
    return find_login(run_as) if run_as in allowed else None
