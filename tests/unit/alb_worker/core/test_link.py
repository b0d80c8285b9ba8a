"""The link: whom the worker follows, how it registers, and what it refuses to hear."""

from __future__ import annotations

import itertools

import pytest
from tests.worker_parts import ENDPOINT, NODE, OUTPUT, TABLE, kinds, leader_node, of_kind, only, said

from alb_core import limits, zk, znodes
from alb_core.draws import Draws
from alb_core.messages import Heartbeat, NotLeader, Register, Registered
from alb_core.notes import Note
from alb_worker.core.actions import ConnectLeader, ConnectOutput, DisconnectLeader, WorkerAction
from alb_worker.core.events import LinkClosed, LinkOpened
from alb_worker.core.link import (
    REGISTER_TRIES,
    REREAD_S,
    REREAD_UNREGISTERED_S,
    STALE_S_MAX,
    Fence,
    LeaderLink,
    LinkState,
)

ELSEWHERE = "tcp://10.0.0.2:7001"


class _End:
    """A link with its session, and the way to answer its reads."""

    def __init__(self) -> None:
        greeting = Register(worker="w1", incarnation="mine", capacity=NODE.capacity)
        self.link = LeaderLink(lambda: greeting, itertools.count(1), Draws(1))
        self.look = only(zk.ReadNodes, self.link.on_session_connected(0.0))

    def read(
        self, *nodes: zk.NodeRead | None, look: zk.ReadNodes | None = None, at: float = 0.0
    ) -> list[WorkerAction]:
        request = look or self.look
        assert self.link.expects(request.token)
        return self.link.on_nodes_read(zk.NodesRead(at=at, token=request.token, nodes=nodes))

    def reread(self, node: zk.NodeRead, at: float = 0.0) -> list[WorkerAction]:
        look = only(zk.ReadNodes, self.link.on_node_changed(zk.NodeChanged(at=at, path=znodes.LEADER)))
        return self.read(node, look=look, at=at)

    def open(self, at: float = 0.0) -> list[WorkerAction]:
        return self.link.on_opened(LinkOpened(at=at, endpoint=self.link.endpoint))

    def register(self, at: float = 0.0, epoch: int = 3, heartbeat_s: float = 1.0) -> None:
        event = said(Registered(broker="b1", output=OUTPUT, heartbeat_s=heartbeat_s), at=at, epoch=epoch)
        assert self.link.admit(event) is None
        self.link.on_registered(event, event.messages[0])  # type: ignore[arg-type]

    def registered(self) -> _End:
        self.read(leader_node())
        self.open()
        self.register()
        return self


def test_the_leader_is_read_with_a_watch_and_followed() -> None:
    """``/leader`` names endpoint and epoch: the epoch is taken before anything is said."""
    end = _End()
    assert end.look == zk.ReadNodes(token=end.look.token, paths=(znodes.LEADER,), watch=True)
    actions = end.read(leader_node(epoch=3))
    assert only(ConnectLeader, actions).endpoint == ENDPOINT
    assert (end.link.fence.table, end.link.fence.epoch) == (TABLE, 3)
    assert kinds(end.open()) == ["Register"]


def test_a_registered_worker_links_to_the_output_and_beats() -> None:
    """Registered brings the output endpoint and the interval of the heartbeats."""
    end = _End()
    end.read(leader_node())
    end.open()
    event = said(Registered(broker="b1", output=OUTPUT, heartbeat_s=2.0), at=1.0)
    assert end.link.admit(event) is None
    another, actions = end.link.on_registered(event, event.messages[0])  # type: ignore[arg-type]
    assert another
    assert only(ConnectOutput, actions).endpoint == OUTPUT
    assert [end.link.beat_due(at) for at in (2.9, 3.0, 3.1, 5.0)] == [False, True, False, True]


def test_the_same_leader_is_not_another_one_after_a_short_break() -> None:
    """Registering again with the same term does not count as a change of leader."""
    end = _End().registered()
    event = said(Registered(broker="b1", output=OUTPUT))
    assert end.link.on_registered(event, event.messages[0])[0] is False  # type: ignore[arg-type]


def test_register_is_sent_again_with_growing_pauses_then_the_link_is_made_anew() -> None:
    """Nobody answers: 1, 2, 4 and 8 s and up to a quarter more pass, then the link counts as half open."""
    end = _End()
    end.read(leader_node())
    end.open()
    sent: list[float] = [0.0]
    at = 0.0
    while True:
        at += 0.1
        actions = end.link.on_tick(at)
        sent += [at] * len(of_kind(Register, actions))
        if of_kind(ConnectLeader, actions):
            break
    assert len(sent) == REGISTER_TRIES
    for pause, (before, after) in zip((1, 2, 4), itertools.pairwise(sent), strict=True):
        assert pause <= after - before <= 1.25 * pause + 0.11
    assert 8 <= at - sent[-1] <= 10.2
    assert only(ConnectLeader, actions).endpoint == ENDPOINT


