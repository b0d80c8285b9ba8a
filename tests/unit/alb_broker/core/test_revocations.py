"""What workers are asked to give back, when, and what becomes of it: given back, begun, or never answered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.broker_parts import (
    CLAIMED_S,
    W1,
    W2,
    Desks,
    attempt,
    ended,
    notes,
    of_type,
    register,
    submit,
    to_worker,
    worker_node,
)

from alb_broker.core.actions import Action, SendToWorker
from alb_broker.core.revocations import AT_ONCE, LOOK_EVERY_S, PATIENCE_S
from alb_broker.core.task import GIVEN_BACK_MAX
from alb_broker.core.worker import BEGUN, Worker
from alb_core import limits, znodes
from alb_core.drains import Drain
from alb_core.messages import AttemptStarted, Cancel, DrainWorkers, Kill, Revoke, Run
from alb_core.quarantines import Quarantine
from alb_core.resources import Request
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import AttemptState, Cause, TaskState
from alb_core.znodes import DrainedNode

T = 10.0
#: Own clock, when everything is placed.
LATE = T + limits.REVOKE_AFTER_S
PEERS = (W1, W2, b"worker-3")


class Yard(Desks):
    """A leader whose first worker has one processor: task 1 runs there, the others wait behind it."""

    def __init__(self, *numbers: int, spec: TaskSpec | None = None) -> None:
        super().__init__()
        self.greet("ann")
        self.join()
        self.at(T).run(1)
        self.quicken("w1")
        for number in numbers:
            self.client(submit(number) if spec is None else submit(number, spec))
        self.turn()

    def of(self, name: str) -> Worker:
        """Return a worker."""
        return self.state.workers.by_name[name]

    def quicken(self, name: str) -> None:
        """Let a worker get some ahead."""
        worker = self.of(name)
        worker.allowance, worker.turned = 256, Request(cpus=1.0)
        self.state.workers.grew(worker)

    def come(self, name: str, cpus: float = 1.0) -> None:
        """Let another worker appear, with room."""
        self.join(name, cpus=cpus, peer=PEERS[int(name[1:]) - 1])

    def look(self, at: float) -> list[Action]:
        """End a turn at a moment; returns what leaves with its commit."""
        self.state.at = at
        for worker in self.state.workers:
            worker.heard = at if worker.link else worker.heard
        self.place()
        self.workers.revocations.end_turn()
        return self.commit()

    def heard(self, name: str) -> list[Revoke]:
        """Return what a worker is asked for, at the moment when it is late."""
        return asked(self.look(LATE), name)


def asked(actions: list[Action], name: str = "w1") -> list[Revoke]:
    """Return the wishes that a worker hears."""
    return [m for m in to_worker(PEERS[int(name[1:]) - 1], actions) if isinstance(m, Revoke)]


def states(each: Desks, number: int) -> list[tuple[str, str]]:
    """Return where a task's attempts were given, and how they stand."""
    return [(known.worker, known.state.value) for known in each.task(number).attempts]


# --- asking -------------------------------------------------------------------------------------------------


def test_what_waits_too_long_moves_to_the_worker_that_has_room() -> None:
    """It is asked for once that has room, given back, and placed there; its task is no older by that."""
    yard = Yard(2)
    before = yard.task(2).queued_since
    assert attempt(2) in yard.of("w1").ahead
    assert yard.heard("w1") == [], "nobody else has room"
    yard.come("w2")
    assert asked(yard.look(LATE + 1)) == [Revoke(attempts=(attempt(2),))]
    assert states(yard, 2) == [("w1", "live")], "until the worker has answered, it is there"
    yard.worker(ended(2, cause=Cause.GIVEN_BACK))
    released = yard.turn()
    assert [m.attempt for m in to_worker(W2, released) if isinstance(m, Run)] == [attempt(2, 2)]
    assert states(yard, 2) == [("w1", "over"), ("w2", "live")]
    assert yard.task(2).queued_since == before
    assert yard.state.counters["attempts_given_back"] == 1


def test_before_its_time_nothing_is_asked_for() -> None:
    """A worker is left as long as it was reckoned to need, and half as long again."""
    yard = Yard(2)
    yard.come("w2")
    assert asked(yard.look(LATE - 0.01)) == []
    assert asked(yard.look(LATE + LOOK_EVERY_S)) == [Revoke(attempts=(attempt(2),))]


def test_a_second_look_asks_for_nothing_twice() -> None:
    """The wish is repeated by the tick, when its answer is late; doubled answers change nothing."""
    yard = Yard(2)
    yard.come("w2")
    assert yard.heard("w1")
    assert asked(yard.look(LATE + LOOK_EVERY_S)) == []
    again = LATE + limits.RESEND_S
    assert asked(yard.tick(again - 0.1) + yard.commit()) == []
    assert asked(yard.tick(again) + yard.commit()) == [Revoke(attempts=(attempt(2),))]


