"""Planted defects of copies: who is copied, who counts, and whose room is whose."""

from __future__ import annotations

from typing import Any

import msgspec

from alb_broker.core import stragglers, task
from alb_broker.core.book import Book
from alb_broker.core.inflow import Inflow
from alb_broker.core.ledger import Lane
from alb_broker.core.outcomes import result_of
from alb_broker.core.worker_desk import WorkerDesk
from alb_core import zk, znodes


def everybody_copied() -> list[tuple[Any, str, Any]]:
    """What must not run twice is copied like anything else."""
    return [(stragglers, "may_run_twice", lambda *_: True)]


def loser_accepted() -> list[tuple[Any, str, Any]]:
    """What the loser reports becomes the result as well."""
    on_ended = WorkerDesk._on_ended

    def accept(desk: Any, worker: Any, message: Any) -> None:
        state = desk._state
        name = message.attempt
        done = state.table.done.get(name.task)
        record = done.record if done is not None else None
        loser = next((each for each in record.attempts if each.n == name.n), None) if record else None
        if loser is not None and loser.ended_as == "outrun":
            result = result_of(loser, message.outcome, state.now())
            record = msgspec.structs.replace(record, result=result, state=result.state)
            write = zk.SetData(znodes.done_path(name.task), znodes.encode(record))
            state.ledger.write(Lane.RESULTS, name.task, (write,), ())
        on_ended(desk, worker, message)

    return [(WorkerDesk, "_on_ended", accept)]


def failure_outruns() -> list[tuple[Any, str, Any]]:
    """A failure is the result although another attempt of the task lives."""
    return [(task, "succeeded", lambda _outcome: True)]


def both_report() -> list[tuple[Any, str, Any]]:
    """Two attempts at once report increments, which are numbered within the task."""

    def mark(book: Any, marked_task: Any, marked: Any) -> None:
        marked_task.incremental = True
        book._save(marked_task, (marked,))

    def on_marked(inflow: Any, action: Any) -> None:
        name = action.message.attempt
        inflow._marking.pop(name.task, None)
        handed = inflow._of(name)
        if handed is not None:
            inflow._take(name, handed, action.message)

    return [(Book, "mark_incremental", mark), (Inflow, "on_marked", on_marked)]
