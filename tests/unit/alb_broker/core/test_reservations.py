"""Reservations and backfill: no mix of small tasks starves a large one; nothing delays who has a worker."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.broker_parts import CLAIMED_S, POLICIES, attempt, make_task, make_worker, request

from alb_broker.core import reservations
from alb_broker.core.decisions import Decided
from alb_broker.core.placement import Placer
from alb_broker.core.queue import Queue
from alb_broker.core.reservations import (
    AGE_S,
    BACKFILLED,
    FOREVER,
    LOAD_SETTLES_S,
    LOOK_EVERY_S,
    MOVE_AFTER_S,
    RESERVATIONS_MAX,
    RESERVE_AFTER_S,
    RESERVED,
    SLACK_S,
    WORKERS_EACH,
    Plan,
    Reservation,
    Times,
    sure_end,
)
from alb_broker.core.shares import Shares
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_core.files import FileRef
from alb_core.messages import AttemptId
from alb_core.resources import Load
from alb_core.shares import Share, SharesNode
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

TURN_S = 0.25
#: Between two placement passes.


class Cluster:
    """A queue, workers and a placer in virtual time. Whatever runs ends when its time is over."""

    def __init__(self, *cpus: float) -> None:
        self.placer = Placer(POLICIES, seed=1)
        self.queue, self.workers, self.shares = Queue(), Workers(), Shares()
        self.now = CLAIMED_S
        self.runs_s: dict[str, float] = {}  #: How long each task runs, by id.
        self.ends: list[tuple[float, str, str]] = []  #: A heap: when, task, worker.
        self.tasks: dict[str, Task] = {}
        self.parts: dict[str, str] = {}  #: What reservations had to do with a placement, by task.
        self.started: dict[str, float] = {}
        self._numbers: Iterator[int] = count(1)
        for number, each in enumerate(cpus):
            worker = make_worker(f"w{number}", each)
            self.workers.add(worker)
            self.shares.resize(make_worker("none", 0.0, memory_bytes=0).capacity, worker.capacity)
            self.workers.grew(worker)

    def submit(
        self,
        runs_s: float,
        cpus: float = 1.0,
        limit_s: float | None = None,
        user: str = "ann",
        priority: int = 0,
        *,
        measured: bool = False,
    ) -> Task:
        """Let a task wait that will run for so long."""
        number = next(self._numbers)
        wants = request(cpus, measured=measured)
        spec = TaskSpec(command="x", request=wants, time_limit_s=limit_s, priority=priority, grace_s=0.0)
        task = make_task(number, spec=spec, user=user, submitted=self.now)
        self.tasks[task.id], self.runs_s[task.id] = task, runs_s
        self.queue.add(task)
        return task

    def turn(self) -> None:
        """End what is over, look at reservations, make a pass."""
        while self.ends and self.ends[0][0] <= self.now:
            _, task_id, name = heapq.heappop(self.ends)
            worker = self.workers.by_name[name]
            worker.release(AttemptId(task_id, 1))
            self.shares.give_back(AttemptId(task_id, 1))
            self.workers.grew(worker)
        reservations = self.placer.reservations
        times = Times(self.now, lambda of: self.started[of.task], self._ends_of)
        reservations.look(self.queue, self.workers, self.shares, times)
        self.placer.run(self.queue, self.workers, self.shares, self._commit, self.now)
        self._check()
        self.now += TURN_S

    def _ends_of(self, of: AttemptId) -> float:
        return sure_end(self.tasks[of.task], self.started[of.task], None)

    def _commit(self, task: Task, worker: Worker, decided: Decided) -> None:
        worker.reserve(AttemptId(task.id, 1), task.request)
        self.shares.take(AttemptId(task.id, 1), task.user, task.request)
        task.state = TaskState.RUNNING
        self.started[task.id] = self.now
        self.parts[task.id] = decided.part
        heapq.heappush(self.ends, (self.now + self.runs_s[task.id], task.id, worker.name))

    def _check(self) -> None:
        """Workers and reservations tell the same story, and no more is promised than there is."""
        booked = self.placer.reservations.by_key.values()
        assert all(each.worker.booked is each for each in booked)
        known = len(self.workers.by_name)
        assert len(booked) <= max(1, min(RESERVATIONS_MAX, known // WORKERS_EACH))
        for reservation in booked:
            if reservation.key[2].cpus > reservation.worker.capacity.cpus:
                continue  # until the next look
            passing = sum(
                wants.cpus
                for each, wants in reservation.worker.reserved.items()
                if each.task not in reservation.passing
            )
            assert passing + reservation.key[2].cpus <= reservation.worker.capacity.cpus + 1e-9

    def until(self, at: float) -> None:
        """Let time pass."""
        while self.now < at:
            self.turn()


def flooded(cluster: Cluster, at: float, runs_s: float = 3.0, **fields: float) -> None:
    """Let time pass while there are always more small tasks than room."""
    while cluster.now < at:
        waiting = sum(task.state is TaskState.QUEUED for task in cluster.tasks.values())
        for number in range(10 - waiting):
            cluster.submit(runs_s + number % 3, **fields)
        cluster.turn()


def test_a_large_task_starts_between_endless_small_ones() -> None:
    """After a bounded wait one worker runs dry for it: when those have ended that ran there, it starts."""
    cluster = Cluster(4, 4)
    flooded(cluster, cluster.now + 20)
    large = cluster.submit(1.0, cpus=4.0)
    began = cluster.now
    flooded(cluster, began + RESERVE_AFTER_S - LOOK_EVERY_S)
    assert large.state is TaskState.QUEUED
    assert not cluster.placer.reservations.by_key
    flooded(cluster, began + RESERVE_AFTER_S + LOOK_EVERY_S + 5.0 + 2 * TURN_S)
    assert cluster.parts[large.id] == RESERVED
    assert not cluster.placer.reservations.by_key
    assert [note.event for note in cluster.placer.reservations.notes] == ["worker_reserved"]


def test_without_others_that_pass_nothing_is_set_aside() -> None:
    """A cluster that is merely busy starves nobody: who waits is next anyway."""
    cluster = Cluster(4)
    cluster.submit(100.0, cpus=4.0)
    cluster.turn()
    cluster.submit(1.0, cpus=4.0)
    cluster.until(cluster.now + 3 * RESERVE_AFTER_S)
    assert cluster.placer.reservations.made == 0


def test_what_goes_first_by_right_starves_nobody() -> None:
    """A higher priority takes the room: a reservation would turn the order round. In time, age decides."""
    cluster = Cluster(4)
    flooded(cluster, cluster.now + 5, priority=5)
    cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + 3 * RESERVE_AFTER_S, priority=5)
    assert cluster.placer.reservations.made == 0


def test_the_worker_that_is_free_soonest_is_set_aside() -> None:
    """By the time limits of what runs there; what has none ends nobody knows when."""
    cluster = Cluster(2, 2, 2, 2)
    for limit_s in (60.0, None, 30.0, 90.0):
        cluster.submit(50.0, cpus=1.5, limit_s=limit_s)
        cluster.turn()
    where = {task_id: name for _, task_id, name in cluster.ends}
    cluster.submit(1.0, cpus=2.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2 * LOOK_EVERY_S, runs_s=0.25, cpus=0.5, limit_s=1.0)
    (reservation,) = cluster.placer.reservations.by_key.values()
    assert reservation.worker.name == where[make_task(3).id]


def test_what_has_run_for_long_is_waited_for_last() -> None:
    """A command that never ends stands in the way on one worker; on the other one, more but younger ones."""
    cluster = Cluster(4, 4)
    endless = cluster.submit(FOREVER)
    flooded(cluster, cluster.now + 2 * AGE_S)
    (where,) = (name for _, task_id, name in cluster.ends if task_id == endless.id)
    large = cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + LOOK_EVERY_S + 5.0 + 2 * TURN_S)
    assert cluster.parts[large.id] == RESERVED
    assert large.id not in {task_id for _, task_id, name in cluster.ends if name == where}


def test_on_one_worker_the_young_are_waited_for() -> None:
    """Though the end of the old one alone would be enough."""
    cluster = Cluster(4)
    cluster.submit(FOREVER, cpus=2.0)
    flooded(cluster, cluster.now + 2 * AGE_S)
    large = cluster.submit(1.0, cpus=2.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + LOOK_EVERY_S + 5.0 + 2 * TURN_S)
    assert cluster.parts[large.id] == RESERVED


def test_a_reservation_that_waits_in_vain_moves() -> None:
    """While all are young the fewest ends are waited for; if that is one that never comes, not for ever."""
    cluster = Cluster(4, 4)
    endless = cluster.submit(FOREVER, cpus=4.0)
    flooded(cluster, cluster.now + 5)
    (where,) = (name for _, task_id, name in cluster.ends if task_id == endless.id)
    large = cluster.submit(1.0, cpus=4.0)
    began = cluster.now
    flooded(cluster, began + RESERVE_AFTER_S + MOVE_AFTER_S - LOOK_EVERY_S)
    (reservation,) = cluster.placer.reservations.by_key.values()
    assert (reservation.worker.name, large.state) == (where, TaskState.QUEUED)
    flooded(cluster, began + RESERVE_AFTER_S + MOVE_AFTER_S + 3 * LOOK_EVERY_S + 5.0)
    assert cluster.parts[large.id] == RESERVED


def test_moving_comes_to_rest() -> None:
    """Where everything runs for longer than a reservation waits at first, one waits for longer in the end."""
    cluster = Cluster(2, 2, 2, 2)
    runs_s = 2.5 * MOVE_AFTER_S
    for number in range(8):
        cluster.submit(runs_s)
        cluster.until(cluster.now + (number % 3) * 20.0 + TURN_S)
    large = cluster.submit(1.0, cpus=2.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 4 * runs_s, runs_s=runs_s)
    assert large.state is not TaskState.QUEUED


@pytest.mark.parametrize("moves", [0, 1, 7])
def test_each_waits_twice_as_long_as_the_one_before(moves: int) -> None:
    """So one outlasts whatever ends at all. Where the end is known, or nothing is in the way, none moves."""
    worker, key, patience_s = make_worker("w1", 2.0), ("ann", 0, request(2.0)), MOVE_AFTER_S * 2.0**moves
    reservation = Reservation(key, Plan(FOREVER, 1, worker, {attempt(1).task}), 0.0)
    for _ in range(moves):
        reservation = Reservation(key, Plan(FOREVER, 1, worker, {attempt(1).task}), 0.0, reservation)
    assert [reservation.in_vain(patience_s + late) for late in (0, 1)] == [False, True]
    reservation.moment = patience_s
    assert not reservation.in_vain(patience_s + 1)
    assert not Reservation(key, Plan(FOREVER, 0, worker, set()), 0.0, reservation).in_vain(2 * patience_s + 1)


def test_a_worker_on_which_tasks_are_ended_is_kept() -> None:
    """What is ended there for a head must not be in vain."""
    worker, key = make_worker("w1", 2.0), ("ann", 0, request(2.0))
    worker.reserve(attempt(1), request(1.0))
    reservation = Reservation(key, Plan(FOREVER, 1, worker, {attempt(1).task}), 0.0)
    assert not reservation.in_vain(MOVE_AFTER_S)
    assert reservation.in_vain(MOVE_AFTER_S + 1)
    worker.preempted.add(attempt(1))
    assert not reservation.in_vain(MOVE_AFTER_S + 1)


def test_backfill_ends_before_or_leaves_room() -> None:
    """On the worker that is set aside: short ones by their time limit, and small ones beside it."""
    cluster = Cluster(4)
    runs = cluster.submit(55.0, cpus=2.0, limit_s=60.0)
    cluster.turn()
    large = cluster.submit(1.0, cpus=3.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2 * LOOK_EVERY_S, runs_s=1.0)
    (reservation,) = cluster.placer.reservations.by_key.values()
    moment = cluster.started[runs.id] + 60.0 + SLACK_S
    assert reservation.moment == moment
    cluster.until(cluster.now + 25)
    left = moment - cluster.now - SLACK_S
    short = cluster.submit(5.0, limit_s=left - 5.0, user="zoe")
    long = cluster.submit(5.0, limit_s=left + 5.0, user="bob")
    unknown = cluster.submit(5.0, cpus=0.9, user="eve")
    for _ in range(3):
        cluster.turn()
    placed = {task.id for task in (short, long, unknown) if task.state is TaskState.RUNNING}
    assert short.id in placed
    assert cluster.parts[short.id] == BACKFILLED
    assert len(placed) == 2  # one processor is to spare for whoever stays
    assert large.state is TaskState.QUEUED
    cluster.until(cluster.started[runs.id] + 56.0)
    assert cluster.parts[large.id] == RESERVED


def test_a_retry_beside_the_head_is_not_what_was_in_its_way() -> None:
    """The attempt before it was, and ended; this one stays, and takes of what is to spare."""
    worker, small, task = make_worker("w1", 2.0), request(0.5), make_task(1)
    worker.reserve(attempt(1), small)
    key = ("ann", 0, request(1.5))
    reservation = Reservation(key, Plan(FOREVER, 1, worker, {task.id}), 0.0)
    reservation.review(lambda _: FOREVER, 0.0)
    assert reservation.admits(small, FOREVER)
    worker.release(attempt(1))
    worker.reserve(attempt(1, 2), small)
    reservation.take(task, FOREVER)
    reservation.review(lambda _: FOREVER, 1.0)
    assert not reservation.admits(small, FOREVER)


def test_short_tasks_do_not_put_off_a_moment_that_nobody_knows() -> None:
    """Where what runs has no time limit, a limit of a second is no end before: they could go on for ever."""
    cluster = Cluster(2)
    cluster.submit(30.0, cpus=1.0)
    cluster.turn()
    large = cluster.submit(1.0, cpus=2.0)
    flooded(cluster, cluster.now + 29.0 - 2 * TURN_S, runs_s=0.25, limit_s=1.0)
    (reservation,) = cluster.placer.reservations.by_key.values()
    assert reservation.moment == FOREVER
    flooded(cluster, cluster.now + 2.0, runs_s=0.25, limit_s=1.0)
    assert large.state is TaskState.RUNNING


def test_nothing_is_held_ahead_where_the_room_is_set_aside() -> None:
    """What waits on a worker takes the next room by itself."""
    worker = make_worker("w1", 2.0)
    worker.allowance = 10
    worker.turned = request(2.0)
    assert worker.fits_ahead(request(1.0))
    cluster = Cluster(4)
    flooded(cluster, cluster.now + 5)
    cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2)
    worker.booked = next(iter(cluster.placer.reservations.by_key.values()))
    assert not worker.fits_ahead(request(1.0))


def test_who_leaves_gives_the_worker_back() -> None:
    """The head was cancelled: what is set aside for nobody is anybody's, and those who waited are offered."""
    cluster = Cluster(4)
    flooded(cluster, cluster.now + 5)
    large = cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2)
    assert cluster.placer.reservations.by_key
    large.state = TaskState.CANCELLED
    cluster.until(cluster.now + 8)
    assert not cluster.placer.reservations.by_key
    assert not any(task.state is TaskState.QUEUED for task in cluster.tasks.values())


