"""What workers tell the leader, who is lost, and whose report still counts."""

from __future__ import annotations

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    W1,
    W2,
    Desks,
    attempt,
    ended,
    make_attempt,
    make_task,
    make_worker,
    notes,
    of_type,
    record,
    register,
    submit,
    task_id,
    to_client,
    to_worker,
    worker_node,
)

from alb_broker.core.actions import Action
from alb_broker.core.task import Task
from alb_core import limits, zk, znodes
from alb_core.messages import (
    AttemptAck,
    AttemptStarted,
    Beat,
    Cancel,
    Error,
    Finished,
    Goodbye,
    Kill,
    Leaving,
    Register,
    Registered,
    Run,
    WorkerMessage,
)
from alb_core.resources import Load
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import AttemptState, Cause, TaskState

LIVE, LOST, OVER = AttemptState.LIVE, AttemptState.LOST, AttemptState.OVER
T = 10.0
#: Own clock, when the tasks of a test are placed.
SILENT_S = limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S + 0.1


def desks(*numbers: int) -> Desks:
    """Return a leader with a client, worker w1 of one processor, and these tasks submitted and placed."""
    each = Desks()
    each.greet("ann")
    each.join()
    know_nodes(each, {"w1": worker_node()})
    each.state.workers.by_name["w1"].heard = T
    each.at(T).run(*numbers)
    return each


def know_nodes(
    each: Desks, nodes: dict[str, znodes.WorkerNode], at: float = 0.0, pending: list[Action] | None = None
) -> None:
    """Let `/workers` be listed and read until nothing more is asked."""
    each.state.at = at
    pending = pending or []
    for _ in range(4):
        actions = pending + each.tick(each.state.at + limits.HEARTBEAT_S / 4)
        pending = []
        for asked in of_type(zk.ListChildren, actions):
            each.workers.on_children(
                zk.ChildrenListed(at=each.state.at, token=asked.token, names=tuple(sorted(nodes)))
            )
        each.answer_reads(actions, nodes)
    each.commit()


def told(each: Desks, *messages: WorkerMessage, peer: bytes = W1) -> list[object]:
    """Let a worker say something; returns what it hears after a placement and a commit."""
    actions = each.worker(*messages, peer=peer)
    assert to_worker(peer, actions) == [], "said before the commit"
    return list(to_worker(peer, each.turn()))


def lose_link(each: Desks, at: float) -> list[Action]:
    """Let w1 be silent for so long that its link is taken, at this moment; returns what leaves at once."""
    each.state.workers.by_name["w1"].heard = at - SILENT_S
    return each.tick(at)


def lose_session(each: Desks, name: str = "w1") -> None:
    """Let a worker's node be gone."""
    each.workers.on_node_changed(znodes.worker_path(name))
    each.answer_reads(each.tick(each.state.at), {})


def lose(each: Desks, at: float = 20.0) -> None:
    """Let w1 be lost: neither session nor link."""
    lose_session(each)
    lose_link(each, at)
    each.tick(at + limits.LOST_WITHOUT_SESSION_S)
    assert "w1" not in each.state.workers.by_name


def states(each: Desks, number: int = 1) -> list[AttemptState]:
    """Return the states of a task's attempts."""
    return [each_attempt.state for each_attempt in each.task(number).attempts]


# --- registration -------------------------------------------------------------------------------------------


def test_a_worker_registers_once_its_node_was_read() -> None:
    """Its name and incarnation must stand in ZooKeeper before anything is placed on it."""
    each = Desks()
    actions = each.worker(register())
    (asked,) = of_type(zk.ReadNodes, actions)
    assert asked.paths == (znodes.worker_path("w1"),)
    assert to_worker(W1, each.commit()) == []
    each.answer_reads(actions, {"w1": worker_node()})
    assert to_worker(W1, each.commit()) == [Registered(broker="b1", output="tcp://b1:7003")]
    assert each.state.workers.by_name["w1"].placeable