def test_what_has_begun_stays() -> None:
    """The worker's answer decides, and it is not asked again."""
    yard = Yard(2)
    yard.come("w2")
    assert yard.heard("w1")
    yard.worker(AttemptStarted(attempt=attempt(2), began=True))
    assert yard.of("w1").revoked == {attempt(2): BEGUN}
    assert asked(yard.tick(LATE + 5) + yard.look(LATE + 5)) == []
    yard.worker(ended(1), ended(2))
    yard.commit()
    assert yard.of("w1").revoked == {}


def test_what_is_known_to_have_begun_is_not_asked_for() -> None:
    """The leader's books may say that it waits: the worker knows better."""
    yard = Yard(2)
    yard.come("w2")
    yard.worker(AttemptStarted(attempt=attempt(2), began=True))
    assert yard.heard("w1") == []


def test_an_answer_to_run_alone_does_not_mean_that_it_has_begun() -> None:
    """While it waits, a repeated Run is answered, too."""
    yard = Yard(2)
    yard.come("w2")
    yard.worker(AttemptStarted(attempt=attempt(2)))
    assert yard.heard("w1")


def test_no_more_is_moved_than_there_is_room_for() -> None:
    """Two of three fit elsewhere: the last in the row, which would wait longest, in the order of its tail."""
    yard = Yard(2, 3, 4)
    yard.come("w2", cpus=2.0)
    assert yard.heard("w1") == [Revoke(attempts=(attempt(4), attempt(3)))]


def test_what_nobody_else_could_run_stays() -> None:
    """It asks for more than the other has."""
    yard = Yard(2, spec=TaskSpec(command="x", request=Request(cpus=1.0)))
    yard.come("w2", cpus=0.5)
    assert yard.heard("w1") == []


def test_what_is_to_end_is_not_asked_for() -> None:
    """A cancelled task goes nowhere."""
    yard = Yard(2)
    yard.come("w2")
    yard.client(Cancel(id=attempt(2).task))
    yard.commit()
    assert yard.heard("w1") == []


def test_a_task_that_came_back_often_waits_on_no_worker_any_more() -> None:
    """So nothing bounces: it is placed where there is room, and is not asked back from there."""
    yard = Yard(2)
    worker = yard.of("w1")
    for n in range(1, GIVEN_BACK_MAX + 1):
        assert attempt(2, n) in worker.ahead
        yard.worker(ended(2, n, cause=Cause.GIVEN_BACK))
        yard.turn()
    assert yard.task(2).bounces
    assert yard.task(2).state is TaskState.QUEUED
    yard.come("w2")
    yard.turn()
    assert states(yard, 2)[-1] == ("w2", "live")


def test_an_order_that_nobody_answered_is_sent_again_not_asked_back() -> None:
    """A worker that is heard gets it in the end; after a takeover, too, it is given to no other."""
    yard = Yard()
    yard.come("w2")
    at = T + 3 * limits.RESEND_S
    yard.of("w1").heard = yard.of("w2").heard = at
    told = to_worker(W1, yard.tick(at) + yard.commit())
    assert [type(message) for message in told] == [Run]


def test_a_silent_worker_loses_orders_that_it_never_answered() -> None:
    """It had room, but nobody knows that it heard of the attempt."""
    yard = Yard()
    yard.come("w2")
    yard.tick(silenced(yard))
    yard.turn()
    assert states(yard, 1) == [("w1", "over"), ("w2", "live")]


# --- drained, and not trusted -------------------------------------------------------------------------------


def test_a_drain_takes_back_at_once_what_has_not_begun() -> None:
    """Whoever has room or not: what the worker has not begun is not to begin there."""
    yard = Yard(2, 3)
    yard.drains.on_node(None)
    yard.worker(AttemptStarted(attempt=attempt(1), began=True))
    yard.client(DrainWorkers(seq=1, workers=("w1",)))
    assert asked(yard.commit()) == [Revoke(attempts=(attempt(2), attempt(3)))]


def test_a_drain_takes_back_what_must_not_run_twice_where_no_answer_came() -> None:
    """The answer is exact: given back means that it never began."""
    yard = Yard()
    yard.worker(ended(1))
    yard.client(submit(5, TaskSpec(command="x", on_lost=OnLost.FAIL)))
    yard.turn()
    yard.drains.on_node(None)
    yard.client(DrainWorkers(seq=1, workers=("w1",)))
    assert asked(yard.commit()) == [Revoke(attempts=(attempt(5),))]


def test_a_known_drain_asks_once() -> None:
    """What the table says again changes nothing."""
    yard = Yard(2)
    yard.state.workers.drains = {"w1": Drain(since=CLAIMED_S)}
    node = znodes.encode(DrainedNode(workers=yard.state.workers.drains))
    yard.drains._adopt(znodes.decode(DrainedNode, znodes.DRAINED, node).workers)
    assert asked(yard.commit()) == []


def test_a_worker_in_quarantine_loses_what_it_has_not_begun() -> None:
    """Tasks fail on it: others need not, though nobody has room for them yet."""
    yard = Yard(2)
    yard.worker(AttemptStarted(attempt=attempt(1), began=True))
    yard.state.workers.isolate("w1", Quarantine(until=CLAIMED_S + 99, why="tasks fail"))
    assert asked(yard.look(T + LOOK_EVERY_S)) == [Revoke(attempts=(attempt(2),))]


