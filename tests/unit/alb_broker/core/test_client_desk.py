"""What clients ask of the leader, and that each hears the right thing, after the commit."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    C2,
    TRUE,
    Desks,
    attach,
    attempt,
    ended,
    of_type,
    read,
    record,
    submit,
    task_id,
    to_client,
    to_worker,
)

from alb_broker.core.client_desk import FINISHED_RESEND_MAX, FINISHED_RESEND_S
from alb_broker.core.clients import SILENT_S
from alb_broker.core.members import Members
from alb_broker.core.table import DoneTask
from alb_core import limits, zk, znodes
from alb_core.messages import (
    Accepted,
    Ack,
    Busy,
    Cancel,
    CancelNoted,
    Error,
    Finished,
    Follow,
    Goodbye,
    Hello,
    Kill,
    Message,
    Ping,
    Pong,
    Pulse,
    QueryTask,
    Rejected,
    Run,
    Submit,
    Suspect,
    TaskMoved,
    TaskPage,
    Welcome,
)
from alb_core.resources import Request
from alb_core.spec import OnLost, TaskSpec, digest
from alb_core.tasks import Result, TaskState


def desks(**settings: object) -> Desks:
    """Return a leader that knows C1 as ann, C2 as bob, and one worker with a processor."""
    each = Desks(**settings)
    each.greet("ann", "bob")
    each.join()
    return each


def told(each: Desks, *messages: Message, peer: bytes = C1) -> list[Message]:
    """Let a client say something; returns what it hears after a placement and a commit."""
    actions = each.client(*messages, peer=peer)
    assert to_client(peer, actions) == [], "said before the commit"
    return to_client(peer, each.turn())


def finish(each: Desks, number: int = 1) -> Result:
    """Let a task run to its end and be acknowledged by nobody; returns its result."""
    each.run(number)
    each.worker(ended(number))
    each.commit()
    done = each.state.table.done[task_id(number)].record
    assert done is not None
    assert done.result is not None
    return done.result


def take_over_done(each: Desks, number: int = 1) -> None:
    """Let a finished task be known by its id only, as after a takeover."""
    each.state.table.finish(DoneTask(task_id(number), each.state.clock.claimed, None))


def done_node(number: int = 1) -> zk.NodeRead:
    """Return a finished task as it is read."""
    kept = record(number, state=TaskState.FAILED, result=Result(state=TaskState.FAILED, exit_code=3))
    return read(znodes.done_path(task_id(number)), kept)


def answer(each: Desks, actions: list[object], node: zk.NodeRead | None) -> None:
    """Answer the one read among actions."""
    (asked,) = of_type(zk.ReadNodes, actions)  # type: ignore[arg-type]
    assert each.clients.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=(node,)))


# --- greetings ----------------------------------------------------------------------------------------------


def test_a_greeting_is_answered_with_what_a_client_needs() -> None:
    """The name of the leader, its output link, and the brokers to try when it is gone."""
    each = Desks()
    each.state.members = Members(endpoints=("tcp://b1:7000", "tcp://b2:7000"))
    (welcome,) = told(each, Hello(user="ann"))
    assert welcome == Welcome(broker="b1", output="tcp://b1:7001", brokers=each.state.members.endpoints)


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (Hello(user="ann", protocol=99), "version"),
        (Hello(user=""), "protocol"),
        (Hello(user="x" * (limits.USER_LENGTH_MAX + 1)), "protocol"),
        (Hello(user="a\nb"), "protocol"),
    ],
)
def test_a_greeting_that_will_not_do_is_refused(hello: Hello, code: str) -> None:
    """With a sentence; and the client stays unknown."""
    each = Desks()
    (error,) = told(each, hello)
    assert isinstance(error, Error)
    assert error.code == code
    assert each.state.clients.get(C1) is None


def test_who_did_not_greet_is_asked_to() -> None:
    """A link that is new to this leader begins with Hello."""
    (error,) = told(Desks(), submit(1))
    assert isinstance(error, Error)
    assert error.code == "hello"


def test_a_garbled_frame_gets_its_error() -> None:
    """Whoever sent it learns what was wrong; it is counted."""
    each = desks()
    each.clients.refuse_garbled(C1, "no msgpack")
    (error,) = to_client(C1, each.commit())
    assert error == Error(code="protocol", why="no msgpack")
    assert each.state.counters["frames_garbled"] == 1


def test_a_client_that_says_goodbye_or_nothing_is_forgotten() -> None:
    """Nobody is told anything on a dead link."""
    each = desks()
    each.client(submit(1), Goodbye())
    each.client(submit(2), peer=C2)
    each.turn()
    assert each.task(1).watchers == {}
    each.tick(SILENT_S + 1)
    assert list(each.state.clients) == []
    assert each.task(2).watchers == {}


def test_a_standby_that_follows_is_not_asked_to_greet() -> None:
    """It is on the list of those who hear heartbeats, under its name."""
    each = Desks()
    assert told(each, Follow(broker="b2", incarnation="b2-1")) == []
    assert [client.follower for client in each.state.clients] == ["b2"]


def test_a_suspicion_of_the_leader_is_nothing_to_it() -> None:
    """It is meant for standbys."""
    assert told(desks(), Suspect(epoch=1)) == []


# --- submissions --------------------------------------------------------------------------------------------


def test_acceptance_and_first_placement_share_a_transaction() -> None:
    """Where a worker is free, a lone task costs one commit until it runs, and the table knows where."""
    each = desks()
    each.client(submit(1))
    actions = each.turn()
    assert to_client(C1, actions) == [Accepted(id=task_id(1))]
    assert [type(message) for message in to_worker(b"worker-1", actions)] == [Run]
    (created,) = each.written
    assert isinstance(created, zk.Create)
    kept = znodes.decode_task(created.path, created.data)
    assert (created.path, kept.state) == (znodes.task_path(task_id(1)), TaskState.RUNNING)
    assert [(a.worker, a.incarnation, a.epoch) for a in kept.attempts] == [("w1", "w1-1", 1)]


def test_the_same_submission_again_is_the_same_task() -> None:
    """It is answered with where the task stands, and nothing is written."""
    each = desks()
    each.run(1)
    before = len(each.written)
    assert told(each, submit(1)) == [Accepted(id=task_id(1), state=TaskState.RUNNING, attempt=1, worker="w1")]
    assert len(each.written) == before


def test_the_same_submission_after_the_end_gets_the_result() -> None:
    """It is never run again."""
    each = desks()
    result = finish(each)
    assert told(each, submit(1)) == [Finished(id=task_id(1), result=result)]
    assert each.state.table.live == {}


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    ("again", "peer"), [(submit(1, TaskSpec(command="other")), C1), (submit(1), C2)], ids=["spec", "user"]
)
def test_the_same_id_for_something_else_is_a_conflict(again: Submit, peer: bytes, over: bool) -> None:  # noqa: FBT001
    """Another specification or another user under a known id is refused, and harms the task in no way."""
    each = desks()
    if over:
        finish(each)
    else:
        each.run(1)
    (refused,) = told(each, again, peer=peer)
    assert isinstance(refused, Rejected)
    assert refused.code == "conflict"
    assert len(each.state.table.live) + len(each.state.table.done) == 1


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (Submit(id="x", spec=msgspec.Raw(b"\x80")), "32 lower-case hex digits"),
        (Submit(id=task_id(1).upper().replace("0", "A"), spec=msgspec.Raw(b"\x80")), "hex"),
        (Submit(id=task_id(1) + "/../x", spec=msgspec.Raw(b"\x80")), "hex"),
        (Submit(id=task_id(1), spec=msgspec.Raw(b"\x80")), "command"),
        (Submit(id=task_id(1), spec=msgspec.Raw(b"\xc1")), "not a task specification"),
        (submit(1, TaskSpec(command=())), "empty"),
        (submit(1, TaskSpec(command="x", env={"A": "y" * limits.SPEC_BYTES_MAX})), "large environments"),
        (submit(1, TaskSpec(command="x", request=Request(cpus=0))), "cpus"),
        (submit(1, TaskSpec(command="x", checkpoints=("a",))), "start the brokers with --store"),
    ],
)
def test_a_wrong_submission_is_rejected_with_a_sentence(message: Submit, part: str) -> None:
    """Nothing of it gets into the table."""
    each = desks()
    (refused,) = told(each, message)
    assert isinstance(refused, Rejected)
    assert refused.code == "invalid"
    assert part in refused.why
    assert (each.written, each.state.table.live) == ([], {})


def test_a_full_table_answers_busy() -> None:
    """A known id is answered all the same; a new one is asked to come again."""
    each = desks(pending_max=2)
    each.run(1)
    (busy,) = told(each, submit(2))
    assert busy == Busy(id=task_id(2), delay_s=1.0)
    assert told(each, submit(1)) == [Accepted(id=task_id(1), state=TaskState.RUNNING, attempt=1, worker="w1")]


def test_one_user_cannot_fill_the_table() -> None:
    """Who has more pending than room is left must wait; the next user need not."""
    each = desks(pending_max=10)
    answers = [type(message) for number in range(10) for message in told(each, submit(number))]
    assert answers == [Accepted] * 5 + [Busy] * 5
    assert [type(message) for message in told(each, submit(20), peer=C2)] == [Accepted]


def test_the_bytes_of_the_table_are_bounded_too() -> None:
    """Few large specifications fill it as well as many small ones."""
    each = desks(pending_bytes_max=5000)
    large = TaskSpec(command="x" * 3000)
    assert [type(message) for message in told(each, submit(1, large), submit(2, large))] == [Accepted, Busy]


def test_who_wants_to_hear_of_moves_does() -> None:
    """And who does not is not disturbed."""
    each = desks()
    moves = told(each, submit(1, moves=True))
    assert moves == [
        Accepted(id=task_id(1)),
        TaskMoved(id=task_id(1), state=TaskState.RUNNING, attempt=1, worker="w1"),
    ]


def test_first_grants_travel_with_the_order() -> None:
    """A submission with a window makes its client a reader from the first byte."""
    each = desks()
    each.client(submit(1, window=100))
    (order,) = to_worker(b"worker-1", each.turn())
    assert isinstance(order, Run)
    assert [(reader.reader, reader.window) for reader in order.readers] == [(C1, 100)]


# --- after acceptance ---------------------------------------------------------------------------------------


def test_attaching_tells_where_a_task_stands() -> None:
    """Also to another client; both hear the result."""
    each = desks()
    each.run(1)
    assert told(each, attach(1), peer=C2) == [
        TaskMoved(id=task_id(1), state=TaskState.RUNNING, attempt=1, worker="w1")
    ]
    each.worker(ended(1))
    released = each.commit()
    assert [type(message) for message in to_client(C1, released)] == [Finished]
    assert to_client(C1, released) == to_client(C2, released)


@pytest.mark.parametrize("message", [attach(7), Cancel(id=task_id(7))])
def test_an_unknown_task_is_gone(message: Message) -> None:
    """It is never run a second time."""
    (refused,) = told(desks(), message)
    assert isinstance(refused, Rejected)
    assert refused.code == "gone"


def test_a_result_is_sent_again_until_it_is_acknowledged() -> None:
    """Not too often, and a bounded number at once."""
    each = desks()
    finish(each)
    each.tick(FINISHED_RESEND_S - 0.1)
    assert to_client(C1, each.commit()) == []
    each.tick(FINISHED_RESEND_S)
    assert [type(message) for message in to_client(C1, each.commit())] == [Finished]
    each.client(Ack(id=task_id(1)))
    each.tick(3 * FINISHED_RESEND_S)
    assert to_client(C1, each.commit()) == []
    assert each.state.table.done[task_id(1)].acknowledged


def test_results_are_sent_again_in_portions() -> None:
    """A client that was away is not flooded."""
    each = desks()
    many = FINISHED_RESEND_MAX + 5
    for number in range(many):
        each.run(number)
        each.worker(ended(number))
    each.commit()
    each.tick(FINISHED_RESEND_S)
    assert len(to_client(C1, each.commit())) == FINISHED_RESEND_MAX
    each.tick(FINISHED_RESEND_S + 0.2)
    assert len(to_client(C1, each.commit())) == 5


def test_a_cancel_of_a_waiting_task_is_its_result() -> None:
    """It never runs, and who watches hears the result."""
    each = desks()
    each.run(1, 2)
    heard = told(each, Cancel(id=task_id(2)))
    assert heard[0] == CancelNoted(id=task_id(2))
    assert isinstance(heard[1], Finished)
    assert heard[1].result.state is TaskState.CANCELLED
    each.worker(ended(1))
    assert to_worker(b"worker-1", each.turn())[1:] == []


def test_a_cancel_of_a_running_task_is_recorded_before_anybody_is_told() -> None:
    """The record says so, then the client and the worker hear it; asked again, it is noted again."""
    each = desks()
    each.run(1)
    each.client(Cancel(id=task_id(1)))
    released = each.commit()
    kept = each.written[-1]
    assert isinstance(kept, zk.SetData)
    assert znodes.decode_task(kept.path, kept.data).cancel
    assert to_client(C1, released) == [CancelNoted(id=task_id(1))]
    assert to_worker(b"worker-1", released) == [Kill(attempt=attempt(1), why="cancelled")]
    assert told(each, Cancel(id=task_id(1))) == [CancelNoted(id=task_id(1))]


def test_a_cancel_after_the_end_gets_the_result() -> None:
    """The result that came first wins."""
    each = desks()
    result = finish(each)
    assert told(each, Cancel(id=task_id(1))) == [
        CancelNoted(id=task_id(1)),
        Finished(id=task_id(1), result=result),
    ]


def test_a_ping_tells_how_tasks_are() -> None:
    """Waiting, running and since when its worker was not heard, unknown; it does not hurry a commit."""
    each = desks()
    each.run(1, 2)
    each.at(2.5).client(Ping(seq=9, tasks=(task_id(1), task_id(2), task_id(3))))
    assert not each.state.ledger.wants_commit()
    (pong,) = to_client(C1, each.commit())
    assert pong == Pong(
        seq=9,
        tasks=(
            Pulse(id=task_id(1), state=TaskState.RUNNING, worker="w1", silent_s=2.5),
            Pulse(id=task_id(2), state=TaskState.QUEUED),
            Pulse(id=task_id(3)),
        ),
    )


# --- finished tasks of an earlier leader --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "heard"),
    [
        (attach(1), [Finished]),
        (submit(1), [Finished]),
        (Cancel(id=task_id(1)), [CancelNoted, Finished]),
        (QueryTask(seq=1, id=task_id(1)), [TaskPage]),
    ],
)
def test_a_record_that_is_not_in_memory_is_read(message: Message, heard: list[type]) -> None:
    """After a takeover finished tasks are known by id; who asks for one waits for a read."""
    each = desks()
    take_over_done(each)
    actions = each.client(message)
    assert to_client(C1, each.commit()) == []
    answer(each, list(actions), done_node())
    assert [type(reply) for reply in to_client(C1, each.commit())] == heard


def test_a_record_is_read_once_for_all_who_ask() -> None:
    """Many questions make one read."""
    each = desks()
    take_over_done(each)
    actions = each.client(attach(1))
    assert each.client(attach(1), peer=C2) == []
    answer(each, list(actions), done_node())
    released = each.commit()
    assert [len(to_client(peer, released)) for peer in (C1, C2)] == [1, 1]


def test_a_read_without_an_answer_is_made_again() -> None:
    """A broken connection costs a tick, not the result."""
    each = desks()
    take_over_done(each)
    (asked,) = of_type(zk.ReadNodes, each.client(attach(1)))
    each.clients.on_nodes(zk.NodesRead(at=0.0, token=asked.token, nodes=None))
    answer(each, list(each.tick(0.2)), done_node())
    assert [type(reply) for reply in to_client(C1, each.commit())] == [Finished]


@pytest.mark.parametrize(
    "node",
    [
        None,
        read(znodes.done_path(task_id(1)), b"garbage"),
        read(znodes.done_path(task_id(1)), record(1)),
        read(znodes.done_path(task_id(1)), record(2)),
    ],
    ids=["missing", "garbage", "without result", "of another"],
)
def test_a_finished_task_that_cannot_be_read_is_not_told(node: zk.NodeRead | None) -> None:
    """Its node is set aside for the operator, and its client is told so; one that is missing is gone."""
    each = desks()
    take_over_done(each)
    answer(each, list(each.client(attach(1))), node)
    (refused,) = to_client(C1, each.commit())
    assert isinstance(refused, Rejected)
    assert refused.code == ("gone" if node is None else "error")
    assert node is None or f"its node /alb{node.path} cannot be read: " in refused.why
    assert list(each.state.table.set_aside) == ([node.path] if node is not None else [])


@pytest.mark.parametrize("path", [znodes.task_path, znodes.done_path, znodes.array_path])
@pytest.mark.parametrize(
    "asked",
    [submit(1), attach(1), Cancel(id=task_id(1)), QueryTask(seq=7, id=task_id(1))],
    ids=lambda m: type(m).__name__,
)
def test_who_asks_for_what_was_set_aside_is_told_why(path: Callable[[str], str], asked: Message) -> None:
    """And what an operator can do: not that it is gone, nor that somebody changed something."""
    each = desks()
    each.state.set_aside(path(task_id(1)), "no JSON")
    (refused,) = told(each, asked)
    assert isinstance(refused, Rejected | Error)
    assert refused.code == "error"
    assert refused.why.startswith(
        f"its node /alb{path(task_id(1))} cannot be read: no JSON; an operator has to"
    )
    assert not isinstance(refused, Error) or refused.seq == 7


def test_digests_are_those_of_the_bytes_as_sent() -> None:
    """Other bytes of an equal specification are a conflict: only the same bytes are surely the same wish."""
    each = desks()
    told(each, submit(1))
    assert each.task(1).digest == digest(bytes(submit(1).spec))
    other = msgspec.msgpack.encode({"on_lost": OnLost.RERUN, "command": TRUE.command})
    (refused,) = told(each, Submit(id=task_id(1), spec=msgspec.Raw(other)))
    assert isinstance(refused, Rejected)
    assert refused.code == "conflict"
