"""What is read back from the results store: output of attempts, and increments.

A piece of output begins at a multiple of ``CHUNK_BYTES_MAX`` or behind another piece, and never reaches over
the next multiple. So one scan between two multiples finds all that covers an offset, in a bounded answer.
Pieces may overlap, after a failover; where they do, they say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from alb_broker.core.actions import SendChunk
from alb_broker.core.clients import Client
from alb_broker.core.past import is_going
from alb_broker.core.state import State
from alb_core import ids, limits
from alb_core.messages import (
    AttemptId,
    Chunk,
    Error,
    Grant,
    IncrementsPage,
    OutputPage,
    QueryIncrements,
    QueryOutput,
    StreamName,
)
from alb_core.rows import FinishedTask, Increment, Output, Row, Span, weight
from alb_core.tasks import Result

ROWS: Final = 500
#: Of one scan: a command that writes slowly leaves small pieces.
PAGE_ROWS: Final = 500
PAGE_BYTES: Final = 1024 * 1024
#: Of one page of increments.
PLACE_MAX: Final = 2**62
#: Of offsets and numbers that are asked for. No stream is so long, and beyond 63 bits a database refuses the
#: question, which would look like a store that is away.

NO_STORE: Final = "this cluster has no results store: its brokers have no --store"
_NOWHERE: Final = f"this is no task id, or a number or an offset beyond {PLACE_MAX}"


class Piece(msgspec.Struct, frozen=True):
    """What was read of a stream."""

    data: bytes = b""
    #: Empty: there is nothing at this offset, unless `error` says otherwise.
    error: str = ""
    #: Why the store cannot be read now.


class _Place(msgspec.Struct, frozen=True):
    """A stream of an attempt, and how long it is where that is known."""

    attempt: AttemptId
    stream: StreamName
    size: int | None = None

    @property
    def prefix(self) -> tuple[str, int, str]:
        """The first fields of its rows' keys."""
        return (self.attempt.task, self.attempt.n, self.stream.name.lower())


class _Serving(msgspec.Struct, frozen=True):
    """A reader's grant."""

    peer: bytes
    place: _Place
    limit: int
    #: The first byte that was not granted.
    why: str
    #: What it is told where the store has nothing.


