"""``fastest``: speed before everything."""

from __future__ import annotations

from tests.policy_parts import candidate, chosen

from alb_broker.policies import wishes_of
from alb_broker.policies.fastest import choose


def test_the_fastest_is_taken_however_busy() -> None:
    """And of equally fast ones the least loaded."""
    slow, fast = candidate("slow"), candidate("fast", free=1, speed=2.0)
    assert chosen(choose, slow, fast) == "fast"
    assert chosen(choose, slow, fast, candidate("idle", speed=2.0)) == "idle"


def test_speeds_that_hardly_differ_are_alike() -> None:
    """Two measurements of one machine never agree quite; room decides then."""
    busy, idle = candidate("busy", free=1, speed=1.02), candidate("idle", speed=1.0)
    assert chosen(choose, busy, idle) == "idle"


def test_it_sees_the_fastest_there_are() -> None:
    """However many slower ones have room."""
    assert wishes_of(choose).fastest_first
