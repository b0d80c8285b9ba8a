"""What attempts hand over to the results store while they run: output and increments.

Each worker has its window; the leader keeps what the store has not taken yet, up to a bound, and tells the
worker what is stored. After a takeover it learns from the worker what earlier leaders confirmed. Increments
count only from an attempt that may still deliver: whoever takes its place goes on where it stopped.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from alb_broker.core.actions import IncrementsMarked
from alb_broker.core.book import Book, deliverable
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_core import increments, limits, rows
from alb_core.files import FileRef
from alb_core.messages import AttemptId, Chunk, Increments, Stored
from alb_core.tasks import AttemptState

MARK_AGAIN_S: Final = 10.0
#: A mark in the table that took longer was refused: it is tried again.


class _Handed(msgspec.Struct):
    """What one attempt handed over."""

    worker: str
    incarnation: str
    taken: list[int | None]
    #: Of stdout and stderr: the first byte that was not handed to the store; None: nothing came.
    stored: list[int]
    #: The first byte that is not stored.
    lines_taken: int = 0
    #: Number of the newest increment that was handed to the store.
    lines_stored: int = 0
    under_way: int = 0
    #: Handed to the store and not answered.


class Inflow:
    """Takes output and increments.

    Args:
        state: The reign's parts.
        book: Marks tasks in the table.
    """

    def __init__(self, state: State, book: Book) -> None:
        self._state: Final = state
        self._book: Final = book
        self._handed: Final[dict[AttemptId, _Handed]] = {}
        self._bytes = 0  #: That were handed to the store and are not durable yet.
        self._starved: Final[set[AttemptId]] = set()  #: Something of theirs was dropped for want of room.
        self._marking: Final[dict[str, float]] = {}
        #: Tasks whose mark as incremental is not in the table yet, and since when (own clock).
        self._news: Final[dict[AttemptId, bool]] = {}
        #: Attempts whose worker is to be told, and whether it must send again.

    # --- output ---------------------------------------------------------------------------------------------

    def on_chunk(self, chunk: Chunk) -> None:
        """Take a piece of output; what came before changes nothing, what comes after a gap comes again."""
        attempt_id = AttemptId(chunk.task, chunk.attempt)
        handed = self._of(attempt_id) if self._state.store.enabled else None
        if handed is None or not chunk.data or len(chunk.data) > limits.CHUNK_BYTES_MAX or chunk.offset < 0:
            return
        index = chunk.stream - 1
        known = handed.taken[index]
        if known is None:
            known = handed.stored[index] = handed.taken[index] = min(max(chunk.stored, 0), chunk.offset)
        begin, end = chunk.offset, chunk.offset + len(chunk.data)
        if begin > known:
            return
        if end <= known:
            if end <= handed.stored[index]:
                self._news.setdefault(attempt_id, False)  # the worker did not hear it
            return
        if self._bytes >= limits.STORE_WAITING_BYTES:
            self._starved.add(attempt_id)
            return
        data = chunk.data[known - begin :]
        row = rows.Output(
            task=chunk.task,
            attempt=chunk.attempt,
            stream=chunk.stream.name.lower(),
            offset=known,
            data=data,
        )
        handed.taken[index] = end
        handed.under_way += 1
        self._bytes += len(data)
        self._state.counters["output_bytes_stored"] += len(data)
        self._state.store.keep((row,), partial(self._on_output, attempt_id, handed, index, end, len(data)))

    def _on_output(
        self, attempt_id: AttemptId, handed: _Handed, index: int, end: int, size_bytes: int
    ) -> None:
        self._bytes -= size_bytes
        handed.under_way -= 1
        handed.stored[index] = end
        self._news.setdefault(attempt_id, False)

    # --- increments -----------------------------------------------------------------------------------------

    def on_increments(self, worker: Worker, message: Increments) -> None:
        """Take what a command reported, once its task is marked in the table."""
        attempt_id = message.attempt
        task = self._state.table.live.get(attempt_id.task)
        attempt = deliverable(task, attempt_id.n, worker.incarnation) if task is not None else None
        handed = self._of(attempt_id) if self._state.store.enabled else None
        if task is None or attempt is None or handed is None or attempt.state is not AttemptState.LIVE:
            self._state.drop("increments", task=attempt_id.task, attempt=attempt_id.n, worker=worker.name)
        elif not _sound(message):
            self._state.drop("garbled_increments", task=attempt_id.task, worker=worker.name)
        elif not task.incremental or task.id in self._marking or len(task.live()) > 1:
            self._mark(task, worker, message)
        else:
            self._take(attempt_id, handed, message)

    def on_marked(self, action: IncrementsMarked) -> None:
        """The mark is in the table: whoever leads later asks the store before the task runs again."""
        self._marking.pop(action.message.attempt.task, None)
        worker = self._state.workers.find(action.worker, action.incarnation)
        if worker is not None:
            self.on_increments(worker, action.message)

    def _mark(self, task: Task, worker: Worker, message: Increments) -> None:
        since = self._marking.get(task.id)
        if since is None or self._state.at - since > MARK_AGAIN_S:
            self._marking[task.id] = self._state.at
            marked = IncrementsMarked(worker.name, worker.incarnation, message)
            self._book.mark_incremental(task, marked)

    def _take(self, attempt_id: AttemptId, handed: _Handed, message: Increments) -> None:
        before = message.first - 1
        last = before + len(message.lines)
        if not handed.lines_taken:
            handed.lines_taken = handed.lines_stored = before
        if before > handed.lines_taken:
            return
        if last <= handed.lines_taken:
            if last <= handed.lines_stored:
                self._news.setdefault(attempt_id, False)
            return
        if self._bytes >= limits.STORE_WAITING_BYTES:
            self._starved.add(attempt_id)
            return
        now = self._state.now()
        made = tuple(
            rows.Increment(
                task=attempt_id.task, seq=seq, attempt=attempt_id.n, key=line.key, value=line.value, time=now
            )
            for seq, line in enumerate(message.lines, message.first)
            if seq > handed.lines_taken
        )
        handed.lines_taken = last
        handed.under_way += 1
        self._state.counters["increments_stored"] += len(made)
        saved = next(
            (saved for row in reversed(made) if (saved := increments.checkpoint_of(row)) is not None), None
        )
        size_bytes = sum(map(rows.weight, made))
        self._bytes += size_bytes
        self._state.store.keep(made, partial(self._on_lines, attempt_id, handed, last, saved, size_bytes))

    def _on_lines(
        self,
        attempt_id: AttemptId,
        handed: _Handed,
        last: int,
        saved: tuple[FileRef, ...] | None,
        size_bytes: int,
    ) -> None:
        self._bytes -= size_bytes
        if saved is not None and attempt_id.task in self._state.table.live:
            self._state.table.files.save(attempt_id.task, saved)  # not before: until now the older one counts
        handed.under_way -= 1
        handed.lines_stored = last
        self._news.setdefault(attempt_id, False)

    # --- the rest -------------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Tell workers what is stored, and whom there was no room for that there is some."""
        if self._starved and self._bytes < limits.STORE_WAITING_BYTES // 2:
            self._news.update(dict.fromkeys(sorted(self._starved), True))
            self._starved.clear()
        for attempt_id, again in self._news.items():
            self._tell(attempt_id, again=again)
        self._news.clear()

    def _tell(self, attempt_id: AttemptId, *, again: bool) -> None:
        handed = self._handed.get(attempt_id)
        worker = self._state.workers.find(handed.worker, handed.incarnation) if handed is not None else None
        if handed is None or worker is None or not worker.link:
            return
        stored = Stored(
            attempt=attempt_id,
            stdout=handed.stored[0],
            stderr=handed.stored[1],
            increments=handed.lines_stored,
            again=again,
        )
        self._state.out.append(self._state.worker(worker.peer, stored))

    def tick(self) -> None:
        """Forget attempts of which nothing more can come."""
        live = self._state.table.live
        for attempt_id, handed in list(self._handed.items()):
            if attempt_id.task not in live and not handed.under_way:
                del self._handed[attempt_id]
                self._starved.discard(attempt_id)
                self._marking.pop(attempt_id.task, None)

    def _of(self, attempt_id: AttemptId) -> _Handed | None:
        handed = self._handed.get(attempt_id)
        if handed is not None:
            return handed
        task = self._state.table.live.get(attempt_id.task)
        attempt = task.attempt(attempt_id.n) if task is not None else None
        if attempt is None:
            return None
        handed = _Handed(
            worker=attempt.worker, incarnation=attempt.incarnation, taken=[None, None], stored=[0, 0]
        )
        self._handed[attempt_id] = handed
        return handed


def _sound(message: Increments) -> bool:
    """Tell whether a message keeps the bounds."""
    return (
        message.first > 0
        and len(message.lines) <= increments.LINES_MAX
        and all(
            len(line.key) <= increments.KEY_LENGTH_MAX and len(line.value) <= increments.VALUE_BYTES_MAX
            for line in message.lines
        )
    )
