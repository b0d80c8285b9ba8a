"""What became of arrays and of their tasks, for those that wait for them: only what is written counts."""

from __future__ import annotations

import pytest
from tests.array_parts import ID, array_spec, children, finish, leader, nodes, submit_array
from tests.broker_parts import Desks, of_type, read, submit, task_id

from alb_broker.core.actions import Action
from alb_broker.core.fates import Fate
from alb_core import limits, zk, znodes
from alb_core.arrays import Stride
from alb_core.messages import Cancel
from alb_core.spec import After, Dependency, Start, TaskSpec
from alb_core.tasks import TaskState

SIX = array_spec(Stride(1, 6), at_once=3)


def waiting(name: str, after: After = After.SUCCEEDED) -> TaskSpec:
    """Return a command that waits for an array, or for a task of one."""
    return TaskSpec(command="x", start=Start(dependencies=(Dependency(after, name),)))


def state_of(each: Desks, number: int) -> TaskState | None:
    """Return where a task stands; None: it is in no table."""
    live, done = each.state.table.live.get(task_id(number)), each.state.table.done.get(task_id(number))
    record = done.record if done is not None else None
    return live.state if live is not None else record.state if record is not None else None


def forget_results(each: Desks) -> None:
    """Let the results of tasks of arrays leave the table."""
    for name in [name for name in each.state.table.done if "." in name]:
        del each.state.table.done[name]


def answer_looks(each: Desks, *actions: Action, deleted: bool = False) -> None:
    """Answer what is looked up in ZooKeeper."""
    for asked in of_type(zk.ReadNodes, [*actions, *each.state.take_out()]):
        found = tuple(None if deleted else read(path, nodes(each)[path]) for path in asked.paths)
        each.array_pages.on_nodes(zk.NodesRead(at=each.state.at, token=asked.token, nodes=found))


@pytest.mark.parametrize(
    ("name", "fate"),
    [
        (ID, Fate.STARTED),
        (f"{ID}.1", Fate.FAILED),
        (f"{ID}.2", Fate.STARTED),
        (f"{ID}.3", Fate.GOING),
        (f"{ID}.5", Fate.FAILED),
        (f"{ID}.6", Fate.GOING),
        (f"{ID}.7", Fate.UNKNOWN),
        (task_id(2), Fate.UNKNOWN),
    ],
)
def test_everybody_can_be_asked_what_became_of_it(name: str, fate: Fate) -> None:
    """The array, what is over, what runs, what waits, what is cancelled ahead, what is to come."""
    each = leader(submit_array(SIX), cpus=1.0)
    each.client(Cancel(id=f"{ID}.5"))
    each.turn()
    finish(each, 1, exit_code=1)
    forget_results(each)
    assert each.fates.of(name) is fate


def test_nobody_acts_on_what_is_not_written() -> None:
    """An index is cancelled, and the array: before that is in the table, both are still to come."""
    each = leader(submit_array(SIX))
    each.client(Cancel(id=f"{ID}.5"))
    assert each.fates.of(f"{ID}.5") is Fate.GOING
    each.commit()
    assert each.fates.of(f"{ID}.5") is Fate.FAILED
    each.client(Cancel(id=ID))
    each.place()
    assert (each.fates.of(f"{ID}.6"), each.fates.of(ID)) == (Fate.GOING, Fate.GOING)
    each.turn()
    assert (each.fates.of(f"{ID}.6"), each.fates.of(ID)) == (Fate.FAILED, Fate.FAILED)


def test_inputs_to_come_are_waited_for() -> None:
    """As long as the array grows, an index beyond may come; then it is unknown."""
    each = leader(submit_array(array_spec(), "a", whole=False))
    assert each.fates.of(f"{ID}.2") is Fate.GOING
    each.state.arrays.close(each.state.arrays.by_id[ID], "gone")
    each.turn()
    assert each.fates.of(f"{ID}.2") is Fate.UNKNOWN


