"""What a core may expect of ZooKeeper, held against the real server through kazoo and against the model.

The simulator is worth as much as this file: whatever a core relies on has its claim here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.simulation.zookeeper_model import ZooKeeperModel
from tests.zookeeper_peers import (
    Connect,
    ModelPeers,
    RealPeers,
    applied,
    data,
    names,
    read,
    told,
    verdict,
)

from alb_core import znodes
from alb_core.io.zookeeper import bootstrap
from alb_core.zk import (
    Applied,
    Check,
    ChildrenChanged,
    ChildrenListed,
    Create,
    Delete,
    ListChildren,
    Multi,
    MultiEnded,
    NodeRead,
    NodesRead,
    Operation,
    ReadNodes,
    Refused,
    SetData,
    Unknown,
)

CONFIG = znodes.SETTINGS
#: All nodes below /config.


@pytest.fixture(params=["model", "real", "listening"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """How another peer of the same ZooKeeper is made; the tree is an empty cluster's.

    Listening peers take their answers themselves, real ones leave that to the connection's thread.
    """
    if request.param == "model":
        model = ModelPeers(ZooKeeperModel(time.time))
        applied(model.connect(), *(Create(path, data) for path, data in znodes.first_nodes("t").items()))
        yield model.connect
        return
    place = request.getfixturevalue("zookeeper")
    bootstrap(place.hosts, place.chroot)
    with RealPeers(place, listen=request.param == "listening") as real:
        yield real.connect


# --- transactions ------------------------------------------------------------------------------------------


def test_created_node_is_read_back(connect: Connect) -> None:
    """A created node has its data, version 0, no owner, and the server's time of now."""
    peer = connect()
    assert applied(peer, Create("/tasks/00/a", b"one")) == (None,)
    (node,) = read(peer, "/tasks/00/a")
    assert node is not None
    assert (node.path, node.data, node.stat.version, node.stat.owner) == ("/tasks/00/a", b"one", 0, 0)
    assert abs(node.stat.mtime_s - time.time()) < 5


def test_set_data_counts_versions(connect: Connect) -> None:
    """Each SetData returns a stat whose version is one higher; the same one is read back."""
    peer = connect()
    applied(peer, Create("/workers/a", b""))
    (first,) = applied(peer, SetData("/workers/a", b"1", 0))
    none, second = applied(peer, Check("/workers/a", 1), SetData("/workers/a", b"2"))
    assert first is not None
    assert second is not None
    assert (none, first.version, second.version) == (None, 1, 2)
    (node,) = read(peer, "/workers/a")
    assert node == NodeRead(path="/workers/a", data=b"2", stat=second)


def test_two_sets_in_one_transaction(connect: Connect) -> None:
    """Inside a transaction each operation sees those before it."""
    peer = connect()
    stats = applied(
        peer, Create("/workers/a", b"0"), SetData("/workers/a", b"1", 0), SetData("/workers/a", b"2", 1)
    )
    assert [stat and stat.version for stat in stats] == [None, 1, 2]
    assert data(peer, "/workers/a") == [b"2"]


@pytest.mark.parametrize(
    ("operations", "index", "error"),
    [
        ((Create("/epoch", b""),), 0, "NodeExists"),
        ((Create("/nowhere/a", b""),), 0, "NoNode"),
        ((SetData("/nowhere", b""),), 0, "NoNode"),
        ((SetData("/epoch", b"", 4),), 0, "BadVersion"),
        ((Check("/epoch", 1),), 0, "BadVersion"),
        ((Check("/nowhere", 0),), 0, "NoNode"),
        ((Check("/nowhere", -1),), 0, "NoNode"),
        ((Delete("/nowhere"),), 0, "NoNode"),
        ((Delete("/epoch", 1),), 0, "BadVersion"),
        ((Delete("/config"),), 0, "NotEmpty"),
        ((Delete("/config", 3),), 0, "BadVersion"),
        ((Check("/epoch", 0), SetData("/commit", b"x"), Create("/epoch", b"")), 2, "NodeExists"),
        ((Check("/epoch", 1), Create("/nowhere/a", b"")), 0, "BadVersion"),
        (
            (
                *map(Delete, (*CONFIG, znodes.CONFIG)),
                Check("/config", 0),
            ),
            len(CONFIG) + 1,
            "NoNode",
        ),
        (
            (Create("/brokers/e", b"", ephemeral=True), Create("/brokers/e/child", b"")),
            1,
            "NoChildrenForEphemerals",
        ),
    ],
)
def test_refusal_names_operation_and_error(
    connect: Connect, operations: tuple[Operation, ...], index: int, error: str
) -> None:
    """A refused transaction says which operation failed first, and why in ZooKeeper's words."""
    assert verdict(connect(), *operations) == Refused(index, error)


