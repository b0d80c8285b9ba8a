"""A node below ``/config``: the steps that all desks of such nodes share."""

from __future__ import annotations

from tests.broker_parts import make_state, read

from alb_broker.core.setting import Setting
from alb_core import zk, znodes
from alb_core.bounds import LimitsNode


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