class StoredAnswers:
    """Answers from the store.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state

    # --- increments -----------------------------------------------------------------------------------------

    def ask_increments(self, client: Client, query: QueryIncrements) -> None:
        """Answer with increments of a task."""
        if not self._state.store.enabled:
            self._refuse(client, query.seq, "invalid", NO_STORE)
            return
        if not _askable(query.id, query.after):
            self._refuse(client, query.seq, "invalid", _NOWHERE)
            return
        limit = max(1, min(query.limit, PAGE_ROWS))
        after = (query.id, query.after) if query.after else ()
        then = partial(self._on_increments, client, query, limit)
        span = Span(prefix=(query.id,), after=after)
        self._state.store.scan(Increment, span, limit + 1, then, newest_first=query.newest)

    def _on_increments(
        self, client: Client, query: QueryIncrements, limit: int, rows: tuple[Row, ...], why: str
    ) -> None:
        if why:
            self._refuse(client, query.seq, "error", why)
            return
        found = [row for row in rows if isinstance(row, Increment)]
        chosen = _first_of(found[:limit], PAGE_BYTES)
        page = IncrementsPage(seq=query.seq, increments=tuple(chosen), more=len(chosen) < len(found))
        self._state.tell(client.peer, page)

    # --- output, asked for ----------------------------------------------------------------------------------

    def ask_output(self, client: Client, query: QueryOutput) -> None:
        """Answer with a piece of a stream: of a task that lives, that has ended, or that left the table."""
        if not _askable(query.id, query.attempt, query.offset):
            self._refuse(client, query.seq, "invalid", _NOWHERE)
            return
        table = self._state.table
        task, done = table.live.get(query.id), table.done.get(query.id)
        if task is not None:
            n = query.attempt or task.assignment()[0]
            self._read_page(client, query, _Place(AttemptId(query.id, n), query.stream))
        elif done is not None and done.record is not None and done.record.result is not None:
            self._answer_from(client, query, done.record.result)
        elif self._state.store.enabled:
            then = partial(self._on_task, client, query)
            self._state.store.scan(FinishedTask, Span(prefix=(query.id,)), 1, then)
        else:
            self._refuse(client, query.seq, "gone", "the table does not, or no longer, hold this task")

    def _answer_from(self, client: Client, query: QueryOutput, result: Result) -> None:
        """Answer from a result where it holds the whole stream, else from the store."""
        stream = result.stdout if query.stream is StreamName.STDOUT else result.stderr
        delivered = query.attempt in (0, result.attempt)
        if delivered and stream.complete:
            tail = stream.tail()
            begin = query.offset if query.offset >= 0 else max(0, len(tail) + query.offset)
            page = OutputPage(
                seq=query.seq, attempt=result.attempt, offset=begin, data=tail[begin:], end=True
            )
            self._state.tell(client.peer, page)
            return
        n = query.attempt or result.attempt
        size = stream.size_bytes if delivered else None
        self._read_page(client, query, _Place(AttemptId(query.id, n), query.stream, size))

    def _on_task(self, client: Client, query: QueryOutput, rows: tuple[Row, ...], why: str) -> None:
        row = rows[0] if rows else None
        if why:
            self._refuse(client, query.seq, "error", why)
        elif not isinstance(row, FinishedTask) or is_going(row):  # what is left of it is not all of it
            why = "neither the table nor the results store holds this task, or not any more"
            self._refuse(client, query.seq, "gone", why)
        else:
            n = query.attempt or row.attempt
            size = row.stdout_bytes if query.stream is StreamName.STDOUT else row.stderr_bytes
            place = _Place(AttemptId(query.id, n), query.stream, size if n == row.attempt else None)
            self._read_page(client, query, place)

    def _read_page(self, client: Client, query: QueryOutput, place: _Place) -> None:
        if not self._state.store.enabled:
            self._refuse(client, query.seq, "invalid", NO_STORE)
        elif query.offset >= 0:
            self._read(place, query.offset, partial(self._on_piece, client, query, place, query.offset))
        elif place.size is not None:
            begin = max(0, place.size + query.offset)
            self._read(place, begin, partial(self._on_piece, client, query, place, begin))
        else:
            span, then = Span(prefix=place.prefix), partial(self._on_newest, client, query, place)
            self._state.store.scan(Output, span, 1, then, newest_first=True)

    def _on_newest(
        self, client: Client, query: QueryOutput, place: _Place, rows: tuple[Row, ...], why: str
    ) -> None:
        """What is stored ends with the newest piece."""
        if why:
            self._refuse(client, query.seq, "error", why)
            return
        row = rows[0] if rows else None
        end = row.offset + len(row.data) if isinstance(row, Output) else 0
        begin = max(0, end + query.offset)
        self._read(place, begin, partial(self._on_piece, client, query, place, begin))

    def _on_piece(self, client: Client, query: QueryOutput, place: _Place, offset: int, piece: Piece) -> None:
        if piece.error:
            self._refuse(client, query.seq, "error", piece.error)
            return
        reached = offset + len(piece.data)
        end = not piece.data or reached == place.size
        missing = end and place.size is not None and reached < place.size
        page = OutputPage(
            seq=query.seq,
            attempt=place.attempt.n,
            offset=offset,
            data=piece.data,
            end=end,
            lost="the results store does not have the rest" if missing else "",
        )
        self._state.tell(client.peer, page)

    # --- output, granted ------------------------------------------------------------------------------------

    def serve(self, peer: bytes, grant: Grant, n: int, size: int | None, why: str) -> None:
        """Send a reader what it granted, from the store.

        Args:
            peer: The reader.
            grant: What it takes.
            n: The attempt.
            size: The stream's length, where it is known.
            why: What the reader is told where the store does not have it either.
        """
        place = _Place(AttemptId(grant.task, n), grant.stream, size)
        limit = grant.offset + min(max(grant.window, 0), limits.WINDOW_BYTES_MAX)
        self._serve_on(_Serving(peer, place, limit, why), grant.offset)

    def _serve_on(self, serving: _Serving, offset: int) -> None:
        self._read(serving.place, offset, partial(self._on_served, serving, offset))

    def _on_served(self, serving: _Serving, offset: int, piece: Piece) -> None:
        if piece.error:
            return  # the reader asks again
        place = serving.place
        data = piece.data[: serving.limit - offset]
        reached = offset + len(data)
        over = reached == place.size or not piece.data
        chunk = Chunk(
            task=place.attempt.task,
            attempt=place.attempt.n,
            stream=place.stream,
            offset=offset,
            data=data,
            end=over,
            lost=serving.why if over and reached != place.size else "",
        )
        self._state.out.append(SendChunk(serving.peer, chunk))
        if not over and reached < serving.limit:
            self._serve_on(serving, reached)

    # --- reading --------------------------------------------------------------------------------------------

    def _read(self, place: _Place, offset: int, then: Callable[[Piece], None]) -> None:
        """Read what there is from an offset on, to the next multiple of the greatest piece at most."""
        if not 0 <= offset <= PLACE_MAX:
            then(Piece())
            return
        block = offset - offset % limits.CHUNK_BYTES_MAX
        self._read_after(place, offset, block - 1, then)

    def _read_after(self, place: _Place, offset: int, after: int, then: Callable[[Piece], None]) -> None:
        block = offset - offset % limits.CHUNK_BYTES_MAX
        span = Span(
            prefix=place.prefix,
            after=(*place.prefix, after),
            before=(*place.prefix, block + limits.CHUNK_BYTES_MAX),
        )
        scanned = partial(self._on_rows, place, offset, then)
        self._state.store.scan(Output, span, ROWS, scanned)

    def _on_rows(
        self, place: _Place, offset: int, then: Callable[[Piece], None], rows: tuple[Row, ...], why: str
    ) -> None:
        if why:
            then(Piece(error=why))
            return
        found = [row for row in rows if isinstance(row, Output)]
        data = joined(found, offset)
        if data or len(found) < ROWS:
            then(Piece(data))
        else:
            self._read_after(place, offset, found[-1].offset, then)  # all of these end before the offset

    def _refuse(self, client: Client, seq: int, code: str, why: str) -> None:
        self._state.tell(client.peer, Error(code=code, why=why, seq=seq))


def joined(pieces: Sequence[Output], offset: int) -> bytes:
    """Return the bytes from an offset on, as far as pieces cover them without a gap.

    Args:
        pieces: In the order of their offsets; they may overlap.
        offset: In the stream.
    """
    found = bytearray()
    for piece in pieces:
        reached = offset + len(found)
        if piece.offset > reached:
            break
        found += piece.data[reached - piece.offset :]
    return bytes(found)


def _askable(task: str, *places: int) -> bool:
    return ids.is_task_id(task) and all(-PLACE_MAX <= place <= PLACE_MAX for place in places)


def _first_of(found: list[Increment], room: int) -> list[Increment]:
    """Return the first rows, as many as a page takes, and at least one."""
    chosen: list[Increment] = []
    for row in found:
        room -= weight(row)
        if chosen and room < 0:
            break
        chosen.append(row)
    return chosen
