"""The example of a policy of one's own: how many workers a name has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

import pytest
from tests.source_tree import ROOT

from alb_broker.policies import CANDIDATES_MAX, Policy, least_loaded
from alb_broker.replay.replay import Replay
from alb_core.resources import Capacity, Request
from alb_core.traces import Job, Machine

PACKAGE = "alb_policy_sticky"


@pytest.fixture(scope="module")
def sticky() -> Iterator[Policy]:
    """Import the example, which is installed nowhere here."""
    sys.path.insert(0, str(ROOT / "examples/policies/sticky"))
    try:
        yield importlib.import_module(PACKAGE).choose
    finally:
        sys.path.pop(0)
        sys.modules.pop(PACKAGE, None)


@pytest.mark.parametrize("workers", [2, CANDIDATES_MAX, 4 * CANDIDATES_MAX])
def test_a_name_has_a_worker_of_each_so_many_as_a_policy_sees(sticky: Policy, workers: int) -> None:
    """One while it sees all; beyond, it sees others each time, and one of each lot is the name's."""
    jobs = [Job(submitted=10.0 * number, run_s=1.0, request=Request(1.0), name="one") for number in range(40)]
    capacity = Capacity(cpus=2, memory_bytes=1 << 30)
    machines = [Machine(name=f"w{number}", capacity=capacity) for number in range(workers)]
    policies = {"least-loaded": least_loaded.choose, "sticky": sticky}
    ran = Replay(jobs, machines, policies, "sticky").run()
    assert len(set(ran.machine)) == max(1, workers // CANDIDATES_MAX)