def test_without_a_node_a_worker_is_heard_but_gets_nothing() -> None:
    """It keeps what it has; nothing is placed."""
    each = Desks()
    each.greet("ann")
    each.answer_reads(each.worker(register()), {})
    assert [type(message) for message in to_worker(W1, each.commit())] == [Registered]
    each.run(1)
    assert each.task(1).state is TaskState.QUEUED


def test_a_worker_whose_name_is_taken_is_refused() -> None:
    """The node holds another incarnation: that one is the worker."""
    each = Desks()
    each.answer_reads(each.worker(register(life=1)), {"w1": worker_node(life=2)})
    (error,) = to_worker(W1, each.commit())
    assert isinstance(error, Error)
    assert error.code == "name"


def test_a_worker_without_a_node_displaces_nobody() -> None:
    """Of two incarnations without a node neither is proved to be the newer: the one that is known stays."""
    each = desks(1)
    lose_session(each)
    each.answer_reads(each.worker(register(life=2), peer=W2), {})
    assert each.state.workers.by_name["w1"].incarnation == "w1-1"
    assert states(each) == [LIVE]
    assert to_worker(W2, each.commit()) == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Register(worker="w1", incarnation="i", capacity=register().capacity, protocol=99), "version"),
        (Register(worker="a/../b", incarnation="i", capacity=register().capacity), "name"),
        (Register(worker="", incarnation="i", capacity=register().capacity), "name"),
    ],
)
def test_a_registration_that_will_not_do_is_refused(message: Register, code: str) -> None:
    """With a sentence; no node of that name is looked for."""
    each = Desks()
    actions = each.worker(message)
    assert of_type(zk.ReadNodes, actions) == []
    (error,) = to_worker(W1, each.commit())
    assert isinstance(error, Error)
    assert error.code == code


def test_who_did_not_register_is_asked_to() -> None:
    """A report of an unknown worker changes nothing."""
    each = desks(1)
    (error,) = told(each, ended(1), peer=b"stranger")
    assert isinstance(error, Error)
    assert error.code == "register"
    assert each.task(1).state is TaskState.RUNNING


def test_a_garbled_frame_gets_its_error() -> None:
    """Whoever sent it learns what was wrong."""
    each = desks()
    each.workers.refuse_garbled(W1, "no msgpack")
    assert to_worker(W1, each.commit()) == [Error(code="protocol", why="no msgpack")]


# --- attempts -----------------------------------------------------------------------------------------------


def test_a_result_is_acknowledged_after_it_is_in_the_table() -> None:
    """One transaction takes the task out of the live ones and puts it to the done ones."""
    each = desks(1)
    heard = told(each, ended(1))
    assert heard == [AttemptAck(attempt=attempt(1))]
    removed, created = each.written[-2:]
    assert removed == zk.Delete(znodes.task_path(task_id(1)))
    assert isinstance(created, zk.Create)
    kept = znodes.decode_task(created.path, created.data)
    assert (created.path, kept.state) == (znodes.done_path(task_id(1)), TaskState.SUCCEEDED)


def test_capacity_returns_when_the_report_comes() -> None:
    """The next task is placed in the same turn."""
    each = desks(1, 2)
    assert each.task(2).state is TaskState.QUEUED
    assert [type(message) for message in told(each, ended(1))] == [AttemptAck, Run]
    assert each.state.workers.by_name["w1"].room.cpus == 0


def test_a_report_that_comes_twice_is_acknowledged_twice() -> None:
    """And changes nothing the second time, its capacity least of all."""
    each = desks(1, 2)
    told(each, ended(1))
    before = len(each.written)
    assert told(each, ended(1)) == [AttemptAck(attempt=attempt(1))]
    assert len(each.written) == before
    assert each.state.workers.by_name["w1"].room.cpus == 0


