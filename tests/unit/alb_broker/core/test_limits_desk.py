"""Default limits: what is asked, what is in the table, and what orders to run say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import (
    C1,
    C2,
    CLAIMED_S,
    W1,
    Desks,
    attempt,
    make_task,
    notes,
    read,
    submit,
    to_client,
    to_worker,
)

from alb_core import limits, zk, znodes
from alb_core.bounds import Bounds, DatedLimits, LimitsNode
from alb_core.messages import AttemptEnded, ClusterPage, Done, Error, Message, QueryCluster, Run, SetLimits
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome

STRICT = LimitsNode(cpu_s=60.0, processes=10, time_limit_s=90.0)


def desks() -> Desks:
    """Return the desks of a leader with a worker, whose table holds no limits."""
    each = Desks()
    each.greet("ann", "bob")
    each.join(cpus=10)
    each.limits.on_node(read(znodes.LIMITS, LimitsNode()))
    each.state.take_out()
    return each


def ask(each: Desks, message: Message, peer: bytes = C1) -> Message:
    """Let a client say something; returns the answer that follows the commit."""
    actions = each.client(message, peer=peer) + each.commit()
    return to_client(peer, actions)[-1]


def order(each: Desks, number: int, **fields: Any) -> Run:
    """Let a task be placed; returns the order that its worker gets."""
    each.client(submit(number, TaskSpec(command="x", **fields)))
    (run,) = [message for message in to_worker(W1, each.turn()) if isinstance(message, Run)]
    return run


def test_orders_carry_the_limits() -> None:
    """The cluster's where the task says nothing, else its own; memory that is reserved may be used."""
    each = desks()
    assert order(each, 1).bounds == Bounds()
    ask(each, SetLimits(seq=1, limits=STRICT))
    run = order(each, 2)
    assert (run.bounds, run.time_limit_s) == (Bounds(cpu_s=60.0, processes=10), 90.0)
    run = order(
        each,
        3,
        bounds=Bounds(processes=99),
        time_limit_s=1e6,
        request=Request(cpus=1.0, memory_bytes=1 << 30),
    )
    assert run.bounds == Bounds(cpu_s=60.0, processes=99, memory_bytes=1 << 30)
    assert run.time_limit_s == 1e6


def test_the_answer_follows_the_commit() -> None:
    """Done is said when the limits are in the table; the old ones are gone whole."""
    each = desks()
    ask(each, SetLimits(seq=1, limits=LimitsNode(scratch_bytes=5)))
    assert to_client(C1, each.client(SetLimits(seq=2, limits=STRICT))) == []
    assert to_client(C1, each.commit()) == [Done(seq=2)]
    written = each.written[-1]
    assert isinstance(written, zk.SetData)
    assert znodes.decode(DatedLimits, written.path, written.data).plain() == STRICT


def test_saying_it_again_writes_nothing() -> None:
    """A repeated request is answered all the same."""
    each = desks()
    ask(each, SetLimits(seq=1, limits=STRICT))
    written = len(each.written)
    assert ask(each, SetLimits(seq=2, limits=STRICT), peer=C2) == Done(seq=2)
    assert len(each.written) == written


def test_limits_that_cannot_be_are_refused() -> None:
    """With the reason; nothing is changed."""
    each = desks()
    error = ask(each, SetLimits(seq=1, limits=LimitsNode(open_files=1)))
    assert isinstance(error, Error)
    assert (error.code, error.seq, "open_files" in error.why) == ("invalid", 1, True)
    assert each.state.limits == LimitsNode()


def test_the_cluster_tells_its_limits() -> None:
    """For `alb limits`, which changes some of them."""
    each = desks()
    ask(each, SetLimits(seq=1, limits=STRICT))
    page = ask(each, QueryCluster(seq=2))
    assert isinstance(page, ClusterPage)
    assert (page.bounds, page.time_limit_s) == (Bounds(cpu_s=60.0, processes=10), 90.0)


def test_a_change_in_zookeeper_is_noted() -> None:
    """Once, with what it is and was."""
    each = desks()
    each.limits.on_node(read(znodes.LIMITS, STRICT))
    each.limits.on_node(read(znodes.LIMITS, STRICT))
    (note,) = notes(each.state.take_out(), "limits_changed")
    assert note == {
        "limits": "cpu_s=60 processes=10 time_limit_s=90",
        "before": "no limit",
        "by": "zkCli",
    }


@pytest.mark.parametrize("data", [b"4G", b'{"procesess": 5}', b'{"processes": 0}', b'{"time_limit_s": -1}'])
def test_what_cannot_be_read_changes_nothing(data: bytes) -> None:
    """It is set aside for the operator, and what is in force stays so until it can be read again."""
    each = desks()
    ask(each, SetLimits(seq=1, limits=STRICT))
    assert each.limits.on_node(read(znodes.LIMITS, data))
    assert each.state.limits == STRICT
    assert "cpu_s=60" in each.state.table.set_aside[znodes.LIMITS]
    assert ask(each, SetLimits(seq=2, limits=STRICT)) == Done(seq=2)
    assert isinstance(each.written[-1], zk.SetData)
    assert each.state.table.set_aside == {}
    each.limits.on_node(read(znodes.LIMITS, data))
    each.limits.on_node(read(znodes.LIMITS, LimitsNode()))
    assert (each.state.limits, each.state.table.set_aside) == (LimitsNode(), {})


