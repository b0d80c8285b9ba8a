"""How long a finished task stays: until it was acknowledged or held, and its time or its place ran out."""

from __future__ import annotations

import pytest
from tests.broker_parts import C1, C2, CLAIMED_S, Desks, task_id

from alb_broker.core.retention import REMOVALS_MAX
from alb_broker.core.table import DoneTask
from alb_core import zk, znodes

HOLDING_S = 600.0
KEPT_S = 3600.0


def desks(*finished: float, kept_max: int = 100) -> Desks:
    """Return a leader with tasks 1, 2, … that ended so many seconds after its claim."""
    each = Desks(holding_s=HOLDING_S, done_kept_s=KEPT_S, done_kept_max=kept_max)
    for number, at in enumerate(finished, start=1):
        each.state.table.finish(DoneTask(task_id(number), CLAIMED_S + at, None, C1))
    return each


def acknowledge(each: Desks, *numbers: int) -> None:
    """Let clients have these results."""
    for number in numbers:
        each.state.table.acknowledge(task_id(number), C1)


def left(each: Desks, at: float) -> list[int]:
    """Return which tasks are left after a tick at this moment."""
    each.tick(at)
    return [int(done, 16) for done in each.state.table.done]


def test_an_acknowledged_task_stays_for_its_retention() -> None:
    """So that its result can be looked up."""
    each = desks(0.0)
    acknowledge(each, 1)
    assert left(each, KEPT_S - 1) == [1]
    assert left(each, KEPT_S) == []


def test_an_unacknowledged_task_stays_for_the_holding_time_at_least() -> None:
    """However full the table is: its client may come back for it."""
    each = desks(0.0, kept_max=0)
    assert left(each, HOLDING_S - 1) == [1]
    assert left(each, HOLDING_S) == []


def test_the_holding_time_begins_anew_with_a_leader() -> None:
    """After a failover the clients need time to find the new leader."""
    each = desks(-10 * HOLDING_S, kept_max=0)
    assert left(each, HOLDING_S - 1) == [1]
    assert left(each, HOLDING_S) == []


def test_too_many_finished_tasks_push_the_oldest_out() -> None:
    """Only acknowledged ones, before their holding time."""
    each = desks(1.0, 2.0, 3.0, 4.0, kept_max=2)
    acknowledge(each, 2, 3, 4)
    assert left(each, 5.0) == [1, 4]


def test_the_order_of_acknowledgements_is_the_order_of_removal() -> None:
    """And what was removed one way is passed over the other way."""
    each = desks(1.0, 2.0, 3.0, kept_max=1)
    acknowledge(each, 3, 1)
    assert left(each, 5.0) == [2]
    assert left(each, HOLDING_S + 2.0) == [2]
    assert left(each, KEPT_S + 2.0) == []


def test_a_removal_deletes_the_node() -> None:
    """Behind all other writes."""
    each = desks(0.0, kept_max=0)
    acknowledge(each, 1)
    each.tick(1.0)
    each.commit()
    assert each.written == [zk.Delete(znodes.done_path(task_id(1)))]
    assert each.state.counters["tasks_removed"] == 1


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_tick_removes_a_bounded_number(acknowledged: bool) -> None:  # noqa: FBT001 (parametrized)
    """The rest goes with the next ticks."""
    many = REMOVALS_MAX + 10
    each = desks(*([0.0] * many), kept_max=0)
    if acknowledged:
        acknowledge(each, *range(1, many + 1))
    assert len(left(each, HOLDING_S)) == 10
    assert left(each, HOLDING_S + 0.2) == []


def test_a_second_acknowledgement_changes_nothing() -> None:
    """Nor does one of an unknown task."""
    each = desks(0.0)
    acknowledge(each, 1, 1, 9)
    assert list(each.state.table.acknowledged) == [task_id(1)]


@pytest.mark.parametrize(("submitter", "peer"), [(C1, C2), (b"", C1)])
def test_only_the_one_who_submitted_a_task_can_let_it_go(submitter: bytes, peer: bytes) -> None:
    """Somebody else may still wait for the answer to a submission of the same id."""
    each = desks()
    each.state.table.finish(DoneTask(task_id(1), CLAIMED_S, None, submitter))
    each.state.table.acknowledge(task_id(1), peer)
    assert list(each.state.table.acknowledged) == []


def test_a_task_of_an_array_goes_when_no_follower_waits_for_it() -> None:
    """Nobody submits it again; who asks for it in time has it kept until he acknowledges."""
    each = desks(kept_max=0)
    name = f"{task_id(1)}.7"
    each.state.table.finish(DoneTask(name, CLAIMED_S, None))
    each.state.table.owe(name, C2)
    each.state.table.free(name)
    each.tick(1.0)
    assert list(each.state.table.done) == [name]
    each.state.table.acknowledge(name, C2)
    each.state.table.owe(name, C1)
    each.tick(2.0)
    assert list(each.state.table.done) == [name]
    each.state.table.acknowledge(name, C1)
    each.tick(3.0)
    assert not each.state.table.done