def test_refused_transaction_changes_nothing(connect: Connect) -> None:
    """All or nothing: what stood before the failing operation is undone, versions included."""
    peer = connect()
    applied(peer, Create("/workers/a", b"a"), Create("/workers/b", b"b"))
    before = read(peer, "/workers/a", "/workers/b", "/workers/c", "/epoch")
    assert verdict(
        peer,
        SetData("/workers/a", b"changed"),
        Delete("/workers/b"),
        Create("/workers/c", b"c", ephemeral=True),
        SetData("/epoch", b"x", 9),
    ) == Refused(3, "BadVersion")
    assert read(peer, "/workers/a", "/workers/b", "/workers/c", "/epoch") == before
    assert names(peer, "/workers") == ("a", "b")


def test_delete_and_create_again_in_one_transaction(connect: Connect) -> None:
    """A node can be replaced in one step; its version starts again at 0."""
    peer = connect()
    applied(peer, Create("/leader", b"old"))
    applied(peer, SetData("/leader", b"older"))
    applied(peer, Delete("/leader", 1), Create("/leader", b"new", ephemeral=True))
    (node,) = read(peer, "/leader")
    assert node is not None
    assert (node.data, node.stat.version, node.stat.owner) == (b"new", 0, peer.session)


def test_empty_transaction_is_applied(connect: Connect) -> None:
    """A transaction without operations succeeds and says nothing."""
    assert verdict(connect()) == Applied(())


def test_data_may_be_empty_or_binary(connect: Connect) -> None:
    """Data are bytes, none and any."""
    peer = connect()
    odd = bytes(range(256)) * 4
    applied(peer, Create("/workers/a", b""), Create("/workers/b", odd))
    assert data(peer, "/workers/a", "/workers/b") == [b"", odd]


def test_large_transaction(connect: Connect) -> None:
    """500 operations of 1 KB are one transaction: the size of a full group commit."""
    peer = connect()
    creates = [Create(f"/tasks/00/{number:04d}", b"x" * 1000) for number in range(500)]
    assert applied(peer, *creates) == (None,) * 500
    listed = names(peer, "/tasks/00")
    assert listed is not None
    assert len(listed) == 500


# --- reading -----------------------------------------------------------------------------------------------


def test_many_nodes_are_read_in_order(connect: Connect) -> None:
    """More nodes than one multiRead takes come back in the order asked, None where there is none."""
    peer = connect()
    numbers = range(1201)
    for start in range(0, 1201, 400):
        applied(peer, *(Create(f"/tasks/01/{n:04d}", b"%d" % n) for n in numbers[start : start + 400]))
    paths = [f"/tasks/01/{n:04d}" for n in reversed(numbers)]
    paths[700] = "/tasks/01/none"
    found = data(peer, *paths)
    assert found[700] is None
    assert [value for value in found if value is not None] == [
        b"%d" % n for n in reversed(numbers) if n != 500
    ]


def test_reading_nothing(connect: Connect) -> None:
    """No paths, no nodes."""
    assert read(connect()) == ()


def test_children_are_sorted(connect: Connect) -> None:
    """A listing is sorted; a node without children has none; no node gives None."""
    peer = connect()
    applied(peer, *(Create(f"/workers/{name}", b"") for name in ("b", "a", "c")))
    assert names(peer, "/workers") == ("a", "b", "c")
    assert names(peer, "/workers/a") == ()
    assert names(peer, "/nowhere") is None


def test_root_of_the_chroot(connect: Connect) -> None:
    """The root is a node like others: listed, read, watched."""
    peer = connect()
    listed = names(peer, "/", watch=True)
    assert listed is not None
    assert {"epoch", "commit", "meta", "brokers", "workers", "tasks", "done", "config"} <= set(listed)
    applied(peer, Create("/fresh", b""))
    event = peer.next_event()
    assert isinstance(event, ChildrenChanged)
    assert event.path == "/"


def test_synced_read_sees_what_others_committed(connect: Connect) -> None:
    """A read with sync sees every transaction that ended before it began."""
    writer, reader = connect(), connect()
    for number in range(20):
        applied(writer, SetData("/commit", b"%d" % number))
        (node,) = read(reader, "/commit", sync=True)
        assert node is not None
        assert node.data == b"%d" % number


# --- sessions and ephemerals -------------------------------------------------------------------------------