def test_a_higher_epoch_in_zookeeper_means_a_new_link() -> None:
    """A new leader is followed at once, even at the same address."""
    end = _End().registered()
    actions = end.reread(leader_node(epoch=4, workers=ELSEWHERE))
    assert only(ConnectLeader, actions).endpoint == ELSEWHERE
    assert end.link.state is LinkState.CONNECTING
    assert of_kind(ConnectLeader, end.reread(leader_node(epoch=5, workers=ELSEWHERE)))


def test_an_older_leader_in_zookeeper_is_ignored() -> None:
    """A lagging ZooKeeper server cannot bring back a leader whose successor was heard."""
    end = _End().registered()
    end.reread(leader_node(epoch=4))
    actions = end.reread(leader_node(epoch=3, workers=ELSEWHERE))
    assert kinds(actions) == ["message_dropped"]
    assert end.link.fence.epoch == 4


def test_another_table_starts_with_its_own_epoch() -> None:
    """Epochs compare only within one table: after a restore a lower epoch leads."""
    end = _End().registered()
    actions = end.reread(leader_node(epoch=1, table="table-2", workers=ELSEWHERE))
    assert only(ConnectLeader, actions).endpoint == ELSEWHERE
    assert (end.link.fence.table, end.link.fence.epoch) == ("table-2", 1)


def test_the_same_leader_read_again_changes_nothing() -> None:
    """The safety net finds the leader that is followed already."""
    end = _End().registered()
    assert end.reread(leader_node()) == []
    assert end.link.registered


def test_no_leader_or_an_unreadable_one_leaves_the_link_alone() -> None:
    """A worker goes on with the leader that it knows until there is another one."""
    end = _End().registered()
    for node in (None, zk.NodeRead(path=znodes.LEADER, data=b"?", stat=zk.Stat(version=0, mtime_s=0))):
        look = only(zk.ReadNodes, end.link.on_node_changed(zk.NodeChanged(at=0.0, path=znodes.LEADER)))
        assert not of_kind(ConnectLeader, end.read(node, look=look))
        assert end.link.registered
    assert kinds(end.read(None, look=only(zk.ReadNodes, end.link.on_tick(REREAD_S)))) == []


def test_zookeeper_is_asked_again_by_the_clock() -> None:
    """``/leader`` is read every REREAD_S while registered, more often while not, never while one is open."""
    end = _End()
    assert end.link.on_tick(REREAD_UNREGISTERED_S + 5) == []
    end.read(None)
    assert end.link.on_tick(REREAD_UNREGISTERED_S - 0.1) == []
    look = only(zk.ReadNodes, end.link.on_tick(REREAD_UNREGISTERED_S))
    assert not look.watch, "the watch of the first read is still set"
    assert end.link.on_node_changed(zk.NodeChanged(at=2.0, path="/workers/w1")) == []


def test_a_broken_session_keeps_the_leader() -> None:
    """Without ZooKeeper the link goes on; the read that was open is not waited for."""
    end = _End().registered()
    end.link.on_session_disconnected()
    assert end.link.registered
    assert end.link.on_node_changed(zk.NodeChanged(at=9.0, path=znodes.LEADER)) == []
    assert of_kind(zk.ReadNodes, end.link.on_session_connected(10.0))[0].watch


def test_a_silent_leader_is_looked_for_and_linked_to_anew() -> None:
    """Three heartbeats without a word: ask ZooKeeper, and try the same leader over a new link."""
    end = _End().registered()
    event = said(Heartbeat(), at=1.0)
    assert end.link.admit(event) is None
    assert not of_kind(ConnectLeader, end.link.on_tick(1.0 + limits.MISSED_HEARTBEATS))
    actions = end.link.on_tick(1.1 + limits.MISSED_HEARTBEATS)
    assert kinds(actions) == ["leader_silent", "ReadNodes", "ConnectLeader"]
    assert end.link.state is LinkState.CONNECTING


def test_a_broken_link_asks_zookeeper_and_registers_when_it_is_back() -> None:
    """The shell tries on by itself; each time the link opens, the leader may have forgotten us."""
    end = _End().registered()
    actions = end.link.on_closed(LinkClosed(at=1.0, endpoint=ENDPOINT))
    assert kinds(actions) == ["leader_unlinked", "ReadNodes"]
    refused = [end.link.on_closed(LinkClosed(at=1.1, endpoint=ENDPOINT, refused=True)) for _ in range(2)]
    assert [kinds(actions) for actions in refused] == [["leader_unreachable"], []]
    assert kinds(end.open(at=2.0)) == ["Register"]


def test_news_of_another_link_are_ignored() -> None:
    """What is told of a link that was given up says nothing about the present one."""
    end = _End().registered()
    assert end.link.on_opened(LinkOpened(at=1.0, endpoint=ELSEWHERE)) == []
    assert end.link.on_closed(LinkClosed(at=1.0, endpoint=ELSEWHERE)) == []
    assert end.link.registered


