"""Tasks that have left the table, made anew from the results store: the inverse of what the archive does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from alb_broker.core.clients import Client
from alb_broker.core.state import State
from alb_core import limits, rows
from alb_core.files import FileRef
from alb_core.messages import Error, Message, QueryTask, Rejected
from alb_core.rows import Span
from alb_core.spec import TaskSpec
from alb_core.tasks import EMPTY_STREAM, Attempt, AttemptState, Result, Stream, TaskRecord, TaskState

AT_ONCE: Final = 100
#: Tasks that are read at once: each takes some reads, and holds the ends of its streams in memory.
RECALLS_MAX: Final = 10_000
#: Those and the ones that wait; beyond, clients are told to ask again.
ATTEMPTS_SHOWN: Final = 100
#: Of one task, the newest.
PIECES_MAX: Final = 32
#: Of a stream's end: they hold its last 4 KiB unless the command wrote them in smaller pieces.
BUSY: Final = "too many tasks are being read from the results store already; ask again in a moment"

Use: TypeAlias = Callable[[Client, Any, TaskRecord], None]


class _Recall:
    """One task that is being read, and who asked."""

    def __init__(self, task: str) -> None:
        self.task: Final = task
        self.askers: Final[dict[tuple[bytes, type, int], tuple[Client, Message, Use]]] = {}
        #: By client, kind and number of the question: it is sent again until it is answered.
        self.row: rows.FinishedTask | None = None
        self.attempts: tuple[Attempt, ...] = ()
        self.streams: Final[dict[str, Stream]] = {}
        self.missing: Final[set[str]] = {"task", "attempts"}
        #: Parts without an answer.
        self.whole = False  #: The task was still there after its parts were read.


class Past:
    """Answers about tasks that the table does not hold.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._recalls: Final[dict[str, _Recall]] = {}  #: By task.
        self._queued: Final[deque[_Recall]] = deque()  #: Of those, the ones that are not read yet.

    def recall(self, client: Client, message: Any, use: Use) -> None:
        """Use the record of a task that the results store remembers; else refuse the message.

        Args:
            client: Who asks.
            message: Attach or QueryTask.
            use: Answers with the record.
        """
        task_id: str = message.id
        recall = self._recalls.get(task_id)
        if recall is None and not self._state.table.archives:
            self._refuse(client, message, "gone", "the table does not, or no longer, hold this task")
        elif len(recall.askers if recall is not None else self._recalls) >= RECALLS_MAX:
            self._refuse(client, message, "error", BUSY)
        else:
            new = recall is None
            recall = recall or self._recalls.setdefault(task_id, _Recall(task_id))
            recall.askers[client.peer, type(message), getattr(message, "seq", 0)] = (client, message, use)
            if new:
                self._queued.append(recall)
                self._begin()

    def _begin(self) -> None:
        """Read what waits, so many tasks at once."""
        while self._queued and len(self._recalls) - len(self._queued) < AT_ONCE:
            self._read(self._queued.popleft())

    def _read(self, recall: _Recall) -> None:
        key = (recall.task,)
        store = self._state.store
        store.get(rows.FinishedTask, [key], partial(self._on_task, recall))
        span, then = Span(prefix=key), partial(self._on_attempts, recall)
        store.scan(rows.PastAttempt, span, ATTEMPTS_SHOWN, then, newest_first=True)

    def _on_task(self, recall: _Recall, found: Sequence[rows.Row], why: str) -> None:
        row = found[0] if found else None
        if isinstance(row, rows.FinishedTask) and not why and not is_going(row):
            recall.row = row
            for stream, size in (("stdout", row.stdout_bytes), ("stderr", row.stderr_bytes)):
                if size:
                    recall.missing.add(stream)
                    self._read_tail(recall, row, stream, size)
        self._on_part(recall, "task", why)

    def _read_tail(self, recall: _Recall, row: rows.FinishedTask, stream: str, size: int) -> None:
        def take(found: Sequence[rows.Row], why: str) -> None:
            pieces = [piece for piece in found if isinstance(piece, rows.Output)]
            tail = tail_of(pieces, size)
            cut = len(tail) < min(size, limits.INLINE_OUTPUT_BYTES)
            recall.streams[stream] = Stream.of(tail, size, truncated=cut)
            self._on_part(recall, stream, why)

        span = Span(prefix=(row.task, row.attempt, stream))
        self._state.store.scan(rows.Output, span, PIECES_MAX, take, newest_first=True)

    def _on_attempts(self, recall: _Recall, found: Sequence[rows.Row], why: str) -> None:
        recall.attempts = tuple(_attempt(row) for row in reversed(found) if isinstance(row, rows.PastAttempt))
        self._on_part(recall, "attempts", why)

    def _on_again(self, recall: _Recall, found: Sequence[rows.Row], why: str) -> None:
        """Parts that were read while the task began to leave the store may not have been all of it."""
        row = found[0] if found else None
        if not (isinstance(row, rows.FinishedTask) and not is_going(row)):
            recall.row = None
        recall.whole = True
        self._on_part(recall, "task", why)

    def _on_part(self, recall: _Recall, part: str, why: str) -> None:
        """A part is here: answer when it was the last one, or at once where nothing will come of it."""
        if self._recalls.get(recall.task) is not recall:
            return
        recall.missing.discard(part)
        record = None
        if why:
            code = "error"
        elif part == "task" and recall.row is None:
            code, why = "gone", "neither the table nor the results store holds this task"
        elif recall.missing or recall.row is None:
            return
        elif not recall.whole:
            then = partial(self._on_again, recall)
            self._state.store.get(rows.FinishedTask, [(recall.task,)], then)
            return
        else:
            record, why = record_of(recall.row, recall.attempts, recall.streams)
            code = "error"
        del self._recalls[recall.task]
        self._state.counters["tasks_recalled"] += record is not None
        self._begin()
        for client, message, use in recall.askers.values():
            if record is None:
                self._refuse(client, message, code, why)
            else:
                use(client, message, record)

    def _refuse(self, client: Client, message: Any, code: str, why: str) -> None:
        if isinstance(message, QueryTask):
            self._state.tell(client.peer, Error(code=code, why=why, seq=message.seq))
        else:
            why = f"{why}; it is not run again" if code == "gone" else why
            self._state.tell(client.peer, Rejected(id=message.id[:80], code=code, why=why))


