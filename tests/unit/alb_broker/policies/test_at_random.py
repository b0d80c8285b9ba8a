"""``random``: in proportion to what is free."""

from __future__ import annotations

from tests.policy_parts import candidate, chosen, drawn

from alb_broker.policies.at_random import choose


def test_a_worker_with_twice_the_room_is_drawn_twice_as_often() -> None:
    """Free processors count, and nothing else."""
    counts = drawn(choose, candidate("a", free=1), candidate("b", free=2), candidate("c", free=1, memory=0.1))
    assert 800 < counts["a"] < 1200
    assert 1800 < counts["b"] < 2200
    assert 800 < counts["c"] < 1200


def test_without_free_processors_somebody_is_taken() -> None:
    """What waits on a worker for room is placed, too."""
    assert chosen(choose, candidate("a", free=0)) == "a"
    assert chosen(choose, candidate("a", free=-1), candidate("b", free=0)) in {"a", "b"}
