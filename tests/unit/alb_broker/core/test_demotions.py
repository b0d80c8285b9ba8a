"""Demotion: who gives way to whom, and when; what is written before it is said; what a new leader knows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    C2,
    CLAIMED_S,
    W1,
    W2,
    Desks,
    attempt,
    ended,
    make_attempt,
    make_task,
    notes,
    register,
    submit,
    to_worker,
)
from tests.one_worker import QUANTUM_S, OneWorker

from alb_broker.core import heads, lots
from alb_broker.core.explaining import explain
from alb_broker.core.groups import key_of
from alb_broker.core.reservations import FOREVER, Plan, Reservation
from alb_core import zk, znodes
from alb_core.bounds import LimitsNode
from alb_core.files import FileRef
from alb_core.messages import (
    AttemptDemoted,
    AttemptId,
    AttemptStarted,
    AttemptUse,
    Beat,
    Demote,
    Run,
    SetLimits,
)
from alb_core.resources import Load, Request
from alb_core.shares import Share
from alb_core.spec import TaskSpec

LOOP = TaskSpec(command="while :; do :; done")
SHORT = TaskSpec(command="echo hi", time_limit_s=10.0)
OVER_S = QUANTUM_S + 0.1


class Stage(OneWorker):
    """A worker, and two users."""

    def __init__(self, cpus: float = 1.0, **settings: Any) -> None:
        super().__init__(cpus, **settings)

    def submit(self, number: int, spec: TaskSpec = LOOP, peer: bytes = C1) -> list[Any]:
        """Let a task come."""
        return super().submit(number, spec, peer)

    def finish(self, number: int) -> list[Any]:
        """Let a task end."""
        return self.started(self.worker(ended(number)) + self.turn())

    def demoted(self) -> int:
        """Return how many attempts are demoted."""
        return len(self.w1.burden)


def told(actions: list[Any]) -> list[Demote]:
    """Return what the worker hears of demotions."""
    return [message for message in to_worker(W1, actions) if isinstance(message, Demote)]


def test_who_had_its_quantum_gives_way() -> None:
    """Not before; and its processor is the waiting task's in the same turn, after the mark."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2, SHORT, C2)
    assert told(stage.pass_time(QUANTUM_S - 0.1)) == []
    assert not stage.runs(2)
    actions = stage.pass_time(OVER_S)
    orders = [type(message) for message in to_worker(W1, actions) if isinstance(message, Demote | Run)]
    assert orders == [Demote, Run]
    assert stage.runs(1)
    assert stage.runs(2)
    assert notes(actions, "attempt_demoted")[0]["waiting"] == stage.task(2).id
    marks = [op for op in stage.written if isinstance(op, zk.SetData) and b'"demoted"' in op.data]
    assert [op.path for op in marks] == [znodes.task_path(stage.task(1).id)]


def test_every_head_is_held_against_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where both are looked at in turns of one length, and each fits only where it is not its turn."""
    monkeypatch.setattr(heads, "HEADS_MAX", 1)
    monkeypatch.setattr(lots, "WORKERS_MAX", 1)
    stage = Stage()
    stage.join("w2", peer=W2)
    for name, label in (("w1", "left"), ("w2", "right")):
        worker = stage.state.workers.by_name[name]
        worker.offer(msgspec.structs.replace(worker.capacity, labels=(label,)))
    for number, label in enumerate(("left", "right"), start=1):
        stage.submit(number, msgspec.structs.replace(LOOP, request=Request(labels=(label,))))
    stage.worker(AttemptStarted(attempt=attempt(2)), peer=W2)
    for number, label in enumerate(("right", "left"), start=3):
        stage.submit(number, msgspec.structs.replace(SHORT, request=Request(labels=(label,))), C2)
    for tick in range(6):
        stage.at(OVER_S + tick).worker(Beat(load=Load()), peer=W2)
        stage.pass_time(OVER_S + tick)
        stage.worker(*(AttemptStarted(attempt=each) for each in (attempt(3), attempt(4))), peer=W2)
    assert [stage.runs(number) for number in (3, 4)] == [
        False,
        True,
    ]  # with both bob would have more than ann


def test_nobody_gives_way_while_nobody_waits() -> None:
    """However long it runs."""
    stage = Stage()
    stage.submit(1)
    assert told(stage.pass_time(1000.0)) == []
    assert stage.demoted() == 0


def test_it_is_told_again_until_it_is_answered() -> None:
    """Once a second, and not after."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2, SHORT, C2)
    stage.pass_time(OVER_S)
    assert told(stage.pass_time(OVER_S + 1.1)) == [Demote(attempts=(attempt(1),))]
    stage.worker(AttemptDemoted(attempt=attempt(1), mechanism="nice"))
    assert told(stage.pass_time(OVER_S + 2.3)) == []


