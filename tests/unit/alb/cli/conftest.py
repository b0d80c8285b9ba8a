"""Fixtures of the command line's tests: a person who presses Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from alb.cli import out

OFFER = "Ctrl-C again within 2 s"
#: What a command says after the first Ctrl-C.


@pytest.fixture
def interrupt_when(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what presses Ctrl-C once something is so, and again as often as that is offered.

    On a busy machine two signals that follow each other closely become one, and two that do not may be heard
    too far apart: so the second one answers what was said of the first. Called with `ready`, and with `again`
    where an offer is answered otherwise than by pressing at once.
    """

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def interrupt_when(ready: Callable[[], bool], again: Callable[[], None] = press) -> None:
        say = out.say

        def hear(line: str) -> None:
            say(line)
            if OFFER in line:
                again()

        def watch() -> None:
            deadline = time.monotonic() + 60
            while not ready() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.3)
            press()

        monkeypatch.setattr(out, "say", hear)
        threading.Thread(target=watch, daemon=True).start()

    return interrupt_when
