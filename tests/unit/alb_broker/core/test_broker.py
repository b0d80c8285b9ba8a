"""A whole broker: standby, leader, standby again; what it refers others to, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.broker_parts import POLICIES, broker_node, config, of_type, outcome, submit, task_id
from tests.broker_stage import BROKER_SESSION_S, Stage, StagedBroker, start

from alb_broker.core import events
from alb_broker.core.actions import Exit, SendToClient, SendToWorker
from alb_broker.core.broker import STANDBY_EPOCH, Broker
from alb_broker.core.election import Stand
from alb_broker.core.reign import Phase
from alb_core import limits, zk, znodes
from alb_core.messages import (
    Accepted,
    Beat,
    Error,
    Finished,
    Follow,
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    NotLeader,
    Suspect,
    Welcome,
)
from alb_core.resources import Load
from alb_core.tasks import TaskState


class Listening(Stage):
    """A stage that keeps what every peer hears."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[tuple[str, str, Message]] = []  #: Broker, peer, message.

    def heard(self, broker: Any, peer: str, message: Message) -> None:
        """Keep it."""
        self.words.append((broker.name, peer, message))

    def heard_by(self, peer: str, kind: type[Message]) -> list[tuple[str, Message]]:
        """Return what a peer heard of one kind, and from whom."""
        return [(name, word) for name, who, word in self.words if who == peer and isinstance(word, kind)]


def stage(*brokers: str) -> Listening:
    """Return a stage with these brokers, of which the first leads, and one worker."""
    each = Listening()
    for name in brokers:
        each.add_broker(name)
    each.add_worker("w1")
    each.advance(1.0)
    return each


# --- standing by --------------------------------------------------------------------------------------------


def standby() -> Broker:
    """Return the core of a standby that knows b1 as the leader."""
    return stage("b1", "b2").brokers["b2"].core


@pytest.mark.parametrize("message", [Hello(user="ann"), submit(1)])
def test_a_standby_refers_clients_to_the_leader(message: Any) -> None:
    """Under an epoch that binds nobody."""
    actions = standby().handle(events.ClientSaid(at=2.0, peer=b"c", message=message))
    referral = NotLeader(where="tcp://b1:7000", broker="b1")
    assert of_type(SendToClient, actions) == [SendToClient(b"c", STANDBY_EPOCH, referral)]


def test_a_standby_refers_workers_to_the_leader() -> None:
    """To the endpoint that is theirs."""
    actions = standby().handle(events.WorkerSaid(at=2.0, peer=b"w", message=Beat(load=Load())))
    referral = NotLeader(where="tcp://b1:7002", broker="b1")
    assert of_type(SendToWorker, actions) == [SendToWorker(b"w", STANDBY_EPOCH, referral)]


def test_a_standby_tells_other_standbys_only_that_it_does_not_lead() -> None:
    """They look into ZooKeeper themselves."""
    message = Follow(broker="b3", incarnation="b3-1")
    actions = standby().handle(events.ClientSaid(at=2.0, peer=b"b3", message=message))
    assert of_type(SendToClient, actions) == [
        SendToClient(b"b3", STANDBY_EPOCH, NotLeader(where="", broker="b1"))
    ]


@pytest.mark.parametrize(
    "event",
    [
        events.ClientSaid(at=2.0, peer=b"x", message=Goodbye()),
        events.WorkerSaid(at=2.0, peer=b"x", message=Goodbye()),
        events.ClientSaid(at=2.0, peer=b"x", message=Suspect(epoch=1)),
        events.TurnEnded(at=2.0),
    ],
)
def test_a_standby_answers_nothing_else(event: Any) -> None:
    """A goodbye needs no answer, and a suspicion none in words."""
    assert of_type(SendToClient, standby().handle(event)) == []


