"""How the client finds the leader, and whom it believes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.unit.alb.core.core_driver import BROKERS, ENDPOINTS, TABLE, TASK, Driver, leader

from alb.core import actions, events, notices
from alb_core.messages import Accepted, Error, Goodbye, Heartbeat, Hello, NotLeader, Welcome


def endpoints(driver: Driver) -> list[str]:
    """Return where the last event led."""
    return [action.endpoint for action in driver.only(actions.Connect)]


def test_a_new_client_asks_zookeeper_and_greets_the_leader_it_names() -> None:
    """The first tick looks up; the leader found is connected to and greeted once the link is open."""
    driver = Driver()
    assert driver.tick() == [actions.LookUp()]
    driver.do(events.LeaderFound, leader=leader("b1", 3), brokers=BROKERS)
    assert endpoints(driver) == [ENDPOINTS["b1"]]
    driver.do(events.LinkOpened, link=driver.link)
    assert driver.sent() == [Hello(user="u", client="h:1")]
    driver.epoch = 3
    driver.hear(Welcome(broker="b1", output="tcp://b1:2"))
    assert driver.only(actions.ConnectOutput) == [actions.ConnectOutput(2, "tcp://b1:2")]
    greeted = notices.LeaderGreeted(broker="b1", epoch=3, after_s=0.0, again=False)
    assert driver.told() == [greeted]


def test_nobody_leads_is_told_and_asked_again_with_growing_pauses() -> None:
    """Without a leader the client tells so, and reads ZooKeeper again, ever less often, down to 2 s."""
    driver = Driver()
    driver.tick()
    times = []
    for _ in range(200):
        if actions.LookUp() in driver.out:
            times.append(driver.now)
            driver.do(events.LeaderFound, leader=None)
            assert notices.NobodyLeads(brokers=0) in driver.told()
        driver.tick(0.1)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[0] < 0.5
    assert 1.0 <= pauses[-1] <= 2.2


def awaited(driver: Driver) -> list[str]:
    """Return what the person was told that the search waits for."""
    return [notice.what for notice in driver.told() if isinstance(notice, notices.LeaderAwaited)]


def test_a_search_that_lasts_says_once_what_it_waits_for() -> None:
    """After a second, whom it asks: ZooKeeper, which does not answer at all here, and so says nothing."""
    driver = Driver()
    driver.tick()
    told = awaited(driver)
    for _ in range(40):
        driver.tick(0.25)
        told += awaited(driver)
        assert bool(told) is (driver.now >= 1.0)
    assert told == ["ZooKeeper (zk:2181)"]


def test_what_is_waited_for_may_be_a_broker() -> None:
    """One that was named and does not answer; or any, where nobody leads. Each search says it anew."""
    driver = Driver()
    driver.tick()
    driver.do(events.LeaderFound, leader=leader("b1", 1), brokers=BROKERS)
    driver.tick(0.5)
    driver.tick(0.5)
    assert awaited(driver) == [f"an answer of the broker at {ENDPOINTS['b1']}"]
    driver = Driver().connect("b1")
    driver.do(events.LinkClosed, link=driver.link)
    driver.do(events.LeaderFound, leader=None, brokers=BROKERS)
    driver.tick(1.0)
    assert awaited(driver) == ["a broker to lead"]


def test_zookeeper_down_is_not_fatal_while_a_known_broker_answers() -> None:
    """After the leader's death the client goes round the known brokers, and follows a standby's pointer."""
    driver = Driver().connect("b1")
    driver.do(events.LinkClosed, link=driver.link)
    assert actions.LookUp() in driver.out
    driver.do(events.LookUpFailed, why="no ZooKeeper server answered")
    assert driver.told() == [notices.ZooKeeperSilent(why="no ZooKeeper server answered")]
    driver.do(events.LinkOpened, link=driver.link)
    driver.hear(NotLeader(where=ENDPOINTS["b3"], broker="b3"), epoch=0)
    assert endpoints(driver) == [ENDPOINTS["b3"]]
    driver.epoch, driver.now = 2, 0.9
    driver.welcome("b3")
    assert notices.LeaderGreeted(broker="b3", epoch=2, after_s=0.9, again=True) in driver.told()


def test_an_outage_began_when_the_leader_was_last_heard() -> None:
    """Of a frozen leader that is long after it stopped; the next one may be there as soon as we notice."""
    driver = Driver().connect("b1")
    heard = driver.now
    driver.now += 7.0
    driver.do(events.LeaderFound, leader=leader("b2", 2), brokers=BROKERS)
    driver.do(events.LinkOpened, link=driver.link)
    driver.epoch = 2
    driver.welcome("b2")
    (greeted,) = [each for each in driver.told() if isinstance(each, notices.LeaderGreeted)]
    assert greeted.after_s == pytest.approx(driver.now - heard)


def test_a_lost_leader_is_left_and_the_others_are_tried_first() -> None:
    """When the link closes, both links are given up, the loss is told, and another broker is tried."""
    driver = Driver().connect("b1")
    links = {driver.link, driver.output_link}
    driver.do(events.LinkClosed, link=driver.link, why="closed")
    assert {action.link for action in driver.only(actions.Disconnect)} == links
    assert driver.told() == [notices.LeaderLost(broker="b1", epoch=1, why="closed")]
    assert endpoints(driver)[0] in {ENDPOINTS["b2"], ENDPOINTS["b3"]}


def test_all_known_brokers_are_tried_also_the_lost_one() -> None:
    """Refused by one, the client goes on to the next at once, and pauses only after the whole round."""
    driver = Driver().connect("b1")
    driver.do(events.LinkClosed, link=driver.link)
    tried = endpoints(driver)
    for _ in range(2):
        driver.do(events.LinkRefused, link=driver.link)
        tried += endpoints(driver)
    assert sorted(tried) == sorted(ENDPOINTS.values())
    driver.do(events.LinkRefused, link=driver.link)
    assert endpoints(driver) == []
    driver.tick(0.2)
    assert len(endpoints(driver)) == 1


def test_a_leader_silent_for_three_heartbeats_is_lost_and_suspected() -> None:
    """Heartbeats keep the link; without them it is left after three, and the standbys are told."""
    driver = Driver().connect("b1")
    for _ in range(10):
        driver.now += 1.0
        driver.hear(Heartbeat())
        driver.tick()
        assert not driver.only(actions.Disconnect)
    driver.tick(2.9)
    assert not driver.only(actions.Disconnect)
    driver.tick(0.2)
    assert driver.only(actions.Disconnect)
    (suspect,) = driver.only(actions.SendSuspect)
    assert suspect.epoch == 1
    assert set(suspect.endpoints) == {ENDPOINTS["b2"], ENDPOINTS["b3"]}


def test_a_leader_that_steps_down_is_left_for_the_one_it_names() -> None:
    """NotLeader from the leader itself is believed at any epoch, and its pointer is followed first."""
    driver = Driver().connect("b1", epoch=5)
    driver.hear(NotLeader(where=ENDPOINTS["b2"]), epoch=4)
    assert endpoints(driver) == [ENDPOINTS["b2"]]


def test_brokers_that_point_at_each_other_are_not_followed_for_ever() -> None:
    """After a few hops the client stops to follow pointers, and goes round the brokers with pauses."""
    driver = Driver().connect("b1")
    driver.do(events.LinkClosed, link=driver.link)
    connects = 0
    for hop in range(50):
        connects += len(endpoints(driver))
        driver.do(events.LinkOpened, link=driver.link)
        driver.hear(NotLeader(where=ENDPOINTS["b2" if hop % 2 else "b3"]), epoch=0)
    assert connects < 12


def test_frames_of_an_older_epoch_are_dropped() -> None:
    """A leader that ZooKeeper has already replaced cannot welcome us; a stale look-up is not followed."""
    driver = Driver()
    driver.tick()
    driver.do(events.LeaderFound, leader=leader("b1", 7), brokers=BROKERS)
    driver.do(events.LinkOpened, link=driver.link)
    driver.hear(Welcome(broker="b1", output="tcp://b1:2"), epoch=6)
    assert driver.out == []
    stale = Driver().connect("b1", epoch=7)
    stale.do(events.LinkClosed, link=stale.link)
    stale.do(events.LeaderFound, leader=leader("b2", 6), brokers=BROKERS)
    assert endpoints(stale) == []


def test_a_standby_s_frames_carry_no_more_than_a_pointer() -> None:
    """A frame of epoch 0 welcomes nobody."""
    driver = Driver()
    driver.tick()
    driver.do(events.LeaderFound, leader=leader("b1", 7), brokers=BROKERS)
    driver.do(events.LinkOpened, link=driver.link)
    driver.hear(Welcome(broker="b1", output="tcp://b1:2"), epoch=0)
    assert driver.out == []


def test_another_table_starts_its_own_epochs() -> None:
    """After a restore the table has another id: its lower epochs are taken, and the person is told."""
    driver = Driver().connect("b1", epoch=9)
    driver.do(events.LinkClosed, link=driver.link)
    driver.do(events.LeaderFound, leader=leader("b2", 1, table="n" * 32), brokers=BROKERS)
    assert driver.told() == [notices.TableReplaced(before=TABLE, now="n" * 32)]
    assert driver.core.leader.epoch == 1


def test_a_broker_that_leads_another_term_is_greeted_anew() -> None:
    """A higher epoch on the same link means that the broker was deposed meanwhile: it knows us no more."""
    driver = Driver().connect("b1", epoch=1)
    driver.hear(Heartbeat(), epoch=2)
    assert endpoints(driver) == [ENDPOINTS["b1"]]


def test_hello_is_said_again_until_it_is_answered() -> None:
    """A broker that opens the link and says nothing is greeted each second, then left."""
    driver = Driver()
    driver.tick()
    driver.do(events.LeaderFound, leader=leader("b1", 1), brokers=BROKERS)
    driver.do(events.LinkOpened, link=driver.link)
    hellos = 0
    for _ in range(29):
        driver.tick(0.1)
        hellos += driver.sent() == [Hello(user="u", client="h:1")]
    assert hellos == 2
    driver.tick(0.2)
    assert driver.only(actions.Disconnect) == [actions.Disconnect(1)]


def test_a_leader_that_forgot_us_is_greeted_and_told_everything_again() -> None:
    """The error ``hello`` leads to Hello, and the Welcome after it to Attach."""
    driver = Driver().connect("b1")
    driver.submit()
    driver.accept()
    driver.hear(Error(code="hello", why="say Hello first"))
    assert driver.sent() == [Hello(user="u", client="h:1")]
    driver.hear(Welcome(broker="b1", output="tcp://b1:2"))
    assert [type(message).__name__ for message in driver.sent()] == ["Attach"]


def test_a_second_welcome_changes_nothing() -> None:
    """The answer to a repeated Hello is no news."""
    driver = Driver().connect("b1")
    assert driver.hear(Welcome(broker="b1", output="tcp://b1:2")) == []


def test_events_of_links_given_up_are_ignored() -> None:
    """What still comes from an old link changes nothing."""
    driver = Driver().connect("b1")
    old = driver.link
    driver.do(events.LinkClosed, link=old)
    driver.do(events.LinkClosed, link=old)
    assert driver.out == []
    heartbeat = Heartbeat()
    assert driver.do(events.BrokerSaid, link=old, epoch=1, table=TABLE, messages=[heartbeat]) == []


def test_what_follows_a_farewell_in_its_frame_is_not_heard() -> None:
    """A frame ends for us where it makes us leave: what it says behind that is of a leader that we left."""
    driver = Driver().connect("b1")
    driver.submit()
    driver.hear(NotLeader(), Accepted(id=TASK))
    assert not driver.core.leader.welcomed
    assert driver.core.book.is_unanswered(TASK)


def test_a_welcome_is_followed_by_answers_in_its_frame() -> None:
    """Messages of one frame are taken in their order: the first may be what lets the next one count."""
    driver = Driver()
    driver.tick()
    driver.do(events.LeaderFound, leader=leader("b1", 1), brokers=BROKERS)
    driver.do(events.LinkOpened, link=driver.link)
    driver.submit()
    driver.hear(Welcome(broker="b1", output="tcp://b1:2"), Accepted(id=TASK))
    assert TASK in driver.core.book.accepted


def test_a_link_that_never_opens_is_left_after_a_second() -> None:
    """A black hole costs a second, not the whole search."""
    driver = Driver()
    driver.tick()
    driver.do(events.LeaderFound, leader=leader("b1", 1), brokers=BROKERS)
    driver.tick(1.1)
    assert driver.only(actions.Disconnect)


def test_closing_says_goodbye_and_ends_all() -> None:
    """After CloseRequested both links are closed and no event does anything."""
    driver = Driver().connect("b1")
    driver.do(events.CloseRequested)
    assert driver.sent() == [Goodbye()]
    assert len(driver.only(actions.Disconnect)) == 2
    assert driver.tick(100) == []
