"""How the workers' nodes are read: seldom, each once, again without an answer, and nonsense set aside."""

from __future__ import annotations

from tests.broker_parts import Desks, of_type, read

from alb_core import zk, znodes


def test_workers_are_listed_not_too_often() -> None:
    """However many come and go, `/workers` is listed at most so often, and its watch is set again."""
    each = Desks()
    (asked,) = of_type(zk.ListChildren, each.tick(1.0))
    assert asked == zk.ListChildren(token=asked.token, path=znodes.WORKERS, watch=True)
    each.workers.on_children(zk.ChildrenListed(at=1.0, token=asked.token, names=()))
    each.workers.on_children_changed(znodes.WORKERS)
    assert of_type(zk.ListChildren, each.tick(1.1)) == []
    assert len(of_type(zk.ListChildren, each.tick(1.25))) == 1


def test_a_list_and_a_read_without_an_answer_are_asked_again() -> None:
    """A broken connection is no proof of anything."""
    each = Desks()
    (asked,) = of_type(zk.ListChildren, each.tick(1.0))
    each.workers.on_children(zk.ChildrenListed(at=1.0, token=asked.token, names=None))
    (again,) = of_type(zk.ListChildren, each.tick(2.0))
    each.workers.on_children(zk.ChildrenListed(at=2.0, token=again.token, names=("w1",)))
    (reading,) = of_type(zk.ReadNodes, each.tick(2.1))
    each.workers.on_nodes(zk.NodesRead(at=2.1, token=reading.token, nodes=None))
    (reading,) = of_type(zk.ReadNodes, each.tick(2.2))
    assert reading.paths == (znodes.worker_path("w1"),)


def test_a_node_that_cannot_be_read_is_set_aside() -> None:
    """It is listed for the operator, and nothing else suffers."""
    each = Desks()
    each.workers.on_node_changed(znodes.worker_path("w1"))
    (asked,) = of_type(zk.ReadNodes, each.tick(1.0))
    node = read(znodes.worker_path("w1"), b"garbage")
    actions_before = len(each.state.out)
    each.workers.on_nodes(zk.NodesRead(at=1.0, token=asked.token, nodes=(node,)))
    assert len(each.state.out) == actions_before + 1
    assert list(each.state.table.set_aside) == [znodes.worker_path("w1")]
