"""Jobs from a leader's dump."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import CLAIMED_S, Desks, make_attempt, make_task

from alb.simulate.core.state_dump import FIRST, LEFT, read_dump, unpinned
from alb.simulate.core.trace import Trace, fitted
from alb_broker.core.dump import dump
from alb_core.errors import ConfigError
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.traces import Job


def test_what_waits_and_what_runs() -> None:
    """What runs stays where it is and goes on for the rest of its estimate; the others wait."""
    desks = Desks()
    desks.join("w1", cpus=4.0)
    limited = TaskSpec(command="sleep 100", time_limit_s=100.0)
    running = make_task(1, make_attempt(placed=CLAIMED_S), spec=limited)
    waiting = make_task(2, spec=TaskSpec(command="sleep 5"))
    for task in (running, waiting):
        desks.state.table.add(task)
    desks.at(30.0)
    trace = read_dump(dump(desks.state, "a test"), "a dump", assume_s=60.0)
    runs, waits = trace.jobs
    assert (runs.run_s, runs.priority) == (pytest.approx(70.0), FIRST)
    assert runs.request.labels == ("replay-worker=w1",)
    assert (waits.run_s, waits.request.labels, waits.user) == (60.0, (), "ann")
    assert [machine.name for machine in trace.machines] == ["w1"]
    assert trace.policy == "least-loaded"
    assert fitted(trace, trace.machines).jobs == trace.jobs
    assert trace.remarks == [
        "running already, and left where they are: 1 task",
        "taken to use up their time limit: 1 task",
        "taken to run 1m (--assume), for lack of a time limit: 1 task",
    ]


@pytest.mark.parametrize("data", [b"{}", b"{", b'{"now": 1, "queue": [], "running": []}', b"\xff{"])
def test_what_is_no_dump_is_an_error(data: bytes) -> None:
    """So is one in which nothing waits or runs."""
    with pytest.raises(ConfigError, match="a dump"):
        read_dump(data, "a dump", assume_s=60.0)


def test_what_runs_begins_anew_where_other_workers_take_the_place_of_its_own() -> None:
    """It is left out no more for a worker that is not there; a label that somebody asked for stays."""
    pinned = msgspec.structs.replace(ssd := Request(labels=("ssd",)), labels=("ssd", "replay-worker=w1"))
    jobs = [Job(submitted=0.0, run_s=1.0, request=each) for each in (pinned, ssd)]
    trace = unpinned(Trace(source="", jobs=jobs, remarks=[f"{LEFT}: 1 task", "else"]))
    assert [job.request for job in trace.jobs] == [ssd, ssd]
    assert trace.remarks == ["running already, and begun anew wherever there is room: 1 task", "else"]
    assert unpinned(trace) is trace
