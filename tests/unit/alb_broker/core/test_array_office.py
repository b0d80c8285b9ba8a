"""The office: a reign that loads, serves and hands over arrays, on a ZooKeeper of its own."""

from __future__ import annotations

from tests.array_parts import ID, array_spec, leader, submit_array
from tests.broker_parts import Desks, of_type

from alb_broker.core.array_office import ArrayOffice
from alb_core import zk, znodes
from alb_core.arrays import Stride


def test_arrays_are_loaded_before_anything_is_made_of_them() -> None:
    """It asks for the list first, and again if nobody answers."""
    each = Desks()
    office = ArrayOffice(each.state, each.book, each.starts)
    office.load()
    (asked,) = of_type(zk.ListChildren, each.state.take_out())
    assert asked.path == znodes.ARRAYS
    assert office.on_children(zk.ChildrenListed(at=0.0, token=asked.token, names=None))
    office.tick_loading()
    (again,) = of_type(zk.ListChildren, each.state.take_out())
    assert not office.loaded
    assert office.on_children(zk.ChildrenListed(at=0.0, token=again.token, names=()))
    assert office.loaded
    office.open()
    office.tick()


def test_what_it_did_not_ask_is_not_its_own() -> None:
    """Others may have."""
    each = leader(submit_array(array_spec(Stride(1, 2))))
    office = ArrayOffice(each.state, each.book, each.starts)
    assert not office.on_children(zk.ChildrenListed(at=0.0, token=999, names=()))
    assert not office.on_nodes(zk.NodesRead(at=0.0, token=999, nodes=()))
    office.make_tasks()
    assert len(each.state.arrays.by_id[ID].live) == 2
