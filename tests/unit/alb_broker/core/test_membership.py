"""A broker among the brokers: its node, and the list of all."""

from __future__ import annotations

import msgspec
from tests.broker_parts import broker_node, notes, of_type, read

from alb_broker.core.actions import Action, Exit, Probe
from alb_broker.core.events import ProbeVerdict
from alb_broker.core.membership import LIST_EVERY_S, LIST_SOON_S, NAME_PATIENCE_S, Membership
from alb_broker.core.state import Tokens
from alb_core import zk, znodes
from alb_core.znodes import BrokerNode

PATH = znodes.broker_path("b1")


def membership() -> Membership:
    """Return that of b1."""
    return Membership(broker_node("b1"), Tokens())


def namesake() -> BrokerNode:
    """Return another life of b1, at another address."""
    return msgspec.structs.replace(broker_node("b1", life=7), clients="tcp://b1:9000", host="rack7", pid=47)


def look(at: Membership, actions: list[Action], *brokers: BrokerNode, moment: float = 0.0) -> list[Action]:
    """Answer a list, and the read that follows it; returns what comes of that."""
    (listing,) = of_type(zk.ListChildren, actions)
    names = tuple(sorted(broker.broker for broker in brokers))
    (reading,) = of_type(
        zk.ReadNodes, at.on_children(zk.ChildrenListed(at=0.0, token=listing.token, names=names)) or []
    )
    nodes = {znodes.broker_path(broker.broker): broker for broker in brokers}
    found = tuple(read(path, nodes[path], version=3) if path in nodes else None for path in reading.paths)
    return at.on_nodes(zk.NodesRead(at=moment, token=reading.token, nodes=found)) or []


def test_a_broker_registers_itself() -> None:
    """Its ephemeral node is made when it is not there, and confirmed by the next list."""
    each = membership()
    (multi,) = of_type(zk.Multi, look(each, each.on_connected(0.0)))
    assert multi.operations == (zk.Create(PATH, znodes.encode(each.node), ephemeral=True),)
    assert each.tick(0.1) == []
    assert each.on_verdict(zk.MultiEnded(at=0.2, token=multi.token, verdict=zk.Applied((None,))))
    assert look(each, each.tick(0.2), each.node) == []
    assert each.tick(0.2 + LIST_SOON_S) == []
    assert of_type(zk.ListChildren, each.tick(0.2 + LIST_EVERY_S))


def test_an_earlier_life_at_the_own_address_is_taken_over() -> None:
    """Its node is replaced, if it is still the one that was read."""
    each = membership()
    (multi,) = of_type(zk.Multi, look(each, each.on_connected(0.0), broker_node("b1", life=7)))
    assert multi.operations[0] == zk.Delete(PATH, 3)


def test_an_earlier_life_is_taken_over_when_it_is_proved_dead() -> None:
    """Its address refuses twice: its session's end need not be waited for."""
    each = membership()
    actions = look(each, each.on_connected(0.0), namesake())
    assert of_type(zk.Multi, actions) == []
    for at in (0.0, 0.3):
        (probe,) = of_type(Probe, actions)
        assert probe.endpoint == "tcp://b1:9000"
        each.on_probe(probe.token, ProbeVerdict.REFUSED, at)
        actions = each.tick(at + 0.2)
    (multi,) = of_type(zk.Multi, look(each, actions, namesake()))
    assert multi.operations[0] == zk.Delete(PATH, 3)


def test_a_living_broker_of_the_own_name_keeps_it() -> None:
    """Whose port is open may be frozen; whose registration outlives every dead session is not."""
    each = membership()
    (probe,) = of_type(Probe, look(each, each.on_connected(0.0), namesake()))
    each.on_probe(probe.token, ProbeVerdict.OPEN, 0.1)
    at = 0.0
    while at + LIST_SOON_S < NAME_PATIENCE_S:
        at += LIST_SOON_S
        assert look(each, each.tick(at), namesake(), moment=at) == []
    actions = look(each, each.tick(NAME_PATIENCE_S), namesake(), moment=NAME_PATIENCE_S)
    (leaving,) = of_type(Exit, actions)
    assert "the name b1 is held by a living broker on rack7 (pid 47): its session" in leaving.why
    assert notes(actions, "name_held")


