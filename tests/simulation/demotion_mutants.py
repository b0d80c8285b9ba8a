"""Planted defects of demotion: nobody gives way, or before it is written down, or a worker bears too much."""

from __future__ import annotations

from typing import Any

from alb_broker.core.book import Book
from alb_broker.core.burden import Burden
from alb_broker.core.demotions import Demotions
from alb_core.messages import AttemptId, Demote


def nobody_is_demoted() -> list[tuple[Any, str, Any]]:
    """Whoever has a processor keeps it."""
    return [(Demotions, "tick", lambda _: None)]


def all_is_borne() -> list[tuple[Any, str, Any]]:
    """Whatever is demoted on a worker already, more may be."""
    return [(Burden, "bears", lambda *_, **__: True), (Burden, "admits", lambda *_, **__: True)]


def demote_before_commit() -> list[tuple[Any, str, Any]]:
    """A worker hears that an attempt gives way before the table says so."""
    demote = Book.demote

    def hasty(book: Any, task: Any, worker: Any, attempt: AttemptId, *rest: Any) -> None:
        book._state.out.append(book._state.worker(worker.peer, Demote(attempts=(attempt,))))
        demote(book, task, worker, attempt, *rest)

    return [(Book, "demote", hasty)]
