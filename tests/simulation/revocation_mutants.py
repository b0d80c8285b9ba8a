"""Planted defects of asking back: what is given back runs all the same, or is moved without an answer."""

from __future__ import annotations

from typing import Any

from alb_broker.core.revocations import Revocations
from alb_core.messages import AttemptEnded, Revoke
from alb_worker.core.actions import SendToLeader
from alb_worker.core.attempts import _REVOKED, LIVE, Attempts, Phase


def begun_given_back() -> list[tuple[Any, str, Any]]:
    """A worker gives back what it has begun."""
    wrong = {(phase, Revoke): (Attempts._end_unstarted, "the leader wants it back") for phase in LIVE}
    return [(Attempts, "STEPS", {**Attempts.STEPS, **wrong})]


def given_back_and_kept() -> list[tuple[Any, str, Any]]:
    """A worker says that it gives an attempt back, and starts it when there is room."""
    kept: Any = (lambda _, __, record, ___: [_given_back(record.attempt)], "the leader wants it back")
    return [(Attempts, "STEPS", {**Attempts.STEPS, (Phase.WAITING, Revoke): kept})]


def answer_not_awaited() -> list[tuple[Any, str, Any]]:
    """A leader moves on with what it asked for before the worker has answered."""
    ask = Revocations._ask

    def hasty(revocations: Any, worker: Any, attempts: Any) -> None:
        ask(revocations, worker, attempts)
        for attempt in attempts:
            task = revocations._state.table.live[attempt.task]
            revocations._give_up(task, attempt, worker)

    return [(Revocations, "_ask", hasty)]


def _given_back(attempt: Any) -> SendToLeader:
    return SendToLeader(message=AttemptEnded(attempt=attempt, outcome=_REVOKED))
