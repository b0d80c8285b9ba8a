"""What a client says where nobody answered: who was asked, what is missing, and what to do."""

from __future__ import annotations

import pytest

from alb.api.desk import Desk
from alb.core import notices
from alb_core.errors import AlbError, NoLeader, ZooKeeperUnreachable

SILENT = notices.ZooKeeperSilent(why="no ZooKeeper server answered within 3 s (tried zk1:2181)")
AWAITED = notices.LeaderAwaited(waited_s=1.0, what="an answer of the broker at tcp://b1:7001")
GREETED = notices.LeaderGreeted(broker="b1", epoch=1, after_s=4.25, again=False)


def error(*told: notices.AnyNotice) -> AlbError:
    """Return what is raised after 5 s to whoever heard nothing but this."""
    desk = Desk(lambda _notice: None, "zk1:2181")
    for notice in told:
        desk.on_tell(notice)
    return desk.no_answer(5.0)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            notices.NobodyLeads(brokers=0),
            "no broker is registered in ZooKeeper (zk1:2181; waited 5 s): start one",
        ),
        (notices.NobodyLeads(brokers=0), "name the cluster that has some, --zk or ALB_ZK"),
        (notices.NobodyLeads(brokers=3), "none of 3 brokers leads yet (zk1:2181; waited 5 s): try again"),
        (notices.NobodyLeads(brokers=3), "see `alb brokers` and their logs"),
        (notices.BrokerRefused(code="version", why="it is too old"), "refuses this client: it is too old"),
        (
            notices.LeaderWaits(broker="b1", what="ZooKeeper"),
            "leader b1 waits for ZooKeeper itself (waited 5",
        ),
        (AWAITED, "within 5 s (waited for an answer of the broker at tcp://b1:7001): see who is there"),
    ],
)
def test_it_is_said_who_was_asked_and_what_to_do(told: notices.AnyNotice, words: str) -> None:
    """Whatever is known of why there is no leader."""
    found = error(told)
    assert isinstance(found, NoLeader)
    assert words in str(found)


def test_no_zookeeper_is_an_error_of_its_own() -> None:
    """With what its client said of the servers."""
    found = error(SILENT)
    assert isinstance(found, ZooKeeperUnreachable)
    assert "tried zk1:2181" in str(found)


def test_what_was_missing_before_a_leader_answered_is_forgotten() -> None:
    """It says nothing of why the next question had no answer."""
    assert str(error(SILENT, AWAITED, GREETED)).startswith("no broker answered as the leader within 5 s: see")
