"""Cluster time: it goes on from the claim by the leader's own clock, and never falls."""

from __future__ import annotations

from tests.broker_parts import CLAIMED_S, make_state

from alb_broker.core.state import ClusterClock, Tokens
from alb_core.notes import Level


def test_cluster_time_is_the_claims_plus_the_own_clock_since() -> None:
    """The own clock's zero means nothing."""
    clock = ClusterClock(CLAIMED_S, at=5000.0, floor_s=0.0)
    assert clock.time(5000.0) == CLAIMED_S
    assert clock.time(5012.5) == CLAIMED_S + 12.5


def test_cluster_time_never_falls() -> None:
    """Below the last commit's time it does not begin, and it does not go back for an event that waited."""
    clock = ClusterClock(CLAIMED_S, at=10.0, floor_s=CLAIMED_S + 100.0)
    assert clock.time(10.0) == clock.time(3.0) == CLAIMED_S + 100.0


def test_tokens_are_never_used_twice() -> None:
    """Late answers to old questions are recognised by them."""
    tokens = Tokens()
    assert len({tokens.next() for _ in range(1000)}) == 1000


def test_what_is_set_aside_is_told_to_the_operator() -> None:
    """As an error, with path and reason."""
    state = make_state()
    state.set_aside("/tasks/00/x", "garbage")
    (note,) = state.take_out()
    assert (note.event, note.level) == ("node_set_aside", Level.ERROR)  # type: ignore[union-attr]
    assert state.table.set_aside == {"/tasks/00/x": "garbage"}
    assert state.take_out() == []


def test_a_states_fields_are_few_enough_to_lie_beside_it() -> None:
    """CPython 3.11 keeps 29 in the first object of a class; with more, all are in a dictionary: slower."""
    assert len(vars(make_state())) <= 29
