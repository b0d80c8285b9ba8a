"""Why a task waits and went where it did, as the leader's books tell it at this moment."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import (
    C1,
    C2,
    W2,
    Desks,
    attempt,
    make_attempt,
    make_worker,
    record,
    submit,
    task_id,
    to_client,
)
from tests.one_worker import QUANTUM_S, OneWorker

from alb_broker.core.explaining import explain
from alb_broker.core.reservations import RESERVE_AFTER_S
from alb_core.choices import Choice
from alb_core.explanations import Explanation
from alb_core.messages import HoldTasks, QueryTask, SetShare, TaskPage
from alb_core.resources import Count, Load, Request
from alb_core.shares import Share
from alb_core.spec import TaskSpec
from alb_core.tasks import AttemptState
from alb_core.vectors import parse_vector


def desks(*cpus: float) -> Desks:
    """Return the desks of a leader with workers of these sizes."""
    each = Desks()
    each.greet("ann", "bob")
    for number, size in enumerate(cpus, start=1):
        each.join(f"w{number}", cpus=size, peer=b"worker-%d" % number)
    return each


def wants(cpus: float, **fields: Any) -> TaskSpec:
    """Return the specification of a task."""
    return TaskSpec(command="x", request=Request(cpus=cpus), **fields)


def explained(each: Desks, number: int) -> Explanation:
    """Ask the leader of a task."""
    actions = each.client(QueryTask(seq=1, id=task_id(number), explain=True)) + each.commit()
    (page,) = [message for message in to_client(C1, actions) if isinstance(message, TaskPage)]
    assert page.explanation is not None
    return page.explanation


def codes(told: Explanation) -> list[str]:
    """Return the reasons in order."""
    return [reason.code for reason in told.reasons]


def text(told: Explanation, code: str) -> str:
    """Return the sentence of a reason."""
    return next(reason.text for reason in told.reasons if reason.code == code)


def test_a_busy_cluster_is_told_with_whose_turn_it_is() -> None:
    """The order, who has what, and what each worker lacks."""
    each = desks(4.0, 1.0)
    each.state.shares.use(each.state.shares.node.changed("bob", Share(weight=2.0)))
    each.client(submit(1, wants(4.0)))
    each.client(submit(2, wants(1.0)), peer=C2)
    each.turn()
    each.client(submit(3, wants(2.0)), submit(4, wants(2.0)))
    each.client(submit(5, wants(1.0)), peer=C2)
    each.turn()
    told = explained(each, 4)
    assert codes(told) == ["turn", "room"]
    assert told.waits_s is not None
    turn = text(told, "turn")
    assert (
        "its priority is 0; ann has 80.0% of the cluster, with what waits ahead or is demoted; "
        "1 of his like it were submitted before"
    ) in turn
    assert "the turn of another group of tasks is before, of bob (20.0%, at weight 2 as 10.0%)" in turn
    room = text(told, "room")
    assert "of 2 workers: 1 busy (w1: 0 of 4 cpus" in room
    assert "1 too small, even when empty (w2)" in room
    assert "it is the next" in text(explained(each, 5), "turn")


def test_what_no_worker_could_run_and_what_the_user_may_not_stand_first() -> None:
    """Room would not help before that changes."""
    each = desks(4.0)
    each.state.shares.use(each.state.shares.node.changed("ann", Share(cpus_max=2.0)))
    each.client(submit(1, wants(64.0)))
    each.turn()
    told = explained(each, 1)
    assert codes(told) == ["bounded", "unfit", "turn"]
    assert "never starts before that is raised" in text(told, "bounded")
    assert "no worker could ever run it" in text(told, "unfit")


def test_what_has_room_waits_for_its_users_bound_alone() -> None:
    """Its turn has come: nobody is told to wait for that."""
    each = desks(4.0)
    each.state.shares.use(each.state.shares.node.changed("ann", Share(cpus_max=1.0)))
    each.client(submit(1), submit(2))
    each.turn()
    told = explained(each, 2)
    assert codes(told) == ["bounded", "turn", "room"]
    assert "w1 could take it now: it is placed as soon as its user may have more" in text(told, "room")


def test_what_is_held_is_told_alone() -> None:
    """Whoever holds it, or what it waits for."""
    each = desks(1.0)
    each.client(submit(1), submit(2))
    each.turn()
    each.client(HoldTasks(seq=1, ids=(task_id(2),)))
    told = explained(each, 2)
    assert codes(told) == ["held"]
    assert "alb release" in text(told, "held")
    assert told.waits_s is None


def test_a_worker_that_is_set_aside_is_told_to_both_sides() -> None:
    """When it will be free, and what still goes there."""
    each = desks(4.0)
    each.client(submit(1, wants(2.0, time_limit_s=60.0)))
    each.turn()
    each.client(submit(2, wants(4.0)))
    each.turn()
    each.at(1.0).client(submit(3, wants(1.0, time_limit_s=20.0)))
    each.turn()
    each.at(RESERVE_AFTER_S + 2.0)
    each.shares.tick()
    each.client(submit(4, wants(1.0)))
    each.turn()
    own, other = explained(each, 2), explained(each, 4)
    assert codes(own) == ["turn", "reserved", "room"]
    assert "worker w1 is set aside for it: it starts when 2 tasks there have ended, in 58 s" in text(
        own, "reserved"
    )
    assert "of 1 workers: 1 busy (w1: 1 of 4 cpus" in text(own, "room")
    assert codes(other) == ["turn", "set-aside", "room"]
    assert "w1 is set aside for tasks that found no room for long" in text(other, "set-aside")
    assert "1 set aside for others (w1)" in text(other, "room")


def test_an_end_that_nobody_knows_is_said_to_be() -> None:
    """Where what runs there has no time limit."""
    each = desks(4.0)
    each.client(submit(1, wants(2.0)))
    each.turn()
    each.client(submit(2, wants(4.0)))
    each.turn()
    each.at(1.0).client(submit(3, wants(1.0)))
    each.turn()
    each.at(RESERVE_AFTER_S + 2.0)
    each.shares.tick()
    assert "nobody knows when" in text(explained(each, 2), "reserved")


def test_a_policy_that_declines_is_named() -> None:
    """It may think otherwise in the next pass."""
    each = desks(4.0)
    each.state.placer.policies = {**each.state.placer.policies, "never": lambda *_: None}  # type: ignore[misc]
    each.state.placer.use(Choice(policy="never"))
    each.client(submit(1))
    each.turn()
    told = explained(each, 1)
    assert codes(told) == ["turn", "declined", "room"]
    assert "policy never" in text(told, "declined")
    assert "w1 could take it now" in text(told, "room")


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ({"counts": (Count("licence", 1),)}, "2048 of 2048 MiB and 0 of 1 licence free)"),
        ({"net_bps": 800_000_000}, "2048 of 2048 MiB and 200 of 1000 Mbit/s free)"),
        ({"measured": True}, "2048 of 2048 MiB free but measured cpu 95% mem 0% in use)"),
    ],
)
def test_what_lacks_is_told(asks: dict[str, Any], told: str) -> None:
    """Be it a count, bandwidth or the load: processors and memory alone look as if there were room."""
    each = desks()
    offers = {"memory_bytes": 2 << 30, "net_bps": 1_000_000_000, "counts": (Count("licence", 1),)}
    each.state.workers.add(make_worker("w1", 4.0, **offers))
    worker = each.state.workers.by_name["w1"]
    worker.load = Load(cpu=0.95)
    worker.reserve(attempt(9), Request(cpus=1.0, net_bps=800_000_000, counts=(Count("licence", 1),)))
    each.client(submit(1, TaskSpec(command="x", request=Request(cpus=1.0, **asks))))
    each.turn()
    assert told in text(explained(each, 1), "room")


def test_those_that_fit_nowhere_are_before_nobody() -> None:
    """Their turn comes first, and room for them never does."""
    each = desks(4.0)
    each.client(submit(1, wants(64.0)), submit(2, wants(4.0)))
    each.client(submit(3, wants(3.0)), submit(4, wants(2.0)))
    each.turn()
    assert "the turn of another group of tasks is before, of ann" in text(explained(each, 4), "turn")


def test_who_gave_way_to_whom_is_told_to_both() -> None:
    """As long as this leader knows it; that it gave way, stays with the attempt."""
    stage = OneWorker(1.0)
    stage.submit(1, TaskSpec(command="while :; do :; done"))
    stage.submit(2, TaskSpec(command="echo", time_limit_s=5.0), C2)
    stage.pass_time(QUANTUM_S + 0.1)
    stage.pass_time(QUANTUM_S + 0.3)
    (loop,), (echo,) = (explained(stage, number).placements for number in (1, 2))
    assert (loop.lent_to, loop.demoted > 0, loop.room_by) == (task_id(2), True, ())
    assert (echo.lent_to, echo.demoted, echo.room_by) == ("", 0.0, (task_id(1),))


def test_who_saves_is_told_for_what_it_waits() -> None:
    """And how long at most."""
    each = desks(4.0, 4.0)
    vector = parse_vector("resources=0.75")
    thrifty = TaskSpec(command="x", request=Request(cpus=2.5, optimize=vector))
    each.client(submit(1, thrifty), submit(2, thrifty))
    each.turn()
    told = explained(each, 2)
    assert codes(told) == ["turn", "declined", "room"]
    assert "it saves (time=0.25,resources=0.75): up to 15 s it waits for room" in text(told, "declined")


def test_why_an_attempt_went_there_is_remembered() -> None:
    """With the candidates as they were, what its user had, and how long it waited."""
    each = desks(4.0, 2.0)
    each.client(submit(1, wants(1.0)))
    each.turn()
    (placement,) = explained(each, 1).placements
    assert (placement.n, placement.policy, placement.candidates) == (1, "least-loaded", 2)
    assert {(seen.worker, seen.cpus) for seen in placement.considered} == {("w1", 4.0), ("w2", 2.0)}
    assert (placement.share, placement.forgotten) == (0.0, "")


def test_what_is_not_remembered_is_said_to_be_gone() -> None:
    """Under another leader, and after thousands of placements more; the table's few bytes stay."""
    each = desks(4.0)
    before = make_attempt(1, "w9", AttemptState.OVER)
    (placement,) = explain(each.state, record(1, before), "").placements
    assert placement.forgotten == "too much has been placed since"
    each.state.epoch = 7  # type: ignore[misc]
    (placement,) = explain(each.state, record(1, before), "").placements
    assert placement.forgotten == "the leader has changed since: epoch 1 placed it, this is epoch 7"
    assert placement.worker == "w9"


def test_an_explanation_is_made_only_where_it_is_asked_for() -> None:
    """A question after a task costs no look through the queue."""
    each = desks(4.0)
    each.client(SetShare(seq=1, user="", share=None), submit(1), peer=C2)
    actions = each.client(QueryTask(seq=1, id=task_id(1))) + each.commit()
    (page,) = [message for message in to_client(C1, actions) if isinstance(message, TaskPage)]
    assert page.explanation is None
    assert W2 == b"worker-2"
