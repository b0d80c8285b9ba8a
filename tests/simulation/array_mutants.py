"""Planted defects of arrays: what belongs together comes apart, what is there passes for lost."""

from __future__ import annotations

from typing import Any

import msgspec

from alb_broker.core.array_inputs import Inputs
from alb_broker.core.array_takeover import ArrayTakeover
from alb_broker.core.arrays import Arrays
from alb_broker.core.book import Book
from alb_broker.core.ledger import Lane
from alb_core import zk, znodes


def cursor_apart() -> list[tuple[Any, str, Any]]:
    """Tasks of an array are made in one transaction, its cursor moves in another."""

    def make(book: Any, array: Any, tasks: Any, change: Any) -> None:
        state = book._state
        for task in tasks:
            state.table.add(task)
            state.queue.add(task)
            array.take(task)
        creates = (zk.Create(znodes.task_path(task.id), znodes.encode(task.record())) for task in tasks)
        state.ledger.write(Lane.RESULTS, array.path, tuple(creates))
        state.arrays.change(array, (change,))

    return [(Book, "make", make)]


def counts_apart() -> list[tuple[Any, str, Any]]:
    """A task of an array ends in one transaction, its array counts that in another."""
    end = Arrays.end

    def end_apart(arrays: Any, task: Any, result: Any) -> None:
        found = end(arrays, task, result)
        if found is not None:
            arrays._state.ledger.write(Lane.RESULTS, found[0].path, (), folded=found)

    return [(Arrays, "end", end_apart)]


def made_again() -> list[tuple[Any, str, Any]]:
    """A new leader makes the task below the cursor again, over or not."""
    adopt = ArrayTakeover.adopt_tasks

    def rewind(takeover: Any) -> None:
        adopt(takeover)
        for array in takeover._state.arrays.going.values():
            record = array.record
            array.now.record = msgspec.structs.replace(record, cursor=max(0, record.cursor - 1))

    return [(ArrayTakeover, "adopt_tasks", rewind)]


def kept_inputs_read() -> list[tuple[Any, str, Any]]:
    """Inputs are asked for that are in memory: they may not be in the table yet, and pass for lost."""
    return [(Inputs, "has", lambda *_: False)]