def test_like_does_not_give_way_to_like() -> None:
    """Of one user's long commands the first would stand still for the last; other work of his may pass."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2)
    assert told(stage.pass_time(OVER_S)) == []
    stage.submit(3, SHORT)
    assert told(stage.pass_time(OVER_S)) == [Demote(attempts=(attempt(1),))]


def test_whose_share_is_small_is_not_pressed() -> None:
    """Who has more than others cannot take theirs: of two processors each has one."""
    stage = Stage(cpus=2.0)
    stage.submit(1, peer=C1)
    stage.submit(2, peer=C2)
    stage.submit(3, peer=C2)
    assert told(stage.pass_time(OVER_S)) == []


def test_the_largest_share_gives_way_first_then_the_oldest() -> None:
    """Here the older one is of who has less."""
    stage = Stage(cpus=3.0)
    stage.submit(1, peer=C2)
    stage.pass_time(0.1)
    stage.submit(2)
    stage.pass_time(0.2)
    stage.submit(3)
    stage.submit(4, SHORT, C2)
    assert told(stage.pass_time(OVER_S + 1.0)) == [Demote(attempts=(attempt(2),))]


def test_as_many_give_way_as_are_needed_on_one_worker() -> None:
    """For a task of two processors two."""
    stage = Stage(cpus=3.0)
    for number in (1, 2, 3):
        stage.submit(number)
    stage.submit(4, TaskSpec(command="x", time_limit_s=9.0, request=Request(cpus=2.0)), C2)
    (first, second) = told(stage.pass_time(OVER_S))
    assert (first.attempts, second.attempts) == ((attempt(1),), (attempt(2),))
    assert stage.runs(4)


def test_nothing_gives_way_in_vain() -> None:
    """Where it is memory that is short, processors help nobody."""
    stage = Stage()
    stage.submit(1, TaskSpec(command="while", request=Request(1.0, memory_bytes=1 << 30)))
    stage.submit(2, TaskSpec(command="x", time_limit_s=9.0, request=Request(1.0, memory_bytes=1)), C2)
    assert told(stage.pass_time(OVER_S)) == []


@pytest.mark.parametrize("limited", [False, True])
def test_a_bounded_number_is_demoted_and_then_only_limited_ones_come(*, limited: bool) -> None:
    """One user's loops fill at most two for each processor; what has a time limit gets in past them."""
    stage = Stage()
    for number in range(1, 9):
        stage.submit(number)
    at = 0.0
    for number in range(11, 17):
        at += OVER_S
        stage.submit(number, SHORT, C2)
        stage.pass_time(at)
        assert stage.runs(number)
        stage.finish(number)
    assert stage.demoted() == 2
    stage.greet("ann")  # silent for so long, she has to
    stage.submit(50, SHORT if limited else TaskSpec(command="echo"), C1)
    stage.pass_time(at + OVER_S)
    assert stage.runs(50) is limited
    assert ("no time limit" in stage.starts.why(stage.task(50))) is not limited


def test_a_newcomer_gets_in_without_a_limit() -> None:
    """Who has nothing demoted there, once for each processor."""
    stage = Stage()
    for number in (1, 2, 3):
        stage.submit(number)
    at = 0.0
    for number in (11, 12, 13):
        at += OVER_S
        stage.submit(number, SHORT, C2)
        stage.pass_time(at)
        stage.finish(number)
    assert stage.demoted() == 2
    stage.submit(20, LOOP, C2)
    assert stage.runs(20)
    stage.submit(21, SHORT, C1)
    stage.pass_time(at + 2 * OVER_S)
    assert stage.runs(21), "the newcomer's loop has given way, too"
    stage.finish(21)
    stage.submit(22, LOOP, C2)
    assert not stage.runs(22)


def _fill(stage: Stage, users: tuple[bytes, ...] = (C1, C1)) -> float:
    """Let two loops be demoted there, and nothing else run; return the time."""
    for number, user in enumerate(users, start=1):
        stage.submit(number, peer=user)
    for at, number in ((OVER_S, 11), (2 * OVER_S, 12)):
        stage.submit(number, SHORT, C2)
        stage.pass_time(at)
        stage.finish(number)
    assert stage.demoted() == 2
    return 2 * OVER_S


