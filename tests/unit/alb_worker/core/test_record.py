"""The record of an attempt: what it takes of its worker's room."""

from __future__ import annotations

from tests.worker_parts import attempt

from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_worker.core.record import LIVE, UNENDED, Phase, Record


def test_a_demoted_attempt_takes_all_but_processors() -> None:
    """Its memory and bandwidth stay its own."""
    request = Request(cpus=2.0, memory_bytes=30, net_bps=4)
    record = Record(attempt=attempt(1), phase=Phase.RUNNING, spec=TaskSpec(command="x", request=request))
    assert record.reserves() == request
    record.demoted = True
    assert record.reserves() == Request(cpus=0.0, memory_bytes=30, net_bps=4)


def test_what_is_live_is_not_ended() -> None:
    """Only what waits has neither processes nor an end."""
    assert {Phase.WAITING} == UNENDED - LIVE
    assert Phase.ENDED not in UNENDED
