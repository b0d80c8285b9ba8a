"""The ZooKeeper session when servers die, freeze, swallow packets, or are older than expected."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl
from tests.harness import check_soon
from tests.zookeeper_peers import WAIT_S, RealPeer, applied, data, read, verdict
from tests.zookeeper_servers import Wire, ZooKeeperAt, fresh_place, make_ensemble

from alb.local.zookeeper import Ensemble, ZooKeeperServer
from alb_core import znodes
from alb_core.bounds import SHIPPED
from alb_core.choices import HistoryNode, PolicyNode, UseNode
from alb_core.copies import COPIES
from alb_core.errors import CoordinationError, ZooKeeperUnreachable
from alb_core.io.multi_read import MultiRead
from alb_core.io.multi_write import MultiWrite
from alb_core.io.zookeeper import Session, bootstrap, read_cluster
from alb_core.resources import Capacity
from alb_core.shares import NO_SHARES
from alb_core.zk import (
    Applied,
    Create,
    Delete,
    ListChildren,
    Multi,
    MultiEnded,
    NodesRead,
    ReadNodes,
    SessionConnected,
    SessionExpired,
    SessionSuspended,
    SetData,
    Unknown,
)
from alb_core.znodes import BrokerNode, LeaderNode, WorkerNode


@pytest.fixture
def cluster(zookeeper: ZooKeeperAt) -> ZooKeeperAt:
    """An empty cluster's tree."""
    bootstrap(zookeeper.hosts, zookeeper.chroot)
    return zookeeper


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Ensemble]:
    """A server that a test may kill."""
    with make_ensemble(tmp_path) as servers:
        yield servers


@pytest.fixture(params=[False, True], ids=["thread", "owner"])
def listens(request: pytest.FixtureRequest) -> bool:
    """Who takes the answers: the connection's thread, or the owner's, as a leader's does."""
    return bool(request.param)


# --- servers that die and freeze ---


def test_restarted_server_is_found_within_two_seconds(lone: Ensemble, listens: bool) -> None:  # noqa: FBT001
    """A server that was killed and comes back is connected again soon, in the same session."""
    place = fresh_place(lone.hosts)
    bootstrap(place.hosts, place.chroot)
    peer = RealPeer(place, timeout_s=10.0, listens=listens)
    applied(peer, Create("/brokers/b1", b"", ephemeral=True))
    (server,) = lone.servers

    def return_s() -> float:
        server.kill()
        peer.wait_for(SessionSuspended)
        time.sleep(1.5)  # not to wait for anything: the longer it is away, the rarer kazoo tries
        server.start()
        server.wait_serving()
        serving = time.monotonic()
        assert peer.wait_for(SessionConnected).session == peer.session
        return time.monotonic() - serving

    check_soon(return_s, 2)
    assert data(peer, "/brokers/b1") == [b""]
    peer.end()


def test_frozen_server_suspends_the_session(lone: Ensemble, listens: bool) -> None:  # noqa: FBT001
    """Requests to a server that no longer answers end Unknown within the session's timeout."""
    place = fresh_place(lone.hosts)
    bootstrap(place.hosts, place.chroot)
    peer = RealPeer(place, timeout_s=2.0, listens=listens)
    (server,) = lone.servers

    def answer_s() -> float:
        server.freeze()
        frozen = time.monotonic()
        answer = peer.ask(Multi(1, (SetData("/commit", b"x"),)))
        assert isinstance(answer, MultiEnded)
        assert isinstance(answer.verdict, Unknown)
        taken = time.monotonic() - frozen
        peer.wait_for(SessionSuspended)
        server.thaw()
        peer.wait_for(SessionConnected)
        return taken

    check_soon(answer_s, 2.5)
    (node,) = read(peer, "/commit")
    assert node is not None
    peer.end()