def test_an_earlier_life_goes_with_its_session() -> None:
    """Then the name is free; a time without ZooKeeper, in which no session ends, does not count."""
    each = membership()
    look(each, each.on_connected(0.0), namesake())
    each.on_interrupted()
    late = 2 * NAME_PATIENCE_S
    assert of_type(Exit, look(each, each.on_connected(late), namesake(), moment=late)) == []
    assert of_type(zk.Multi, look(each, each.tick(late + LIST_SOON_S)))


def test_a_later_life_is_given_way_to() -> None:
    """Two brokers of one name would confuse everybody: the earlier one ends, and says why."""
    each = membership()
    look(each, each.on_connected(0.0), each.node)
    actions = look(each, each.tick(LIST_EVERY_S), broker_node("b1", life=7))
    assert [action.code for action in of_type(Exit, actions)] == [1]
    assert notes(actions, "broker_replaced")


def test_a_node_that_went_is_made_again() -> None:
    """After its session, or by somebody's hand."""
    each = membership()
    look(each, each.on_connected(0.0), each.node)
    assert len(of_type(zk.Multi, look(each, each.tick(LIST_EVERY_S)))) == 1


def test_everybodys_endpoint_is_known() -> None:
    """The own one first; a node that cannot be read is left out."""
    each = membership()
    look(each, each.on_connected(0.0), each.node, broker_node("b3"), broker_node("b2"))
    assert each.members.endpoints == ("tcp://b1:7000", "tcp://b2:7000", "tcp://b3:7000")
    (listing,) = of_type(zk.ListChildren, each.tick(LIST_EVERY_S))
    (reading,) = of_type(
        zk.ReadNodes,
        each.on_children(zk.ChildrenListed(at=0.0, token=listing.token, names=("b1", "b2"))) or [],
    )
    found = (read(PATH, each.node), read(znodes.broker_path("b2"), b"garbage"))
    each.on_nodes(zk.NodesRead(at=0.0, token=reading.token, nodes=found))
    assert each.members.endpoints == ("tcp://b1:7000",)


def test_the_keys_of_all_depots_are_known() -> None:
    """By their addresses; a depot without a key is one of an earlier version."""
    own = msgspec.structs.replace(broker_node("b1"), depot="http://b1:1", depot_key="one")
    other = msgspec.structs.replace(broker_node("b2"), depot="http://b2:1", depot_key="two")
    each = Membership(own, Tokens())
    assert each.members.depot_keys == {"http://b1:1": "one"}
    look(each, each.on_connected(0.0), own, other, broker_node("b3"))
    assert each.members.depot_keys == {"http://b1:1": "one", "http://b2:1": "two"}


def test_lost_answers_are_asked_for_again() -> None:
    """A list or a read without an answer changes nothing."""
    each = membership()
    (listing,) = of_type(zk.ListChildren, each.on_connected(0.0))
    assert each.on_children(zk.ChildrenListed(at=0.0, token=listing.token, names=None)) == []
    (listing,) = of_type(zk.ListChildren, each.tick(LIST_SOON_S))
    (reading,) = each.on_children(zk.ChildrenListed(at=0.0, token=listing.token, names=())) or []
    assert isinstance(reading, zk.ReadNodes)
    assert each.on_nodes(zk.NodesRead(at=0.0, token=reading.token, nodes=None)) == []
    assert of_type(zk.ListChildren, each.tick(2 * LIST_SOON_S))


def test_without_a_session_nothing_is_asked() -> None:
    """And answers to other questions are not taken."""
    each = membership()
    each.on_connected(0.0)
    each.on_interrupted()
    assert each.tick(100.0) == []
    assert each.on_children(zk.ChildrenListed(at=0.0, token=99, names=())) is None
    assert each.on_nodes(zk.NodesRead(at=0.0, token=99, nodes=())) is None
    assert not each.on_verdict(zk.MultiEnded(at=0.0, token=99, verdict=zk.Unknown()))
