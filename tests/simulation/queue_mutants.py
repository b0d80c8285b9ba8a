"""Planted defects of the queue: who may have what, and for whom a worker is set aside."""

from __future__ import annotations

from typing import Any

from alb_broker.core.reservations import Reservation, Reservations
from alb_broker.core.shares import Shares


def backfill_ignores_reservations() -> list[tuple[Any, str, Any]]:
    """A worker that is set aside is given whatever fits."""
    return [(Reservations, "allowed", lambda _, found, *__: found)]


def backfill_trusts_unknown_ends() -> list[tuple[Any, str, Any]]:
    """What has a time limit goes ahead of a task whose moment nobody knows, one after the other, for ever."""
    return [(Reservation, "_ends_before", lambda reservation, ends: ends <= reservation.moment)]


def bounds_ignored() -> list[tuple[Any, str, Any]]:
    """Users may reserve what they like."""
    return [(Shares, "allows", lambda *_: True)]
