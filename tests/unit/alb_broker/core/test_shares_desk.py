"""Shares: what is asked, what is in the table, and what holds for submissions and placements."""

from __future__ import annotations

from typing import Any

import pytest
from tests.broker_parts import (
    C1,
    C2,
    Desks,
    ended,
    notes,
    read,
    submit,
    task_id,
    to_client,
)

from alb_broker.core.reservations import LOOK_EVERY_S, RESERVE_AFTER_S
from alb_core import zk, znodes
from alb_core.messages import Busy, Done, Error, Message, QueryShares, SetShare, SharesPage, TaskMoved
from alb_core.resources import Request
from alb_core.shares import NO_SHARES, Share, SharesNode
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

TWICE = Share(weight=2.0, cpus_max=3.0)


def desks(cpus: float = 10.0) -> Desks:
    """Return the desks of a leader with a worker, whose table holds no shares."""
    each = Desks()
    each.greet("ann", "bob")
    each.join(cpus=cpus)
    each.shares.on_node(read(znodes.SHARES, SharesNode()))
    each.state.take_out()
    return each


def ask(each: Desks, message: Message, peer: bytes = C1) -> Message:
    """Let a client say something; returns the answer that follows the commit."""
    actions = each.client(message, peer=peer) + each.commit()
    return to_client(peer, actions)[-1]


def states(each: Desks) -> list[TaskState]:
    """Return the states of the live tasks, by number."""
    return [
        each.state.table.live[task_id(number)].state for number in range(1, len(each.state.table.live) + 1)
    ]


def test_the_answer_follows_the_commit() -> None:
    """Done is said when the share is in the table; those of others stay."""
    each = desks()
    ask(each, SetShare(seq=1, user="bob", share=Share(tasks_max=5)))
    assert to_client(C1, each.client(SetShare(seq=2, user="ann", share=TWICE))) == []
    assert to_client(C1, each.commit()) == [Done(seq=2)]
    written = each.written[-1]
    assert isinstance(written, zk.SetData)
    assert znodes.decode(SharesNode, written.path, written.data) == SharesNode(
        users={"ann": TWICE, "bob": Share(tasks_max=5)}
    )


def test_saying_it_again_writes_nothing() -> None:
    """A repeated request is answered all the same."""
    each = desks()
    ask(each, SetShare(seq=1, user="ann", share=TWICE))
    written = len(each.written)
    assert ask(each, SetShare(seq=2, user="ann", share=TWICE), peer=C2) == Done(seq=2)
    assert len(each.written) == written


@pytest.mark.parametrize(
    ("user", "share", "word"),
    [
        ("ann", Share(weight=-1.0), "weight"),
        ("a\nb", TWICE, "printable"),
        ("ann", Share(tasks_max=-1), "tasks_max"),
    ],
)
def test_what_cannot_be_is_refused(user: str, share: Share, word: str) -> None:
    """With the reason; nothing is changed."""
    each = desks()
    error = ask(each, SetShare(seq=1, user=user, share=share))
    assert isinstance(error, Error)
    assert (error.code, word in error.why) == ("invalid", True)
    assert each.state.shares.node == NO_SHARES


def test_more_users_than_the_node_holds_are_refused() -> None:
    """A batch has to hold it."""
    each = desks()
    many = {f"{number:060d}": TWICE for number in range(2850)}
    each.shares.on_node(read(znodes.SHARES, SharesNode(users=many)))
    error = ask(each, SetShare(seq=1, user="one more", share=TWICE))
    assert isinstance(error, Error)
    assert "do not fit" in error.why


def test_users_are_listed_with_what_they_have() -> None:
    """Who has most first; who has only tasks that wait, too."""
    each = desks()
    each.client(submit(1, TaskSpec(command="x", request=Request(cpus=4.0))))
    each.client(submit(2, TaskSpec(command="x", request=Request(cpus=100.0))), peer=C2)
    each.turn()
    page = ask(each, QueryShares(seq=5))
    assert isinstance(page, SharesPage)
    assert [(line.user, line.share, line.running, line.tasks) for line in page.users] == [
        ("ann", 0.4, 1, 1),
        ("bob", 0.0, 0, 1),
    ]


def test_a_bound_lets_tasks_wait_and_says_so() -> None:
    """Until others of the user have ended; others are served meanwhile."""
    each = desks()
    ask(each, SetShare(seq=1, user="ann", share=Share(cpus_max=1.0)))
    for number in (1, 2):
        each.client(submit(number, moves=True))
    each.client(submit(3), peer=C2)
    each.turn()
    assert states(each) == [TaskState.RUNNING, TaskState.QUEUED, TaskState.RUNNING]
    assert "ann may reserve 1 cpus at once" in each.starts.why(each.task(2))
    each.worker(ended(1))
    each.turn()
    assert each.task(2).state is TaskState.RUNNING


