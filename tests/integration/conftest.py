"""One real cluster for all tests here that only use one; those that break things make their own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.harness import Gate, show_logs_of_failed, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, Plan


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    show_logs_of_failed(item, report)
    return report


@pytest.fixture(scope="session")
def main_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two brokers and two workers of two processors each."""
    with LocalCluster(tmp_path_factory.mktemp("main") / "cluster", Plan(brokers=2)) as running:
        yield running


@pytest.fixture
def cluster(main_cluster: LocalCluster, _client: Client) -> LocalCluster:
    """The run's one cluster, all of it alive, without guests of earlier tests. Leave it as you found it."""
    main_cluster.check_alive()
    wait_for(lambda: all(each.link and each.session for each in _client.workers()), "guests to be forgotten")
    return main_cluster


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate for commands of this test, open in the end: none waits there for ever."""
    closed = Gate(tmp_path / "gate")
    yield closed
    closed.open()


@pytest.fixture(scope="session")
def _client(main_cluster: LocalCluster) -> Iterator[Client]:
    with Client(zk=main_cluster.zk) as connected:
        yield connected


@pytest.fixture
def client(cluster: LocalCluster, _client: Client) -> Client:  # noqa: ARG001 (fails first where it is dead)
    """A client of it."""
    return _client
