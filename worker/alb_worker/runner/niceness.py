"""Niceness of commands: how much less, or more, of a busy processor they get.

A command that is to be nicer is made so once it runs, with all of its process group: the runner could not
take that back from itself without a privilege. One that is to be less nice inherits it from the runner, which
takes it on before and gives it up after: that is allowed to everybody, and who may not take it on fails
before anything was started.

Where the kernel groups processes by session (``sched_autogroup``), niceness counts only within a session, and
the session as a whole has one of its own, which is set too, as far as the kernel lets us.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from alb_core.tasks import Cause
from alb_worker.runner.program import CommandNotStarted

_LOWEST: Final = -20
_HIGHEST: Final = 19


class Niceness:
    """What commands have in place of the runner's own niceness."""

    def __init__(self) -> None:
        self._own: Final = os.getpriority(os.PRIO_PROCESS, 0)

    def of(self, nice: int) -> int:
        """Return the niceness of a command that asks for so much more than ours."""
        return max(_LOWEST, min(_HIGHEST, self._own + nice))

    def take_on(self, nice: int) -> None:
        """Before a start: take a lower niceness on.

        Raises:
            CommandNotStarted: We may not.
        """
        if nice >= 0:
            return
        try:
            os.setpriority(os.PRIO_PROCESS, 0, self.of(nice))
        except OSError as error:
            why = (
                f"this worker may not run commands at a niceness {nice} below its own ({error.strerror}): "
                "it needs CAP_SYS_NICE, or a limit like systemd's LimitNICE="
            )
            raise CommandNotStarted(Cause.NOT_STARTED, why) from error

    def give_up(self, nice: int) -> None:
        """After a start: have our own niceness again."""
        if nice < 0:
            os.setpriority(os.PRIO_PROCESS, 0, self._own)

    def give(self, pid: int, nice: int) -> None:
        """Give a session that has just begun its niceness.

        Args:
            pid: Its leader, which we have not reaped.
            nice: What it asks for; not 0.
        """
        with contextlib.suppress(OSError):  # it took on another user's rights already
            os.setpriority(os.PRIO_PGRP, pid, self.of(nice))
        with contextlib.suppress(OSError):  # no such kernel, or too many at once for us
            Path(f"/proc/{pid}/autogroup").write_text(str(self.of(nice)))
