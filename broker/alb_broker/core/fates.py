"""What became of a task or an array, as others that wait for it see it.

Several sources are asked in turn: the table, whoever knows of more (`sources`), and the results store, which
answers later. Who waits for an id is looked at again when more is known of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from alb_broker.core.state import State
from alb_core import rows
from alb_core.spec import After, Dependency
from alb_core.tasks import TaskState

ASK_AGAIN_S: Final = 2.0
#: The results store, after it did not answer.


class Fate(enum.Enum):
    """What became of it."""

    NONE = "not known yet"  #: Nobody can say now; who waits is looked at again.
    UNKNOWN = "unknown"  #: Nobody has heard of it, or it is long forgotten.
    GOING = "going on"  #: It was accepted, and nothing of it was placed.
    STARTED = "started"  #: Something of it was placed.
    SUCCEEDED = "succeeded"  #: It ended well.
    FAILED = "failed"  #: It ended otherwise.


Source: TypeAlias = Callable[[str], Fate | None]
"""Tells the fate of an id; None: it is not one of its own."""

_ENDED: Final = frozenset({Fate.SUCCEEDED, Fate.FAILED})
MET_BY: Final = {
    After.STARTED: _ENDED | {Fate.STARTED},
    After.ENDED: _ENDED,
    After.SUCCEEDED: frozenset({Fate.SUCCEEDED}),
    After.FAILED: frozenset({Fate.FAILED}),
}
#: Which fates make a dependency come true; another one of those that ended makes it impossible.


def is_met(dependency: Dependency, fate: Fate) -> bool | None:
    """Tell whether a dependency has come true; None: it still may."""
    if fate in MET_BY[dependency.after]:
        return True
    return False if fate in _ENDED else None


class Fates:
    """Answers what became of something.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self.sources: Final[list[Source]] = [self._in_table]
        self._told: Final[dict[str, Fate]] = {}  #: By the results store, as long as somebody waits for it.
        self._asked: Final[set[str]] = set()  #: Questions to the store that are under way.
        self._unread: Final[set[str]] = set()  #: Finished tasks whose records have not been read.
        self._uncommitted: Final[set[str]] = set()
        #: Tasks whose newest step was on its way to the table when somebody asked.
        self._silent: Final[dict[str, float]] = {}
        #: What the store did not answer, and when it is asked again (own clock).

    def of(self, task_id: str) -> Fate:
        """Return what became of a task or an array."""
        for source in self.sources:
            fate = source(task_id)
            if fate is not None:
                self._told.pop(task_id, None)
                return fate
        told = self._told.get(task_id)
        if told is not None:
            return told
        if not self._state.table.archives:
            return Fate.UNKNOWN
        if task_id not in self._asked and task_id not in self._silent:
            self._asked.add(task_id)
            self._state.store.get(rows.FinishedTask, [(task_id,)], partial(self._on_row, task_id))
        return Fate.NONE

    def end_turn(self) -> None:
        """Have those looked at that asked too early."""
        if not self._uncommitted:
            return
        for task_id in sorted(each for each in self._uncommitted if not self._state.ledger.holds(each)):
            self._uncommitted.discard(task_id)
            self._state.holds.moved(task_id)

    def tick(self) -> None:
        """Have those looked at of whom more is known, and forget what nobody waits for."""
        holds = self._state.holds
        if self._unread and self._state.recollected:
            for task_id in sorted(self._unread):
                holds.moved(task_id)
            self._unread.clear()
        due = [task_id for task_id, again in self._silent.items() if again <= self._state.at]
        for task_id in due:
            del self._silent[task_id]
            holds.moved(task_id)
        for task_id in [task_id for task_id in self._told if not holds.is_awaited(task_id)]:
            del self._told[task_id]

    def _in_table(self, task_id: str) -> Fate | None:
        table = self._state.table
        task, done = table.live.get(task_id), table.done.get(task_id)
        if task is None and done is None:
            return None
        if self._state.ledger.holds(task_id):  # nobody acts on what is not in the table yet
            self._uncommitted.add(task_id)
            return Fate.GOING
        if task is not None:
            return Fate.STARTED if task.attempts else Fate.GOING
        assert done is not None  # noqa: S101 (it is one or the other)
        if done.record is None:
            self._unread.add(task_id)
            return Fate.NONE
        return Fate.SUCCEEDED if done.record.state is TaskState.SUCCEEDED else Fate.FAILED

    def _on_row(self, task_id: str, found: Sequence[rows.Row], why: str) -> None:
        self._asked.discard(task_id)
        row = found[0] if found else None
        if why:
            self._silent[task_id] = self._state.at + ASK_AGAIN_S
            return
        if isinstance(row, rows.FinishedTask):
            good = row.state == TaskState.SUCCEEDED.value
            self._told[task_id] = Fate.SUCCEEDED if good else Fate.FAILED
        else:
            self._told[task_id] = Fate.UNKNOWN
        self._state.holds.moved(task_id)
