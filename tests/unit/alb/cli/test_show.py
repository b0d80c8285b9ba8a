"""How lists show workers: what fits into a line, and what is left out where it says nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.alb.fake_broker import FakeBroker

from alb.cli.main import run
from alb_core.messages import QueryWorkers, WorkerLine, WorkersPage
from alb_core.resources import Capacity, Load
from alb_core.speeds import Speeds

ZK = ("--zk", "zk:2181", "--user", "u")


def line(worker: str, correction: float = 1.0, **offered: Any) -> WorkerLine:
    """Return a worker as the leader lists it."""
    return WorkerLine(
        worker=worker,
        incarnation="i",
        capacity=Capacity(cpus=2, memory_bytes=1, **offered),
        load=Load(),
        session=True,
        link=True,
        reserved_cpus=0.0,
        reserved_memory_bytes=0,
        reserved_net_bps=0,
        running=0,
        correction=correction,
    )


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([line("w1"), line("w2")], None),
        ([line("w1"), line("w2", speed=2.0)], ["1", "2"]),
        (
            [line("w1", speed=1.26, speeds=Speeds(integer=1.0, memory=2.0, floating=1.0))],
            ["1.26 (1, 2, 1)"],
        ),
        ([line("w1", correction=0.5), line("w2", correction=1.25)], ["1 x0.5", "1 x1.2"]),
    ],
    ids=["alike", "told", "measured", "corrected"],
)
def test_speeds_are_shown_where_they_differ(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], lines: list[WorkerLine], shown: list[str] | None
) -> None:
    """As told or as measured, by kind of work, and by how much run times correct it."""
    broker.answer = lambda message: (
        (WorkersPage(seq=message.seq, workers=tuple(lines)),) if isinstance(message, QueryWorkers) else ()
    )
    assert run(["workers", *ZK]) == 0
    head, *rows = capfd.readouterr().out.splitlines()
    if shown is None:
        assert "SPEED" not in head
        return
    place = slice(head.index("SPEED"), head.index("MEMORY"))
    assert [row[place].strip() for row in rows] == shown


@pytest.mark.parametrize(("led_s", "heard", "told"), [(0.4, "", 1), (9.0, "", 0), (0.4, "heard", 0)])
def test_a_new_leader_has_not_heard_all_workers(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str], led_s: float, heard: str, told: int
) -> None:
    """Who looks right after a failover is not to believe that they are lost; later they are."""
    silent = msgspec.structs.replace(line("w1"), session=bool(heard), link=bool(heard))
    page = WorkersPage(seq=0, workers=(silent, line("w2")), now=100.0 + led_s, since=100.0)
    broker.answer = lambda message: (
        (msgspec.structs.replace(page, seq=message.seq),) if isinstance(message, QueryWorkers) else ()
    )
    assert run(["workers", *ZK]) == 0
    assert capfd.readouterr().err.count("is new (for 0.4 s) and still waits to hear one worker") == told
