"""Fixtures of every test: real ZooKeeper servers. Without one installed they fail and say how to get it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.zookeeper_servers import ZooKeeperAt, fresh_place, make_ensemble

from alb.local.zookeeper import Ensemble, ZooKeeperServer


@pytest.fixture(scope="session")
def zookeeper_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """One server for the whole run. Leave it running: tests that kill one start their own."""
    with make_ensemble(tmp_path_factory.mktemp("zookeeper")) as servers:
        yield servers.servers[0]


@pytest.fixture
def zookeeper(zookeeper_server: ZooKeeperServer) -> ZooKeeperAt:
    """A fresh chroot on the run's one server."""
    return fresh_place(zookeeper_server.address)


@pytest.fixture(scope="session")
def _ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with make_ensemble(tmp_path_factory.mktemp("ensemble"), 3) as servers:
        yield servers


@pytest.fixture
def ensemble(_ensemble: Ensemble) -> Iterator[Ensemble]:
    """Three servers that a test may kill and freeze: whole again for the next one."""
    yield _ensemble
    _ensemble.start()