@pytest.mark.parametrize("blocks_s", [FOREVER, 70.0])
def test_what_may_never_have_room_keeps_a_worker_for_half_of_the_time(
    blocks_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turns that grow: others go on whatever is in its way, and it starts once that has ended."""
    monkeypatch.setattr(reservations, "LAPSE_S", 20.0)
    cluster = Cluster(4)
    blocker = cluster.submit(blocks_s)
    cluster.turn()
    large = cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + 300.0)
    gaps = list(pairwise(sorted(cluster.started[each] for each in cluster.started if each != large.id)))
    stood = [round(end - begin) for begin, end in gaps if end - begin > LOOK_EVERY_S + 4 * TURN_S]
    lapsed = [note for note in cluster.placer.reservations.notes if note.event == "reservation_lapsed"]
    if blocks_s == FOREVER:
        assert [round(note.fields["stood_s"]) for note in lapsed] == [20, 40, 80]
        assert sum(stood) < 0.6 * (cluster.now - cluster.started[blocker.id])
    else:
        assert cluster.started[large.id] < cluster.started[blocker.id] + 3 * blocks_s
        assert cluster.parts[large.id] == RESERVED


def test_a_worker_stays_set_aside_while_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where somebody knows when there will be room, however late."""
    monkeypatch.setattr(reservations, "LAPSE_S", 20.0)
    for limit_s in (None, 300.0):
        cluster = Cluster(4)
        cluster.submit(200.0, cpus=3.0, limit_s=limit_s)
        cluster.turn()
        cluster.submit(1.0, cpus=4.0)
        flooded(cluster, cluster.now + RESERVE_AFTER_S + 2 * LOOK_EVERY_S)
        (reservation,) = cluster.placer.reservations.by_key.values()
        if limit_s is None:
            for task in cluster.tasks.values():
                if task.state is TaskState.QUEUED and task.request.cpus < 4.0:
                    task.state = TaskState.CANCELLED
        cluster.until(cluster.now + 60.0)
        (now,) = cluster.placer.reservations.by_key.values()  # chosen anew, perhaps, but without a rest
        assert (now.worker, now.begun) == (reservation.worker, reservation.begun)


def test_a_worker_stays_set_aside_while_the_others_may_have_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for his own bound would not start there either."""
    monkeypatch.setattr(reservations, "LAPSE_S", 20.0)
    cluster = Cluster(4)
    cluster.submit(200.0, cpus=3.0)
    cluster.turn()
    cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2 * LOOK_EVERY_S)
    (reservation,) = cluster.placer.reservations.by_key.values()
    cluster.submit(1.0, cpus=2.0, user="bob")  # more than is free there
    cluster.turn()
    cluster.shares.use(SharesNode(users={"bob": Share(cpus_max=0.5)}))
    for task in cluster.tasks.values():
        if task.state is TaskState.QUEUED and task.request.cpus < 4.0 and task.user != "bob":
            task.state = TaskState.CANCELLED
    cluster.until(cluster.now + 60.0)
    (now,) = cluster.placer.reservations.by_key.values()
    assert (now.worker, now.begun) == (reservation.worker, reservation.begun)


@pytest.mark.parametrize("fault", ["lost", "silent", "smaller"])
def test_a_worker_that_fails_is_replaced_by_another(fault: str) -> None:
    """At the next look: the head has waited long enough already."""
    cluster = Cluster(4, 4, 4)
    flooded(cluster, cluster.now + 5)
    large = cluster.submit(1.0, cpus=4.0)
    while not cluster.placer.reservations.by_key:
        flooded(cluster, cluster.now + TURN_S)
    first = next(iter(cluster.placer.reservations.by_key.values())).worker
    if fault == "lost":
        cluster.workers.remove(first.name)
        cluster.ends = [each for each in cluster.ends if each[2] != first.name]
        heapq.heapify(cluster.ends)
    elif fault == "silent":
        first.link = False
    else:
        first.offer(make_worker("w", 2.0).capacity)
    flooded(cluster, cluster.now + LOOK_EVERY_S + 6.0)
    assert large.state is TaskState.RUNNING
    assert first.booked is None


def test_what_no_worker_could_ever_run_takes_no_reservation_from_others() -> None:
    """It waits for a worker that fits; the next one in line gets the reservation."""
    cluster = Cluster(4, 4)
    flooded(cluster, cluster.now + 5)
    cluster.submit(1.0, cpus=64.0)
    large = cluster.submit(1.0, cpus=4.0)
    flooded(cluster, cluster.now + RESERVE_AFTER_S + LOOK_EVERY_S + 6.0)
    assert large.state is TaskState.RUNNING


def test_files_make_an_end_uncertain() -> None:
    """Time does not count before they are there; nor does a task without a limit end in time."""
    plain = TaskSpec(command="x", time_limit_s=5.0, grace_s=1.0)
    assert sure_end(make_task(1, spec=plain), 100.0, None) == 106.0 + SLACK_S
    assert sure_end(make_task(1, spec=TaskSpec(command="x", grace_s=1.0)), 100.0, 5.0) == 106.0 + SLACK_S
    assert sure_end(make_task(1, spec=TaskSpec(command="x")), 100.0, None) == FOREVER
    carries = TaskSpec(
        command="x", time_limit_s=5.0, files=(FileRef(name="f", sha256="0" * 64, size_bytes=1),)
    )
    assert sure_end(make_task(1, spec=carries), 100.0, None) == FOREVER


def test_a_load_that_stays_sets_no_worker_aside_for_good() -> None:
    """It is somebody else's: who heeds it holds the room for seconds, ever less often, and others run."""
    cluster = Cluster(4)
    cluster.workers.by_name["w0"].load = Load(cpu=0.5)
    flooded(cluster, cluster.now + 5)
    measured = cluster.submit(1.0, cpus=4.0, measured=True, user="mallory")
    began = cluster.now
    flooded(cluster, began + 600.0)
    late = [at for at in cluster.started.values() if at > began + 300.0]
    assert measured.state is TaskState.QUEUED
    whose = [note.fields["user"] for note in cluster.placer.reservations.notes]
    assert whose.count("mallory") == 4  # after 10 s; then 60, 120 and 240 s after the one before ended
    assert len(late) > 270  # in 300 s, of which some 13 were lost; four run at once, for four seconds each


def test_no_worker_is_set_aside_for_a_load() -> None:
    """Where nothing has to end, room is not what lacks: an empty but loaded worker stays everybody's."""
    cluster = Cluster(4)
    cluster.workers.by_name["w0"].load = Load(cpu=0.75)
    measured = cluster.submit(1.0, cpus=2.0, measured=True, user="mallory")
    began = cluster.now
    while cluster.now < began + 3 * RESERVE_AFTER_S:
        small = cluster.submit(1.0)
        cluster.turn()
        assert small.state is not TaskState.QUEUED
        cluster.until(cluster.now + 1.0)
    assert measured.state is TaskState.QUEUED
    assert cluster.placer.reservations.made == 0


def test_who_heeds_loads_gets_the_worker_when_its_load_falls_with_what_ended() -> None:
    """What ran there was the load, and is measured for a while after it has ended."""
    cluster = Cluster(4)
    worker = cluster.workers.by_name["w0"]
    worker.load = Load(cpu=1.0)
    flooded(cluster, cluster.now + 5)
    measured = cluster.submit(1.0, cpus=4.0, measured=True, user="zoe")
    while worker.reserved:
        flooded(cluster, cluster.now + TURN_S)
    flooded(cluster, cluster.now + LOAD_SETTLES_S / 2)
    assert measured.state is TaskState.QUEUED
    worker.load = Load()
    cluster.workers.grew(worker)
    flooded(cluster, cluster.now + 2 * TURN_S)
    assert cluster.parts[measured.id] == RESERVED


def test_a_head_whose_user_has_all_that_he_may_have_keeps_no_worker_from_others() -> None:
    """Nothing that ends there lets it start; once others of his have ended its time begins anew."""
    cluster = Cluster(4)
    cluster.shares.use(SharesNode(users={"bob": Share(cpus_max=4.0)}))
    flooded(cluster, cluster.now + 5)
    large = cluster.submit(1.0, cpus=4.0, user="bob")
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2 * LOOK_EVERY_S)
    assert cluster.placer.reservations.by_key
    cluster.shares.take(attempt(999), "bob", request(1.0))  # on a worker elsewhere
    flooded(cluster, cluster.now + 2 * RESERVE_AFTER_S)
    assert not cluster.placer.reservations.by_key
    assert len(cluster.workers.by_name["w0"].reserved) == 4
    assert large.state is TaskState.QUEUED
    cluster.shares.give_back(attempt(999))
    flooded(cluster, cluster.now + RESERVE_AFTER_S + 2 * LOOK_EVERY_S + 6.0)
    assert cluster.parts[large.id] == RESERVED


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from([2.0, 4.0, 8.0]), min_size=1, max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from([0.5, 1.0, 1.5]),
            st.floats(0.1, 6.0),
            st.sampled_from([None, 1.0]),
            st.sampled_from("abc"),
        ),
        min_size=3,
        max_size=10,
    ),
)
def test_a_large_task_starts_within_the_bound_whatever_else_comes(
    sizes: list[float], small: list[tuple[float, float, float | None, str]]
) -> None:
    """The wait, a look, and the longest of what runs; however many small ones of others there are, for ever.

    What counts is when it is the first of those that starve, as here.
    """
    cluster = Cluster(*sizes)
    longest_s = max(runs_s for _, runs_s, _, _ in small)
    kinds = list(small)

    def flood(at: float) -> None:
        while cluster.now < at:
            waiting = sum(task.state is TaskState.QUEUED for task in cluster.tasks.values())
            for number in range(max(0, 20 - waiting)):
                cpus, runs_s, slack_s, user = kinds[(number + len(cluster.tasks)) % len(kinds)]
                limit_s = None if slack_s is None else runs_s + slack_s
                cluster.submit(runs_s, cpus, limit_s, user)
            cluster.turn()

    flood(cluster.now + 10)
    large = cluster.submit(1.0, cpus=max(sizes), user="large")
    bound_s = RESERVE_AFTER_S + LOOK_EVERY_S + 2 * (longest_s + 1.0 + SLACK_S) + 4 * TURN_S
    flood(cluster.now + bound_s)
    assert large.state is not TaskState.QUEUED
