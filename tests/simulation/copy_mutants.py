"""Planted defects of copies: who is copied, who counts, and whose room is whose."""

from __future__ import annotations

from typing import Any

import msgspec

from alb_broker.core import stragglers
from alb_broker.core.book import Book
from alb_broker.core.inflow import Inflow
from alb_broker.core.ledger import Lane
from alb_broker.core.outcomes import result_of
from alb_broker.core.worker_desk import WorkerDesk
from alb_core import zk, znodes
from alb_core.messages import AttemptId


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


def loser_room_given_away() -> list[tuple[Any, str, Any]]:
    """What a loser had reserved is others' before its processes are gone."""
    outrun = Book._outrun

    def give_away(book: Any, task: Any, losers: Any, at: float) -> Any:
        orders = outrun(book, task, losers, at)
        for attempt in losers:
            worker = book._state.workers.find(attempt.worker, attempt.incarnation)
            if worker is not None:
                book.release(worker, AttemptId(task.id, attempt.n))
        return orders

    return [(Book, "_outrun", give_away)]


def both_report() -> list[tuple[Any, str, Any]]:
    """Two attempts at once report increments, which are numbered within the task."""

    def mark(book: Any, task: Any, marked: Any) -> None:
        task.incremental = True
        book._save(task, (marked,))

    def on_marked(inflow: Any, action: Any) -> None:
        name = action.message.attempt
        inflow._marking.pop(name.task, None)
        handed = inflow._of(name)
        if handed is not None:
            inflow._take(name, handed, action.message)

    return [(Book, "mark_incremental", mark), (Inflow, "on_marked", on_marked)]