def test_session_moves_to_another_member(ensemble: Ensemble) -> None:
    """When the member that a session hangs on is killed, another one takes the session over."""
    place = fresh_place(ensemble.hosts)
    bootstrap(place.hosts, place.chroot)
    peer = RealPeer(place, timeout_s=5.0)
    applied(peer, Create("/brokers/b1", b"", ephemeral=True))
    port = peer.zookeeper._client._connection._socket.getpeername()[1]
    (member,) = [server for server in ensemble.servers if server.address.endswith(f":{port}")]
    member.kill()
    assert peer.wait_for(SessionConnected).session == peer.session
    (node,) = read(peer, "/brokers/b1", sync=True)
    assert node is not None
    assert node.stat.owner == peer.session
    peer.end()


def test_loss_and_return_of_the_quorum(ensemble: Ensemble) -> None:
    """Without a quorum nothing is applied; what was applied before is there when it returns."""
    place = fresh_place(ensemble.hosts)
    bootstrap(place.hosts, place.chroot)
    peer = RealPeer(place, timeout_s=2.0)
    applied(peer, Create("/workers/before", b""))
    for server in ensemble.servers[:2]:
        server.kill()
    peer.wait_for(SessionSuspended)
    answer = peer.ask(Multi(1, (Create("/workers/meanwhile", b""),)))
    assert isinstance(answer, MultiEnded)
    assert isinstance(answer.verdict, Unknown)
    ensemble.start()
    deadline = time.monotonic() + WAIT_S
    while isinstance(verdict(peer, Create("/workers/after", b"")), Unknown):
        assert time.monotonic() < deadline
        peer.wait_for(SessionConnected)
    assert data(peer, "/workers/before", "/workers/after") == [b"", b""]
    peer.end()


def test_expired_session_is_replaced(cluster: ZooKeeperAt, listens: bool) -> None:  # noqa: FBT001
    """After an absence longer than the timeout the session is told to be over, and a new one follows."""
    with Wire(cluster.hosts) as wire:
        peer = RealPeer(cluster, timeout_s=1.0, wire=wire, listens=listens)
        witness = RealPeer(cluster)
        applied(peer, Create("/brokers/b1", b"", ephemeral=True))
        read(witness, "/brokers/b1", watch=True)
        peer.cut()
        witness.next_event()  # the ensemble has ended the session
        wire.mend()
        peer.wait_for(SessionExpired)
        assert peer.wait_for(SessionConnected).session != peer.session
        assert data(peer, "/brokers/b1") == [None]
        peer.end()
        witness.end()


