"""Preemption: who is ended for whom, when, and how often; what becomes of both."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.broker_parts import (
    C1,
    C2,
    W1,
    W2,
    Desks,
    attempt,
    capacity,
    ended,
    make_task,
    to_worker,
)
from tests.one_worker import QUANTUM_S, OneWorker

from alb_broker.core import preemptions
from alb_broker.core.explaining import explain
from alb_broker.core.groups import key_of
from alb_broker.core.preemptions import is_preemptible, rank_of
from alb_broker.core.reservations import RESERVATIONS_MAX, Plan, Reservation
from alb_broker.core.worker import Worker
from alb_core import limits
from alb_core.messages import AttemptStarted, Beat, Kill
from alb_core.resources import Load, Request, Room
from alb_core.spec import OnLost, TaskSpec
from alb_core.tasks import Cause, TaskState

MEMORY = capacity().memory_bytes
FOREVER = float("inf")


def spec(part: float = 1.0, *, preemptible: bool = False, priority: int = 0, **fields: Any) -> TaskSpec:
    """Return a specification that asks for a part of the worker's memory."""
    request = Request(fields.pop("cpus", 1.0), memory_bytes=int(MEMORY * part))
    return TaskSpec(command="x", request=request, preemptible=preemptible, priority=priority, **fields)