def test_a_report_of_another_incarnation_is_dropped() -> None:
    """The attempt belongs to the life that it was given to."""
    each = desks(1)
    other = make_worker("w2")
    other.peer = W2
    each.state.workers.add(other)
    each.state.workers.linked(other, W2, 0.0)
    actions = each.worker(ended(1), peer=W2)
    assert notes(actions, "message_dropped")[0]["trigger"] == "stale_attempt"
    assert each.task(1).state is TaskState.RUNNING
    assert to_worker(W2, each.commit()) == [AttemptAck(attempt=attempt(1))]


def test_an_interrupted_attempt_runs_again() -> None:
    """The worker's acknowledgement, the new state and the next assignment leave together."""
    each = desks(1)
    heard = told(each, ended(1, cause=Cause.INTERRUPTED))
    assert heard[0] == AttemptAck(attempt=attempt(1))
    assert isinstance(heard[1], Run)
    assert heard[1].attempt == attempt(1, 2)


def allow(each: Desks, ahead: int) -> None:
    """Let w1 hold so many ahead, as its pace at a tick would."""
    worker = each.state.workers.by_name["w1"]
    worker.allowance = ahead
    each.state.workers.grew(worker)


def test_a_quick_worker_is_given_work_ahead_and_may_give_it_back() -> None:
    """The assignment is committed and sent as any other; given back, the task waits at the head again."""
    each = desks(1)
    allow(each, 2)
    each.client(submit(2), submit(3), submit(4))
    orders = [message.attempt for message in to_worker(W1, each.turn()) if isinstance(message, Run)]
    assert orders == [attempt(2), attempt(3)]
    assert each.state.counters["tasks_placed_ahead"] == 2
    allow(each, 0)
    heard = told(each, ended(3, cause=Cause.GIVEN_BACK), ended(2, cause=Cause.GIVEN_BACK))
    assert [type(message) for message in heard] == [AttemptAck, AttemptAck]
    assert [each.task(number).state for number in (2, 3)] == [TaskState.QUEUED] * 2
    assert each.state.counters["attempts_given_back"] == 2
    assert [order.attempt for order in told(each, ended(1)) if isinstance(order, Run)] == [attempt(2, 2)]


def test_what_waited_on_a_lost_worker_is_not_to_blame() -> None:
    """Only what may have run counts the loss as a crash."""
    each = desks(1)
    allow(each, 2)
    each.client(submit(2))
    each.turn()
    lose(each)
    assert [(each.task(number).state, each.task(number).crashes) for number in (1, 2)] == [
        (TaskState.QUEUED, 1),
        (TaskState.QUEUED, 0),
    ]


@pytest.mark.parametrize("cpus", [float("nan"), float("inf"), -1.0])
def test_a_worker_that_offers_nonsense_is_refused(cpus: float) -> None:
    """It would poison every sum."""
    each = desks()
    answer = told(each, register("w2", cpus=cpus), peer=W2)
    assert [type(message) for message in answer] == [Error]
    assert "w2" not in each.state.workers.by_name


def test_the_pace_of_workers_is_taken_every_tick() -> None:
    """Many short commands earn an allowance, which goes when no more of them end."""
    each = desks()
    worker = each.state.workers.by_name["w1"]
    each.tick(T)
    worker.ended = 100
    each.tick(T + 0.2)
    assert worker.allowance == int(500 * limits.AHEAD_S)
    each.tick(T + 0.4)
    assert worker.allowance == 0


def test_after_a_takeover_the_worker_starts_in_its_order_what_the_table_gives_it() -> None:
    """More may be placed on it than it has room for; the leader counts no more than that room."""
    each = Desks()
    placed = [record(number, make_attempt(placed=float(number))) for number in (2, 1, 3)]
    for each_record in placed:
        each.state.table.add(Task(each_record, 100))
    each.workers.adopt_table()
    each.join("w1", *(attempt(number) for number in (1, 2, 3)))
    worker = each.state.workers.by_name["w1"]
    assert (list(worker.reserved), list(worker.ahead)) == ([attempt(1)], [attempt(2), attempt(3)])
    assert worker.room.cpus == 0


