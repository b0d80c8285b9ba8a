"""Planted defects of claims: who is taken for dead, and is not."""

from __future__ import annotations

from typing import Any

from alb_broker.core.events import ProbeVerdict
from alb_broker.core.inquest import Inquest


def names_taken() -> list[tuple[Any, str, Any]]:
    """A broker takes its name from whoever has it, as if that had to be an earlier life."""
    return [(Inquest, "inherits", lambda _, __: True)]


def answers_prove_death() -> list[tuple[Any, str, Any]]:
    """Who accepts a connection is taken for one who refused it."""
    on_probe = Inquest.on_probe

    def hasty(inquest: Any, token: int, _verdict: ProbeVerdict, at: float) -> Any:
        return on_probe(inquest, token, ProbeVerdict.REFUSED, at)

    return [(Inquest, "on_probe", hasty)]