def record_of(
    row: rows.FinishedTask, attempts: tuple[Attempt, ...], streams: dict[str, Stream]
) -> tuple[TaskRecord | None, str]:
    """Return the record of a task whose rows these are; or None, and why they cannot be read.

    Args:
        row: The task.
        attempts: Its attempts.
        streams: The ends of its streams, those that are not empty, by name.
    """
    told: dict[str, Any] = {name: getattr(row, name) for name in _TOLD}
    told |= {name: streams.get(name, EMPTY_STREAM) for name in ("stdout", "stderr")}
    try:
        state = TaskState(row.state)
        more = msgspec.json.decode(row.more, type=More) if row.more else More()
        spec = msgspec.json.decode(row.spec, type=TaskSpec)
    except (ValueError, msgspec.MsgspecError) as error:
        return None, f"its row in the results store cannot be read: {error}"
    for name in more.truncated:
        told[name] = msgspec.structs.replace(told[name], truncated=True)
    record = TaskRecord(
        id=row.task,
        state=state,
        user=row.user,
        digest=row.digest,
        spec=spec,
        submitted=row.submitted,
        attempts=_told_more(attempts, more),
        crashes=row.crashes,
        cancel=state is TaskState.CANCELLED,
        result=Result(
            state=state,
            **{name: getattr(more, name) for name in _MORE},
            **told,
        ),
    )
    return record, ""


