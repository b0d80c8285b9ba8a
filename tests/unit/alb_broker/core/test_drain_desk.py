"""Drains: what is asked, what is in the table, what is given to whom, and what is taken away."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    C2,
    W1,
    W2,
    Desks,
    attempt,
    ended,
    notes,
    read,
    submit,
    to_client,
    to_worker,
)

from alb_broker.core import drain_desk
from alb_core import zk, znodes
from alb_core.drains import Drain
from alb_core.messages import (
    AttemptAck,
    AttemptStarted,
    Done,
    DrainWorkers,
    Error,
    Kill,
    Message,
    QueryWorkers,
    Run,
    UndrainWorkers,
    WorkersPage,
)
from alb_core.resources import Request
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import Cause, TaskState
from alb_core.znodes import DrainedNode

ONCE = TaskSpec(command="x", on_lost=OnLost.FAIL)


def desks() -> Desks:
    """Return the desks of a leader that knows w1 and w2, each with one processor, and all of ZooKeeper."""
    each = Desks()
    each.greet("ann", "bob")
    each.join("w1", peer=W1)
    each.join("w2", peer=W2)
    each.workers.nodes_known = True
    return each


def ask(each: Desks, message: Message, peer: bytes = C1) -> Message:
    """Let a client say something; returns the answer that follows the commit."""
    actions = each.client(message, peer=peer) + each.commit()
    return to_client(peer, actions)[-1]


def drain(*workers: str, reason: str = "", deadline_s: float | None = None) -> DrainWorkers:
    """Return a request."""
    return DrainWorkers(seq=1, workers=workers, reason=reason, deadline_s=deadline_s)


def in_table(each: Desks) -> dict[str, Any]:
    """Return what was written last into ``/config/drained``."""
    written = [op for op in each.written if isinstance(op, zk.SetData) and op.path == znodes.DRAINED]
    found: dict[str, Any] = msgspec.json.decode(written[-1].data)["workers"]
    return found


def runs(actions: list[Any], peer: bytes) -> list[Message]:
    """Return the orders to run that a worker gets."""
    return [message for message in to_worker(peer, actions) if isinstance(message, Run)]


def test_a_drained_worker_is_given_nothing() -> None:
    """From the moment that it is asked; what ran there goes on; the others get the rest."""
    each = desks()
    each.run(1)  # on w1
    each.client(drain("w1"))
    each.client(*(submit(number) for number in (2, 3, 4)))
    actions = each.turn()
    assert runs(actions, W1) == []
    assert len(runs(actions, W2)) == 1
    each.worker(ended(1), peer=W1)
    assert runs(each.turn(), W1) == []
    assert each.state.table.counts[TaskState.QUEUED] == 2


def test_the_answer_follows_the_commit() -> None:
    """Done is said when the drain is in the table, with who asked, why and since when."""
    each = desks()
    assert to_client(C1, each.client(drain("w1", reason="disk swap", deadline_s=60.0))) == []
    assert to_client(C1, each.commit())[-1].seq == 1  # type: ignore[attr-defined]
    since = each.state.clock.claimed
    assert in_table(each) == {
        "w1": {"by": "ann", "reason": "disk swap", "since": since, "deadline_s": 60.0},
    }


def test_an_undrained_worker_works_again() -> None:
    """What waits is placed on it in the next turn."""
    each = desks()
    ask(each, drain("w1", "w2"))
    each.client(submit(1))
    assert each.place() == 0
    ask(each, UndrainWorkers(seq=2, workers=("w2",)))
    assert in_table(each).keys() == {"w1"}
    assert len(runs(each.turn(), W2)) == 1


def test_saying_it_again_changes_nothing() -> None:
    """A repeated request keeps the time since when; another reason or deadline is another drain."""
    each = desks()
    ask(each, drain("w1", deadline_s=60.0))
    each.at(30.0)
    written = len(each.written)
    for again in (drain("w1"), drain("w1", deadline_s=60.0)):
        actions = each.client(again, peer=C2) + each.commit()
        assert isinstance(to_client(C2, actions)[-1], Done)
    assert len(each.written) == written
    ask(each, drain("w1", reason="disk"), peer=C2)
    begin = each.state.clock.claimed
    assert in_table(each)["w1"] == {"by": "bob", "reason": "disk", "since": begin, "deadline_s": 60.0}
    ask(each, drain("w1", deadline_s=10.0))
    assert in_table(each)["w1"] == {"by": "ann", "reason": "disk", "since": begin + 30.0, "deadline_s": 10.0}
    ask(each, UndrainWorkers(seq=2, workers=("w2",)))
    assert in_table(each).keys() == {"w1"}


def test_two_who_drain_in_one_turn_both_count() -> None:
    """The second does not overwrite the first with what it read before."""
    each = desks()
    each.client(drain("w1"))
    each.client(drain("w2"), peer=C2)
    each.commit()
    assert in_table(each).keys() == {"w1", "w2"}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (drain("w9"), "no worker w9 is known; known: w1, w2"),
        (drain("w1", "w9"), "no worker w9"),
        (drain(), "no worker was named"),
        (drain("../x"), "cannot be a worker's name"),
        (drain(*["w1"] * 1001), "more than 1000 at once"),
        (drain("w1", reason="x" * 201), "reason"),
        (drain("w1", reason="a\x1b[2J"), "printable"),
        (drain("w1", deadline_s=-1.0), "deadline"),
        (drain("w1", deadline_s=float("nan")), "deadline"),
        (UndrainWorkers(seq=1, workers=()), "no worker was named"),
        (UndrainWorkers(seq=1, workers=("w9",)), "no worker w9 is known"),
    ],
)
def test_what_makes_no_sense_is_refused(request_: Message, words: str) -> None:
    """With a sentence; nobody is drained then."""
    each = desks()
    error = ask(each, request_)
    assert isinstance(error, Error)
    assert (error.code, words in error.why) == ("invalid", True), error.why
    assert each.state.workers.drains == {}


def test_unknown_names_wait_until_all_workers_are_known() -> None:
    """A leader that has just begun does not call a worker unknown that it has not read yet."""
    each = desks()
    each.workers.nodes_known = False
    actions = each.client(drain("w9")) + each.commit()
    assert to_client(C1, actions) == []
    assert notes(actions, "message_dropped")[0]["trigger"] == "workers_unread"


def test_more_drains_than_the_node_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has to hold the node."""
    monkeypatch.setattr(drain_desk, "NODE_BYTES_MAX", 100)
    each = desks()
    error = ask(each, drain("w1", reason="x" * 100))
    assert isinstance(error, Error)
    assert "do not fit" in error.why


