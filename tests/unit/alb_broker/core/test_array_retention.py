"""How long finished arrays stay, and that nothing of them is left."""

from __future__ import annotations

import pytest
from tests.array_parts import ECHO, ID, array_spec, finish, leader, nodes, submit_array
from tests.broker_parts import Desks

from alb_broker.core import array_retention
from alb_core import limits, znodes
from alb_core.arrays import Stride
from alb_core.messages import Ack, Goodbye


def finished(*, acknowledged: bool, **fields: float) -> Desks:
    """Return a leader with one array, which has ended."""
    each = leader(submit_array(array_spec(task=ECHO), "a", "b"), cpus=2.0, **fields)
    finish(each, 1, 2)
    each.client(Ack(id=ID) if acknowledged else Goodbye())
    return each


def left(each: Desks, at: float) -> list[str]:
    """Return which nodes of arrays are left at a moment."""
    each.tick(at)
    each.commit()
    return [path for path in nodes(each) if path.startswith(znodes.ARRAYS)]


def test_an_acknowledged_array_stays_for_its_retention() -> None:
    """So that anybody can see how it ended; then nothing of it is left."""
    each = finished(acknowledged=True, done_kept_s=60.0, holding_s=600.0)
    assert len(left(each, 59.0)) == 3
    assert left(each, 60.0) == []
    assert not each.state.arrays.by_id
    assert each.state.counters["arrays_removed"] == 1


def test_an_array_of_which_nobody_heard_stays_for_the_holding_time() -> None:
    """Its client may come back for it."""
    each = finished(acknowledged=False, done_kept_s=60.0, holding_s=600.0)
    assert left(each, 599.0)
    assert not left(each, 600.0)


def test_too_many_finished_arrays_push_the_oldest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before their time."""
    monkeypatch.setattr(limits, "ARRAYS_KEPT_MAX", 0)
    each = finished(acknowledged=True)
    assert not left(each, 1.0)


def test_a_large_array_leaves_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record last: as long as anything is left of it, a new leader finds it."""
    monkeypatch.setattr(array_retention, "REMOVALS_MAX", 1)
    each = finished(acknowledged=True, done_kept_s=60.0)
    assert [len(left(each, 60.0 + tick)) for tick in range(4)] == [2, 0, 0, 0]


def test_an_array_that_goes_on_stays() -> None:
    """However long."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=1.0)
    finish(each, 1)
    assert left(each, 1e6)