class More(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a result, and attempts, say that no column shows: the form of ``FinishedTask.more``."""

    output_open: bool = False
    truncated: tuple[str, ...] = ()
    #: Names of streams.
    returned: tuple[FileRef, ...] = ()
    unreturned: str = ""
    limit: str = ""
    mechanism: str = ""
    started: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    value: bytes = b""
    parts: tuple[tuple[int, str], ...] = ()
    #: By number of the attempt, what a reservation had to do with its placement.
    copies: tuple[tuple[int, int], ...] = ()
    #: Of which attempt one was a copy, both by number; where the rows of attempts have no column for it.
    demoted: tuple[tuple[int, float], ...] = ()
    #: When one was, by number.
    going: bool = False
    #: It is leaving the store: parts of it may be gone.


_NOTHING_MORE: Final = More()
_MORE: Final = tuple(name for name in More.__struct_fields__ if name in Result.__struct_fields__)
_TOLD: Final = tuple(
    name
    for name in Result.__struct_fields__
    if name in rows.FinishedTask.__struct_fields__ and name != "state"
)
#: Fields of a result that its row has under the same name.


def more_of(result: Result, attempts: Sequence[Attempt] = ()) -> str:
    """Return what a result and its attempts say that no column shows, as JSON; empty: nothing."""
    same = {name: getattr(result, name) for name in _MORE}
    truncated = ("stdout",) * result.stdout.truncated + ("stderr",) * result.stderr.truncated
    parts = tuple((attempt.n, attempt.part) for attempt in attempts if attempt.part)
    demoted = tuple((attempt.n, attempt.demoted) for attempt in attempts if attempt.demoted)
    more = More(truncated=truncated, parts=parts, demoted=demoted, **same)
    return "" if more == _NOTHING_MORE else msgspec.json.encode(more).decode()


def _told_more(attempts: tuple[Attempt, ...], more: More) -> tuple[Attempt, ...]:
    """Return attempts with what no column shows of them."""
    parts, copies, demoted = dict(more.parts), dict(more.copies), dict(more.demoted)
    if not (parts or copies or demoted):  # nearly always
        return attempts
    return tuple(
        msgspec.structs.replace(
            attempt,
            part=parts.get(attempt.n, ""),
            copy_of=copies.get(attempt.n, attempt.copy_of),
            demoted=demoted.get(attempt.n, 0.0),
        )
        for attempt in attempts
    )


def is_going(row: rows.FinishedTask) -> bool:
    """Tell whether a task is leaving the store; one that cannot be read is not known to."""
    try:
        return bool(row.more) and msgspec.json.decode(row.more, type=More).going
    except (ValueError, msgspec.MsgspecError):
        return False


def marked_as_going(row: rows.FinishedTask) -> rows.FinishedTask:
    """Return a task's row with the mark that it is leaving the store."""
    try:
        more = msgspec.json.decode(row.more, type=More) if row.more else More()
    except (ValueError, msgspec.MsgspecError):
        more = More()
    more = msgspec.structs.replace(more, going=True)
    return msgspec.structs.replace(row, more=msgspec.json.encode(more).decode())


def tail_of(pieces: Sequence[rows.Output], size_bytes: int) -> bytes:
    """Return the last bytes of a stream, as many as a result keeps and the pieces hold without a gap.

    Args:
        pieces: Of one stream, in any order; they may overlap.
        size_bytes: How long the stream is.
    """
    tail = b""
    begin = size_bytes
    for piece in sorted(pieces, key=lambda piece: (piece.offset + len(piece.data), -piece.offset))[::-1]:
        if piece.offset < begin <= piece.offset + len(piece.data):
            tail = piece.data[: begin - piece.offset] + tail
            begin = piece.offset
        if size_bytes - begin >= limits.INLINE_OUTPUT_BYTES:
            break
    return tail[-limits.INLINE_OUTPUT_BYTES :]


def _attempt(row: rows.PastAttempt) -> Attempt:
    return Attempt(
        n=row.n,
        worker=row.worker,
        incarnation=row.incarnation,
        epoch=row.epoch,
        state=AttemptState.OVER,
        placed=row.placed,
        policy=row.policy,
        candidates=row.candidates,
        ahead=row.ahead,
        ended=row.ended,
        ended_as=row.cause,
        exit_code=row.exit_code,
        copy_of=row.copy_of,
    )
