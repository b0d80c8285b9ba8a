"""Jobs from history."""

from __future__ import annotations

import pytest
from tests.store_rows import attempt, finished, load

from alb.simulate.core.history import History
from alb_core.errors import ConfigError
from alb_core.resources import Request
from alb_core.rows import Row


def gathered(*rows: Row, most: int | None = None) -> History:
    """Return a history of these rows."""
    history = History(most)
    for row in rows:
        history.add(row)
    return history


def test_tasks_that_ran_are_jobs() -> None:
    """With their run time, request, user and limit; the newest sample of a worker tells its size."""
    spec = '{"command":"x","priority":3,"time_limit_s":60.0}'
    history = gathered(
        finished("a", user="ann", submitted=100.0, wall_s=30.0, cpus=2.0, spec=spec),
        finished("b", user="bob", submitted=105.0, wall_s=5.0, cpus=1.0, spec="of another version"),
        attempt("a", placed=101.0, policy="uniform"),
        attempt("b", placed=106.0, policy="least-loaded"),
        load("w1", 100.0),
    )
    trace = history.trace("here")
    first, second = trace.jobs
    assert (first.user, first.submitted, first.run_s, first.priority) == ("ann", 0.0, 30.0, 3)
    assert first.time_limit_s == 60.0
    assert first.request.cpus == 2.0
    assert (second.submitted, second.priority, second.request) == (
        5.0,
        0,
        Request(1.0, second.request.memory_bytes),
    )
    assert [machine.name for machine in trace.machines] == ["w1"]
    assert trace.policy == "least-loaded"


def test_only_the_newest_are_kept() -> None:
    """And how many there were is said."""
    history = gathered(*(finished(f"{n}", submitted=float(n), wall_s=1.0) for n in range(10)), most=3)
    trace = history.trace("here")
    assert [each.submitted for each in trace.jobs] == [0.0, 1.0, 2.0]
    assert trace.remarks[0] == "only the newest 3 of 10 tasks"


def test_what_never_ran_is_no_job() -> None:
    """Cancelled before it ran: counted; nothing but such: an error."""
    history = gathered(finished("a", wall_s=0.0, attempt=0), finished("b", wall_s=1.0))
    assert history.trace("here").remarks == ["1 task left out that never ran"]
    with pytest.raises(ConfigError, match="no task that ran"):
        gathered(finished("a", wall_s=0.0)).trace("here")
