"""Bounds the time of foreign code that runs inside a loop of ours: plug-ins.

An interval timer is armed while such code runs, and only then; beyond its time it is interrupted where it
stands. Foreign code in C that never returns to the interpreter cannot be interrupted so, nor what takes the
signal for itself and hangs in the same call; the next call has it again.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final, TypeVar

AGAIN_S: Final = 0.01
#: Code that swallows the interruption is interrupted again.

T = TypeVar("T")


class Alarm:
    """The alarm of one process; must be made and used in its main thread, where signals arrive.

    Args:
        error: Makes what is raised inside code whose time is over.
    """

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error: Final = error
        self._running = False  #: Foreign code runs: an alarm is for it. A late alarm is for nobody.
        self._rang = False
        self.left_s = 0.0  #: Of the time of the newest call: nothing where it was interrupted.
        self._ours: Final = self._ring  #: One object, to be known again.
        self._take_signal()

    def call(self, seconds: float, code: Callable[[], T]) -> T:
        """Run foreign code, and return what it does.

        Args:
            seconds: What it may take; more than 0, for a timer of nothing would never ring.
            code: Runs at once; may raise.
        """
        self._take_signal()
        self._rang = False
        try:
            self._running = True
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
            return code()
        finally:
            self._running = False  # first of all: an alarm from here on must find nobody running
            left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            self.left_s = 0.0 if self._rang else left_s

    def _take_signal(self) -> None:
        """Take the signal, also back from foreign code: whoever has it frees all others of their bound."""
        if signal.getsignal(signal.SIGALRM) is not self._ours:
            signal.signal(signal.SIGALRM, self._ours)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        if self._running:
            self._rang = True
            raise self._error()
