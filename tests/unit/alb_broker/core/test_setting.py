"""A node below ``/config``: the steps that all desks of such nodes share."""

from __future__ import annotations

from tests.broker_parts import C1, Desks, make_state, read, to_client

from alb_broker.core.setting import Setting
from alb_core import zk, znodes
from alb_core.bounds import LimitsNode, check_limits
from alb_core.messages import Done, Error


def test_what_is_read_during_an_own_change_does_not_count() -> None:
    """It is older than the change."""
    state = make_state()
    setting = Setting(state, znodes.LIMITS)
    assert setting.meets(read(znodes.LIMITS, LimitsNode()))
    setting.write(LimitsNode(), ())
    assert not setting.meets(read(znodes.LIMITS, LimitsNode()))


def test_a_missing_node_is_created_by_the_next_change() -> None:
    """And set by the one after it."""
    setting = Setting(make_state(), znodes.LIMITS)
    assert setting.meets(None)
    assert isinstance(setting.operation(LimitsNode()), zk.Create)
    assert isinstance(setting.operation(LimitsNode()), zk.SetData)


def test_what_is_not_understood_is_listed_until_it_is() -> None:
    """The first sight of a node in a reign is told apart from a change."""
    state = make_state()
    setting = Setting(state, znodes.LIMITS)
    setting.not_understood("nonsense")
    assert (state.table.set_aside, setting.readable, setting.known) == (
        {znodes.LIMITS: "nonsense"},
        False,
        False,
    )
    assert setting.understood()
    assert (state.table.set_aside, setting.readable, setting.known) == ({}, True, True)
    assert not setting.understood()


def test_what_makes_no_sense_is_told_with_what_goes_on() -> None:
    """Bytes that are no node, and a node that cannot be; where there is none, nothing is said."""
    state = make_state()
    setting = Setting(state, znodes.LIMITS)
    assert setting.read(None, LimitsNode, check_limits, str) == LimitsNode()
    wished = LimitsNode(processes=5)
    assert setting.read(read(znodes.LIMITS, wished), LimitsNode, check_limits, str) == wished
    cannot_be = read(znodes.LIMITS, LimitsNode(processes=0))
    assert setting.read(cannot_be, LimitsNode, check_limits, lambda: "5 holds") is None
    assert state.table.set_aside[znodes.LIMITS].endswith("; 5 holds")
    assert not setting.readable


def test_a_wish_is_answered_when_it_is_in_the_table() -> None:
    """Said again, it writes nothing more, and neither does what is refused."""
    each = Desks()
    each.greet("ann")
    client = each.state.clients.by_peer[C1]
    setting = Setting(each.state, znodes.LIMITS)
    assert setting.meets(read(znodes.LIMITS, LimitsNode()))
    setting.understood()
    wished = LimitsNode(processes=5)
    assert setting.grant(client, 1, LimitsNode(), wished)
    assert to_client(C1, each.state.take_out()) == []
    assert to_client(C1, each.commit()) == [Done(seq=1)]
    assert not setting.grant(client, 2, wished, LimitsNode(processes=5))
    assert not each.state.ledger.holds(znodes.LIMITS)
    setting.refuse(client, 3, "no")
    assert to_client(C1, each.commit()) == [Done(seq=2), Error(code="invalid", why="no", seq=3)]
