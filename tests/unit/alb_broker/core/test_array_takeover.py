"""Taking over arrays: a new leader goes on exactly where the table is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from tests.array_parts import ECHO, ID, array_spec, children, finish, leader, nodes, record, submit_array
from tests.broker_parts import Desks, of_type

from alb_broker.core.array_takeover import RETURN_S, ArrayTakeover
from alb_broker.core.table import DoneTask
from alb_broker.core.task import Task
from alb_core import zk, znodes
from alb_core.arrays import Counts, Stride
from alb_core.messages import Cancel
from alb_core.tasks import TaskState

LINES = [f"line {number}" for number in range(6)]


def take_over(written: Mapping[str, bytes], *, lost_answers: int = 0, without: str = "") -> Desks:
    """Return a new leader that read this table."""
    each = Desks()
    takeover = ArrayTakeover(each.state)
    takeover.start()
    for path, data in written.items():
        if path.startswith(znodes.TASKS) and path != without:
            each.state.table.add(Task(znodes.decode_task(path, data), len(data)))
    while not takeover.complete:
        asked = each.state.take_out()
        if not asked:
            takeover.tick()
            continue
        for request in asked:
            lost_answers -= 1
            answer(takeover, request, written, lost=lost_answers >= 0)
    takeover.adopt_tasks()
    return each


def answer(takeover: ArrayTakeover, request: object, written: Mapping[str, bytes], *, lost: bool) -> None:
    """Answer one request, or lose it."""
    if isinstance(request, zk.ListChildren):
        below = [path for path in written if path.startswith(f"{request.path}/")]
        names = tuple(sorted({path.removeprefix(f"{request.path}/").split("/")[0] for path in below}))
        takeover.on_children(zk.ChildrenListed(at=0.0, token=request.token, names=None if lost else names))
    elif isinstance(request, zk.ReadNodes):
        found = tuple(
            zk.NodeRead(path=path, data=written[path], stat=zk.NO_STAT) if path in written else None
            for path in request.paths
        )
        takeover.on_nodes(zk.NodesRead(at=0.0, token=request.token, nodes=None if lost else found))


@pytest.mark.parametrize("lost_answers", [0, 1, 3])
def test_a_new_leader_knows_what_the_old_one_wrote(lost_answers: int) -> None:
    """Counts, cursor, ends, inputs, and which tasks live; answers may be lost."""
    old = leader(submit_array(array_spec(task=ECHO, at_once=3), *LINES), cpus=3.0)
    finish(old, 2)
    new = take_over(nodes(old), lost_answers=lost_answers)
    array, before = new.state.arrays.by_id[ID], old.state.arrays.by_id[ID]
    assert array.record == before.record
    assert sorted(array.live) == sorted(before.live)
    assert array.now.state(1) is TaskState.SUCCEEDED
    assert (array.inputs.firsts, array.inputs.total, array.takes_inputs) == ([0], 6, True)


def test_it_makes_what_was_not_made() -> None:
    """And nothing twice."""
    old = leader(submit_array(array_spec(Stride(1, 6), at_once=2)), cpus=2.0)
    finish(old, 1)
    new = take_over(nodes(old))
    new.greet("ann")
    new.turn()
    assert sorted(children(new)) == [2, 3]
    new.join(cpus=4.0)


def test_it_cancels_what_the_old_one_did_not_live_to() -> None:
    """The cancellation is in the array; its tasks follow."""
    old = leader(submit_array(array_spec(Stride(1, 6), at_once=2)))
    old.client(Cancel(id=ID))
    old.commit()
    new = take_over(nodes(old))
    new.greet("ann")
    new.turn()
    array = new.state.arrays.by_id[ID]
    assert (array.record.counts, bool(array.record.finished)) == (Counts(cancelled=6), True)


def test_a_task_that_somebody_deleted_is_lost() -> None:
    """Else its array would never end."""
    old = leader(submit_array(array_spec(Stride(1, 3))), cpus=1.0)
    new = take_over(nodes(old), without=znodes.task_path(f"{ID}.2"))
    assert new.state.arrays.by_id[ID].record.counts == Counts(failed=1)
    assert new.state.arrays.by_id[ID].now.state(1) is TaskState.LOST


def test_a_node_that_cannot_be_read_stops_no_takeover() -> None:
    """It is set aside, and so is one that makes no sense."""
    old = leader(submit_array(array_spec(Stride(1, 3))))
    endless = msgspec.structs.replace(
        record(array_spec(Stride(1, 3))), id="e" * 32, spec=array_spec(Stride(1, 3, 0))
    )
    poison = {
        znodes.array_path("f" * 32): b"garbage",
        znodes.array_path("e" * 32): znodes.encode(endless),
        f"{znodes.array_path(ID)}/ends-\u00b2": b"[]",  # is a digit, and no number
    }
    new = take_over({**nodes(old), **poison})
    assert list(new.state.arrays.by_id) == [ID]
    assert set(new.state.table.set_aside) == {znodes.array_path("f" * 32), znodes.array_path("e" * 32)}


def test_results_of_before_stay_for_followers_that_come_back() -> None:
    """Then they go in the order of their ends, but for those that somebody asked for."""
    each = Desks()
    takeover = ArrayTakeover(each.state)
    takeover.start()
    (asked,) = of_type(zk.ListChildren, each.state.take_out())
    takeover.on_children(zk.ChildrenListed(at=0.0, token=asked.token, names=()))
    for index, finished in ((1, 30.0), (2, 10.0), (3, 20.0)):
        each.state.table.finish(DoneTask(f"{ID}.{index}", finished, None))
    each.state.table.owe(f"{ID}.3", b"somebody")
    each.state.at = RETURN_S - 1
    takeover.tick()
    assert not each.state.table.acknowledged
    each.state.at = RETURN_S
    takeover.tick()
    assert list(each.state.table.acknowledged) == [f"{ID}.2", f"{ID}.1"]
