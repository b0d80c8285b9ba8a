"""The set of positions that are known."""

from __future__ import annotations

import random

from alb.core.positions import Known


def test_a_set_of_positions_counts_and_finds_its_first_gap() -> None:
    """Against a plain set, over random puts and takes."""
    draws = random.Random(7)
    known, plain = Known(), set[int]()
    for _ in range(3000):
        position = draws.randrange(400)
        if draws.random() < 0.9:
            known.add(position)
            plain.add(position)
        else:
            known.discard(position)
            plain.discard(position)
        assert known.count == len(plain)
        assert known.first_missing() == next(n for n in range(401) if n not in plain)
        assert (position in known) == (position in plain)