def test_a_standby_answers_nonsense_with_its_error() -> None:
    """From either side, as the leader would."""
    core = standby()
    error = Error(code="protocol", why="nonsense")
    assert core.handle(events.ClientGarbled(at=2.0, peer=b"x", why="nonsense")) == [
        SendToClient(b"x", STANDBY_EPOCH, error)
    ]
    assert core.handle(events.WorkerGarbled(at=2.0, peer=b"x", why="nonsense")) == [
        SendToWorker(b"x", STANDBY_EPOCH, error)
    ]


def test_a_standby_that_is_stopped_ends() -> None:
    """There is nothing to hand over."""
    assert of_type(Exit, standby().handle(events.StopRequested(at=2.0))) == [Exit(0, "stopped")]


def test_before_its_first_session_a_broker_knows_nobody() -> None:
    """And is no leader."""
    core = Broker(config(), broker_node(), POLICIES)
    (answer,) = core.handle(events.ClientSaid(at=0.0, peer=b"c", message=Hello(user="ann")))
    assert answer == SendToClient(b"c", STANDBY_EPOCH, NotLeader())
    assert (core.stand, core.epoch, core.backlogged) == (Stand.OFFLINE, 0, False)


def test_a_standby_hears_the_leader() -> None:
    """Its heartbeats keep it from suspecting anybody."""
    each = stage("b1", "b2")
    each.advance(3 * limits.MISSED_HEARTBEATS)
    core = each.brokers["b2"].core
    assert core.stand is Stand.WATCHING
    assert core._election._heard_at >= each.now - limits.HEARTBEAT_S


# --- leading, and no longer ---------------------------------------------------------------------------------


def test_one_broker_leads_and_the_others_know_it() -> None:
    """However many start at once."""
    each = stage("b1", "b2", "b3")
    assert [broker.core.epoch for broker in each.brokers.values()] == [1, 0, 0]
    assert {
        broker.core._election.leader.broker for broker in each.brokers.values() if not broker.core.epoch
    } == {  # type: ignore[union-attr]
        "b1"
    }


def test_a_broker_says_while_it_loads_the_table() -> None:
    """From the claim until it leads; a standby loads nothing."""
    each = stage("b1", "b2")
    leader, other = (each.brokers[name].core for name in ("b1", "b2"))
    assert leader.reign is not None
    assert (leader.loading, other.loading) == (False, False)
    leader.reign.phase = Phase.LOADING
    assert leader.loading


def test_a_leader_welcomes_with_the_endpoints_of_all_brokers() -> None:
    """So that a client knows whom to ask when it is gone."""
    each = stage("b1", "b2", "b3")
    each.advance(6.0)
    each.client("c1")
    ((_, welcome),) = each.heard_by("c1", Welcome)
    assert isinstance(welcome, Welcome)
    assert welcome.brokers == ("tcp://b1:7000", "tcp://b2:7000", "tcp://b3:7000")


@pytest.mark.parametrize("number", range(3))
def test_epochs_only_rise(number: int) -> None:
    """Whichever way a leader ends, the next one's epoch is higher, and no task is lost or doubled."""
    each = stage("b1", "b2")
    each.client("c1").submit(submit(1))
    each.settle()
    each.advance(11.0)
    leader = each.leader
    [leader.kill, leader.freeze, lambda: leader.inbox.append(events.StopRequested(at=each.now))][number]()
    each.advance(8.0)
    assert each.leader.name == "b2"
    assert each.leader.core.epoch == 2
    (running,) = each.workers["w1"].running
    each.workers["w1"].end(running, outcome())
    each.settle()
    assert {name for name, _ in each.heard_by("c1", Finished)} == {"b2"}
    assert list(each.tasks(znodes.DONE)) == [task_id(1)]
    assert each.tasks(znodes.TASKS) == {}