class Stage(OneWorker):
    """A worker of four processors, and two users."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(4.0, **settings)

    def end(self, number: int, n: int = 1, cause: Cause = Cause.PREEMPTED) -> list[Any]:
        """Let an attempt end."""
        return self.started(self.worker(ended(number, n, cause=cause)) + self.turn())

    def pass_time(self, at: float) -> list[Kill]:
        """Tick once, place and commit; returns what is killed."""
        actions = super().pass_time(at)
        return [message for message in to_worker(W1, actions) if isinstance(message, Kill)]

    def set_aside(self, number: int) -> None:
        """Let the worker be set aside for a task that was overtaken for long."""
        key = key_of(self.task(number))
        plan = Plan(FOREVER, 1, self.w1, set())
        self.state.placer.reservations.by_key[key] = self.w1.booked = Reservation(key, plan, 0.0)


def preempted(*numbers: int) -> list[Kill]:
    """Return the orders to end the first attempts of tasks."""
    return [Kill(attempt=attempt(number), why="preempted") for number in numbers]


def test_a_higher_priority_has_the_memory() -> None:
    """At once, the worker is set aside for it, and it starts in the turn in which the room is there."""
    stage = Stage()
    stage.submit(1, spec(preemptible=True))
    stage.submit(2, spec(priority=1), C2)
    assert stage.pass_time(0.3) == preempted(1)
    told = {reason.code: reason.text for reason in explain(stage.state, stage.task(2).record(), "").reasons}
    assert told["reserved"].endswith("it starts when 1 tasks there have ended, and 1 are ended for it")
    assert stage.pass_time(0.6) == []
    stage.submit(3, spec(0.5), C2)
    stage.end(1)
    assert stage.runs(2)
    assert not stage.runs(3)
    assert stage.w1.booked is None


def test_what_was_ended_waits_as_before_and_did_not_fail() -> None:
    """No crash and no failure, though it may not crash even once; it keeps its age, and it says why."""
    stage = Stage(crash_limit=0)
    stage.submit(1, spec(preemptible=True))
    age = stage.task(1).queued_since
    stage.submit(2, spec(priority=1), C2)
    stage.pass_time(0.3)
    stage.end(1)
    task = stage.task(1)
    assert (task.state, task.crashes, task.failures, task.preemptions) == (TaskState.QUEUED, 0, 0, 1)
    assert task.queued_since == age
    assert stage.state.counters["attempts_preempted"] == 1
    (placement,) = explain(stage.state, task.record(), "").placements
    assert (placement.ended_as, placement.ended_for) == ("preempted", stage.task(2).id)
    (placement,) = explain(stage.state, stage.task(2).record(), "").placements
    assert placement.memory_by == (task.id,)
    stage.end(2, cause=Cause.EXITED)
    assert stage.runs(1)


@pytest.mark.parametrize(
    ("running", "waiting", "in_the_way"),
    [
        (spec(), spec(priority=1), True),  # did not agree
        (spec(preemptible=True, priority=1), spec(priority=1), True),  # no higher priority, not overtaken
        (spec(preemptible=True, priority=2), spec(priority=1), True),
        (
            spec(0.1, preemptible=True, cpus=4.0),
            spec(0.5, priority=1),
            True,
        ),  # not memory is short
        (spec(0.1, preemptible=True), spec(0.9, priority=1), False),  # there is room
    ],
)
def test_who_is_left_alone(running: TaskSpec, waiting: TaskSpec, in_the_way: bool) -> None:  # noqa: FBT001
    """Whoever did not agree, who stands as high, and where memory is not what is short."""
    stage = Stage()
    stage.submit(1, running)
    stage.submit(2, waiting, C2)
    assert stage.pass_time(0.3) == []
    assert stage.runs(2) is not in_the_way


def test_who_is_overtaken_for_long_has_the_memory() -> None:
    """Not before the quantum is over; and never if it is preemptible itself: they would end each other."""
    for also, at, killed in (
        (False, QUANTUM_S - 0.1, []),
        (False, QUANTUM_S + 0.1, preempted(1)),
        (True, QUANTUM_S + 0.1, []),
    ):
        stage = Stage()
        stage.submit(1, spec(preemptible=True))
        stage.submit(2, spec(preemptible=also), C2)
        stage.set_aside(2)
        assert stage.pass_time(at) == killed


def test_as_few_as_are_needed_are_ended() -> None:
    """The largest first; of equals the youngest, which loses least."""
    stage = Stage()
    for number, part in ((1, 0.2), (2, 0.4), (3, 0.2), (4, 0.2)):
        stage.at(number * 0.01)
        stage.submit(number, spec(part, preemptible=True))
    stage.submit(5, spec(0.6, priority=1, cpus=0.5), C2)
    assert stage.pass_time(0.3) == preempted(2, 4)


def test_nothing_is_ended_in_vain() -> None:
    """All that agreed would not be enough."""
    stage = Stage()
    stage.submit(1, spec(0.5, preemptible=True))
    stage.submit(2, spec(0.5))
    stage.submit(3, spec(0.6, priority=1), C2)
    assert stage.pass_time(0.3) == []


def test_what_ends_anyway_is_waited_for() -> None:
    """Somebody cancelled what is in the way: nothing more ends for the room that comes with it."""
    stage = Stage()
    stage.submit(1, spec(0.5, preemptible=True))
    stage.submit(2, spec(0.5, preemptible=True))
    stage.w1.order_end(attempt(2), 0.0)
    stage.submit(3, spec(0.5, priority=1), C2)
    assert stage.pass_time(0.3) == []


def test_a_task_is_ended_a_bounded_number_of_times() -> None:
    """Then it keeps what it has."""
    stage = Stage()
    stage.submit(1, spec(preemptible=True))
    at = 0.0
    for n in range(1, limits.PREEMPTIONS_MAX + 1):
        stage.submit(10 + n, spec(priority=1), C2)
        at += 0.3
        assert stage.pass_time(at) == [Kill(attempt=attempt(1, n), why="preempted")]
        stage.end(1, n)
        stage.end(10 + n, cause=Cause.EXITED)
        assert stage.runs(1)
    stage.submit(99, spec(priority=1), C2)
    assert stage.pass_time(at + 0.3) == []


def test_the_order_is_repeated_as_what_it_is() -> None:
    """Until the end is reported; a cancel meanwhile is for good."""
    stage = Stage()
    stage.submit(1, spec(preemptible=True))
    stage.submit(2, spec(priority=1), C2)
    stage.pass_time(0.3)
    assert stage.pass_time(0.4 + limits.RESEND_S) == preempted(1)
    stage.task(1).cancel = True
    assert stage.pass_time(0.5 + 2 * limits.RESEND_S) == [Kill(attempt=attempt(1), why="cancelled")]


def test_a_higher_priority_takes_over_what_is_set_aside() -> None:
    """For a lower one nothing is promised; of its own priority others keep their reservation."""
    for priority, killed in ((1, preempted(1)), (0, [])):
        stage = Stage()
        stage.submit(1, spec(preemptible=True, priority=-1))
        stage.submit(2, spec(0.9, preemptible=True), C2)
        stage.set_aside(2)
        stage.state.workers.yielding.clear()
        stage.submit(3, spec(priority=priority), C2)
        stage.state.workers.yielding["w1"] = stage.w1
        orders = stage.pass_time(0.3)
        assert orders == preempted(1)
        booked = stage.w1.booked
        assert booked is not None
        assert (booked.key == key_of(stage.task(3))) is bool(killed)


def test_no_more_is_set_aside_than_may_be() -> None:
    """Nothing is ended for whom no worker can be kept."""
    stage = Stage()
    stage.submit(1, spec(preemptible=True))
    stage.submit(2, spec(priority=1), C2)
    for number in range(RESERVATIONS_MAX):
        other = key_of(make_task(number, user=f"user {number}"))
        plan = Plan(FOREVER, 1, stage.w1, set())
        stage.state.placer.reservations.by_key[other] = Reservation(other, plan, 0.0)
    assert stage.pass_time(0.3) == []


LOOP = TaskSpec(command="while :; do :; done", request=Request(3.0))


def test_memory_of_one_and_processors_of_another() -> None:
    """One is ended, and when it is gone the other gives way: neither alone would have made the room."""
    stage = Stage()
    stage.submit(1, spec(0.8, preemptible=True))
    stage.submit(2, LOOP)
    stage.submit(3, spec(0.5, priority=1, cpus=3.0, time_limit_s=9.0), C2)
    assert stage.pass_time(0.3) == [], "the loop has not had its quantum"
    assert stage.pass_time(QUANTUM_S + 0.1) == preempted(1)
    assert stage.pass_time(QUANTUM_S + 0.4) == []
    assert len(stage.w1.burden) == 0, "it gives way for nothing as long as the memory is not there"
    stage.end(1)
    assert stage.pass_time(QUANTUM_S + 0.7) == []
    assert attempt(2) in stage.w1.burden
    assert stage.runs(3)
    assert not stage.runs(1)
    assert stage.w1.booked is None


@pytest.mark.parametrize(
    ("settings", "other", "peer"),
    [
        ({"max_demoted": 0}, LOOP, C1),
        ({}, spec(0.0, cpus=3.0), C2),  # its like, of its own user
        ({}, TaskSpec(command="y", request=Request(3.0, memory_bytes=1), preemptible=True, priority=1), C1),
    ],
)
def test_nothing_is_ended_where_processors_would_lack(settings: Any, other: TaskSpec, peer: bytes) -> None:
    """Nobody gives way at all, or not to this task; who may be demoted is, preemptible or not."""
    stage = Stage(**settings)
    stage.submit(1, spec(0.8, preemptible=True))
    stage.submit(2, other, peer)
    stage.submit(3, spec(0.5, priority=1, cpus=3.0, time_limit_s=9.0), C2)
    lent = other.preemptible
    assert stage.pass_time(QUANTUM_S + 0.1) == (preempted(1) if lent else [])
    if lent:
        stage.end(1)
        stage.pass_time(QUANTUM_S + 0.4)
    assert (attempt(2) in stage.w1.burden, stage.runs(3)) == (lent, lent)


@pytest.mark.parametrize(("at", "killed"), [(0.3, (1, 2)), (QUANTUM_S + 0.1, (1,))])
def test_what_can_be_lent_spares_an_end(at: float, killed: tuple[int, ...]) -> None:
    """Once the loop has had its quantum its processor is enough, with those of the larger one."""
    stage = Stage()
    stage.submit(1, spec(0.6, preemptible=True))
    stage.submit(2, spec(0.3, preemptible=True, cpus=2.0))
    stage.submit(3, TaskSpec(command="loop"))
    stage.submit(4, spec(0.5, priority=1, cpus=2.0, time_limit_s=9.0), C2)
    assert stage.pass_time(at) == preempted(*killed)


def test_what_gives_way_alone_spares_all() -> None:
    """There is memory here, and elsewhere what holds it would have had to end."""
    stage = Stage()
    stage.submit(1, spec(0.1, preemptible=True))
    stage.submit(2, LOOP)
    stage.join("w2", cpus=1.0, peer=W2)
    stage.submit(3, spec(0.9, preemptible=True))
    stage.worker(AttemptStarted(attempt=attempt(3)), peer=W2)
    stage.submit(4, spec(0.2, priority=1, time_limit_s=9.0), C2)
    stage.worker(Beat(load=Load()), peer=W2)
    assert stage.runs(3)
    stage.at(QUANTUM_S + 0.1).worker(Beat(load=Load()), peer=W2)
    assert stage.pass_time(QUANTUM_S + 0.1) == []
    assert (len(stage.w1.burden), stage.runs(4)) == (1, True)


@pytest.mark.parametrize("seed", range(10))
def test_whoever_waits_they_come_to_rest(seed: int) -> None:
    """Random tasks that never end by themselves: at last nobody is ended any more, and nobody gives way."""
    chance = random.Random(seed)
    stage = Stage()
    for number in range(1, 12):
        stage.submit(
            number,
            spec(
                chance.choice((0.1, 0.3, 0.5, 0.8)),
                cpus=chance.choice((0.5, 1.0, 2.0, 4.0)),
                preemptible=chance.random() < 0.6,
                priority=chance.randrange(3),
                time_limit_s=chance.choice((None, 1e6)),
            ),
            chance.choice((C1, C2)),
        )
    quiet = 0
    for tick in range(1, 200):
        demoted = len(stage.w1.burden)
        killed = [kill.attempt for kill in stage.pass_time(tick * 0.3)]
        for each in killed:
            stage.end(int(each.task, 16), each.n)
        quiet = 0 if killed or len(stage.w1.burden) > demoted else quiet + 1
    assert quiet > 30
    assert all(stage.task(number).preemptions <= limits.PREEMPTIONS_MAX for number in range(1, 12))


def test_a_worker_is_looked_up_once_for_all_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, and however often the heads are held against it."""
    looks = 0
    left = preemptions._left

    def counted(worker: Worker) -> Room:
        nonlocal looks
        looks += 1
        return left(worker)

    monkeypatch.setattr(preemptions, "_left", counted)
    stage = Stage()
    stage.submit(1, spec(0.5, preemptible=True))
    stage.submit(2, spec(0.5))
    for number in range(3, 10):
        stage.submit(number, spec(0.5 + number / 100, priority=number), C2)
    assert stage.pass_time(0.3) == []
    assert looks == 1