def test_a_missing_node_limits_nothing_and_is_made() -> None:
    """An operator deleted it, or the table is older than limits are."""
    each = desks()
    each.limits.on_node(read(znodes.LIMITS, STRICT))
    each.limits.on_node(None)
    assert each.state.limits == LimitsNode()
    ask(each, SetLimits(seq=1, limits=STRICT))
    assert isinstance(each.written[-1], zk.Create)
    ask(each, SetLimits(seq=2, limits=LimitsNode()))
    assert isinstance(each.written[-1], zk.SetData)


def test_an_attempt_keeps_the_limit_that_it_started_with() -> None:
    """It may run for ever if there was none when it was placed, whatever is the default by now."""
    each = desks()
    order(each, 1)
    before = each.task(1).attempts[0].placed
    each.at(10.0)
    ask(each, SetLimits(seq=1, limits=STRICT))
    each.at(20.0)
    order(each, 2)
    after = each.task(2).attempts[0].placed
    assert [each.state.runs_endless(each.task(1), placed) for placed in (before, after)] == [True, False]
    ask(each, SetLimits(seq=2, limits=LimitsNode(time_limit_s=5.0)))
    assert not each.state.runs_endless(each.task(2), after)
    order(each, 3, time_limit_s=1.0)
    assert not each.state.runs_endless(each.task(3), before)


def test_nobody_counts_on_an_end_that_an_order_sent_again_does_not_bring() -> None:
    """The default was lifted between an attempt's placement and the order that its worker hears."""
    each = desks()
    shares = each.state.shares
    ask(each, SetLimits(seq=1, limits=STRICT))
    each.at(0.1)
    assert order(each, 1, request=Request(cpus=2.0)).time_limit_s == 90.0
    ask(each, SetLimits(seq=2, limits=LimitsNode()))
    assert shares.cpus("ann", endless=False) == 2.0  # as far as is known it has the first order
    each.tick(0.1 + limits.RESEND_S)
    (run,) = [message for message in to_worker(W1, each.commit()) if isinstance(message, Run)]
    assert run.time_limit_s is None
    assert (shares.cpus("ann"), shares.cpus("ann", endless=False)) == (2.0, 0.0)
    each.worker(AttemptEnded(attempt=attempt(1), outcome=Outcome(cause=Cause.EXITED, exit_code=0)))
    assert shares.cpus("ann") == 0.0


def test_a_new_leader_knows_since_when_there_is_a_limit() -> None:
    """The node says it in cluster time, whatever ZooKeeper's clock made of its date."""
    each = Desks()
    found = read(znodes.LIMITS, DatedLimits.of(STRICT, CLAIMED_S - 50.0))
    jumped = msgspec.structs.replace(found.stat, mtime_s=CLAIMED_S - 3600.0)
    each.limits.on_node(msgspec.structs.replace(found, stat=jumped))
    task = make_task(1)
    assert each.state.limits == STRICT
    assert each.state.runs_endless(task, CLAIMED_S - 51.0)
    assert not each.state.runs_endless(task, CLAIMED_S - 49.0)


def test_whatever_runs_may_be_older_than_a_limit_without_a_date() -> None:
    """A person wrote the node: a new leader counts on no end of what it adopts."""
    each = Desks()
    each.limits.on_node(read(znodes.LIMITS, STRICT))
    assert each.state.runs_endless(make_task(1), CLAIMED_S - 1.0)


def test_a_limit_is_written_with_the_time_since_when_there_is_one() -> None:
    """Another limit is none more, and where there is none there is no date."""
    each = desks()
    each.at(10.0)
    for seq, limit_s in enumerate((90.0, 5.0, None)):
        each.at(10.0 + seq)
        ask(each, SetLimits(seq=seq + 1, limits=LimitsNode(time_limit_s=limit_s)))
    written = [znodes.decode(DatedLimits, write.path, write.data) for write in each.written[-3:]]
    since = CLAIMED_S + 10.0
    assert [(found.time_limit_s, found.since) for found in written] == [
        (90.0, since),
        (5.0, since),
        (None, 0.0),
    ]


def test_an_own_change_on_its_way_is_not_undone() -> None:
    """What was read before it is older: it is read again."""
    each = desks()
    each.client(SetLimits(seq=1, limits=STRICT))
    assert not each.limits.on_node(read(znodes.LIMITS, LimitsNode()))
    each.commit()
    assert each.state.limits == STRICT
    assert each.limits.on_node(read(znodes.LIMITS, STRICT))


def test_what_a_new_leader_reads_is_no_change() -> None:
    """The log of each takeover would tell of it otherwise."""
    each = Desks()
    assert each.limits.on_node(read(znodes.LIMITS, STRICT))
    assert (each.state.limits, notes(each.state.take_out(), "limits_changed")) == (STRICT, [])
