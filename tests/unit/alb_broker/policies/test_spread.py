"""``spread``: few tasks on each machine."""

from __future__ import annotations

from tests.policy_parts import candidate, chosen, drawn

from alb_broker.policies.spread import choose


def test_the_worker_with_the_fewest_tasks_is_taken() -> None:
    """However much they reserve, and however fast or busy its machine is."""
    few, many = candidate("few", free=1, attempts=1), candidate("many", free=3, attempts=2, speed=9.0)
    assert chosen(choose, many, few) == "few"


def test_of_equals_the_emptiest_is_taken() -> None:
    """By the scarcest resource; then any."""
    assert chosen(choose, candidate("a", memory=0.2), candidate("b", free=3)) == "b"
    assert set(drawn(choose, candidate("a"), candidate("b"), times=100)) == {"a", "b"}
