"""Loads plug-ins, the foreign code that entry points name, without trusting their import to come to an end.

Each is first imported in a process of its own (`alb_core.io.trial`): one that takes for ever there, wherever
it hangs, or ends the process, does nobody harm. What stood the trial is imported here, under an alarm. Our
own are imported at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from time import monotonic
from typing import Any, Final, TypeVar

from alb_core.io import trial
from alb_core.io.alarm import Alarm

OURS: Final = "alb"
#: The distribution that is trusted.
EACH_S: Final = 10.0
#: An import may take so long, in its trial and again here: large libraries need seconds on a busy machine.
ALL_S: Final = 40.0
#: All of a process together: what comes after those that hang is left out, too, but the process starts.

T = TypeVar("T")


class PlugInUnusable(Exception):
    """Raised when the import of a plug-in does not end well. Trying again helps if the plug-in is mended."""


class Loader:
    """Loads the plug-ins of one process, in its main thread, where signals arrive.

    Args:
        each_s: What one may take, in its trial and afterwards.
        all_s: What all may take together.
    """

    def __init__(self, each_s: float = EACH_S, all_s: float = ALL_S) -> None:
        self._each_s: Final = each_s
        self._ends: Final = monotonic() + all_s

    def load(self, point: EntryPoint, made: Callable[[Any], T]) -> T:
        """Import what an entry point names.

        Args:
            point: The entry point.
            made: Makes of it what is wanted, within the same time; may raise.

        Raises:
            PlugInUnusable: It takes too long, or ends processes.
            Exception: What it raised itself.
        """
        if is_ours(point):
            return made(point.load())
        self._try(point)
        within_s = self._within_s()
        return Alarm(lambda: _too_slow(within_s)).call(within_s, lambda: made(point.load()))

    def _within_s(self) -> float:
        within_s = min(self._each_s, self._ends - monotonic())
        if within_s <= 0:
            raise PlugInUnusable("those before it took all the time that plug-ins have to be loaded")
        return within_s

    def _try(self, point: EntryPoint) -> None:
        """Import it elsewhere."""
        within_s = self._within_s()
        process = subprocess.Popen(
            # -P: the directory that we happen to be in has no say.
            [sys.executable, "-P", "-m", trial.__name__, point.value],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise _too_slow(within_s) from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # and what it started
                process.wait()
        if status != trial.ENDED:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise PlugInUnusable(f"its import ends the process, with {how}")


def is_ours(point: EntryPoint) -> bool:
    """Tell whether an entry point is of alb itself."""
    distribution = getattr(point, "dist", None)
    return distribution is not None and distribution.name == OURS


def _too_slow(within_s: float) -> PlugInUnusable:
    return PlugInUnusable(f"its import took more than {within_s:.3g} s")
