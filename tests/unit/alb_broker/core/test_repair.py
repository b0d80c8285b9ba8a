"""Tasks whose nodes somebody else changed: what ZooKeeper holds replaces what the leader thought."""

from __future__ import annotations

import pytest
from tests.broker_parts import (
    C1,
    W1,
    Desks,
    attempt,
    ended,
    make_attempt,
    of_type,
    read,
    record,
    task_id,
    to_client,
    to_worker,
)

from alb_broker.core.actions import Action
from alb_broker.core.repair import Repair
from alb_core import zk, znodes
from alb_core.messages import Kill, Message, Rejected, Run
from alb_core.tasks import Result, TaskRecord, TaskState

LIVE = znodes.task_path(task_id(1))
DONE = znodes.done_path(task_id(1))


class Scene(Desks):
    """A leader with a client and a worker, on which task 1 runs."""

    def __init__(self) -> None:
        super().__init__()
        self.repair = Repair(self.state, self.book)
        self.greet("ann")
        self.join()
        self.run(1)

    def read_again(self, live: TaskRecord | bytes | None, done: TaskRecord | None = None) -> list[Action]:
        """Let task 1 be read again, and this be found; returns what leaves at once."""
        self.repair.read_again(task_id(1))
        self.repair.tick()
        (asked,) = of_type(zk.ReadNodes, self.state.take_out())
        assert (asked.paths, asked.sync) == ((LIVE, DONE), True)
        nodes = (
            read(LIVE, live) if live is not None else None,
            read(DONE, done) if done is not None else None,
        )
        assert self.repair.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=nodes))
        return self.state.take_out()

    def orders(self) -> list[Message]:
        """Return what the worker is told by the next tick."""
        self.tick(0.2)
        return to_worker(W1, self.commit())


def test_a_task_that_was_deleted_is_gone() -> None:
    """Its client hears it, its worker must end it, and its place is free once that is done."""
    scene = Scene()
    scene.read_again(None)
    assert scene.state.table.live == {}
    (told,) = to_client(C1, scene.commit())
    assert isinstance(told, Rejected)
    assert told.code == "gone"
    assert scene.orders() == [Kill(attempt=attempt(1), why="superseded")]
    assert not scene.state.workers.by_name["w1"].placeable
    scene.worker(ended(1))
    assert scene.state.workers.by_name["w1"].has_room
    assert scene.state.shares.users() == []


def test_a_task_as_it_was_goes_on() -> None:
    """The attempt is the worker's, its room is taken once, and it is asked for it again."""
    scene = Scene()
    scene.read_again(scene.task(1).record())
    worker = scene.state.workers.by_name["w1"]
    assert (worker.placeable, worker.room.cpus) == (True, 0.0)
    assert [type(order) for order in scene.orders()] == [Run]
    scene.worker(ended(1))
    assert list(scene.state.table.done) == [task_id(1)]


def test_a_task_that_is_queued_in_the_table_waits() -> None:
    """Whoever runs it must end first."""
    scene = Scene()
    scene.read_again(record(1))
    assert scene.task(1).state is TaskState.QUEUED
    assert scene.orders() == [Kill(attempt=attempt(1), why="superseded")]
    scene.worker(ended(1))
    scene.turn()
    assert scene.task(1).state is TaskState.RUNNING


def test_a_task_that_is_done_in_the_table_is_done() -> None:
    """Its result is the one that is written there."""
    scene = Scene()
    result = Result(state=TaskState.FAILED, exit_code=9)
    scene.read_again(None, record(1, state=TaskState.FAILED, result=result))
    done = scene.state.table.done[task_id(1)].record
    assert scene.state.table.live == {}
    assert done is not None
    assert done.result == result


def test_an_attempt_of_an_unknown_worker_is_judged_like_any_silent_one() -> None:
    """The table names a worker that this leader never heard of."""
    scene = Scene()
    scene.read_again(record(1, make_attempt(worker="w9")))
    worker = scene.state.workers.by_name["w9"]
    assert (worker.placeable, worker.attempts()) == (False, [attempt(1)])


def test_an_attempt_of_an_earlier_incarnation_is_lost() -> None:
    """Its name belongs to a later one."""
    scene = Scene()
    scene.read_again(record(1, make_attempt(life=0)))
    assert (scene.task(1).state, scene.task(1).crashes) == (TaskState.QUEUED, 1)


@pytest.mark.parametrize("data", [b"garbage", znodes.encode(record(2))])
def test_nonsense_is_set_aside(data: bytes) -> None:
    """And the task is gone: nobody can say what it was."""
    scene = Scene()
    scene.read_again(data)
    assert list(scene.state.table.set_aside) == [LIVE]
    assert scene.state.table.live == {}


def test_a_read_without_an_answer_is_made_again() -> None:
    """Nothing is decided on a broken connection."""
    scene = Scene()
    scene.repair.read_again(task_id(1))
    scene.repair.tick()
    (asked,) = of_type(zk.ReadNodes, scene.state.take_out())
    assert scene.repair.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=None))
    assert list(scene.state.table.live) == [task_id(1)]
    scene.repair.tick()
    assert len(of_type(zk.ReadNodes, scene.state.take_out())) == 1


def test_what_is_no_task_needs_no_repair() -> None:
    """A refused change of the policy, for example; and answers to other questions are not taken."""
    scene = Scene()
    scene.repair.read_again(znodes.POLICY)
    scene.repair.tick()
    assert scene.state.take_out() == []
    assert not scene.repair.on_nodes(zk.NodesRead(at=0.0, token=99, nodes=()))
