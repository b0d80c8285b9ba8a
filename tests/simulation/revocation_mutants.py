"""Planted defects of asking back: what is given back runs all the same, or is moved without an answer."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from alb_broker.core.revocations import Revocations
from alb_core.messages import AttemptEnded, Revoke
from alb_worker.core import attempts
from alb_worker.core.actions import SendToLeader
from alb_worker.core.attempts import _EDGES, _REVOKED, LIVE, Attempts, Phase


def begun_given_back() -> list[tuple[Any, str, Any]]:
    """A worker gives back what it has begun."""
    return _asked_back(LIVE, Attempts._end_unstarted)


def given_back_and_kept() -> list[tuple[Any, str, Any]]:
    """A worker says that it gives an attempt back, and starts it when there is room."""
    return _asked_back({Phase.WAITING}, lambda _, __, record, ___: [_given_back(record.attempt)])


def answer_not_awaited() -> list[tuple[Any, str, Any]]:
    """A leader moves on with what it asked for before the worker has answered."""
    ask = Revocations._ask

    def hasty(revocations: Any, worker: Any, asked: Any) -> None:
        ask(revocations, worker, asked)
        for attempt in asked:
            task = revocations._state.table.live[attempt.task]
            revocations._give_up(task, attempt, worker)

    return [(Revocations, "_ask", hasty)]


def _asked_back(phases: Container[int], step: Any) -> list[tuple[Any, str, Any]]:
    """Have a worker take another step when attempts in some phases are asked back."""
    edges = [
        {**known, Revoke: (step, "the leader wants it back")} if phase in phases else known
        for phase, known in enumerate(_EDGES)
    ]
    return [(attempts, "_EDGES", tuple(edges))]


def _given_back(attempt: Any) -> SendToLeader:
    return SendToLeader(message=AttemptEnded(attempt=attempt, outcome=_REVOKED))