def test_who_submits_what_may_never_start_hears_it_at_once() -> None:
    """It waits all the same: the bound may be raised."""
    each = desks()
    ask(each, SetShare(seq=1, user="ann", share=Share(cpus_max=1.0)))
    actions = each.client(submit(1, TaskSpec(command="x", request=Request(cpus=2.0)), moves=True))
    told = [m for m in to_client(C1, actions + each.commit()) if isinstance(m, TaskMoved)]
    assert ["never starts before that is raised" in message.why for message in told] == [True]
    ask(each, SetShare(seq=2, user="ann", share=None))
    each.turn()
    assert each.task(1).state is TaskState.RUNNING


def test_too_many_tasks_of_a_user_have_to_wait_outside() -> None:
    """He is told to come again, and why; what is known already is answered; others are not held up."""
    each = desks()
    ask(each, SetShare(seq=1, user="", share=Share(tasks_max=1)))
    each.client(submit(1))
    busy = ask(each, submit(2))
    assert isinstance(busy, Busy)
    assert "ann has 1 tasks in the table, and may have 1" in busy.why
    assert not isinstance(ask(each, submit(1)), Busy)
    assert not isinstance(ask(each, submit(3), peer=C2), Busy)


@pytest.mark.parametrize("data", [b"ann 2", b'{"users":{"ann":{"wieght":2}}}', b'{"default":{"weight":0}}'])
def test_what_cannot_be_read_changes_nothing(data: bytes) -> None:
    """It is set aside for the operator, and what is in force stays so until it can be read again."""
    each = desks()
    ask(each, SetShare(seq=1, user="ann", share=TWICE))
    assert each.shares.on_node(read(znodes.SHARES, data))
    assert each.state.shares.node.of("ann") == TWICE
    assert "of before hold" in each.state.table.set_aside[znodes.SHARES]
    assert ask(each, SetShare(seq=2, user="ann", share=TWICE)) == Done(seq=2)
    assert isinstance(each.written[-1], zk.SetData)
    assert each.state.table.set_aside == {}


def test_a_missing_node_is_made() -> None:
    """An operator deleted it, or the table is older than shares are."""
    each = desks()
    each.shares.on_node(None)
    ask(each, SetShare(seq=1, user="ann", share=TWICE))
    assert isinstance(each.written[-1], zk.Create)


def test_a_change_in_zookeeper_is_noted_and_an_own_one_not_undone() -> None:
    """Once, with whose share it is; what was read before an own change is older."""
    each = desks()
    each.shares.on_node(read(znodes.SHARES, SharesNode(users={"ann": TWICE}, default=Share(weight=0.5))))
    assert notes(each.state.take_out(), "shares_changed") == [
        {"of": "the default, ann", "users": 2, "by": "zkCli"}
    ]
    each.client(SetShare(seq=1, user="bob", share=TWICE))
    assert not each.shares.on_node(read(znodes.SHARES, SharesNode()))
    each.commit()
    assert each.state.shares.node.of("bob") == TWICE


def test_what_a_new_leader_reads_is_no_change() -> None:
    """The log of each takeover would tell of it otherwise."""
    each = Desks()
    assert each.shares.on_node(read(znodes.SHARES, SharesNode(users={"ann": TWICE})))
    assert (each.state.shares.node.of("ann"), notes(each.state.take_out(), "shares_changed")) == (TWICE, [])


def test_a_tick_sets_workers_aside() -> None:
    """The limits that matter are those of the attempts that run, and else the cluster's."""
    each = desks(cpus=4.0)
    sizes: list[Any] = [TaskSpec(command="x", request=Request(cpus=2.0), time_limit_s=60.0)]
    each.client(submit(1, *sizes))
    each.turn()
    each.client(submit(2, TaskSpec(command="x", request=Request(cpus=4.0))))
    each.turn()
    each.at(1.0).client(submit(3))
    each.turn()
    each.at(RESERVE_AFTER_S + 2.0)
    each.shares.tick()
    (reserved,) = notes(each.state.take_out(), "worker_reserved")
    assert (reserved["worker"], reserved["task"]) == ("w1", task_id(2))
    each.client(submit(4))
    each.turn()
    assert each.task(4).state is TaskState.QUEUED  # its end nobody knows
    for number in (1, 3):
        each.worker(ended(number))
    each.at(RESERVE_AFTER_S + 2.0 + LOOK_EVERY_S)
    each.shares.tick()
    each.turn()
    assert each.task(2).state is TaskState.RUNNING
    assert each.task(2).attempts[-1].part == "reserved"
