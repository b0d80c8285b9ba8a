"""Planted defects of default limits: whom they hold."""

from __future__ import annotations

from typing import Any

from alb_broker.core.limits_desk import LimitsDesk
from alb_broker.core.state import State


def limits_hold_what_runs() -> list[tuple[Any, str, Any]]:
    """What began without a limit is taken for limited as soon as there is a default."""
    return [(State, "runs_endless", lambda state, task, _placed: state.is_endless(task))]


def limits_always_held() -> list[tuple[Any, str, Any]]:
    """A leader takes a default for older than whatever runs."""
    adopt = LimitsDesk._adopt

    def timeless(desk: Any, after: Any, by: str, _since: float) -> None:
        adopt(desk, after, by, float("-inf"))

    return [(LimitsDesk, "_adopt", timeless)]