def test_who_is_barred_bars_no_newcomer() -> None:
    """Both ask for the same in one pass; the one who is looked at first finds nothing."""
    stage = Stage()
    _fill(stage)
    stage.client(submit(20, LOOP), peer=C1)
    stage.client(submit(21, LOOP), peer=C2)
    stage.state.shares.use(stage.state.shares.node.changed("ann", Share(weight=1e6)))  # her turn is first
    stage.state.shares.take(attempt(99), "bob", Request(cpus=0.1))
    stage.turn()
    assert (stage.runs(20), stage.runs(21)) == (False, True)


def test_who_is_barred_does_not_look_placeable() -> None:
    """The worker is empty, and the leader is not stuck for that; why it waits can be asked."""
    stage = Stage()
    _fill(stage)
    stage.submit(20)
    state, task = stage.state, stage.task(20)
    assert not stage.runs(20)
    assert state.workers.by_name["w1"].fits(task.request)
    assert not state.placer.find_room(task, state.workers, state.now(), state.gate)
    assert state.placer.find_room(task, state.workers, state.now())
    told = {reason.code: reason.text for reason in explain(state, task.record(), "").reasons}
    assert "it has no time limit" in told["barred"]
    assert "1 with as many commands without a time limit as it takes (w1)" in told["room"]


def test_who_is_barred_is_offered_again_when_one_is_over() -> None:
    """Though room grew on no other worker, and none of it is in processors."""
    stage = Stage()
    _fill(stage)
    stage.submit(20)
    stage.finish(1)
    assert stage.runs(20)


def test_no_worker_is_set_aside_for_who_is_barred_there() -> None:
    """It would idle for nothing; the newcomer would be let in once there is room."""
    stage = Stage()
    _fill(stage)
    worker = stage.state.workers.by_name["w1"]
    ann, bob = (make_task(number, spec=LOOP, user=user) for number, user in ((20, "ann"), (21, "bob")))
    assert [stage.state.would_admit(each, worker) for each in (ann, bob)] == [False, True]


def test_nobody_gives_way_on_a_worker_that_is_set_aside_for_others() -> None:
    """What came free would not be the waiting task's; for whom it is set aside they do."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2, SHORT, C2)
    worker, by_key = stage.state.workers.by_name["w1"], stage.state.placer.reservations.by_key
    other = key_of(make_task(3, spec=SHORT, user="eve"))
    plan = Plan(float("inf"), 1, worker, set())
    by_key[other] = worker.booked = Reservation(other, plan, 0.0)
    assert told(stage.pass_time(OVER_S)) == []
    by_key.clear()
    own = key_of(stage.task(2))
    by_key[own] = worker.booked = Reservation(own, plan, 0.0)
    assert len(told(stage.pass_time(OVER_S + 0.3))) == 1


def test_everybody_gives_way_to_whom_the_worker_is_set_aside_for() -> None:
    """Bob has more than ann, by what ends by itself; his large task was overtaken, and fits nowhere else."""
    stage = Stage(cpus=4.0)
    stage.submit(1)
    for number in (2, 3, 4):
        stage.submit(number, SHORT, C2)
    stage.submit(5, TaskSpec(command="x", time_limit_s=9.0, request=Request(cpus=4.0)), C2)
    assert told(stage.pass_time(OVER_S)) == []
    worker, key = stage.state.workers.by_name["w1"], key_of(stage.task(5))
    plan = Plan(float("inf"), 4, worker, set())
    stage.state.placer.reservations.by_key[key] = worker.booked = Reservation(key, plan, 0.0)
    assert len(told(stage.pass_time(OVER_S + 0.3))) == 4


@pytest.mark.parametrize("limited", [True, False])
def test_own_endless_commands_elsewhere_keep_nothing_from_coming(*, limited: bool) -> None:
    """Bob holds more than ann, where his task does not fit; hers would not end, and his need not for that."""
    stage = Stage(cpus=2.0)
    for number in (1, 2):
        stage.submit(number)
    stage.join("w2", cpus=1.0, peer=W2)
    for number in (3, 4, 5):
        stage.state.shares.take(attempt(number), "bob", Request(cpus=1.0), endless=True)
    spec = TaskSpec(command="x", request=Request(cpus=2.0), time_limit_s=9.0 if limited else None)
    stage.submit(6, spec, C2)
    assert len(told(stage.pass_time(OVER_S))) == (2 if limited else 0)


def test_what_is_demoted_hides_nobody_from_the_search() -> None:
    """However many there are on a worker, whoever holds processors is looked at."""
    stage = Stage(cpus=1.0, max_demoted=100)
    small = TaskSpec(command=LOOP.command, request=Request(cpus=0.01))
    for number in range(1, 101):
        stage.submit(number, small)
    stage.submit(200, SHORT, C2)
    stage.pass_time(OVER_S)
    assert stage.runs(200)
    assert stage.demoted() == 100


def test_what_waited_on_its_worker_has_its_quantum_from_its_start() -> None:
    """It was placed long before the room came free."""
    stage = Stage()
    stage.submit(1, SHORT)
    worker = stage.state.workers.by_name["w1"]
    worker.turned, worker.allowance = SHORT.request, 1
    stage.state.workers.grew(worker)
    stage.submit(2)
    assert list(worker.ahead) == [attempt(2)]
    worker.allowance = 0
    stage.at(4.0).worker(Beat(load=Load()))
    stage.at(4.0).finish(1)
    stage.submit(3, SHORT, C2)
    assert told(stage.pass_time(4.0 + QUANTUM_S - 0.1)) == []
    assert told(stage.pass_time(4.0 + OVER_S)) == [Demote(attempts=(attempt(2),))]


def test_nobody_gives_way_to_who_has_all_that_he_may_have() -> None:
    """His bound keeps him, and no processor would help."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2, SHORT, C2)
    stage.state.shares.use(stage.state.shares.node.changed("bob", Share(cpus_max=0.5)))
    assert told(stage.pass_time(OVER_S)) == []