# --- silent workers -----------------------------------------------------------------------------------------


def silenced(yard: Yard) -> float:
    """Let w1 be silent as long as the leader is patient; returns the moment."""
    at = T + PATIENCE_S
    yard.of("w2").heard = at
    yard.of("w1").heard = T
    yard.tick(at - 0.1)
    assert not yard.of("w1").link
    return at


def test_a_silent_worker_loses_what_it_has_not_begun() -> None:
    """Somebody else runs it; the silent worker gets nothing before it has ended what was taken from it."""
    yard = Yard(2)
    yard.come("w2", cpus=2.0)
    at = silenced(yard)
    actions = yard.look(at)
    (given_up,) = notes(actions, "attempt_given_up")
    assert given_up["worker"] == "w1"
    yard.turn()
    assert states(yard, 2) == [("w1", "over"), ("w2", "live")]
    assert states(yard, 1) == [("w1", "live")], "what it runs is its own"
    assert yard.task(2).crashes == 0
    yard.worker(register("w1", attempt(1), attempt(2)))
    yard.answer_reads(yard.state.take_out(), {"w1": worker_node()})
    yard.commit()
    assert not yard.of("w1").placeable
    killed = yard.tick(at + 1) + yard.commit()
    kills = [m for m in to_worker(W1, killed) if isinstance(m, Kill)]
    assert kills == [Kill(attempt=attempt(2), why="superseded")]
    yard.worker(ended(2, cause=Cause.KILLED))
    yard.commit()
    assert yard.of("w1").placeable


def test_a_silent_worker_keeps_what_nobody_else_has_room_for() -> None:
    """It may come back sooner."""
    yard = Yard(2, 3)
    yard.come("w2")
    yard.look(silenced(yard))
    yard.turn()
    assert states(yard, 3) == [("w1", "over"), ("w2", "live")]
    assert states(yard, 2) == [("w1", "live")]


def test_what_must_not_run_twice_is_never_given_up() -> None:
    """Nobody can say that it has not begun."""
    yard = Yard()
    yard.worker(ended(1))
    yard.client(submit(5, TaskSpec(command="x", on_lost=OnLost.FAIL)))
    yard.turn()
    yard.come("w2")
    at = silenced(yard)
    yard.tick(at)
    yard.commit()
    assert states(yard, 5) == [("w1", "live")]


def test_a_worker_that_comes_back_in_time_keeps_what_was_given_up() -> None:
    """Its task still waits: nobody else has begun it."""
    yard = Yard(2)
    yard.come("w2")
    yard.look(silenced(yard))
    assert yard.task(2).state is TaskState.QUEUED
    yard.worker(register("w1", attempt(1), attempt(2)))
    yard.commit()
    assert yard.task(2).state is TaskState.RUNNING
    assert states(yard, 2) == [("w1", "live")]
    assert yard.of("w1").foreign == set()
    assert yard.of("w1").killing == {}


def test_a_worker_that_never_registered_here_loses_nothing() -> None:
    """After a takeover nobody knows what has begun until the worker says what it holds."""
    yard = Yard(2)
    yard.come("w2")
    worker = yard.of("w1")
    worker.offer(type(worker.capacity)(cpus=0, memory_bytes=0))
    yard.look(silenced(yard))
    assert states(yard, 2) == [("w1", "live")]


# --- bounds -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6), st.integers(0, 4), st.floats(0.0, 1.0))
def test_never_more_is_asked_for_than_is_free_elsewhere(waiting: int, free: int, waited_s: float) -> None:
    """Whatever waits and whoever has room: one wish each, as many as fit, and none before its time."""
    yard = Yard(*range(2, 2 + waiting))
    if free:
        yard.come("w2", cpus=float(free))
    wishes = [of for wish in asked(yard.look(T + LOOK_EVERY_S + waited_s)) for of in wish.attempts]
    late = LOOK_EVERY_S + waited_s >= limits.REVOKE_AFTER_S
    assert len(wishes) == len(set(wishes)) == (min(waiting, free) if late else 0)


def test_a_wish_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is asked for so many at once; the rest follows."""
    monkeypatch.setattr("alb_broker.core.revocations.AT_ONCE", 2)
    assert AT_ONCE > 2
    yard = Yard(2, 3, 4, 5)
    yard.drains.on_node(None)
    yard.worker(AttemptStarted(attempt=attempt(1), began=True))
    yard.client(DrainWorkers(seq=1, workers=("w1",)))
    assert asked(yard.commit()) == [Revoke(attempts=(attempt(2), attempt(3)))]
    assert asked(yard.look(T + LOOK_EVERY_S)) == [Revoke(attempts=(attempt(4), attempt(5)))]
    assert of_type(SendToWorker, yard.look(T + 2 * LOOK_EVERY_S)) == []
    assert yard.task(2).attempts[0].state is AttemptState.LIVE
