"""Whom a search looks at first: by the policy in force, and by what is to be optimised."""

from __future__ import annotations

import pytest
from tests.broker_parts import attempt, make_worker, request

from alb_broker.core.openings import UNORDERED
from alb_broker.core.ranks import Ranks
from alb_core.speeds import Speeds, Strain
from alb_core.vectors import Vector, parse_vector

SPEEDS = Speeds(integer=4.0, memory=1.0, floating=0.25)
HURRIED, THRIFTY = parse_vector("time"), parse_vector("resources")


@pytest.mark.parametrize(
    ("vector", "own", "is_ordered"),
    [(None, None, False), (None, HURRIED, True), (None, THRIFTY, True), (HURRIED, None, True)],
)
def test_only_who_wants_an_order_gets_one(
    vector: Vector | None, own: Vector | None, *, is_ordered: bool
) -> None:
    """A task's own vector, or that of the cluster; else a search costs what it did."""
    order = Ranks(vector=vector)(request(optimize=own))
    assert (order is not UNORDERED) is is_ordered


def test_who_hurries_is_shown_who_is_fast_in_what_he_strains() -> None:
    """As a policy is that wants the fastest first."""
    plain, good = make_worker("w1"), make_worker("w2", speeds=SPEEDS)
    for ranks, wish in ((Ranks(fastest_first=True), None), (Ranks(), HURRIED)):
        for strain, better in ((Strain.INTEGER, good), (Strain.FLOAT, plain)):
            rank = ranks(request(strain=strain, optimize=wish)).rank
            assert max((plain, good), key=rank) is better


def test_a_correction_counts() -> None:
    """A worker that is slower than it says stands where it belongs."""
    first, second = make_worker("w1", speed=2.0), make_worker("w2")
    first.correction = 0.25
    rank = Ranks(fastest_first=True)(request()).rank
    assert rank(first) < rank(second)


def test_who_saves_is_shown_who_is_busy() -> None:
    """However slow; and of these the same ones again, so that they fill up."""
    busy, idle = make_worker("w1", 2), make_worker("w2", speed=1000.0)
    busy.reserve(attempt(1), request())
    order = Ranks()(request(optimize=THRIFTY))
    assert order.rank(busy) > order.rank(idle)
    assert order.steady


def test_a_tasks_own_vector_goes_before_the_clusters() -> None:
    """Both ways."""
    ranks = Ranks(vector=THRIFTY)
    assert ranks(request()).steady
    assert not ranks(request(optimize=HURRIED)).steady