def test_orders_are_sent_again_until_they_are_answered() -> None:
    """Run until the attempt is known, Kill until it is over."""
    each = desks(1)
    each.tick(T + limits.RESEND_S)
    assert [type(message) for message in to_worker(W1, each.commit())] == [Run]
    each.worker(AttemptStarted(attempt=attempt(1)))
    each.tick(T + 2 * limits.RESEND_S)
    assert to_worker(W1, each.commit()) == []
    each.client(Cancel(id=task_id(1)))
    each.commit()
    each.tick(T + 3 * limits.RESEND_S)
    assert to_worker(W1, each.commit()) == [Kill(attempt=attempt(1), why="cancelled")]
    each.worker(ended(1, cause=Cause.KILLED))
    each.commit()
    each.tick(T + 4 * limits.RESEND_S)
    assert to_worker(W1, each.commit()) == []


def test_nothing_is_placed_on_a_worker_that_leaves() -> None:
    """What it runs stays its own."""
    each = desks(1)
    told(each, Leaving(), ended(1))
    each.run(2)
    assert each.task(2).state is TaskState.QUEUED


def test_load_is_what_was_last_reported() -> None:
    """Lists and policies see it."""
    each = desks()
    told(each, Beat(load=Load(cpu=0.5)))
    assert each.state.workers.by_name["w1"].line().load == Load(cpu=0.5)


@pytest.mark.parametrize(
    "odd", [Load(cpu=float("nan")), Load(memory=float("inf")), Load(net=-1.0), Load(gpu=-1.0)]
)
def test_what_is_no_load_is_dropped(odd: Load) -> None:
    """What was known before stays, whether it comes with a beat or as the worker registers again."""
    each = desks()
    told(each, Beat(load=Load(cpu=0.5)))
    again = msgspec.structs.replace(register(), load=odd)
    dropped = notes(each.worker(Beat(load=odd), again), "message_dropped")
    assert [fields["trigger"] for fields in dropped] == ["garbled_load", "garbled_load"]
    assert each.state.workers.by_name["w1"].load == Load(cpu=0.5)


# --- loss and return ----------------------------------------------------------------------------------------


def test_a_worker_that_is_lost_gives_its_tasks_back() -> None:
    """They wait again, before their likes, and the loss is counted."""
    each = desks(1, 2)
    lose(each)
    assert (states(each), each.task(1).crashes) == ([LOST], 1)
    each.join("w2", peer=W2)
    each.turn()
    assert each.task(1).state is TaskState.RUNNING
    assert each.task(2).state is TaskState.QUEUED
    assert each.state.shares.line("ann", 0).cpus == 1.0


def test_a_task_that_must_not_run_twice_is_lost_with_its_worker() -> None:
    """Its client hears the result."""
    each = desks()
    each.client(submit(1, TaskSpec(command="x", on_lost=OnLost.FAIL)))
    each.turn()
    lose(each)
    (finished,) = to_client(C1, each.commit())
    assert isinstance(finished, Finished)
    assert finished.result.state is TaskState.LOST


def test_nobody_is_lost_before_the_nodes_were_read() -> None:
    """After an interruption of the own session it is not known who has one: it is read first."""
    each = desks(1)
    lose_session(each)
    each.workers.on_reconnected()
    actions = lose_link(each, 100.0) + each.tick(200.0)
    assert "w1" in each.state.workers.by_name
    know_nodes(each, {}, at=200.0, pending=actions)
    each.tick(200.0 + limits.LOST_WITHOUT_SESSION_S)
    assert "w1" not in each.state.workers.by_name


def test_reading_one_node_is_not_knowing_all() -> None:
    """The read for a registration does not stand for the list that is still under way."""
    each = desks(1)
    each.workers.on_reconnected()
    each.answer_reads(each.worker(register("w2"), peer=W2), {"w2": worker_node("w2")})
    assert not each.workers.nodes_known


