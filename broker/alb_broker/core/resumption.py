"""Attempts that go on where others stopped: what the results store has of their task is read before they run.

What an earlier attempt handed over is durable, or will never be, before the store is asked: that attempt is
superseded by then, and this reign's term has begun in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_core.increments import LINES_MAX, Resume, resume_of
from alb_core.messages import AttemptId
from alb_core.rows import Increment, Row, Span

ROWS: Final = 2 * LINES_MAX
#: The newest increments among which the newest of each key is looked for, and the newest checkpoint: a worker
#: repeats it before there are more than half as many after it.
SEEK_MAX: Final = 8
#: Checkpoints looked up at once after a takeover.


class Resumption:
    """Reads what attempts are to be given.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._reading: Final[set[AttemptId]] = set()
        self._read: Final[list[AttemptId]] = []  #: Attempts for which it is known now.
        self._seeking = 0  #: Checkpoints that are being looked up.

    def awaited(self, task: Task) -> bool:
        """Tell whether the attempt of a task cannot run yet, for the store must be asked first."""
        shown = task.shown()
        return (
            self._state.store.enabled
            and task.incremental
            and shown is not None
            and shown.n > 1
            and (task.resume is None or task.resume[0] != shown.n)
        )

    def given(self, task: Task) -> Resume | None:
        """Return what its attempt is given."""
        return task.resume[1] if task.resume is not None and task.resume[1].seq else None

    def want(self, attempt_id: AttemptId) -> None:
        """Ask the store, unless that is under way."""
        if attempt_id not in self._reading:
            self._reading.add(attempt_id)
            self._state.store.keep((), partial(self._ask, attempt_id))

    def take_read(self) -> list[AttemptId]:
        """Return, and forget, the attempts for which it is known now."""
        read = self._read.copy()
        self._read.clear()
        return read

    def tick(self) -> None:
        """Look up the checkpoints that earlier leaders knew, some at a time: depots must keep their files."""
        sought = self._state.table.files.sought
        while sought and self._seeking < SEEK_MAX:
            task_id = next(iter(sought))
            del sought[task_id]
            self._seeking += 1
            self._scan(task_id, partial(self._on_sought, task_id))

    def _on_sought(self, task_id: str, found: tuple[Row, ...], why: str) -> None:
        self._seeking -= 1
        files = self._state.table.files
        if task_id not in self._state.table.live or files.knows(task_id):
            return
        if why:
            files.sought[task_id] = None
        else:
            files.save(task_id, resume_of(row for row in found if isinstance(row, Increment)).files)

    def _ask(self, attempt_id: AttemptId) -> None:
        self._scan(attempt_id.task, partial(self._on_rows, attempt_id))

    def _scan(self, task_id: str, then: Callable[[tuple[Row, ...], str], None]) -> None:
        self._state.store.scan(Increment, Span(prefix=(task_id,)), ROWS, then, newest_first=True)

    def _on_rows(self, attempt_id: AttemptId, found: tuple[Row, ...], why: str) -> None:
        self._reading.discard(attempt_id)
        if why:
            return  # its order to run is due again soon
        task = self._state.table.live.get(attempt_id.task)
        shown = task.shown() if task is not None else None
        if task is not None and shown is not None and shown.n == attempt_id.n:
            resume = resume_of(row for row in found if isinstance(row, Increment))
            if task.spec.steps and not resume.step and len(found) == ROWS:
                self._seek_step(attempt_id, resume, found[-1])
            else:
                self._give(task, attempt_id, resume)

    def _seek_step(self, attempt_id: AttemptId, resume: Resume, oldest: Row) -> None:
        """A step reported more than what is looked at: look further back for the one before it."""
        assert isinstance(oldest, Increment)  # noqa: S101 (narrows the type)
        self._reading.add(attempt_id)
        span = Span(prefix=(attempt_id.task,), before=(attempt_id.task, oldest.seq))
        then = partial(self._on_step_rows, attempt_id, resume)
        self._state.store.scan(Increment, span, ROWS, then, newest_first=True)

    def _on_step_rows(self, attempt_id: AttemptId, resume: Resume, found: tuple[Row, ...], why: str) -> None:
        self._reading.discard(attempt_id)
        task = self._state.table.live.get(attempt_id.task)
        shown = task.shown() if task is not None else None
        if why or task is None or shown is None or shown.n != attempt_id.n:
            return
        step = resume_of(row for row in found if isinstance(row, Increment)).step
        if not step and len(found) == ROWS:
            self._seek_step(attempt_id, resume, found[-1])
        else:
            self._give(task, attempt_id, msgspec.structs.replace(resume, step=step))

    def _give(self, task: Task, attempt_id: AttemptId, resume: Resume) -> None:
        task.resume = (attempt_id.n, resume)
        self._state.table.files.save(task.id, resume.files)
        self._read.append(attempt_id)