def test_a_deposed_leader_tells_everybody_and_forgets_everything() -> None:
    """It is a standby of the new leader then, and refers to it."""
    each = stage("b1", "b2")
    each.client("c1").submit(submit(1))
    each.settle()
    each.advance(11.0)
    old = each.brokers["b1"]
    old.freeze()
    each.advance(8.0)
    each.words.clear()
    old.thaw()
    each.advance(2.0)
    from_old = [(peer, type(word)) for name, peer, word in each.words if name == "b1"]
    assert sorted(from_old) == [("c1", NotLeader), ("w1", NotLeader)]
    assert (old.core.reign, old.core.stand) == (None, Stand.WATCHING)
    assert old.follows == "tcp://b2:7000"


def test_what_a_deposed_leader_held_back_is_never_said() -> None:
    """A submission that came while it was being deposed is answered by the new leader alone."""
    each = stage("b1", "b2")
    each.client("c1")
    each.advance(11.0)
    old = each.brokers["b1"]
    old.freeze()
    each.clients["c1"].submit(submit(1))
    each.advance(8.0)
    old.thaw()
    each.advance(2.0)
    assert {name for name, _ in each.heard_by("c1", Accepted)} == {"b2"}


def test_a_session_that_ended_unnoticed_ends_the_reign() -> None:
    """The first that a leader hears may be the connection of its next session."""
    each = stage("b1")
    core = each.brokers["b1"].core
    actions = core.handle(zk.SessionConnected(at=2.0, session=0xBEEF, timeout_s=BROKER_SESSION_S))
    assert core.reign is None
    assert core.stand is Stand.WATCHING
    assert of_type(zk.ReadNodes, actions)


def test_a_leader_that_is_stopped_dumps_and_exits() -> None:
    """In this order: the dump, the last commit, the farewell."""
    each = stage("b1")
    each.client("c1").submit(submit(1))
    each.settle()
    broker = each.brokers["b1"]
    broker.inbox.append(events.StopRequested(at=each.now))
    each.settle()
    assert not broker.alive
    (dumped,) = broker.dumps
    document = json.loads(dumped)
    assert [task["id"] for task in document["running"]] == [task_id(1)]
    assert each.leader_node() is None
    assert isinstance(each.words[-1][2], NotLeader | Heartbeat)


def test_a_second_broker_of_the_same_name_replaces_the_first() -> None:
    """The operator made a mistake, or started it again before it was gone: the earlier one gives way."""
    each = stage("b1")
    first = each.brokers.pop("b1")
    each.brokers["first"] = first
    first.name = "first"
    each.brokers["b1"] = StagedBroker(each, "b1")
    each.brokers["b1"].life = first.life
    each.add_broker("b1")
    each.advance(6.0)
    assert not first.alive
    assert each.leader is each.brokers["b1"]
    assert each.leader.core.epoch == 2
    assert any("exits 1" in line for line in each.story)


def test_nothing_is_lost_when_every_broker_dies() -> None:
    """The table is in ZooKeeper; the first that starts again goes on."""
    each = start(brokers=("b1", "b2"))
    each.client("c1").submit(submit(1))
    each.settle()
    for broker in each.brokers.values():
        broker.kill()
    each.advance(10.0)
    each.brokers["b2"].start()
    each.advance(2.0)
    reign = each.brokers["b2"].core.reign
    assert reign is not None
    assert reign.state.table.live[task_id(1)].state is TaskState.RUNNING
    assert len(each.workers["w1"].running) == 1


def test_an_event_that_nobody_expects_leads_to_nothing() -> None:
    """Late answers of a former session come to every broker."""
    core = stage("b1").brokers["b1"].core
    for event in (
        zk.MultiEnded(at=2.0, token=9999, verdict=zk.Unknown()),
        zk.NodesRead(at=2.0, token=9999, nodes=()),
        zk.ChildrenListed(at=2.0, token=9999, names=()),
        events.ProbeEnded(at=2.0, token=9999, verdict=events.ProbeVerdict.REFUSED),
    ):
        assert core.handle(event) == []
