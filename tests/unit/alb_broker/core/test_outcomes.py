"""The result that an outcome makes."""

from __future__ import annotations

from tests.broker_parts import make_attempt, outcome

from alb_broker.core.outcomes import result_of
from alb_core.tasks import Cause, TaskState


def test_a_result_says_when_and_where() -> None:
    """The attempt, its worker and its times; what never ran has no beginning."""
    ran = result_of(make_attempt(2, "w7", placed=10.0), outcome(0, wall_s=3.0, waited_s=1.0), 15.0)
    assert (ran.state, ran.attempt, ran.worker) == (TaskState.SUCCEEDED, 2, "w7")
    assert (ran.started, ran.wall_s, ran.finished) == (11.0, 3.0, 15.0)
    assert result_of(make_attempt(), outcome(None, Cause.NOT_FOUND), 15.0).started == 0
