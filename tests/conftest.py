"""Fixtures of every test: real ZooKeeper servers. Without one installed they fail and say how to get it.

And what a failed test leaves behind is cleared away at once, so that the next one is not blamed for it.
"""

from __future__ import annotations

import gc
import signal
import sys
import warnings
from collections.abc import Generator, Iterator

import pytest
from tests.zookeeper_servers import ZooKeeperAt, fresh_place, make_ensemble

from alb.local.ports import Port, claim_ports
from alb.local.zookeeper import Ensemble, ZooKeeperServer

_FAILED = pytest.StashKey[bool]()


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A failed test never came to close what it had opened; its traceback keeps that until the next test."""
    outcome = yield
    if item.stash.get(_FAILED, False):
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            sys.__dict__.pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    return outcome


@pytest.fixture
def closed_port() -> Iterator[Port]:
    """A port that nobody listens on, also not by chance while the test runs; its own servers may."""
    (port,) = claim_ports(1)
    yield port
    port.release()


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


@pytest.fixture
def own_alarm() -> Iterator[None]:
    """Leave SIGALRM as it was, and see that no timer was left armed."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.signal(signal.SIGALRM, before)