def test_a_lost_worker_that_returns_while_its_task_waits_goes_on_with_it() -> None:
    """It is adopted: the attempt lives again, and nothing runs twice."""
    each = desks(1)
    lose(each)
    each.commit()
    each.join("w1", attempt(1))
    assert (states(each), each.task(1).state) == ([LIVE], TaskState.RUNNING)
    assert each.state.workers.by_name["w1"].room.cpus == 0
    assert each.turn() == []


def test_a_lost_worker_that_returns_too_late_must_end_its_attempt() -> None:
    """Somebody else has the task: nothing is placed on it until what it holds is gone."""
    each = desks(1)
    lose(each)
    each.join("w2", peer=W2)
    each.turn()
    each.join("w1", attempt(1))
    assert not each.state.workers.by_name["w1"].placeable
    each.tick(each.state.at + 0.2)
    assert to_worker(W1, each.commit()) == [Kill(attempt=attempt(1), why="superseded")]
    told(each, ended(1, cause=Cause.KILLED))
    assert each.state.workers.by_name["w1"].placeable
    assert states(each) == [OVER, LIVE]


def test_a_late_report_of_a_superseded_attempt_is_dropped() -> None:
    """Only the attempt that the table calls live may deliver."""
    each = desks(1)
    lose(each)
    each.join("w2", peer=W2)
    each.turn()
    each.join("w1", attempt(1))
    actions = each.worker(ended(1))
    assert notes(actions, "message_dropped") == [
        {"trigger": "stale_attempt", "task": task_id(1), "attempt": 1, "worker": "w1"}
    ]
    assert each.task(1).state is TaskState.RUNNING


def test_a_late_report_while_the_task_waits_is_the_result() -> None:
    """The work was done: it is not done again."""
    each = desks(1)
    lose(each)
    each.join("w1", attempt(1))
    each.worker(ended(1))
    assert each.state.table.live == {}


@pytest.mark.parametrize("cause", [Cause.INTERRUPTED, Cause.KILLED])
def test_a_late_report_of_nothing_leaves_the_task_waiting_once(cause: Cause) -> None:
    """It is in the queue already, and its loss was counted."""
    each = desks(1)
    lose(each)
    worker = make_worker("w1", cpus=0.5)
    worker.peer = W1
    each.state.workers.add(worker)
    each.state.workers.linked(worker, W1, each.state.at)
    assert told(each, ended(1, cause=cause)) == [AttemptAck(attempt=attempt(1))]
    assert (each.task(1).state, each.task(1).crashes, states(each)) == (TaskState.QUEUED, 1, [OVER])
    assert each.state.counters["tasks_requeued"] == 1


def test_a_new_incarnation_proves_the_old_one_dead_at_once() -> None:
    """No grace: what the old one ran waits again before the new one registers."""
    each = desks(1)
    each.workers.on_node_changed(znodes.worker_path("w1"))
    each.answer_reads(each.tick(0.5), {"w1": worker_node(life=2)})
    assert states(each) == [LOST]
    told(each, register(life=2), peer=W2)
    assert each.task(1).attempts[-1].incarnation == "w1-2"


def test_a_worker_that_is_silent_and_comes_back_goes_on() -> None:
    """Silence takes the link, a word gives it back; tasks are placed again."""
    each = desks()
    lose_link(each, 20.0)
    each.run(1)
    assert each.task(1).state is TaskState.QUEUED
    assert [type(message) for message in told(each, Beat(load=Load()))] == [Run]


def test_goodbye_takes_the_link_at_once() -> None:
    """The worker closed it on purpose."""
    each = desks()
    each.worker(Goodbye())
    assert not each.state.workers.by_name["w1"].placeable


def test_a_registration_without_an_attempt_has_it_sent_again() -> None:
    """What the table gives to a living incarnation is sent to it again, never given to another."""
    each = desks(1)
    told(each, AttemptStarted(attempt=attempt(1)))
    told(each, register())
    each.tick(0.2)
    assert [message.attempt for message in to_worker(W1, each.commit()) if isinstance(message, Run)] == [
        attempt(1)
    ]
    assert states(each) == [LIVE]


