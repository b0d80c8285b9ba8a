"""The tree of a replay does what the model of the simulator does, on a day without faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.zookeeper_model import ZooKeeperModel

from alb_broker.replay.tree import Tree
from alb_core import zk
from alb_core.errors import ReplayBroken

AT = 1_700_000_000.0
PATHS = ("/a", "/a/b", "/a/b/c", "/a/d", "/e")
operations = st.one_of(
    st.builds(zk.Create, st.sampled_from(PATHS), st.binary(max_size=4)),
    st.builds(zk.SetData, st.sampled_from(PATHS), st.binary(max_size=4), st.integers(-1, 2)),
    st.builds(zk.Delete, st.sampled_from(PATHS), st.integers(-1, 2)),
    st.builds(zk.Check, st.sampled_from(PATHS), st.integers(-1, 2)),
)


@given(st.lists(operations, max_size=30))
def test_it_is_the_model_without_faults(steps: list[zk.Operation]) -> None:
    """Every transaction has the same verdict and leaves the same nodes; what the model refuses, it raises."""
    tree, model = Tree({}, AT), ZooKeeperModel(lambda: AT)
    session = model.connect("b1")
    for token, operation in enumerate(steps):
        multi = zk.Multi(token, (operation,))
        wanted = model.apply(session, multi, 0.0)
        assert isinstance(wanted, zk.MultiEnded)
        if isinstance(wanted.verdict, zk.Refused):
            with pytest.raises(ReplayBroken):
                tree.apply(multi, 0.0)
        else:
            assert tree.apply(multi, 0.0) == wanted
        for request in (
            zk.ReadNodes(token=1, paths=PATHS),
            *(zk.ListChildren(token=2, path=path) for path in PATHS),
        ):
            assert tree.apply(request, 0.0) == model.apply(session, request, 0.0)


def test_a_transaction_is_applied_in_its_order() -> None:
    """A node that one operation makes is there for the next one."""
    tree = Tree({"/a": b""}, AT)
    made = (zk.Create("/a/b", b"1"), zk.SetData("/a/b", b"2", 0), zk.Check("/a/b", 1))
    answer = tree.apply(zk.Multi(7, made), 3.0)
    assert answer == zk.MultiEnded(
        at=3.0, token=7, verdict=zk.Applied((None, zk.Stat(version=1, mtime_s=AT), None))
    )