@pytest.mark.parametrize(("weight", "demoted"), [(1.0, [attempt(1)]), (4.0, [attempt(4)])])
def test_processors_are_held_over_weights(weight: float, demoted: list[AttemptId]) -> None:
    """Who may have four times as much gives nothing to who has a third: that is for bob's own loop to do."""
    stage = Stage(cpus=4.0)
    stage.state.shares.use(stage.state.shares.node.changed("ann", Share(weight=weight)))
    for number in (1, 2, 3):
        stage.submit(number)
    stage.submit(4, LOOP, C2)
    stage.submit(5, SHORT, C2)
    stage.pass_time(OVER_S)
    burden = stage.state.workers.by_name["w1"].burden
    assert [attempt(n) for n in range(1, 6) if attempt(n) in burden] == demoted


def test_memory_of_what_is_demoted_is_no_obstacle() -> None:
    """Its user holds most of the memory, and no processor: others' loops give way to his next command."""
    stage = Stage()
    heavy = TaskSpec(command=LOOP.command, request=Request(1.0, memory_bytes=1 << 29))
    stage.submit(1, heavy, C2)
    stage.submit(2, LOOP, C1)
    stage.pass_time(OVER_S)
    assert stage.runs(2)
    stage.submit(3, SHORT, C2)
    stage.pass_time(3 * OVER_S)
    assert stage.runs(3)


def with_both_demoted() -> Stage:
    """Return a stage on which two endless commands gave way to short ones, which have ended."""
    stage = Stage()
    for number in (1, 2):
        stage.submit(number)
    for at, number in ((OVER_S, 11), (2 * OVER_S, 12)):
        stage.submit(number, SHORT, C2)
        stage.pass_time(at)
        stage.finish(number)
    return stage


def test_a_default_time_limit_lets_everybody_in() -> None:
    """What nothing limited until now has an end then, and is offered again."""
    stage = with_both_demoted()
    stage.submit(3)
    assert not stage.runs(3)
    stage.client(SetLimits(seq=1, limits=LimitsNode(time_limit_s=60.0)))
    stage.turn()
    assert stage.runs(3)


def test_a_default_time_limit_ends_nothing_that_runs() -> None:
    """What began before has none: it gives way as before, also where nothing else is left that could."""
    stage = with_both_demoted()
    stage.submit(3, LOOP, C2)
    stage.client(SetLimits(seq=1, limits=LimitsNode(time_limit_s=60.0)))
    stage.submit(4, SHORT)
    stage.pass_time(3 * OVER_S + 1.0)
    assert (stage.demoted(), stage.runs(4)) == (3, True)


def test_a_default_time_limit_lets_nobody_wait_for_his_own_endless_command() -> None:
    """It holds a place for ever, limit or not, and still counts for nobody whose task ends by itself."""
    stage = Stage(cpus=2.0)
    stage.submit(1)
    stage.submit(2, LOOP, C2)
    stage.client(SetLimits(seq=1, limits=LimitsNode(time_limit_s=60.0)))
    stage.submit(3, msgspec.structs.replace(LOOP, time_limit_s=10.0))
    assert told(stage.pass_time(OVER_S)) == [Demote(attempts=(attempt(2),))]
    assert stage.runs(3)


