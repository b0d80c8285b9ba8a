"""Who supervises a process waits longer than it takes to stop: systemd's units and the compose file."""

from __future__ import annotations

import re

import pytest
import yaml
from tests.source_tree import ROOT

from alb_broker.core import reign
from alb_broker.shell import depot_link
from alb_worker.core import departure
from alb_worker.shell import leftovers, runner_link

SESSION_S = 2.0
#: To close a ZooKeeper session.
DUMP_S = 10.0
#: A leader with a full table writes its state down.
WORKER_S = (
    departure.KILL_S_MAX
    + departure.SAVE_S_MAX
    + departure.REPORT_S_MAX
    + departure.DELETE_S_MAX
    + SESSION_S
    + runner_link.CLOSE_S
    + leftovers.PATIENCE_S
)
#: TERM, last checkpoints, KILL, reports, node, session, runner, what it left: each at its bound.
BROKER_S = DUMP_S + reign.LEAVING_S + SESSION_S + depot_link.CLOSE_S

roles = pytest.mark.parametrize(("role", "takes_s"), [("broker", BROKER_S), ("worker", WORKER_S)])


@roles
def test_systemd_waits_longer(role: str, takes_s: float) -> None:
    """TimeoutStopSec of each unit."""
    unit = (ROOT / "deploy" / "systemd" / f"alb-{role}.service").read_text()
    (waits_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert takes_s < float(waits_s)


@roles
def test_compose_waits_longer(role: str, takes_s: float) -> None:
    """The stop grace of every broker and every worker."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    graces = [one["stop_grace_period"] for name, one in services.items() if name.startswith(role)]
    assert len(graces) == 3
    for grace in graces:
        assert takes_s < float(grace.removesuffix("s"))
