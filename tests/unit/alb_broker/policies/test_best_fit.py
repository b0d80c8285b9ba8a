"""``best-fit``: large gaps stay large."""

from __future__ import annotations

from tests.policy_parts import candidate, chosen, drawn

from alb_broker.policies.best_fit import choose


def test_the_tightest_worker_is_taken() -> None:
    """Processors before memory; load and size of the machine do not count."""
    tight, wide = candidate("tight", cpus=64, free=1), candidate("wide", cpus=4, free=3, memory=0.1)
    assert chosen(choose, wide, tight) == "tight"
    assert chosen(choose, candidate("roomy"), candidate("tight", memory=0.5)) == "tight"


def test_two_small_ones_leave_room_for_a_large_one() -> None:
    """Where spreading would cut both workers up."""
    first = candidate("a", free=3)
    assert chosen(choose, first, candidate("b", free=4)) == "a"
    assert set(drawn(choose, candidate("a"), candidate("b"), times=100)) == {"a", "b"}
