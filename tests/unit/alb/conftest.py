"""Fixtures of the client's tests: a ZooKeeper that names whichever leader the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.unit.alb.fake_broker import FakeBroker
from tests.unit.alb.remembering_broker import RememberingBroker

from alb.shell import engine
from alb_core.errors import ZooKeeperUnreachable
from alb_core.znodes import BrokerNode, LeaderNode


@pytest.fixture
def name_leader(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeBroker | None], None]:
    """Return what makes every look at ZooKeeper find this broker as the leader; None: no ZooKeeper."""

    def name(broker: FakeBroker | None) -> None:
        def look(hosts: str, chroot: str, within_s: float) -> tuple[LeaderNode | None, list[BrokerNode]]:
            if broker is None:
                raise ZooKeeperUnreachable(f"no ZooKeeper server answered within {within_s:g} s ({hosts})")
            assert chroot == "/alb"
            return broker.node(), [broker.node()]

        monkeypatch.setattr(engine, "look", look)

    return name


@pytest.fixture
def name_nobody(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what makes every look at ZooKeeper find so many brokers, of whom none leads."""

    def name(brokers: int) -> None:
        known = [
            BrokerNode(
                broker=f"b{number}",
                incarnation=f"i{number}",
                **dict.fromkeys(
                    ("clients", "client_output", "workers", "worker_output"), "tcp://127.0.0.1:1"
                ),
            )
            for number in range(brokers)
        ]
        monkeypatch.setattr(engine, "look", lambda _hosts, _chroot, _within_s: (None, known))

    return name


@pytest.fixture
def broker(name_leader: Callable[[FakeBroker | None], None]) -> Iterator[FakeBroker]:
    """A leader that everybody finds."""
    with FakeBroker() as leader:
        name_leader(leader)
        yield leader


@pytest.fixture
def rememberer(name_leader: Callable[[FakeBroker | None], None]) -> Iterator[RememberingBroker]:
    """A leader that everybody finds, and that remembers."""
    with RememberingBroker() as leader:
        name_leader(leader)
        yield leader
