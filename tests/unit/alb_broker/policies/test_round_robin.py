"""``round-robin``: one after the other."""

from __future__ import annotations

import msgspec
from tests.policy_parts import candidate, chosen

from alb_broker.policies.round_robin import choose


def test_everybody_gets_a_turn_before_anybody_gets_another() -> None:
    """Whatever their load, and in whatever order they are offered."""
    each = [candidate(f"w{number}", free=number + 1) for number in range(5)]
    told = []
    for turn in range(1, 11):
        name = chosen(choose, *reversed(each))
        told.append(name)
        each = [
            msgspec.structs.replace(known, turn=turn) if known.worker == name else known for known in each
        ]
    assert sorted(told[:5]) == [f"w{number}" for number in range(5)]
    assert told[5:] == told[:5]