def test_silent_server_costs_little(zookeeper_server: ZooKeeperServer) -> None:
    """Of two servers one swallows every packet: the other is reached long before the session's timeout."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        with socket.create_connection(hole.getsockname()):  # fills the queue: more is not answered
            silent = f"127.0.0.1:{hole.getsockname()[1]}"
            place = ZooKeeperAt(f"{silent},{zookeeper_server.address}", "")

            def connection_s() -> float:
                begun = time.monotonic()
                peer = RealPeer(place, timeout_s=8.0)
                taken = time.monotonic() - begun
                peer.end()
                return taken

            for _ in range(4):  # kazoo begins with either
                check_soon(connection_s, 4)


# --- one answer for each request ---


def test_every_request_under_way_is_answered_once(cluster: ZooKeeperAt, listens: bool) -> None:  # noqa: FBT001
    """Requests that meet a broken connection end once each and in order, and none is sent later."""
    paths = [f"/workers/{number}" for number in range(1000)]
    with Wire(cluster.hosts) as wire:
        peer = RealPeer(cluster, wire=wire, listens=listens)
        for token, path in enumerate(paths):
            if listens and not token % 50:
                peer.zookeeper.lend(time.monotonic())
                peer.zookeeper.hear()
            if token == 200:
                wire.cut()
            peer.zookeeper.request(Multi(token, (Create(path, b""),)))
        answers = [peer.answer() for _ in paths]
        assert [answer.token for answer in answers] == list(range(1000))
        known = [isinstance(answer, MultiEnded) and answer.verdict == Applied((None,)) for answer in answers]
        assert known == sorted(known, reverse=True), "after the first Unknown all are"
        wire.mend()
        peer.wait_for(SessionConnected)
        found = [value is not None for value in data(peer, *paths)]
        assert sum(known) <= sum(found) < 1000
        assert found == sorted(found, reverse=True), "applied in the order asked"
        assert peer.quiet()
        peer.end()


def test_client_that_gave_up_is_started_again(
    cluster: ZooKeeperAt,
    monkeypatch: pytest.MonkeyPatch,
    listens: bool,  # noqa: FBT001
) -> None:
    """Where kazoo dies of an answer that it does not know, all is answered and a new session begins."""
    peer = RealPeer(cluster, listens=listens)
    monkeypatch.setattr(MultiWrite, "plain", False)  # else kazoo would not see the answer
    connection = peer.zookeeper._client._connection
    reading = connection._read_response
    failures = iter([RuntimeError("Invalid error code")])

    def fail_once(header: Any, buffer: bytes, offset: int) -> Any:
        for failure in failures:
            peer.zookeeper._client._pending.popleft()
            raise failure
        return reading(header, buffer, offset)

    monkeypatch.setattr(connection, "_read_response", fail_once)
    answer = peer.ask(Multi(1, (SetData("/commit", b"x"),)))
    assert isinstance(answer, MultiEnded)
    assert isinstance(answer.verdict, Unknown)
    peer.wait_for(SessionExpired)
    assert peer.wait_for(SessionConnected).session != peer.session
    assert data(peer, "/commit") == [b"x"]
    peer.end()


# --- answers that are lent ---


def test_a_listening_owner_is_answered_on_its_own_thread(cluster: ZooKeeperAt) -> None:
    """Once its connection's thread has seen the loan, which it does with the first answer at the latest."""
    takers: list[int] = []
    session = Session(cluster.hosts, cluster.chroot, 3.0, lambda _event: takers.append(threading.get_ident()))
    session.start()
    deadline = time.monotonic() + WAIT_S
    try:
        while threading.get_ident() not in takers:
            assert time.monotonic() < deadline
            lent = session.lend(time.monotonic())
            if lent < 0:
                time.sleep(0.01)  # it is not connected yet
                continue
            session.request(Multi(1, (SetData("/commit", b"x"),)))
            waiting = select.poll()
            waiting.register(lent, select.POLLIN)
            if waiting.poll(1000):
                session.hear()
    finally:
        session.stop()


def test_an_owner_that_is_stuck_keeps_its_session(cluster: ZooKeeperAt) -> None:
    """It waits for answers and does not take them: the connection's thread pings, and has them back soon."""
    peer = RealPeer(cluster, timeout_s=1.0)
    deadline = time.monotonic() + WAIT_S
    while peer.zookeeper.lend(time.monotonic() + 2.0) < 0:  # for twice the session's timeout
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for token in range(5):
        peer.zookeeper.request(Multi(token, (SetData("/commit", b"x"),)))
        event = peer.next_event()
        assert isinstance(event, MultiEnded), event
        assert (event.token, type(event.verdict)) == (token, Applied)
    assert peer.quiet()
    peer.end()


# --- versions and limits of servers ---