@pytest.mark.parametrize(
    ("epoch", "table", "trigger"), [(2, TABLE, "stale_epoch"), (3, "table-0", "other_table")]
)
def test_messages_of_the_past_are_dropped(epoch: int, table: str, trigger: str) -> None:
    """A lower epoch, or another table than ZooKeeper named, is not obeyed, and the log says so."""
    end = _End().registered()
    note = end.link.admit(said(Heartbeat(), epoch=epoch, table=table))
    assert isinstance(note, Note)
    assert note.event == "message_dropped"
    assert note.fields["trigger"] == trigger
    assert end.link.fence.epoch == 3


def test_a_newer_epoch_over_a_living_link_means_registering_again() -> None:
    """The broker at the other end was deposed and elected again: it does not know us any more."""
    end = _End().registered()
    event = said(Heartbeat(), epoch=4)
    assert end.link.admit(event) is None
    assert kinds(end.link.on_another_term(event)) == ["Register"]
    assert end.link.on_another_term(event) == []
    assert end.link.fence.epoch == 4


def test_not_leader_names_where_to_go() -> None:
    """The worker follows, but no more than once a second: two brokers that point at each other."""
    end = _End().registered()
    actions = end.link.on_not_leader(10.0, NotLeader(where=ELSEWHERE))
    assert kinds(actions) == ["ReadNodes", "ConnectLeader"]
    assert only(ConnectLeader, actions).endpoint == ELSEWHERE
    assert kinds(end.link.on_not_leader(10.1, NotLeader(where=ENDPOINT))) == []
    assert of_kind(ConnectLeader, end.link.on_not_leader(11.0, NotLeader(where=ENDPOINT)))


def test_not_leader_without_a_name_goes_on_registering() -> None:
    """The broker may lead again: it hears of us after a pause, while ZooKeeper is asked."""
    end = _End().registered()
    assert kinds(end.link.on_not_leader(10.0, NotLeader())) == ["ReadNodes"]
    assert end.link.state is LinkState.REGISTERING
    assert not of_kind(Register, end.link.on_tick(10.5))
    assert of_kind(Register, end.link.on_tick(10.0 + limits.RESEND_S))


def test_a_hint_is_left_for_what_zookeeper_says() -> None:
    """Sent elsewhere by a stale hint and unanswered there, it returns to the leader of ``/leader``."""
    end = _End()
    end.read(leader_node())
    end.open()
    look = only(zk.ReadNodes, end.link.on_not_leader(10.0, NotLeader(where=ELSEWHERE)))
    assert only(ConnectLeader, end.read(leader_node(), look=look)).endpoint == ENDPOINT


def test_a_leader_that_stays_older_leads_a_table_that_went_back() -> None:
    """A lagging server is told of once; for half a minute only a restored table looks so."""
    end = _End()
    end.read(leader_node(epoch=9))
    (note,) = end.reread(leader_node(epoch=6), at=1.0)
    assert isinstance(note, Note)
    assert (note.event, note.fields["epoch"], note.fields["current"]) == ("message_dropped", 6, 9)
    assert end.reread(leader_node(epoch=6), at=STALE_S_MAX) == []
    assert not end.link.went_back
    assert end.reread(leader_node(epoch=6), at=1.0 + STALE_S_MAX) == []
    assert "from epoch 9 to 6" in end.link.went_back


@pytest.mark.parametrize("between", [leader_node(epoch=9), leader_node(epoch=1, table="another")])
def test_a_server_that_lags_again_is_given_the_time_again(between: zk.NodeRead) -> None:
    """What counts is the time without any answer that fits."""
    end = _End()
    end.read(leader_node(epoch=9))
    end.reread(leader_node(epoch=6), at=1.0)
    end.reread(between, at=2.0)
    end.reread(leader_node(epoch=6, table=end.link.fence.table), at=2.0 + STALE_S_MAX)
    assert not end.link.went_back


def test_who_is_registered_does_not_count_a_lagging_server() -> None:
    """The leader that we talk to is proof enough."""
    end = _End().registered()
    end.reread(leader_node(epoch=2), at=1.0)
    end.reread(leader_node(epoch=2), at=2.0 + STALE_S_MAX)
    assert not end.link.went_back


def test_a_closed_link_stays_closed() -> None:
    """A worker that ends follows nobody any more."""
    end = _End().registered()
    assert end.link.close() == [DisconnectLeader()]
    assert end.open() == []
    assert end.link.on_closed(LinkClosed(at=1.0, endpoint=ENDPOINT)) == []
    assert end.link.on_not_leader(10.0, NotLeader(where=ELSEWHERE)) == []
    assert end.link.on_session_connected(20.0) == []
    assert end.link.on_tick(30.0) == []


def test_an_answer_after_the_close_is_not_followed() -> None:
    """A read that was open when the link was closed changes nothing."""
    end = _End()
    end.link.close()
    assert end.read(leader_node()) == []


def test_a_message_cannot_move_the_fence_to_another_table() -> None:
    """Only ``/leader`` does; within the table the fence only rises."""
    fence = Fence()
    assert fence.raise_to(TABLE, 5)
    assert not fence.raise_to(TABLE, 4)
    assert fence.epoch == 5
    assert fence.refuses("table-2", 9) == "other_table"
    assert fence.refuses(TABLE, 4) == "stale_epoch"
    assert fence.refuses(TABLE, 5) is None
