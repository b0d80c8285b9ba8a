"""Timers fire in order, once, and cancelled ones do not pile up."""

from __future__ import annotations

from alb_worker.runner.timers import Timers


def test_timers_fire_in_order_and_once() -> None:
    """Due timers fire by time, and by age where the times are equal; later ones wait."""
    timers, fired = Timers(), list[str]()
    for when, name in ((2.0, "b"), (1.0, "a"), (2.0, "c"), (9.0, "d")):
        timers.at(when, lambda name=name: fired.append(name))  # type: ignore[misc]
    assert timers.next() == 1.0
    timers.fire(2.0)
    timers.fire(2.0)
    assert fired == ["a", "b", "c"]
    assert timers.next() == 9.0


def test_cancelled_timers_do_not_fire() -> None:
    """A cancelled timer neither fires nor is waited for; cancelling one that fired does nothing."""
    timers, fired = Timers(), list[int]()
    first = timers.at(1.0, lambda: fired.append(1))
    second = timers.at(2.0, lambda: fired.append(2))
    second.cancel()
    second.cancel()
    timers.fire(3.0)
    first.cancel()
    assert fired == [1]
    assert timers.next() is None


def test_a_timer_set_while_firing_fires_when_due() -> None:
    """An action may set timers; one that is due fires in the same call."""
    timers, fired = Timers(), list[str]()
    timers.at(1.0, lambda: timers.at(1.5, lambda: fired.append("late")) and None)
    timers.fire(2.0)
    assert fired == ["late"]


def test_many_cancelled_timers_are_forgotten() -> None:
    """Ten thousand short commands with limits of hours leave no heap of ten thousand."""
    timers = Timers()
    kept = timers.at(1e9, lambda: None)
    for _ in range(10_000):
        timers.at(1e6, lambda: None).cancel()
        assert len(timers) < 200
    assert timers.next() == 1e9
    kept.cancel()
    assert timers.next() is None
