"""Expansion: tasks are made in a window, each once, with the cursor that passes them."""

from __future__ import annotations

import pytest
from tests.array_parts import (
    ECHO,
    ID,
    array_spec,
    children,
    ends,
    finish,
    kept,
    leader,
    nodes,
    ordered,
    stretch,
    submit_array,
)
from tests.broker_parts import C1, TRUE, attach, of_type, task_id, to_client

from alb_broker.core import expansion
from alb_core import limits, zk, znodes
from alb_core.arrays import Counts, Stride
from alb_core.messages import ArrayInputs, Attach, Cancel, Finished, TaskMoved
from alb_core.tasks import TaskState

TEN = array_spec(Stride(1, 10))


def test_tasks_and_cursor_are_in_one_transaction() -> None:
    """So that no leader makes one twice, or none."""
    each = leader(submit_array(TEN))
    assert children(each) == list(range(1, 11))
    assert kept(each).cursor == 10
    live = znodes.decode_task(znodes.task_path(f"{ID}.3"), nodes(each)[znodes.task_path(f"{ID}.3")])
    assert (live.id, live.user, live.spec) == (f"{ID}.3", "ann", TRUE)


def test_no_more_tasks_live_than_the_window_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that ends makes room for another one."""
    monkeypatch.setattr(limits, "ARRAY_WINDOW", 4)
    each = leader(submit_array(TEN), cpus=1.0)
    assert children(each) == [1, 2, 3, 4]
    finish(each, 1)
    finish(each, 2)
    assert children(each) == [3, 4, 5, 6]
    assert kept(each).cursor == 6


def test_who_bounds_tasks_himself_has_each_replaced_at_once() -> None:
    """However large the window is."""
    each = leader(submit_array(array_spec(Stride(1, 10), at_once=2)), cpus=8.0)
    assert children(each) == [1, 2]
    assert ordered(finish(each, 1)) == [f"{ID}.3"]


def test_many_arrays_share_the_bound_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more there are, the smaller is the window of each."""
    monkeypatch.setattr(limits, "ARRAYS_WINDOW", 8)
    each = leader(submit_array(TEN), submit_array(TEN, number=2))
    for _ in range(3):
        each.turn()
    assert sorted(children(each)) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_arrays_take_steps_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a long one does not hold up a short one."""
    monkeypatch.setattr(expansion, "STEP_TASKS", 2)
    monkeypatch.setattr(expansion, "STEPS_MAX", 1)
    each = leader(submit_array(TEN), submit_array(TEN, number=2))
    each.turn()
    names = [name.partition(".")[0] for name in each.state.table.live]
    assert names == [task_id(1)] * 2 + [task_id(2)] * 2


def test_a_held_array_makes_nothing_until_it_is_released() -> None:
    """What is made already goes on."""
    each = leader(submit_array(array_spec(Stride(1, 10), at_once=2)), cpus=8.0)
    each.state.arrays.hold(each.state.arrays.by_id[ID], "ann")
    finish(each, 1)
    assert (children(each), kept(each).held_by) == ([2], "ann")
    each.state.arrays.release(each.state.arrays.by_id[ID])
    each.turn()
    assert children(each) == [2, 3]


def test_skipped_indexes_are_passed_over() -> None:
    """They end as the cursor passes them, in the same transaction."""
    each = leader(submit_array(array_spec(Stride(1, 6), at_once=1)), cpus=1.0)
    each.client(Cancel(id=ID, strides=(Stride(2, 4, 2),)))
    finish(each, 1)
    assert children(each) == [3]
    assert ends(each) == [stretch(0, 1), stretch(1, 1, TaskState.CANCELLED, 125)]
    assert kept(each).counts == Counts(succeeded=1, cancelled=1)


def test_tasks_of_a_cancelled_array_are_cancelled() -> None:
    """Those that wait at once, those that run are killed."""
    each = leader(submit_array(TEN), cpus=1.0)
    each.client(Cancel(id=ID))
    each.turn()
    assert children(each) == [1]
    assert kept(each).counts == Counts(cancelled=9)


def test_inputs_that_are_not_in_memory_are_read() -> None:
    """And the step waits for them."""
    each = leader(
        submit_array(array_spec(task=ECHO, at_once=1), *[f"line {n}" for n in range(2500)]), cpus=1.0
    )
    array = each.state.arrays.by_id[ID]
    each.written.clear()
    array.inputs._loaded.clear()
    actions = finish(each, 1)
    asked = of_type(zk.ReadNodes, actions)
    assert [read.paths for read in asked] == [(znodes.inputs_path(ID, 0),), (znodes.inputs_path(ID, 1000),)]
    lost = zk.NodesRead(at=0.0, token=asked[0].token, nodes=None)
    assert each.expansion.on_nodes(lost)
    each.turn()
    assert children(each) == []
    asked = of_type(zk.ReadNodes, each.tick(1.0) + each.turn())
    data = znodes.encode_list([f"line {n}" for n in range(1000)])
    node = zk.NodeRead(path=znodes.inputs_path(ID, 0), data=data, stat=zk.NO_STAT)
    assert each.expansion.on_nodes(zk.NodesRead(at=0.0, token=asked[0].token, nodes=(node,)))
    each.turn()
    (task,) = each.state.table.live.values()
    assert (task.id, task.spec.command) == (f"{ID}.2", ("echo", "2", "line 1"))


def test_inputs_that_are_on_their_way_into_the_table_are_not_read_there() -> None:
    """After a takeover the first ones are read while more come: those are not there yet, and not lost."""
    first = submit_array(array_spec(task=ECHO, at_once=1), "a", "b", whole=False)
    each = leader(first, cpus=1.0)
    each.state.arrays.by_id[ID].inputs._loaded.clear()
    each.client(ArrayInputs(id=ID, first=2, lines=("c",), whole=True))
    asked = of_type(zk.ReadNodes, finish(each, 1))
    assert [read.paths for read in asked] == [(znodes.inputs_path(ID, 0),)]
    node = zk.NodeRead(path=znodes.inputs_path(ID, 0), data=znodes.encode_list(["a", "b"]), stat=zk.NO_STAT)
    each.expansion.on_nodes(zk.NodesRead(at=0.0, token=asked[0].token, nodes=(node,)))
    each.turn()
    finish(each, 2)
    finish(each, 3)
    assert kept(each).counts == Counts(succeeded=3)


def test_an_array_whose_inputs_were_deleted_is_cancelled() -> None:
    """It could never end otherwise; the reason says which."""
    each = leader(submit_array(array_spec(task=ECHO, at_once=1), "a", "b"), cpus=1.0)
    each.state.arrays.by_id[ID].inputs._loaded.clear()
    (asked,) = of_type(zk.ReadNodes, finish(each, 1))
    each.expansion.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=(None,)))
    each.turn()
    assert kept(each).counts == Counts(succeeded=1, cancelled=1)
    assert "inputs" in kept(each).why


def test_somebody_who_waits_for_a_task_to_come_hears_of_it() -> None:
    """A task that is not made yet is not gone."""
    each = leader(submit_array(array_spec(Stride(1, 3), at_once=1)), cpus=1.0)
    each.client(Attach(id=f"{ID}.2"))
    said = to_client(C1, each.commit())
    assert TaskMoved(id=f"{ID}.2", state=TaskState.QUEUED) in said
    finish(each, 1)
    told = [message for message in to_client(C1, finish(each, 2)) if isinstance(message, Finished)]
    assert [message.id for message in told] == [f"{ID}.2"]


def test_a_follower_that_falls_behind_stops_the_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it acknowledges, or is gone."""
    monkeypatch.setattr("alb_broker.core.arrays.UNACKNOWLEDGED_MAX", 1)
    each = leader(submit_array(array_spec(Stride(1, 9), at_once=2), results=True), cpus=8.0)
    finish(each, 1)
    finish(each, 2)
    assert children(each) == [3]
    each.tick(100.0)
    each.turn()
    assert children(each) == [3, 4]


def test_nothing_is_made_for_an_unknown_task() -> None:
    """An attachment to an index that the array does not have is refused."""
    each = leader(submit_array(TEN))
    each.client(Attach(id=f"{ID}.11"), attach(5))
    codes = [getattr(message, "code", "") for message in to_client(C1, each.commit())]
    assert codes == ["gone", "gone"]