def test_old_server_is_read_one_by_one(cluster: ZooKeeperAt, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know multiRead is asked for it once; then the answers are the same."""
    peer = RealPeer(cluster)
    paths = [f"/tasks/00/{number:03d}" for number in range(450)]
    applied(peer, *(Create(path, path.encode()) for path in paths))
    applied(peer, Create("/leader", b"", ephemeral=True), Delete(paths[17]), SetData(paths[3], b"x"))
    asked = (*paths, "/leader", "/nowhere", *paths[:100])
    modern = read(peer, *asked)
    monkeypatch.setattr(MultiRead, "type", 98)  # no operation of ZooKeeper's
    refused = peer.ask(ReadNodes(token=1, paths=asked))
    assert isinstance(refused, NodesRead)
    assert refused.nodes is None
    assert peer.wait_for(SessionConnected).session == peer.session
    monkeypatch.setattr(MultiRead, "serialize", None)  # must not be used again
    assert read(peer, *asked) == modern
    assert modern[17] is None
    peer.end()


@pytest.mark.parametrize(("asked", "granted"), [(0.5, 1.0), (3.0, 3.0), (60.0, 10.0)])
def test_granted_timeout_is_told(zookeeper_server: ZooKeeperServer, asked: float, granted: float) -> None:
    """The server keeps timeouts between 2 and 20 ticks; the session tells what it granted."""
    peer = RealPeer(ZooKeeperAt(zookeeper_server.address, ""), timeout_s=asked, wait=False)
    assert peer.wait_for(SessionConnected).timeout_s == granted
    peer.end()


# --- the end ---


def test_stop_is_quick(cluster: ZooKeeperAt, listens: bool) -> None:  # noqa: FBT001
    """A session closes in a fraction of a second, and posts nothing about it, also while answers are lent."""

    def stop_s() -> float:
        peer = RealPeer(cluster, listens=listens)
        applied(peer, SetData("/commit", b"x"))
        begun = time.monotonic()
        peer.zookeeper.stop()
        taken = time.monotonic() - begun
        assert peer.quiet()
        return taken

    check_soon(stop_s, 0.5)


def test_stop_is_bounded_without_a_server() -> None:
    """Nobody waits longer than they said for a ZooKeeper that is not there."""
    session = Session("127.0.0.1:1", "", 5.0, lambda _event: None)
    session.start()
    begun = time.monotonic()
    session.stop(0.5)
    assert time.monotonic() - begun < 4


def test_session_that_was_never_started_can_be_stopped() -> None:
    """Stopping is harmless at any time, also twice."""
    session = Session("127.0.0.1:1", "", 5.0, lambda _event: None)
    session.stop()
    session.stop()


def test_no_thread_is_left(cluster: ZooKeeperAt) -> None:
    """A stopped session leaves no thread behind."""
    before = set(threading.enumerate())
    peer = RealPeer(cluster)
    peer.end()
    assert set(threading.enumerate()) == before


# --- visits ---


def test_everybody_may_bootstrap_at_once(zookeeper: ZooKeeperAt) -> None:
    """However many begin a cluster at the same time, it is one cluster."""
    tables: list[str] = []

    def begin() -> None:
        tables.append(bootstrap(zookeeper.hosts, zookeeper.chroot).table)

    threads = [threading.Thread(target=begin) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(tables) == 5
    assert len(set(tables)) == 1
    peer = RealPeer(zookeeper)
    assert None not in data(peer, *znodes.first_nodes("any"))
    peer.end()


def test_bootstrap_mends_and_overwrites_nothing(cluster: ZooKeeperAt) -> None:
    """What somebody deleted comes back; what is there stays as it is."""
    peer = RealPeer(cluster)
    table = bootstrap(cluster.hosts, cluster.chroot).table
    deleted = map(Delete, ("/tasks/7f", *znodes.SETTINGS, znodes.CONFIG))
    applied(peer, *deleted, SetData("/epoch", b"9"))
    assert bootstrap(cluster.hosts, cluster.chroot).table == table
    forms = (PolicyNode(), HistoryNode(), UseNode(), znodes.DrainedNode(), SHIPPED, NO_SHARES, COPIES)
    nodes = map(znodes.encode, forms)
    assert data(peer, "/tasks/7f", *znodes.SETTINGS, "/epoch") == [b"", *nodes, b"9"]
    peer.end()


def test_bootstrap_of_a_deep_chroot(zookeeper: ZooKeeperAt) -> None:
    """A chroot may lie below nodes that do not exist yet."""
    meta = bootstrap(zookeeper.hosts, f"{zookeeper.chroot}/one/two/", cluster="deep")
    assert meta.cluster == "deep"
    peer = RealPeer(ZooKeeperAt(zookeeper.hosts, f"{zookeeper.chroot}/one/two"))
    assert None not in data(peer, *znodes.first_nodes("any"))
    peer.end()


def test_foreign_meta_is_reported(zookeeper: ZooKeeperAt) -> None:
    """A tree that somebody else owns is not taken over."""
    peer = RealPeer(ZooKeeperAt(zookeeper.hosts, ""))
    applied(peer, Create(zookeeper.chroot, b""), Create(f"{zookeeper.chroot}/meta", b"not ours"))
    with pytest.raises(znodes.UnreadableNode, match="/meta"):
        bootstrap(zookeeper.hosts, zookeeper.chroot)
    peer.end()


def test_forbidden_tree_is_reported(zookeeper: ZooKeeperAt) -> None:
    """Where ZooKeeper does not let us create nodes, that is said at once instead of tried for ever."""
    owner = KazooClient(zookeeper.hosts)
    owner.start()
    owner.create(zookeeper.chroot, acl=[make_acl("world", "anyone", read=True)])
    owner.stop()
    owner.close()
    with pytest.raises(CoordinationError, match=f"refuses to create {zookeeper.chroot}/meta: NoAuth"):
        bootstrap(zookeeper.hosts, zookeeper.chroot)


def test_unreachable_zookeeper_is_named() -> None:
    """The error says which servers were tried, for how long, and what to check."""
    begun = time.monotonic()
    with pytest.raises(
        ZooKeeperUnreachable, match=r"within 0\.4 s \(tried 127\.0\.0\.1:1,127\.0\.0\.1:2\).*--zk"
    ):
        read_cluster("127.0.0.1:1,127.0.0.1:2", "/alb", 0.4)
    assert time.monotonic() - begun < 4


def test_cluster_that_does_not_exist_is_empty(zookeeper: ZooKeeperAt) -> None:
    """Where no broker ever was, nobody leads."""
    assert read_cluster(zookeeper.hosts, zookeeper.chroot) == (None, [], [])


def test_cluster_is_read(cluster: ZooKeeperAt) -> None:
    """The leader, the brokers and the workers are found; nodes that nobody understands are left out."""
    brokers = [
        BrokerNode(
            broker=name, incarnation="i", clients="tcp://h:1", client_output="", workers="", worker_output=""
        )
        for name in ("b1", "b2")
    ]
    leader = LeaderNode(**msgspec.structs.asdict(brokers[1]), epoch=7, table="t")
    worker = WorkerNode(worker="w1", incarnation="i", capacity=Capacity(cpus=2.0, memory_bytes=1 << 30))
    peer = RealPeer(cluster)
    applied(
        peer,
        Create(znodes.LEADER, znodes.encode(leader), ephemeral=True),
        *(Create(znodes.broker_path(node.broker), znodes.encode(node), ephemeral=True) for node in brokers),
        Create(znodes.worker_path("w1"), znodes.encode(worker), ephemeral=True),
        Create(znodes.worker_path("w2"), b"garbage", ephemeral=True),
    )
    assert read_cluster(cluster.hosts, cluster.chroot) == (leader, brokers, [worker])
    peer.end()
    assert read_cluster(cluster.hosts, cluster.chroot) == (None, [], [])


def test_visit_survives_a_lost_connection(cluster: ZooKeeperAt) -> None:
    """A visitor whose connection breaks asks again instead of failing."""
    with Wire(cluster.hosts) as wire:
        wire.cut()
        mender = threading.Timer(0.3, wire.mend)
        mender.start()
        assert read_cluster(wire.address, cluster.chroot) == (None, [], [])
        mender.join()


def test_requests_of_any_kind_are_answered_without_a_server() -> None:
    """Before the first connection every request ends as unknown, at once."""
    peer = RealPeer(ZooKeeperAt("127.0.0.1:1", ""), wait=False)
    reading = ReadNodes(token=1, paths=("/a",), watch=True, sync=True)
    for request in (Multi(0, ()), reading, ListChildren(token=2, path="/")):
        assert peer.ask(request).token == request.token
    peer.end()