def test_a_deadline_evicts_what_may_run_again() -> None:
    """Not before; then by Kill, until the worker answers; the task goes elsewhere and has no crash."""
    each = desks()
    each.run(1, 2)
    each.worker(AttemptStarted(attempt=attempt(1)), peer=W1)
    ask(each, drain("w1", deadline_s=1.0))
    assert to_worker(W1, each.tick(0.9) + each.commit()) == []
    kills = to_worker(W1, each.tick(1.1) + each.commit())
    assert kills == [Kill(attempt=attempt(1), why="evicted")]
    assert to_worker(W1, each.tick(1.3) + each.commit()) == []
    assert to_worker(W1, each.tick(2.2) + each.commit()) == kills
    each.worker(ended(2), peer=W2)
    actions = each.worker(ended(1, cause=Cause.EVICTED), peer=W1) + each.turn()
    assert AttemptAck(attempt=attempt(1)) in to_worker(W1, actions)
    assert [run.attempt for run in runs(actions, W2)] == [attempt(1, 2)]  # type: ignore[attr-defined]
    assert each.task(1).crashes == 0
    assert each.state.counters["attempts_evicted"] == 1


def test_what_must_not_run_twice_is_not_evicted() -> None:
    """It ends on the drained worker, however long that takes."""
    each = desks()
    each.client(submit(1, ONCE))
    each.turn()
    ask(each, drain("w1", deadline_s=0.0))
    assert to_worker(W1, each.tick(1000.0) + each.commit()) == []


def test_a_cancelled_task_is_killed_as_such() -> None:
    """The eviction adds nothing, and its report ends the task."""
    each = desks()
    each.run(1)
    each.task(1).cancel = True
    ask(each, drain("w1", deadline_s=0.0))
    each.tick(1.0)
    each.commit()
    (kill,) = to_worker(W1, each.tick(3.0) + each.commit())
    assert kill == Kill(attempt=attempt(1), why="cancelled")
    each.worker(ended(1, cause=Cause.EVICTED), peer=W1)
    each.commit()
    assert each.state.table.done[attempt(1).task].record.state is TaskState.CANCELLED  # type: ignore[union-attr]


def test_an_empty_drained_worker_is_noted_once() -> None:
    """And again after another drain."""
    each = desks()
    each.run(1)
    ask(each, drain("w1"))
    assert notes(each.tick(0.2), "worker_drained") == []
    each.worker(ended(1), peer=W1)
    assert notes(each.tick(0.4), "worker_drained") == [{"worker": "w1"}]
    assert notes(each.tick(0.6), "worker_drained") == []
    ask(each, UndrainWorkers(seq=2, workers=("w1",)))
    ask(each, drain("w1"))
    assert len(notes(each.tick(0.8), "worker_drained")) == 1