@pytest.mark.parametrize("settings", [{"quantum_s": 0.0}, {"max_demoted": 0}])
def test_it_can_be_switched_off(settings: dict[str, Any]) -> None:
    """By either of its settings."""
    each = Desks(**settings)
    each.greet("ann", "bob")
    each.join("w1")
    each.client(submit(1, LOOP))
    each.turn()
    each.worker(AttemptStarted(attempt=attempt(1)))
    each.client(submit(2, SHORT), peer=C2)
    each.turn()
    assert told(each.tick(100.0) + each.commit()) == []


def test_a_new_leader_knows_who_is_demoted() -> None:
    """It reserves no processors for it, and tells the worker again."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2, SHORT, C2)
    stage.pass_time(OVER_S)
    heir = Desks()
    for number in (1, 2):
        old = stage.task(number)
        heir.state.table.add(make_task(number, *old.attempts, spec=old.spec, user=old.user))
    heir.workers.adopt_table()
    heir.join("w1", attempt(1), attempt(2))
    worker = heir.state.workers.by_name["w1"]
    assert (worker.room.cpus, len(worker.burden), list(worker.reserved)) == (0.0, 1, [attempt(1), attempt(2)])
    shares = heir.state.shares
    assert {user: (shares.line(user, 0).cpus, shares.cpus(user)) for user in shares.users()} == {
        "ann": (1.0, 0.0),
        "bob": (1.0, 1.0),
    }
    assert told(heir.tick(1.0) + heir.commit()) == [Demote(attempts=(attempt(1),))]
    heir.worker(ended(1), ended(2))
    heir.commit()
    assert (worker.room.cpus, len(worker.burden)) == (1.0, 0)
    assert heir.state.shares.users() == []


def test_who_registers_again_keeps_it() -> None:
    """The same incarnation, on a new link."""
    stage = Stage()
    stage.submit(1)
    stage.submit(2, SHORT, C2)
    stage.pass_time(OVER_S)
    stage.worker(register("w1", attempt(1), attempt(2)), peer=b"again")
    assert stage.demoted() == 1
    assert stage.state.workers.by_name["w1"].room.cpus == 0.0


def test_times_are_cluster_times() -> None:
    """A quantum begun under another leader goes on under this one."""
    desks = Desks()
    desks.greet("ann", "bob")
    began = make_attempt(placed=CLAIMED_S - 60.0)
    desks.state.table.add(make_task(1, began, spec=LOOP))
    desks.workers.adopt_table()
    desks.join("w1", attempt(1))
    desks.state.workers.by_name["w1"].session = True
    desks.client(submit(2, SHORT), peer=C2)
    desks.turn()
    assert len(told(desks.tick(0.3) + desks.commit())) == 1


# --- what has files -----------------------------------------------------------------------------------------

LADEN = TaskSpec(command="train", files=(FileRef(name="f", sha256="0" * 64, size_bytes=1),))


@pytest.mark.parametrize("word", ["started", "used"])
def test_a_quantum_is_counted_from_when_the_files_are_there(word: str) -> None:
    """However long they take. Should the word be lost that it began: what is seen to use anything runs."""
    stage = Stage()
    stage.submit(1, LADEN)
    assert stage.w1.launching == {attempt(1)}
    stage.worker(AttemptStarted(attempt=attempt(1), began=True, launching=True))
    stage.submit(2, SHORT, C2)
    stage.pass_time(4 * OVER_S)
    assert stage.demoted() == 0
    begins = AttemptStarted(attempt=attempt(1), began=True)
    uses = Beat(load=Load(), uses=(AttemptUse(attempt=attempt(1), cpus=1.0),))
    stage.worker(begins if word == "started" else uses)
    stage.pass_time(5 * OVER_S - 0.2)
    assert stage.demoted() == 0
    stage.pass_time(5 * OVER_S + 0.1)
    assert stage.demoted() == 1


def test_a_new_leader_learns_whose_files_are_still_to_come() -> None:
    """Of what is held and not named, the quantum is counted from its placement."""
    stage, old = Stage(2.0), CLAIMED_S - 60.0
    for number in (1, 2):
        stage.state.table.add(make_task(number, make_attempt(placed=old), spec=LADEN))
    stage.workers.adopt_table()
    greeting = msgspec.structs.replace(
        register("w1", attempt(1), attempt(2), cpus=2.0), launching=(attempt(2), attempt(9))
    )
    stage.worker(greeting)
    assert stage.w1.launching == {attempt(2)}
    since = stage.state.runs_since
    assert [since(stage.w1, attempt(number), old) for number in (1, 2)] == [old, FOREVER]
    stage.worker(AttemptStarted(attempt=attempt(2), began=True))
    assert since(stage.w1, attempt(2), old) == stage.state.now()
    stage.worker(ended(2))
    assert not stage.w1.launching
