"""Taking over: everything that is in the table gets into memory, whatever answers are lost on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.array_parts import array_spec, leader, submit_array
from tests.broker_parts import CLAIMED_S, make_attempt, make_state, of_type, read, record, submit, task_id

from alb_broker.core.actions import Action
from alb_broker.core.state import State
from alb_broker.core.takeover import CHUNK_BYTES, FIRST_CHUNK, READ_CHUNK, READS_AHEAD, Takeover
from alb_core import ids, zk, znodes
from alb_core.arrays import Stride
from alb_core.spec import TaskSpec
from alb_core.tasks import AttemptState, Result, TaskRecord, TaskState

DONE = Result(state=TaskState.SUCCEEDED, exit_code=0, finished=CLAIMED_S - 50)


def finished(number: int) -> TaskRecord:
    """Return a finished task as the table holds it."""
    return record(number, make_attempt(state=AttemptState.OVER), state=TaskState.SUCCEEDED, result=DONE)


class Tree:
    """What ZooKeeper holds, and who answers the reads of a takeover."""

    def __init__(self, live: Iterable[TaskRecord] = (), done: Iterable[TaskRecord] = ()) -> None:
        self.nodes = {znodes.task_path(each.id): znodes.encode(each) for each in live}
        self.nodes |= {znodes.done_path(each.id): znodes.encode(each) for each in done}
        self.asked: list[zk.ReadNodes] = []  #: Every read of nodes.

    def answer(self, request: zk.Request, at: float = 0.0) -> zk.ChildrenListed | zk.NodesRead:
        """Answer a request."""
        if isinstance(request, zk.ListChildren):
            names = sorted(
                path.rpartition("/")[2] for path in self.nodes if path.startswith(request.path + "/")
            )
            return zk.ChildrenListed(at=at, token=request.token, names=tuple(names))
        assert isinstance(request, zk.ReadNodes)
        self.asked.append(request)
        found = tuple(read(path, self.nodes[path]) if path in self.nodes else None for path in request.paths)
        return zk.NodesRead(at=at, token=request.token, nodes=found)

    def lose(self, request: zk.Request) -> zk.ChildrenListed | zk.NodesRead:
        """Answer that the outcome is unknown."""
        if isinstance(request, zk.ListChildren):
            return zk.ChildrenListed(at=0.0, token=request.token, names=None)
        return zk.NodesRead(at=0.0, token=request.token, nodes=None)


def hear(takeover: Takeover, event: zk.ChildrenListed | zk.NodesRead) -> None:
    """Let an answer come."""
    heard = takeover.on_children(event) if isinstance(event, zk.ChildrenListed) else takeover.on_nodes(event)
    assert heard


def load(
    tree: Tree, lossy: Callable[[], bool] = lambda: False, state: State | None = None
) -> tuple[State, Takeover, list[Action]]:
    """Take over; each answer is lost where `lossy` says so. Returns the notes, too."""
    state = state or make_state()
    takeover = Takeover(state)
    takeover.start()
    notes: list[Action] = []
    for _ in range(10_000):
        actions = state.take_out()
        requests = [action for action in actions if isinstance(action, zk.ListChildren | zk.ReadNodes)]
        notes += [action for action in actions if action not in requests]
        for request in requests:
            hear(takeover, tree.lose(request) if lossy() else tree.answer(request))
        if not requests:
            if takeover.complete and not takeover._asked:
                return state, takeover, notes
            takeover.tick()
    raise AssertionError("the takeover never ends")


def test_an_empty_table_is_loaded_at_once() -> None:
    """Every bucket is listed, nothing is read."""
    tree = Tree()
    state, takeover, _ = load(tree)
    assert takeover.complete
    assert (state.table.live, state.table.done, tree.asked) == ({}, {}, [])


def test_every_bucket_of_both_parents_is_listed() -> None:
    """Nothing is overlooked."""
    state = make_state()
    Takeover(state).start()
    paths = {request.path for request in of_type(zk.ListChildren, state.take_out())}
    assert paths == {
        f"{parent}/{bucket}" for parent in (znodes.TASKS, znodes.DONE) for bucket in ids.buckets()
    }


def test_live_tasks_are_read_and_finished_ones_are_known_by_id() -> None:
    """The answer to a known id needs no record; its record is read later."""
    state, _, _ = load(Tree([record(1), record(2, make_attempt())], [finished(3)]))
    assert set(state.table.live) == {task_id(1), task_id(2)}
    assert {kind: count for kind, count in state.table.counts.items() if count} == {
        TaskState.QUEUED: 1,
        TaskState.RUNNING: 1,
    }
    done = state.table.done[task_id(3)]
    assert (done.record, done.finished) == (None, state.clock.claimed)


def test_what_waits_is_queued_by_age() -> None:
    """Not in the order of the buckets."""
    state, _, _ = load(Tree(record(number) for number in range(50)))
    (group,) = state.queue._groups.values()
    assert [int(task.id, 16) for task in group.tasks] == list(range(50))


def test_the_order_is_the_one_of_before() -> None:
    """Also of what came at one moment: tasks whose ids say otherwise, and an array, ten after nine."""
    old = leader(submit_array(array_spec(Stride(1, 12))))
    numbers = random.Random(1).sample(range(2, 1000), 40)
    old.client(*map(submit, numbers))
    waiting = [task.id for group in old.state.queue._groups.values() for task in group.tasks]
    assert [int(name, 16) for name in waiting if "." not in name] == numbers
    assert [name.partition(".")[2] for name in waiting if "." in name] == [str(n) for n in range(1, 13)]
    state, _, _ = load(Tree(task.record() for task in old.state.table.live.values()))
    assert [task.id for group in state.queue._groups.values() for task in group.tasks] == waiting


def test_reads_are_large_and_few_at_once() -> None:
    """They begin small, then are as large as may be, across buckets; only so many are under way."""
    tree = Tree(record(number) for number in range(FIRST_CHUNK * READS_AHEAD + 3 * READ_CHUNK + 1))
    load(tree)
    lengths = [len(request.paths) for request in tree.asked]
    assert lengths == [FIRST_CHUNK] * READS_AHEAD + [READ_CHUNK] * 3 + [1]
    state = make_state()
    takeover = Takeover(state)
    takeover.start()
    for request in of_type(zk.ListChildren, state.take_out()):
        hear(takeover, tree.answer(request))
    assert len(of_type(zk.ReadNodes, state.take_out())) == READS_AHEAD


def test_tasks_are_read_in_the_order_of_their_ids() -> None:
    """About as old as they are queued, and not bucket by bucket; nothing is read before all is listed."""
    tree = Tree(record(number) for number in range(3 * FIRST_CHUNK))
    load(tree)
    names = [path.rpartition("/")[2] for request in tree.asked for path in request.paths]
    assert names == [task_id(number) for number in range(3 * FIRST_CHUNK)]


def test_what_waits_for_a_time_or_is_held_is_not_queued() -> None:
    """A time that is over keeps nothing, and nobody loses his place by it."""
    later = record(1, not_before=CLAIMED_S + 60)
    held = record(2, state=TaskState.HELD, held_by="ann")
    before = [record(3), record(4, not_before=CLAIMED_S - 60), record(5)]
    state, _, _ = load(Tree([later, held, *before, record(6, make_attempt())]))
    (group,) = state.queue._groups.values()
    assert [int(task.id, 16) for task in group.tasks] == [3, 4, 5]
    assert state.holds.alarms.due(CLAIMED_S + 61) == [task_id(1)]
    assert list(state.holds.woken) == [task_id(2)]


def test_equal_specifications_are_kept_once() -> None:
    """A hundred thousand tasks of one command need the memory of one."""
    state, _, _ = load(Tree(record(number) for number in range(3)))
    assert len({id(task.spec) for task in state.table.live.values()}) == 1


def test_reads_of_large_records_are_small() -> None:
    """No answer is so large that the session could not ping meanwhile."""
    large = TaskSpec(command="x" * 60_000)
    tree = Tree(record(number, spec=large) for number in range(6 * FIRST_CHUNK))
    load(tree)
    size = max(sum(len(tree.nodes[path]) for path in request.paths) for request in tree.asked[READS_AHEAD:])
    assert size <= CHUNK_BYTES


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 0.8]))
def test_lost_answers_lose_nothing(seed: int, chance: float) -> None:
    """Whatever got no answer is asked again, until everything is there."""
    draws = random.Random(seed)
    tree = Tree([record(number) for number in range(5)], [finished(number) for number in range(5, 8)])
    state, _, _ = load(tree, lossy=lambda: draws.random() < chance)
    assert (len(state.table.live), len(state.table.done)) == (5, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        znodes.encode(record(2)),
        znodes.encode(record(1, state=TaskState.SUCCEEDED)),
        znodes.encode(record(1, state=TaskState.RUNNING)),
    ],
    ids=["empty", "binary", "array", "of another", "terminal", "without attempt"],
)
def test_a_poison_node_is_set_aside(data: bytes) -> None:
    """It never stops a takeover; the operator finds it listed."""
    tree = Tree([record(3)])
    path = znodes.task_path(task_id(1))
    tree.nodes[path] = data
    state, takeover, notes = load(tree)
    assert takeover.complete
    assert list(state.table.live) == [task_id(3)]
    assert list(state.table.set_aside) == [path]
    assert "node_set_aside" in {note.event for note in notes}  # type: ignore[union-attr]


def test_a_node_that_vanished_meanwhile_is_no_trouble() -> None:
    """An operator may delete what was listed before it was read."""
    state = make_state()
    takeover = Takeover(state)
    takeover.start()
    tree = Tree([record(1), record(2)])
    for request in of_type(zk.ListChildren, state.take_out()):
        hear(takeover, tree.answer(request))
    del tree.nodes[znodes.task_path(task_id(1))]
    for asked in of_type(zk.ReadNodes, state.take_out()):
        hear(takeover, tree.answer(asked))
    assert takeover.complete
    assert list(state.table.live) == [task_id(2)]


def test_finished_records_are_read_in_the_background() -> None:
    """Portion by portion, after the leader serves; one that cannot be read is set aside."""
    tree = Tree((), [finished(number) for number in range(FIRST_CHUNK + 2)])
    poison = znodes.done_path(task_id(0))
    tree.nodes[poison] = b"garbage"
    state, takeover, _ = load(tree)
    takeover.recollect()
    for portion in (FIRST_CHUNK, 2):
        (asked,) = of_type(zk.ReadNodes, state.take_out())
        assert len(asked.paths) == portion
        takeover.recollect()
        assert of_type(zk.ReadNodes, state.take_out()) == []
        assert not state.recollected
        hear(takeover, tree.answer(asked))
    assert of_type(zk.ReadNodes, state.take_out()) == []
    assert state.recollected
    assert all(done.record is not None for done in state.table.done.values())
    assert len(state.table.done) == FIRST_CHUNK + 1
    assert list(state.table.set_aside) == [poison]


def test_answers_to_other_questions_are_not_taken() -> None:
    """They belong to somebody else."""
    takeover = Takeover(make_state())
    assert not takeover.on_children(zk.ChildrenListed(at=0.0, token=99, names=()))
    assert not takeover.on_nodes(zk.NodesRead(at=0.0, token=99, nodes=()))