def test_the_table_decides() -> None:
    """What zkCli writes is in force; without the node nobody is drained; nonsense changes nothing."""
    each = desks()
    node = DrainedNode(workers={"w1": Drain(by="ann", since=1.0), "w7": Drain(since=1.0)})
    assert each.drains.on_node(read(znodes.DRAINED, node))
    assert each.state.workers.by_name["w1"].drain == Drain(by="ann", since=1.0)
    each.drains.on_node(None)
    assert each.state.workers.by_name["w1"].drain is None


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b'["w1"]',
        b'{"worker":{"w1":{}}}',
        b'{"workers":{"w1":{"deadline":600}}}',
        b'{"workers":{"w1":{"deadline_s":-5}}}',
        b'{"workers":{"w\\u001b[2J":{}}}',
        b'{"workers":{"w1":{"reason":"\\u001b[31m"}}}',
        b'{"workers":{"w1":{"by":"\\u0000"}}}',
    ],
)
def test_what_makes_no_sense_in_the_node_is_put_right(data: bytes) -> None:
    """What is in force is written over it for the next leader; a leader that knows nothing says so."""
    each = desks()
    ask(each, drain("w1"))
    each.drains.on_node(read(znodes.DRAINED, data))
    assert notes(each.state.take_out(), "drains_unreadable")[0]["keeps"] == "w1"
    each.commit()
    assert in_table(each).keys() == {"w1"}
    fresh = desks()
    fresh.drains.on_node(read(znodes.DRAINED, data))
    assert (fresh.written, list(fresh.state.table.set_aside)) == ([], [znodes.DRAINED])
    ask(fresh, drain("w2"))
    assert (in_table(fresh).keys(), fresh.state.table.set_aside) == ({"w2"}, {})


@pytest.mark.parametrize("since", [0.0, -3.0, 1e308])
def test_a_drain_written_by_hand_counts_from_when_it_was_read(since: float) -> None:
    """Its deadline is not over since 1970, and not started anew by the next leader."""
    each = desks()
    each.at(7.0)
    node = DrainedNode(workers={"w1": Drain(since=since, deadline_s=60.0)})
    each.drains.on_node(read(znodes.DRAINED, node))
    each.commit()
    now = each.state.clock.claimed + 7.0
    assert each.state.workers.drains["w1"].since == now
    assert in_table(each) == {"w1": {"since": now, "deadline_s": 60.0}}


def test_a_node_that_is_not_there_is_made() -> None:
    """Somebody deleted it, or the table is older than drains."""
    each = desks()
    each.drains.on_node(None)
    ask(each, drain("w1"))
    assert [type(operation) for operation in each.written] == [zk.Create]
    ask(each, drain("w2"))
    assert [type(operation) for operation in each.written] == [zk.Create, zk.SetData]


def test_a_drain_outlives_the_workers_life() -> None:
    """It belongs to the name: one that comes only now is drained from the start."""
    each = desks()
    each.drains.on_node(read(znodes.DRAINED, DrainedNode(workers={"w3": Drain(since=1.0)})))
    each.join("w3", peer=b"w3")
    assert each.state.workers.by_name["w3"].drain == Drain(since=1.0)


def test_what_was_read_before_the_own_write_is_not_taken() -> None:
    """Else the drain that is on its way would be forgotten until it is read again."""
    each = desks()
    each.client(drain("w1"))
    assert not each.drains.on_node(read(znodes.DRAINED, DrainedNode()))
    assert each.state.workers.drains.keys() == {"w1"}
    each.commit()
    assert each.drains.on_node(read(znodes.DRAINED, DrainedNode()))


def test_lists_show_drains() -> None:
    """Of workers that are there, and of those that are not; a list of names has only these."""
    each = desks()
    drained = Drain(since=1.0)
    each.drains.on_node(read(znodes.DRAINED, DrainedNode(workers={"w1": drained, "w7": drained})))
    page = ask(each, QueryWorkers(seq=3))
    assert isinstance(page, WorkersPage)
    assert [(line.worker, line.drain) for line in page.workers] == [("w1", drained), ("w2", None)]
    assert page.absent == {"w7": drained}
    page = ask(each, QueryWorkers(seq=4, names=("w2",)))
    assert isinstance(page, WorkersPage)
    assert ([line.worker for line in page.workers], page.absent) == (["w2"], {})


def test_a_task_that_only_drained_workers_could_run_is_told_so() -> None:
    """Its client reads whom to undrain."""
    each = desks()
    ask(each, drain("w1", "w2"))
    why = each.state.workers.why_never(Request())
    assert why == "every worker that could run it is drained: w1, w2; alb undrain puts them to work again"
