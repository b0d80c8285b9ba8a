"""Planted defects of the queue: who may have what, and for whom a worker is set aside."""

from __future__ import annotations

from typing import Any

from alb_broker.core import groups, turns
from alb_broker.core.declines import Declines
from alb_broker.core.reservations import Reservation, Reservations
from alb_broker.core.shares import Shares


def backfill_ignores_reservations() -> list[tuple[Any, str, Any]]:
    """A worker that is set aside is given whatever fits."""
    return [(Reservations, "allowed", lambda _, found, *__: found)]


def backfill_trusts_unknown_ends() -> list[tuple[Any, str, Any]]:
    """What has a time limit goes ahead of a task whose moment nobody knows, one after the other, for ever."""
    return [(Reservation, "_ends_before", lambda reservation, ends: ends <= reservation.moment)]


def reservations_stay() -> list[tuple[Any, str, Any]]:
    """Who waits on a worker for what ends nobody knows when waits there for ever."""
    return [(Reservation, "in_vain", lambda *_: False)]


def reservations_never_lapse() -> list[tuple[Any, str, Any]]:
    """A worker is set aside for what never has room there, however long others wait."""
    return [(Reservations, "_lapses", lambda *_: False)]


def bounded_heads_reserve() -> list[tuple[Any, str, Any]]:
    """A worker is set aside for a head whose user may have no more."""
    return [(Reservations, "_may_have_one", lambda *_: True)]


def refusals_last() -> list[tuple[Any, str, Any]]:
    """A policy may let a task wait for ever although there is room."""
    return [(Declines, "note", lambda *_: None)]


def priorities_ignored() -> list[tuple[Any, str, Any]]:
    """All are of one level."""
    return [(turns, "level_after", lambda *_: 0), (groups, "level_after", lambda *_: 0)]


def shares_ignored() -> list[tuple[Any, str, Any]]:
    """Who has much goes before who has little, if he came first."""
    return [(Shares, "share", lambda *_: 0.0)]


def bounds_ignored() -> list[tuple[Any, str, Any]]:
    """Users may reserve what they like."""
    return [(Shares, "allows", lambda *_: True)]
