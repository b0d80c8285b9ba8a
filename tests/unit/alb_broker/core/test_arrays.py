"""All arrays: where one stands, and what happens when somebody else changes its nodes."""

from __future__ import annotations

from tests.array_parts import ID, array_spec, ends, finish, kept, leader, stretch, submit_array
from tests.broker_parts import C1, Desks, read, task_id, to_client

from alb_broker.core.ledger import Failure
from alb_broker.core.repair import Repair
from alb_core import zk, znodes
from alb_core.arrays import Counts, Stride
from alb_core.messages import Rejected
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

SPEC = array_spec(Stride(1, 6), at_once=3)


def refuse_next(each: Desks) -> list[Failure]:
    """Let the next batch be refused, group by group; hands each failure on."""
    ledger, found = each.state.ledger, []
    while ledger.wants_commit():
        multi = ledger.next_batch(each.state.tokens.next(), each.state.now())
        _, failures = ledger.on_verdict(multi.token, zk.Refused(2, "NoNode"))
        for failure in failures:
            each.state.arrays.on_failure(failure.group)
        found += failures
    return found


def answer_doubts(each: Desks, *missing: str) -> None:
    """Let the nodes that are looked at be there, but for some."""
    for asked in [action for action in each.tick(0.2) if isinstance(action, zk.ReadNodes)]:
        found = tuple(None if path in missing else read(path, b"{}") for path in asked.paths)
        each.array_retention.on_nodes(zk.NodesRead(at=0.2, token=asked.token, nodes=found))


def test_an_end_that_was_refused_is_taken_back_and_comes_again() -> None:
    """The array is well: only the task's nodes were changed."""
    each = leader(submit_array(SPEC), cpus=3.0)
    finish(each, 1, commit=False)
    assert [failure.group.key for failure in refuse_next(each)] == [f"{ID}.1"]
    array = each.state.arrays.by_id[ID]
    assert array.record.counts == Counts()
    answer_doubts(each)
    repair = Repair(each.state, each.book)
    repair.read_again(f"{ID}.1")
    repair.tick()
    (asked,) = [action for action in each.state.take_out() if isinstance(action, zk.ReadNodes)]
    repair.on_nodes(zk.NodesRead(at=0.2, token=asked.token, nodes=(None, None)))
    each.commit()
    assert ends(each) == [stretch(0, 1, TaskState.LOST, 125)]
    assert kept(each).counts == Counts(failed=1)


def test_an_array_whose_node_was_deleted_is_gone() -> None:
    """Its followers are told; its tasks go on like any others."""
    each = leader(submit_array(SPEC), cpus=3.0)
    finish(each, 1, commit=False)
    refuse_next(each)
    answer_doubts(each, znodes.array_path(ID))
    (refused,) = [message for message in to_client(C1, each.commit()) if isinstance(message, Rejected)]
    assert "deleted by somebody else" in refused.why
    assert not each.state.arrays.by_id
    finish(each, 2)
    assert znodes.done_path(f"{ID}.2") in {write.path for write in each.written}


def test_an_array_that_cannot_be_written_is_set_aside() -> None:
    """An operator sees it; nothing more is made."""
    each = leader()
    each.client(submit_array(SPEC))
    refuse_next(each)
    answer_doubts(each)
    assert not each.state.arrays.by_id
    assert znodes.array_path(ID) in each.state.table.set_aside


def test_an_array_of_which_nothing_runs_says_why() -> None:
    """Else who follows it sees that nothing ends, and no more, for ever."""
    lacking = array_spec(Stride(1, 6), task=TaskSpec(command="x", request=Request(cpus=1.0, labels=("ssd",))))
    each = leader(submit_array(lacking), submit_array(SPEC, number=2), cpus=3.0)
    each.turn()
    lines = {number: each.state.arrays.line(each.state.arrays.by_id[task_id(number)]) for number in (1, 2)}
    assert (lines[1].running, lines[1].why) == (0, "no worker has the label ssd; it waits for one that has")
    assert (lines[2].running, lines[2].why) == (3, "")
