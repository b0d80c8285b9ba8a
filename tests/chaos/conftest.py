"""Each chaos test has a cluster of its own, so that no fault leaks into another test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.harness import Work, show_logs_of_failed

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb.local.witness import Witness


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    show_logs_of_failed(item, report)
    return report


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Plan:
    """The cluster of a test; ``@pytest.mark.parametrize("plan", …, indirect=True)`` gives another one."""
    return getattr(request, "param", Plan())


@pytest.fixture
def cluster(plan: Plan, tmp_path: Path) -> Iterator[LocalCluster]:
    """A real cluster that takes tasks."""
    with LocalCluster(tmp_path / "cluster", plan) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of it."""
    with Client(zk=cluster.zk) as connected:
        yield connected


@pytest.fixture
def work(cluster: LocalCluster, client: Client, tmp_path: Path) -> Work:
    """Witnessed work for it."""
    return Work(cluster, client, Witness(tmp_path / "witness"))