def test_an_attempt_that_nobody_knows_must_end() -> None:
    """A worker that holds what the table does not know gets nothing else until that is gone."""
    each = Desks()
    each.join("w1", attempt(9))
    each.tick(0.2)
    assert to_worker(W1, each.commit()) == [Kill(attempt=attempt(9), why="superseded")]
    assert not each.state.workers.by_name["w1"].placeable


def test_what_nobody_knows_ends_in_the_order_in_which_the_worker_names_it() -> None:
    """No hash decides what is said first: of one story there is one telling."""
    each, strangers = Desks(), [attempt(number) for number in (9, 3, 7, 5, 8, 2, 6, 4)]
    each.join("w1", *strangers)
    each.tick(0.2)
    assert [message.attempt for message in to_worker(W1, each.commit())] == strangers


# --- after a takeover ---------------------------------------------------------------------------------------


def taken_over(*attempts: tuple[int, object]) -> Desks:
    """Return a leader that found running tasks in the table, each with one attempt."""
    each = Desks()
    for number, given in attempts:
        each.state.table.add(make_task(number, given))  # type: ignore[arg-type]
    each.workers.adopt_table()
    return each


def test_running_tasks_belong_to_their_workers_after_a_takeover() -> None:
    """Their capacity is taken before the worker registers, so nothing is placed over them."""
    each = taken_over((1, make_attempt()))
    each.greet("ann")
    each.join("w1", attempt(1))
    each.run(2)
    assert (each.task(1).state, each.task(2).state) == (TaskState.RUNNING, TaskState.QUEUED)
    assert each.state.counters["attempts_adopted"] == 1


def test_an_unclaimed_attempt_of_a_living_worker_is_sent_to_it_again() -> None:
    """The former leader may have died between the commit and the order."""
    each = taken_over((1, make_attempt()))
    each.join("w1")
    each.tick(0.2)
    (order,) = to_worker(W1, each.commit())
    assert isinstance(order, Run)
    assert order.attempt == attempt(1)


def test_a_cancelled_attempt_is_killed_after_a_takeover() -> None:
    """The cancellation is in the table: the new leader carries it out."""
    each = Desks()
    each.state.table.add(make_task(1, make_attempt(), cancel=True))
    each.workers.adopt_table()
    each.join("w1", attempt(1))
    each.tick(0.2)
    assert to_worker(W1, each.commit()) == [Kill(attempt=attempt(1), why="cancelled")]


def test_a_worker_that_does_not_appear_after_a_takeover_is_lost() -> None:
    """After the grace, counted from the takeover."""
    each = taken_over((1, make_attempt()))
    know_nodes(each, {})
    each.tick(limits.LOST_WITHOUT_SESSION_S - 0.1)
    assert states(each) == [LIVE]
    each.tick(limits.LOST_WITHOUT_SESSION_S + 0.1)
    assert states(each) == [LOST]


def test_of_two_incarnations_in_the_table_the_later_is_the_worker() -> None:
    """What the earlier one ran is lost."""
    each = taken_over((1, make_attempt(life=2, placed=20.0)), (2, make_attempt(life=1, placed=10.0)))
    assert (states(each, 1), states(each, 2)) == ([LIVE], [LOST])


def test_only_new_names_are_read() -> None:
    """A node whose watch is set need not be read again."""
    each = desks()
    each.workers.on_children_changed(znodes.WORKERS)
    (asked,) = of_type(zk.ListChildren, each.tick(20.0))
    each.workers.on_children(zk.ChildrenListed(at=20.0, token=asked.token, names=("w1", "w2")))
    (reading,) = of_type(zk.ReadNodes, each.tick(20.2))
    assert reading.paths == (znodes.worker_path("w2"),)
