"""Planted defects of what a leader does before it asks somebody else's policy, and its heir then."""

from __future__ import annotations

from typing import Any

from alb_broker.core.placement import Placer
from alb_broker.core.probation import Probation


def asked_unmarked() -> list[tuple[Any, str, Any]]:
    """A policy is asked before it is in the table that it will be."""
    return [(Placer, "hold", lambda _: None)]


def marks_unread() -> list[tuple[Any, str, Any]]:
    """An heir does not mind what its leader ended in."""
    return [(Probation, "doubt", lambda _, __: None)]
