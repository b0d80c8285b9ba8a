"""The alarm: foreign code is interrupted when its time is over, and nothing else ever is."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from alb_core.io.alarm import Alarm

pytestmark = pytest.mark.timeout(60, method="thread")  # pytest's own alarm is the timer that is tested here


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    """An alarm, whose signal and timer are given back."""
    before = signal.getsignal(signal.SIGALRM)
    yield Alarm(lambda: TimeoutError("too slow"))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.signal(signal.SIGALRM, before)


def test_slow_code_is_interrupted(alarm: Alarm) -> None:
    """Nothing is left of its time."""

    def spin() -> None:
        while True:
            pass

    began = time.monotonic()
    with pytest.raises(TimeoutError, match="too slow"):
        alarm.call(0.02, spin)
    assert time.monotonic() - began < 30
    assert alarm.left_s == 0.0


def test_quick_code_is_left_alone(alarm: Alarm) -> None:
    """It may raise what it likes, and what is left of its time is told."""
    assert alarm.call(50.0, lambda: 3) == 3
    assert 0 < alarm.left_s <= 50.0
    with pytest.raises(ZeroDivisionError):
        alarm.call(50.0, lambda: 1 // 0)
    assert 0 < alarm.left_s <= 50.0


def test_code_that_took_the_signal_has_it_for_one_call_only(alarm: Alarm) -> None:
    """What comes after it is interrupted as before: else one plug-in would free all of their bound."""
    alarm.call(50.0, lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN))

    def spin() -> None:
        while True:
            pass

    with pytest.raises(TimeoutError, match="too slow"):
        alarm.call(0.02, spin)


def test_a_late_alarm_is_for_nobody(alarm: Alarm) -> None:
    """Only code that runs is interrupted."""
    alarm.call(1.0, lambda: None)
    signal.raise_signal(signal.SIGALRM)
