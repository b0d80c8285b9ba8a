"""Planted defects of waiting: what a leader knows of it and the table does not, or the other way round."""

from __future__ import annotations

from typing import Any

import msgspec

from alb_broker.core.arrays import Arrays
from alb_broker.core.book import Book
from alb_broker.core.expansion import Expansion
from alb_broker.core.start_desk import Judgement, StartDesk
from alb_broker.core.state import State
from alb_core.tasks import TaskState


def dependencies_forgotten() -> list[tuple[Any, str, Any]]:
    """A new leader does not know what held tasks of before it wait for."""
    judge = StartDesk.judge

    def forgetful(desk: Any, task: Any) -> Any:
        if task.submitted < desk._state.clock.claimed and not task.held_by and not task.spec.start.hold:
            return Judgement((), task.met)
        return judge(desk, task)

    return [(StartDesk, "judge", forgetful)]


def back_off_forgotten() -> list[tuple[Any, str, Any]]:
    """A new leader queues at once what an earlier one let wait for its time."""
    waits_elsewhere = State._waits_elsewhere

    def hasty(state: Any, task: Any) -> bool:
        if (
            task.state is TaskState.QUEUED
            and task.not_before > state.now()
            and not state.counters["tasks_retried"]
        ):
            return False
        return waits_elsewhere(state, task)

    return [(State, "_waits_elsewhere", hasty)]


def hold_unrecorded() -> list[tuple[Any, str, Any]]:
    """A hold is confirmed, and never comes to the table."""
    return [(Book, "hold", lambda *_: None)]


def array_start_ignored() -> list[tuple[Any, str, Any]]:
    """The tasks of an array are made whatever it waits for."""
    room = Expansion._room

    def eager(expansion: Any, array: Any) -> Any:
        record = array.now.record
        array.now.record = msgspec.structs.replace(record, kept=False)
        try:
            return room(expansion, array)
        finally:
            array.now.record = record

    return [(Expansion, "_room", eager)]


def array_start_forgotten() -> list[tuple[Any, str, Any]]:
    """A new leader lets arrays of before it start at once."""
    add = Arrays.add

    def forgetful(arrays: Any, array: Any) -> None:
        add(arrays, array)
        if array.record.kept and array.in_table:
            arrays.free(array)

    return [(Arrays, "add", forgetful)]