def test_sessions_have_ids_of_their_own(connect: Connect) -> None:
    """Two sessions have two ids."""
    assert connect().session != connect().session


def test_ephemeral_belongs_to_its_session(connect: Connect) -> None:
    """An ephemeral node names its session, is seen by all, and is gone with the session."""
    owner, other = connect(), connect()
    applied(owner, Create("/workers/w1", b"here", ephemeral=True), Create("/workers/w2", b"stays"))
    (node,) = read(other, "/workers/w1")
    assert node is not None
    assert node.stat.owner == owner.session
    owner.end()
    (ephemeral, persistent) = read(other, "/workers/w1", "/workers/w2", sync=True)
    assert ephemeral is None
    assert persistent is not None


def test_end_of_session_is_seen_by_watchers(connect: Connect) -> None:
    """The end of an ephemeral node triggers the watches on it and on its parent's list."""
    owner, other = connect(), connect()
    applied(owner, Create("/leader", b"", ephemeral=True), Create("/brokers/b1", b"", ephemeral=True))
    read(other, "/leader", watch=True)
    names(other, "/brokers", watch=True)
    owner.end()
    assert told(other, 2) == [("ChildrenChanged", "/brokers"), ("NodeChanged", "/leader")]


# --- watches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["own change", "another's change"])
def test_watch_tells_of_a_change_once(connect: Connect, own: bool) -> None:  # noqa: FBT001
    """A watch tells of the next change, and of no other until it is armed again."""
    watcher = connect()
    writer = watcher if own else connect()
    read(watcher, "/epoch", watch=True)
    applied(writer, SetData("/epoch", b"1"))
    applied(writer, SetData("/epoch", b"2"))
    assert told(watcher, 1) == [("NodeChanged", "/epoch")]
    assert data(watcher, "/epoch") == [b"2"]
    assert watcher.quiet()
    read(watcher, "/epoch", watch=True)
    applied(writer, SetData("/epoch", b"3"))
    assert told(watcher, 1) == [("NodeChanged", "/epoch")]


def test_watch_tells_of_creation_and_deletion(connect: Connect) -> None:
    """A node that is not there can be watched; so can one that goes."""
    peer = connect()
    assert read(peer, "/leader", watch=True) == (None,)
    applied(peer, Create("/leader", b""))
    assert told(peer, 1) == [("NodeChanged", "/leader")]
    read(peer, "/leader", watch=True)
    applied(peer, Delete("/leader"))
    assert told(peer, 1) == [("NodeChanged", "/leader")]


def test_children_watch_sees_births_and_deaths_only(connect: Connect) -> None:
    """A list's watch tells of a new child and of a dead one, not of a child's data."""
    peer = connect()
    applied(peer, Create("/workers/a", b""))
    names(peer, "/workers", watch=True)
    applied(peer, SetData("/workers/a", b"x"))
    applied(peer, Create("/workers/b", b""))
    assert told(peer, 1) == [("ChildrenChanged", "/workers")]
    names(peer, "/workers", watch=True)
    applied(peer, Delete("/workers/a"))
    assert told(peer, 1) == [("ChildrenChanged", "/workers")]
    assert peer.quiet()


def test_data_watch_does_not_see_children(connect: Connect) -> None:
    """A watch on a node's data ignores its children."""
    peer = connect()
    read(peer, "/workers", watch=True)
    applied(peer, Create("/workers/a", b""))
    applied(peer, SetData("/workers", b"x"))
    assert told(peer, 1) == [("NodeChanged", "/workers")]
    assert peer.quiet()


def test_deletion_spends_both_watches(connect: Connect) -> None:
    """A node watched for data and children that is deleted tells both, and its parent's list too."""
    peer = connect()
    applied(peer, Create("/workers/a", b""))
    read(peer, "/workers/a", watch=True)
    names(peer, "/workers/a", watch=True)
    names(peer, "/workers", watch=True)
    applied(peer, Delete("/workers/a"))
    assert told(peer, 3) == [
        ("ChildrenChanged", "/workers"),
        ("ChildrenChanged", "/workers/a"),
        ("NodeChanged", "/workers/a"),
    ]


def test_one_transaction_spends_many_watches(connect: Connect) -> None:
    """Every watch that a transaction touches is spent, each once."""
    peer = connect()
    read(peer, "/epoch", "/commit", "/leader", watch=True)
    names(peer, "/brokers", watch=True)
    applied(
        peer,
        SetData("/epoch", b"1"),
        SetData("/commit", b"1"),
        SetData("/commit", b"2"),
        Create("/leader", b""),
        Create("/brokers/a", b""),
        Create("/brokers/b", b""),
    )
    assert told(peer, 4) == [
        ("ChildrenChanged", "/brokers"),
        ("NodeChanged", "/commit"),
        ("NodeChanged", "/epoch"),
        ("NodeChanged", "/leader"),
    ]
    assert peer.quiet()


