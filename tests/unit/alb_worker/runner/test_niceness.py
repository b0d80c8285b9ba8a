"""Niceness: what a command gets, and who is told that it cannot have it."""

from __future__ import annotations

import os

import pytest

from alb_core.tasks import Cause
from alb_worker.runner.niceness import Niceness
from alb_worker.runner.program import CommandNotStarted

Calls = list[tuple[int, int, int]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return what is asked of a kernel that has us at niceness 3."""
    asked: Calls = []
    monkeypatch.setattr(os, "getpriority", lambda *_: 3)
    monkeypatch.setattr(os, "setpriority", lambda *call: asked.append(call))
    return asked


def test_niceness_is_added_to_ours(calls: Calls) -> None:
    """As by nice(1), within what there is."""
    niceness = Niceness()
    assert [niceness.of(nice) for nice in (0, 5, 19, -5, -20)] == [3, 8, 19, -2, -17]
    assert calls == []


def test_less_is_taken_on_before_and_given_up_after(calls: Calls) -> None:
    """More never is: we could not come back from it."""
    niceness = Niceness()
    for nice in (-5, 5, 0):
        niceness.take_on(nice)
        niceness.give_up(nice)
    assert calls == [(os.PRIO_PROCESS, 0, -2), (os.PRIO_PROCESS, 0, 3)]


def test_who_may_not_is_told_what_to_do(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    niceness = Niceness()
    monkeypatch.setattr(os, "setpriority", refuse)
    with pytest.raises(CommandNotStarted, match=r"-5 below its own.*CAP_SYS_NICE") as caught:
        niceness.take_on(-5)
    assert caught.value.cause is Cause.NOT_STARTED
    assert calls == []