@pytest.mark.parametrize(("exit_code", "state"), [(0, TaskState.RUNNING), (3, TaskState.CANCELLED)])
def test_the_end_of_an_array_lets_others_go_on(exit_code: int, state: TaskState) -> None:
    """At once: whoever needs its success runs, or ends."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=2.0)
    each.client(submit(9, waiting(ID)))
    each.turn()
    finish(each, 1)
    each.turn()
    assert state_of(each, 9) is TaskState.HELD
    finish(each, 2, exit_code=exit_code)
    each.turn()
    assert state_of(each, 9) is state


def test_the_first_task_that_is_placed_starts_an_array() -> None:
    """`after:` waits for that, and for no more."""
    each = leader(submit_array(SIX))
    each.client(submit(9, waiting(ID, After.STARTED)))
    each.turn()
    assert state_of(each, 9) is TaskState.HELD
    each.join(cpus=3.0)
    each.turn()
    each.turn()
    assert state_of(each, 9) is TaskState.QUEUED


def test_a_task_that_is_not_made_yet_is_waited_for() -> None:
    """Until it has run; a failure of another one changes nothing."""
    each = leader(submit_array(array_spec(Stride(1, 3), at_once=1)), cpus=1.0)
    each.client(submit(9, waiting(f"{ID}.2")))
    each.turn()
    finish(each, 1, exit_code=1)
    assert (children(each), state_of(each, 9)) == ([2], TaskState.HELD)
    finish(each, 2)
    each.turn()
    assert state_of(each, 9) is not TaskState.HELD


def test_a_task_that_will_not_be_made_ends_who_needs_it() -> None:
    """Nothing of it ever moves: it is looked at every second."""
    each = leader(submit_array(SIX))
    each.client(submit(9, waiting(f"{ID}.5")), submit(10, waiting(f"{ID}.6", After.ENDED)))
    each.turn()
    each.client(Cancel(id=f"{ID}.5"))
    each.turn()
    each.tick(2.0)
    each.turn()
    assert (state_of(each, 9), state_of(each, 10)) == (TaskState.CANCELLED, TaskState.HELD)
    each.client(Cancel(id=ID))
    each.turn()
    each.tick(4.0)
    each.turn()
    assert state_of(each, 10) is TaskState.QUEUED


@pytest.mark.parametrize("deleted", [False, True])
def test_what_ended_long_ago_is_looked_up(monkeypatch: pytest.MonkeyPatch, *, deleted: bool) -> None:
    """Its end lies in ZooKeeper only; if somebody deleted that, nobody knows that it went well."""
    monkeypatch.setattr(limits, "ARRAY_CHUNK", 2)
    each = leader(submit_array(array_spec(Stride(1, 3))), cpus=3.0)
    finish(each, 1, 2)
    forget_results(each)
    each.state.take_out()
    assert each.fates.of(f"{ID}.2") is Fate.NONE
    answer_looks(each, deleted=deleted)
    assert each.fates.of(f"{ID}.2") is (Fate.FAILED if deleted else Fate.SUCCEEDED)


def test_who_waits_for_what_is_looked_up_is_told() -> None:
    """The answer comes later; so long it is held."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=2.0)
    finish(each, 1, 2)
    forget_results(each)
    actions = each.client(submit(9, waiting(f"{ID}.2"))) + each.turn()
    assert state_of(each, 9) is TaskState.HELD
    answer_looks(each, *actions)
    each.tick(2.0)
    each.turn()
    assert state_of(each, 9) is TaskState.RUNNING


def test_of_an_array_whose_nodes_go_only_its_own_end_is_known() -> None:
    """Its tasks are as those that the table has forgotten."""
    each = leader(submit_array(array_spec(Stride(1, 1))), cpus=1.0)
    finish(each, 1)
    forget_results(each)
    array = each.state.arrays.by_id[ID]
    array.forget_node(znodes.ends_path(ID, 0))
    assert (each.fates.of(ID), each.fates.of(f"{ID}.1")) == (Fate.SUCCEEDED, Fate.UNKNOWN)


def test_a_lost_task_of_an_array_is_told_to_who_waits() -> None:
    """Its nodes were deleted: it did not end well, once that is written."""
    each = leader(submit_array(array_spec(Stride(1, 2))), cpus=1.0)
    each.client(submit(9, waiting(f"{ID}.2")), submit(10, waiting(ID)))
    each.turn()
    each.state.table.remove(each.state.table.live[f"{ID}.2"])
    each.state.arrays.on_vanished(f"{ID}.2", None, "deleted")
    assert each.fates.of(f"{ID}.2") is Fate.GOING
    each.turn()
    each.tick(2.0)
    each.turn()
    assert (state_of(each, 9), state_of(each, 10)) == (TaskState.CANCELLED, TaskState.HELD)
    finish(each, 1)
    each.turn()
    assert state_of(each, 10) is TaskState.CANCELLED