def test_a_tick_is_bounded_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With time for one head in each: the highest priority first, and nobody is left out."""
    monkeypatch.setattr(preemptions, "STEPS_MAX", 1)
    stage = Stage()
    stage.submit(1, spec(0.5, preemptible=True))
    stage.submit(2, spec(0.5))
    stage.submit(3, spec(0.9, priority=2), C2)
    stage.submit(4, spec(0.5, priority=1), C2)
    assert stage.pass_time(0.3) == []
    assert stage.pass_time(0.6) == preempted(1)


def test_ranks_are_a_strict_order() -> None:
    """Priority first; within it who is not preemptible stands above who is, so neither ends its like."""
    specs = (spec(preemptible=True), spec(), spec(preemptible=True, priority=1), spec(priority=1))
    ranks = [rank_of(make_task(number, spec=each)) for number, each in enumerate(specs)]
    assert ranks == sorted(set(ranks))


def test_what_must_not_run_twice_is_never_preemptible() -> None:
    """Whatever its record says: such a specification is refused, but records are not looked at again."""
    live = make_task(1, spec=spec(preemptible=True))
    live.state = TaskState.RUNNING
    fatal = make_task(2, spec=spec(preemptible=True, on_lost=OnLost.FAIL))
    fatal.state = TaskState.RUNNING
    assert (is_preemptible(live), is_preemptible(fatal)) == (True, False)


def test_a_new_leader_knows_what_is_preemptible_and_how_often_it_was() -> None:
    """From the table alone."""
    stage = Stage()
    stage.submit(1, spec(preemptible=True))
    stage.submit(2, spec(priority=1), C2)
    stage.pass_time(0.3)
    stage.end(1)
    stage.end(2, cause=Cause.EXITED)
    record = stage.task(1).record()
    assert record.preemptions == 1
    heir = Desks()
    old = stage.task(1)
    heir.state.table.add(make_task(1, *old.attempts, spec=old.spec, preemptions=old.preemptions))
    heir.workers.adopt_table()
    heir.join("w1", attempt(1, 2), cpus=4.0)
    worker = heir.state.workers.by_name["w1"]
    assert (worker.preemptible, heir.state.workers.yielding) == ({attempt(1, 2)}, {"w1": worker})
    assert heir.task(1).preemptions == 1


class Pair(Stage):
    """Two such workers; task 1, which may run twice, runs on the first, and its copy on the second."""

    def __init__(self, part: float = 1.0) -> None:
        super().__init__()
        self.submit(1, spec(part, speculative=True))
        self.join("w2", cpus=4.0, peer=W2)
        self.w2 = self.state.workers.by_name["w2"]
        self.copy()

    def copy(self) -> None:
        """Copy the task's first attempt once more."""
        self.book.copy(self.task(1), self.w2, 1, 1, self.state.at)
        self.worker(AttemptStarted(attempt=attempt(1, self.task(1).attempts[-1].n)), peer=W2)
        self.commit()

    def killed(self, at: float) -> list[tuple[bytes, Kill]]:
        """Tick once, place and commit; returns what is killed, and by whom."""
        actions = OneWorker.pass_time(self, at)
        return [
            (peer, message)
            for peer in (W1, W2)
            for message in to_worker(peer, actions)
            if isinstance(message, Kill)
        ]


