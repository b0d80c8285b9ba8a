"""Moments, one for each name, in their order."""

from __future__ import annotations

from alb_broker.core.alarms import SLACK, Alarms


def test_names_come_in_the_order_of_their_times() -> None:
    """What is due comes once, the earliest first."""
    alarms = Alarms()
    for name, time in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        alarms.set(name, time)
    assert alarms.due(0.5) == []
    assert alarms.due(2.0) == ["a", "b"]
    assert alarms.due(9.0) == ["c"]
    assert not alarms.times


def test_a_later_wish_takes_the_place_of_the_earlier() -> None:
    """A name rings at the time that was set last, and not at all once it was dropped."""
    alarms = Alarms()
    alarms.set("a", 1.0)
    alarms.set("a", 5.0)
    alarms.set("b", 1.0)
    alarms.drop("b")
    assert alarms.due(4.0) == []
    assert alarms.due(5.0) == ["a"]


def test_what_was_dropped_takes_no_room_for_good() -> None:
    """However many moments in a year are set and dropped, few are kept."""
    alarms = Alarms()
    for number in range(10 * SLACK):
        alarms.set(f"{number}", 1e9)
        alarms.drop(f"{number}")
    assert len(alarms._heap) <= SLACK + 1
