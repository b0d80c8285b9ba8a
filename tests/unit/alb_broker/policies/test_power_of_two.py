"""``power-of-two``: the less loaded of two at random."""

from __future__ import annotations

from tests.policy_parts import candidate, chosen, drawn

from alb_broker.policies.power_of_two import choose


def test_the_less_loaded_of_two_is_taken() -> None:
    """Of two there are no others to draw."""
    for seed in range(10):
        assert chosen(choose, candidate("busy", free=1), candidate("idle", free=3), seed=seed) == "idle"


def test_a_faster_worker_bears_more() -> None:
    """As by the default policy: a much faster one as long as it has room, a slightly faster one a little."""
    assert chosen(choose, candidate("slow", free=4), candidate("fast", free=1, speed=2.0)) == "fast"
    assert chosen(choose, candidate("slow", free=4), candidate("fast", free=3, speed=1.1)) == "fast"
    assert chosen(choose, candidate("slow", free=4), candidate("fast", free=1, speed=1.1)) == "slow"


def test_all_pairs_are_drawn_equally_often() -> None:
    """Of four, the least loaded wins in half of the pairs, the next in a third, the most loaded in none."""
    counts = drawn(choose, *(candidate(f"w{free}", free=free) for free in (1, 2, 3, 4)), times=6000)
    assert 2800 < counts["w4"] < 3200
    assert 1800 < counts["w3"] < 2200
    assert 850 < counts["w2"] < 1150
    assert counts["w1"] == 0
