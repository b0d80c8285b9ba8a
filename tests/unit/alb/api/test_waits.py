"""A program that does not listen to notices is told what takes long, in Python's log."""

from __future__ import annotations

import logging

import pytest

from alb.api.waits import Waits
from alb.core import notices

AWAITED = notices.LeaderAwaited(waited_s=1.0, what="ZooKeeper (zk1:2181)")
GREETED = notices.LeaderGreeted(broker="b1", epoch=1, after_s=4.25, again=False)


def heard(*told: notices.AnyNotice) -> list[str]:
    """Return what somebody is told who gets these notices."""
    said: list[str] = []
    waits = Waits(said.append)
    for notice in told:
        waits.hear(notice)
    return said


def test_what_is_waited_for_is_said_once() -> None:
    """And that it came, to those who had to wait; then the same may be said again."""
    silent = notices.ZooKeeperSilent(why="no ZooKeeper server answered")
    assert heard(AWAITED, silent, silent, AWAITED, GREETED, GREETED, AWAITED) == [
        "waiting for ZooKeeper (zk1:2181)",
        "no ZooKeeper server answered; trying again",
        "b1 leads, after 4.2 s",
        "waiting for ZooKeeper (zk1:2181)",
    ]


def test_what_is_over_in_a_moment_is_not_said() -> None:
    """A leader that is found at once, or a moment without one."""
    assert heard(notices.NobodyLeads(brokers=3), GREETED) == []
    assert heard(AWAITED, notices.NobodyLeads(brokers=3), notices.NobodyLeads(brokers=0))[1:] == [
        "none of 3 brokers leads yet",
        "no broker is registered",
    ]


@pytest.mark.parametrize(
    ("notice", "sentence"),
    [
        (notices.TableFull(id="x", delay_s=1), "the cluster has no room for another task; trying again"),
        (notices.TableFull(id="x", delay_s=1, why="too much at once"), "too much at once; trying again"),
        (
            notices.LeaderWaits(broker="b1", what="ZooKeeper"),
            "b1 waits for ZooKeeper; commands go on running",
        ),
        (notices.BrokerRefused(code="x", why="too old"), "the broker refuses this client: too old"),
        (notices.DepotsSilent(why="no depot answers"), "no depot answers; trying again"),
    ],
)
def test_every_wait_has_its_words(notice: notices.AnyNotice, sentence: str) -> None:
    """Whatever keeps a program waiting."""
    assert heard(notice, notice) == [sentence]


def test_the_log_of_python_gets_it(caplog: pytest.LogCaptureFixture) -> None:
    """As a warning, which is seen where nobody configured anything."""
    Waits().hear(AWAITED)
    assert caplog.record_tuples == [("alb", logging.WARNING, "waiting for ZooKeeper (zk1:2181)")]
