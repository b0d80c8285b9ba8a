"""Random draws: reproducible, and even."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from alb_core.draws import Draws


def test_the_generator_is_splitmix64() -> None:
    """The first numbers from seed 1234567 are those of the reference implementation."""
    draws = Draws(1234567)
    assert [draws.below(1 << 64) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(st.integers(), st.integers(1, 10**6))
def test_draws_are_within_their_bound(seed: int, bound: int) -> None:
    """Whatever the seed."""
    draws = Draws(seed)
    assert all(0 <= draws.below(bound) < bound for _ in range(20))


def test_equal_seeds_draw_equally() -> None:
    """And others otherwise."""
    first, second, other = Draws(1), Draws(1), Draws(2)
    drawn = [first.below(1000) for _ in range(20)]
    assert drawn == [second.below(1000) for _ in range(20)]
    assert drawn != [other.below(1000) for _ in range(20)]


def test_draws_are_even() -> None:
    """No number comes much more often than another."""
    draws = Draws(99)
    counts = Counter(draws.below(7) for _ in range(7000))
    assert all(850 < counts[number] < 1150 for number in range(7))
