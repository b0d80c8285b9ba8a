"""``weighted``: the operator says what counts."""

from __future__ import annotations

import pytest
from tests.policy_parts import candidate, chosen

from alb_broker.policies import wishes_of
from alb_broker.policies.weighted import check, choose
from alb_core.resources import Load


def test_the_weights_decide() -> None:
    """Where one worker has processors and the other memory, or network."""
    cpus, memory = candidate("cpus", memory=0.25), candidate("memory", free=1.5)
    assert chosen(choose, cpus, memory, parameters={"cpu": 1.0, "memory": 0.0, "network": 0.0}) == "cpus"
    assert chosen(choose, cpus, memory, parameters={"cpu": 0.0, "memory": 1.0, "network": 0.0}) == "memory"
    quiet, loud = candidate("quiet", free=1), candidate("loud", load=Load(net=0.5))
    assert chosen(choose, quiet, loud, parameters={"cpu": 0.1, "memory": 0.1, "network": 0.8}) == "quiet"


@pytest.mark.parametrize(
    ("weights", "fine"),
    [
        ({"cpu": 1.0, "memory": 0.0, "network": 0.0}, True),
        ({"cpu": 0.0, "memory": 0.0, "network": 0.0}, False),
        ({"cpu": 1.0, "memory": -0.1, "network": 0.0}, False),
        ({"cpu": float("nan"), "memory": 0.1, "network": 0.0}, False),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float], *, fine: bool) -> None:
    """Negative ones, none at all, and what is no number; its own are fine."""
    assert (check(weights) is None) is fine
    assert check(wishes_of(choose).parameters) is None
