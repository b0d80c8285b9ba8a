"""Output on its way: grants from readers to workers, chunks from workers to readers.

The leader keeps no output: a grant bounds what is under way. What a worker cannot be asked for any more is
answered here: ``output lost``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_broker.core.actions import SendChunk, SendGrant
from alb_broker.core.state import State
from alb_broker.core.stored_answers import StoredAnswers
from alb_broker.core.task import Task, Watcher
from alb_broker.core.worker import Worker
from alb_core import limits
from alb_core.messages import Chunk, Grant, StreamName
from alb_core.tasks import Attempt, Result, TaskState


class Relay:
    """Passes grants and chunks on.

    Args:
        state: The reign's parts.
        stored: What the results store has.
    """

    def __init__(self, state: State, stored: StoredAnswers) -> None:
        self._state: Final = state
        self._stored: Final = stored

    def grant(self, peer: bytes, grant: Grant) -> None:
        """Pass a reader's grant to the worker that has the output, or say why nobody has it."""
        task = self._state.table.live.get(grant.task)
        if task is not None:
            self._grant_live(peer, task, grant)
            return
        done = self._state.table.done.get(grant.task)
        if done is None:
            self._grant_past(peer, grant)
        elif done.record is not None and done.record.result is not None:
            self._grant_done(peer, grant, done.record.attempts, done.record.result)

    def grant_both(self, peer: bytes, task: Task, watcher: Watcher) -> None:
        """Pass on the first grants of a client that attached."""
        for stream, offset in ((StreamName.STDOUT, watcher.stdout), (StreamName.STDERR, watcher.stderr)):
            self._grant_live(
                peer, task, Grant(task=task.id, stream=stream, offset=offset, window=watcher.window)
            )

    def chunk(self, chunk: Chunk) -> None:
        """Pass a piece of output to its reader; what the worker does not have, the store may."""
        if chunk.reader and chunk.lost and self._state.store.enabled:
            window = limits.WINDOW_BYTES_MAX
            grant = Grant(task=chunk.task, stream=chunk.stream, offset=chunk.offset, window=window)
            self._stored.serve(chunk.reader, grant, chunk.attempt, self._size(chunk), chunk.lost)
        elif chunk.reader:
            self._state.out.append(SendChunk(chunk.reader, msgspec.structs.replace(chunk, reader=b"")))

    def _grant_live(self, peer: bytes, task: Task, grant: Grant) -> None:
        """While the task waits there is no output; the reader asks again."""
        shown = task.shown()
        if task.state is not TaskState.RUNNING or shown is None:
            return
        worker = self._worker(shown)
        if worker is not None:
            self._forward(peer, worker, grant, shown.n)

    def _size(self, chunk: Chunk) -> int | None:
        """Return how long a stream is, where a result says it."""
        done = self._state.table.done.get(chunk.task)
        result = done.record.result if done is not None and done.record is not None else None
        if result is None or result.attempt != chunk.attempt:
            return None
        return _length(result, chunk.stream)

    def _grant_done(self, peer: bytes, grant: Grant, attempts: tuple[Attempt, ...], result: Result) -> None:
        n = result.attempt
        for attempt in attempts:
            if attempt.n == n:
                # Whichever life of the worker it is: what an earlier one kept, a later one has.
                worker = self._state.workers.by_name.get(attempt.worker)
                if worker is not None and worker.link:
                    self._forward(peer, worker, grant, n)
                    return
                why = f"worker {attempt.worker}, which kept it, is gone"
                if self._state.store.enabled:
                    self._stored.serve(peer, grant, n, _length(result, grant.stream), why)
                elif worker is None:
                    self._lost(peer, grant, n, why)
                return
        self._lost(peer, grant, n, "no worker ran this task")

    def _grant_past(self, peer: bytes, grant: Grant) -> None:
        """The task left the table. Who has its result knows which attempt, and how long the stream is."""
        why = "the table no longer holds this task"
        if self._state.store.enabled and grant.attempt:
            self._stored.serve(peer, grant, grant.attempt, None, why)
        else:
            self._lost(peer, grant, 0, why)

    def _worker(self, attempt: Attempt) -> Worker | None:
        worker = self._state.workers.find(attempt.worker, attempt.incarnation)
        return worker if worker is not None and worker.link else None

    def _forward(self, peer: bytes, worker: Worker, grant: Grant, n: int) -> None:
        passed = msgspec.structs.replace(grant, reader=peer, attempt=n)
        self._state.out.append(SendGrant(worker.peer, passed))

    def _lost(self, peer: bytes, grant: Grant, n: int, why: str) -> None:
        chunk = Chunk(
            task=grant.task, attempt=n, stream=grant.stream, offset=grant.offset, end=True, lost=why
        )
        self._state.out.append(SendChunk(peer, chunk))


def _length(result: Result, stream: StreamName) -> int:
    return (result.stdout if stream is StreamName.STDOUT else result.stderr).size_bytes