def test_refused_transaction_spends_no_watch(connect: Connect) -> None:
    """What did not happen is not told."""
    peer = connect()
    read(peer, "/epoch", watch=True)
    assert verdict(peer, SetData("/epoch", b"1"), Check("/commit", 9)) == Refused(1, "BadVersion")
    applied(peer, SetData("/commit", b"1"))
    assert peer.quiet()


def test_watch_event_comes_before_the_news_it_is_about(connect: Connect) -> None:
    """Whoever reads the new state has been told of the change before."""
    watcher, writer = connect(), connect()
    for number in range(50):
        read(watcher, "/epoch", watch=True)
        applied(writer, SetData("/epoch", b"%d" % number))
        while data(watcher, "/epoch") != [b"%d" % number]:
            assert watcher.quiet()
        assert not watcher.quiet()
        assert told(watcher, 1) == [("NodeChanged", "/epoch")]


def test_watches_of_many_sessions(connect: Connect) -> None:
    """Each session that watches is told."""
    peers = [connect() for _ in range(3)]
    for peer in peers:
        read(peer, "/epoch", watch=True)
    applied(peers[0], SetData("/epoch", b"1"))
    for peer in peers:
        assert told(peer, 1) == [("NodeChanged", "/epoch")]


# --- lost connections ---------------------------------------------------------------------------------------


def test_lost_answer_is_unknown(connect: Connect) -> None:
    """Where the connection breaks before the answer, the verdict is Unknown, though all of it was applied."""
    peer, other = connect(frail=True), connect()
    answer = peer.ask_and_lose_answer(Multi(3, (SetData("/commit", b"x", 0), Create("/workers/a", b""))))
    assert isinstance(answer, MultiEnded)
    assert answer.token == 3
    assert isinstance(answer.verdict, Unknown)
    assert data(other, "/commit", "/workers/a") == [b"x", b""]


def test_unknown_batch_sent_again_is_applied_once(connect: Connect) -> None:
    """The chain of versions keeps a batch whose outcome was unknown from being applied twice."""
    peer = connect(frail=True)
    batch = (Check("/epoch", 0), SetData("/commit", b"1", 0), Create("/workers/a", b""))
    peer.ask_and_lose_answer(Multi(3, batch))
    peer.mend()
    assert verdict(peer, *batch) == Refused(1, "BadVersion")
    (commit,) = read(peer, "/commit", sync=True)
    assert commit is not None
    assert (commit.data, commit.stat.version) == (b"1", 1)


def test_request_without_connection_is_never_sent(connect: Connect) -> None:
    """What is asked while the connection is down ends Unknown at once, and is never sent later."""
    peer, other = connect(frail=True), connect()
    peer.cut()
    written = peer.ask(Multi(1, (Create("/workers/late", b""),)))
    assert isinstance(written, MultiEnded)
    assert isinstance(written.verdict, Unknown)
    nodes = peer.ask(ReadNodes(token=2, paths=("/epoch",)))
    assert isinstance(nodes, NodesRead)
    assert (nodes.token, nodes.nodes) == (2, None)
    listed = peer.ask(ListChildren(token=3, path="/workers"))
    assert isinstance(listed, ChildrenListed)
    assert (listed.token, listed.names) == (3, None)
    peer.mend()
    applied(peer, Create("/workers/new", b""))
    assert names(other, "/workers") == ("new",)


def test_session_outlives_its_connection(connect: Connect) -> None:
    """After a reconnect in time the session is the same, and its ephemeral nodes are still there."""
    peer, other = connect(frail=True), connect()
    applied(peer, Create("/brokers/b1", b"", ephemeral=True))
    session = peer.session
    peer.cut()
    peer.mend()
    assert peer.session == session
    (node,) = read(other, "/brokers/b1", sync=True)
    assert node is not None
    assert node.stat.owner == session


def test_watches_end_with_the_connection(connect: Connect) -> None:
    """A reconnect brings no watch back: what was watched must be read anew."""
    peer, other = connect(frail=True), connect()
    read(peer, "/epoch", watch=True)
    names(peer, "/workers", watch=True)
    peer.cut()
    peer.mend()
    applied(other, SetData("/epoch", b"1"), Create("/workers/a", b""))
    assert data(peer, "/epoch") == [b"1"]
    assert peer.quiet()