def test_a_copy_is_the_first_to_go() -> None:
    """At once and for anybody, though its task did not agree to it; that runs on, and nothing counts."""
    pair = Pair()
    pair.submit(2, spec(), C2)
    assert pair.killed(0.3) == [(W2, Kill(attempt=attempt(1, 2), why="preempted"))]
    pair.worker(ended(1, 2, cause=Cause.PREEMPTED), peer=W2)
    pair.turn()
    assert (pair.runs(1), pair.runs(2)) == (True, True)
    task = pair.task(1)
    assert [each.ended_as for each in task.attempts] == ["", "preempted"]
    assert (task.preemptions, task.crashes, task.failures) == (0, 0, 0)


def test_what_it_was_a_copy_of_is_left_alone_and_so_is_who_runs_alone() -> None:
    """Once the first attempt is over, the copy is all that its task has."""
    pair = Pair()
    pair.worker(ended(1, 1, cause=Cause.EXITED, exit_code=3))
    pair.turn()
    pair.submit(2, spec())
    pair.submit(3, spec(), C2)
    assert pair.runs(2)
    assert pair.killed(0.3) == []


def test_rather_a_copy_than_what_agreed_to_be_ended() -> None:
    """On each worker is one of those, of a lower priority: its work would be lost, that of a copy is not."""
    pair = Pair(0.5)
    pair.submit(2, spec(0.5, preemptible=True))
    pair.submit(3, spec(0.5, preemptible=True))
    assert pair.w1.reserved.keys() | pair.w2.reserved.keys() >= {attempt(2), attempt(3)}
    pair.submit(4, spec(0.5, priority=1), C2)
    assert pair.killed(0.3) == [(W2, Kill(attempt=attempt(1, 2), why="preempted"))]


def test_rather_two_copies_than_one_that_agreed() -> None:
    """And of two workers that where copies are enough."""
    pair = Pair(0.25)
    pair.copy()
    for number in (2, 3, 4):
        pair.submit(number, spec(0.5 if number < 4 else 0.25, preemptible=True))
    assert pair.w1.room.memory_bytes + pair.w2.room.memory_bytes <= 2
    pair.submit(5, spec(0.5, priority=1), C2)
    killed = pair.killed(0.3)
    assert sorted(kill.attempt for _, kill in killed) == [attempt(1, 2), attempt(1, 3)]


def test_a_new_leader_knows_which_is_a_copy() -> None:
    """From the table alone."""
    old = Pair().task(1)
    heir = Desks()
    heir.state.table.add(make_task(1, *old.attempts, spec=old.spec))
    heir.workers.adopt_table()
    heir.join("w1", attempt(1, 1), cpus=4.0)
    heir.join("w2", attempt(1, 2), cpus=4.0, peer=W2)
    assert heir.state.workers.by_name["w2"].preemptible == {attempt(1, 2)}
    assert not heir.state.workers.by_name["w1"].preemptible
