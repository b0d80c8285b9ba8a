"""``uniform``: all with equal probability."""

from __future__ import annotations

from alb_broker.policies import Candidate, Context
from alb_broker.policies.uniform import choose
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec


def test_every_candidate_is_chosen_equally_often() -> None:
    """However loaded they are."""
    offers = Capacity(cpus=4, memory_bytes=1)
    each = [Candidate(f"w{number}", offers, number, 1, 0, Load(cpu=number)) for number in range(5)]
    draws = Draws(3)
    counts = [0] * 5
    for _ in range(5000):
        found = choose(TaskSpec(command="x"), each, Context(0.0, draws))
        assert found is not None
        counts[each.index(found)] += 1
    assert all(850 < count < 1150 for count in counts)
