"""What is read back from the store: increments in pages, streams in pieces, and what is said of gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.broker_parts import C1, Desks, attempt, of_type, submit, task_id, to_client
from tests.store_rows import finished

from alb_broker.core import stored_answers as module
from alb_broker.core.actions import Action, ScanStore, SendChunk
from alb_broker.core.past import marked_as_going
from alb_broker.core.stored_answers import NO_STORE, PLACE_MAX, joined
from alb_broker.store import events
from alb_core import limits
from alb_core.messages import (
    AttemptEnded,
    Chunk,
    Error,
    Grant,
    IncrementsPage,
    Message,
    OutputPage,
    QueryIncrements,
    QueryOutput,
    StreamName,
)
from alb_core.rows import Increment, Output, Row
from alb_core.tasks import Cause, Outcome, Stream

URL = "sqlite:////somewhere"
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
BLOCK = limits.CHUNK_BYTES_MAX
T1 = task_id(1)
WHY = "worker w1, which kept it, is gone"


class _Library:
    """A leader with a client, and a store that has these rows."""

    def __init__(self, *rows: Row, store: bool = True) -> None:
        self.desks = Desks(store=URL) if store else Desks()
        self.desks.greet("ann")
        self.desks.join("w1")
        self.rows = list(rows)
        self.error: str | None = None
        self.scans: list[ScanStore] = []

    def ask(self, query: Message) -> Any:
        """Return what the client hears."""
        (answer,) = to_client(C1, self.rest(self.desks.client(query)))
        return answer

    def rest(self, actions: list[Action]) -> list[Action]:
        """Answer what is read until nothing more is; return what leaves."""
        left = list(actions)
        while scans := of_type(ScanStore, actions):
            self.scans += scans
            for scan in scans:
                found = () if self.error else tuple(self.found(scan))
                event = events.StoreScanned(at=0.0, epoch=1, token=scan.token, rows=found, error=self.error)
                self.desks.state.store.on_event(event)
            actions = self.desks.state.take_out()
            left += actions
        return left + self.desks.commit()

    def found(self, scan: ScanStore) -> list[Row]:
        """Do what every store does."""
        span, fields = scan.span, scan.family.key_fields
        keyed = [
            (tuple(getattr(row, name) for name in fields), row)
            for row in self.rows
            if type(row) is scan.family
        ]
        wanted = [
            (key, row)
            for key, row in sorted(keyed, key=lambda pair: pair[0], reverse=scan.newest_first)
            if key[: len(span.prefix)] == span.prefix
            and (not span.after or key[: len(span.after)] > span.after)
            and (not span.before or key[: len(span.before)] < span.before)
        ]
        return [row for _, row in wanted[: scan.limit]]

    def read(self, offset: int = 0, n: int = 0, stream: StreamName = OUT) -> list[OutputPage]:
        """Read a stream as clients do; return the pages."""
        pages = []
        while True:
            page = self.ask(QueryOutput(seq=1, id=T1, stream=stream, attempt=n, offset=offset))
            assert isinstance(page, OutputPage), page
            pages.append(page)
            if page.end:
                return pages
            offset = page.offset + len(page.data)

    def run(self, size: int | None = None, *, tail: bytes = b"") -> _Library:
        """Let task 1 run; and end, where it has a size."""
        self.desks.run(1)
        if size is not None:
            outcome = Outcome(cause=Cause.EXITED, exit_code=0, stdout=Stream.of(tail, size))
            self.desks.worker(AttemptEnded(attempt=attempt(1), outcome=outcome))
            self.desks.commit()
        return self

    def grant(self, offset: int = 0, window: int = 4 * BLOCK) -> list[Chunk]:
        """Grant a part of the stream; return what comes."""
        grant = Grant(task=T1, stream=OUT, offset=offset, window=window)
        self.desks.relay.grant(C1, grant)
        return self._chunks()

    def lose(self, offset: int, n: int) -> list[Chunk]:
        """Let the worker say that it does not have what was granted; return what comes."""
        why = "not kept"
        self.desks.relay.chunk(
            Chunk(task=T1, attempt=n, stream=OUT, offset=offset, end=True, lost=why, reader=C1)
        )
        return self._chunks()

    def _chunks(self) -> list[Chunk]:
        actions = self.rest(self.desks.state.take_out())
        return [action.chunk for action in of_type(SendChunk, actions)]


def piece(offset: int, data: bytes, n: int = 1, stream: str = "stdout") -> Output:
    """Return a stored piece of task 1."""
    return Output(task=T1, attempt=n, stream=stream, offset=offset, data=data)


def pieces(data: bytes, size: int) -> list[Output]:
    """Return a stream as workers hand it over: cut into pieces, and at every multiple of the greatest one."""
    found, begin = [], 0
    while begin < len(data):
        end = min(begin + size, begin + BLOCK - begin % BLOCK)
        found.append(piece(begin, data[begin:end]))
        begin = end
    return found


def pattern(size: int) -> bytes:
    """Return bytes of which no two near parts are equal."""
    return b"".join(b"%08d" % number for number in range(size // 8 + 1))[:size]


def increment(seq: int, value: str = "1") -> Increment:
    """Return a stored increment of task 1."""
    return Increment(task=T1, seq=seq, attempt=1, key="k", value=value, time=0.0)


def whole(pages: Sequence[OutputPage]) -> bytes:
    """Return what pages hold together."""
    return b"".join(page.data for page in pages)


# --- output -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "by"), [(10, 3), (BLOCK, BLOCK), (2 * BLOCK + 9, BLOCK), (2 * BLOCK, 70_000)]
)
@pytest.mark.parametrize("begin", [0, 1, BLOCK - 1, BLOCK])
def test_a_stream_is_read_from_any_offset(size: int, by: int, begin: int) -> None:
    """However it was cut; of a task that runs the last page is the one that finds nothing."""
    data = pattern(size)
    library = _Library(*pieces(data, by)).run()
    pages = library.read(begin)
    assert whole(pages) == data[begin:]
    assert (pages[-1].attempt, pages[-1].data, pages[-1].lost) == (1, b"", "")


def test_many_tiny_pieces_are_read_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that writes byte by byte; also where all that a scan finds ends before the offset."""
    monkeypatch.setattr(module, "ROWS", 7)
    data = pattern(100)
    library = _Library(*pieces(data, 1)).run()
    assert whole(library.read()) == data
    assert whole(library.read(93)) == data[93:]
    assert max(scan.limit for scan in library.scans) == 7


def test_pieces_may_overlap() -> None:
    """After a failover; where they do they say the same."""
    data = pattern(100)
    library = _Library(
        piece(0, data[:40]), piece(20, data[20:30]), piece(30, data[30:100]), piece(40, data[40:50])
    )
    assert whole(library.run().read()) == data
    assert whole(library.read(25)) == data[25:]


def test_a_stream_ends_before_a_gap() -> None:
    """What lies behind it is no continuation."""
    data = pattern(100)
    library = _Library(piece(0, data[:40]), piece(50, data[50:])).run()
    assert whole(library.read()) == data[:40]
    assert library.read(45)[0].end
    assert whole(library.read(60)) == data[60:]


def test_streams_and_attempts_are_kept_apart() -> None:
    """Each is asked for by its name; the newest attempt is meant where none is named."""
    library = _Library(piece(0, b"one"), piece(0, b"two", n=2), piece(0, b"err", stream="stderr")).run()
    assert [whole(library.read(n=n)) for n in (0, 1, 2, 3)] == [b"one", b"one", b"two", b""]
    assert whole(library.read(stream=ERR)) == b"err"


@pytest.mark.parametrize(("back", "begin"), [(-1, 99), (-100, 0), (-101, 0), (-(2**62), 0)])
def test_the_end_of_a_stream_that_grows_is_where_its_newest_piece_ends(back: int, begin: int) -> None:
    """An offset below 0 counts from there."""
    data = pattern(100)
    library = _Library(*pieces(data, 30)).run()
    pages = library.read(back)
    assert (pages[0].offset, whole(pages)) == (begin, data[begin:])


def test_the_end_of_nothing_is_its_beginning() -> None:
    """A task that waits has written nothing yet."""
    library = _Library()
    library.desks.client(submit(1))
    library.desks.commit()
    (page,) = library.read(-10)
    assert (page.offset, page.data, page.end, page.attempt) == (0, b"", True, 0)


def test_short_output_is_answered_from_the_result() -> None:
    """The whole stream rides in it: the store need not be there."""
    library = _Library(store=False).run(11, tail=b"hello world")
    for offset, data in (
        (0, b"hello world"),
        (6, b"world"),
        (-5, b"world"),
        (-50, b"hello world"),
        (50, b""),
    ):
        (page,) = library.read(offset)
        assert (page.data, page.end, page.lost) == (data, True, "")
    assert [library.read(offset)[0].offset for offset in (-5, -50)] == [6, 0]


def test_longer_output_of_a_finished_task_is_read_from_the_store() -> None:
    """To its last byte, which the result names; counted back from there."""
    data = pattern(BLOCK + 500)
    library = _Library(*pieces(data, BLOCK)).run(len(data), tail=data[-4096:])
    pages = library.read()
    assert (whole(pages), len(pages), pages[-1].lost) == (data, 2, "")
    assert whole(library.read(-600)) == data[-600:]
    assert library.read(-(2**40))[0].offset == 0


@pytest.mark.parametrize("stored", [0, 10_000])
def test_it_is_said_what_is_missing_of_a_finished_stream(stored: int) -> None:
    """There was no store while the task ran, or its pieces are gone by age."""
    data = pattern(20_000)
    library = _Library(*pieces(data[:stored], BLOCK)).run(len(data), tail=data[-4096:])
    pages = library.read()
    assert whole(pages) == data[:stored]
    assert (pages[-1].end, "does not have" in pages[-1].lost) == (True, True)


def test_an_attempt_that_did_not_deliver_has_no_known_size() -> None:
    """What there is of it is told, and nothing is called missing."""
    library = _Library(piece(0, b"first")).run()
    worker = library.desks.state.workers.by_name["w1"]
    library.desks.book.release(worker, attempt(1))
    library.desks.book.lose(library.desks.task(1), 1, worker, 0.0)
    library.desks.turn()
    outcome = Outcome(cause=Cause.EXITED, exit_code=0, stdout=Stream.of(b"x", 9_999))
    library.desks.worker(AttemptEnded(attempt=attempt(1, 2), outcome=outcome))
    library.desks.commit()
    pages = library.read(n=1)
    assert (whole(pages), pages[-1].lost) == (b"first", "")


def test_a_task_that_left_the_table_is_read_from_the_store() -> None:
    """Its row says which attempt delivered, and how much."""
    data = pattern(20_000)
    row = finished(T1, attempt=2, stdout_bytes=len(data), stderr_bytes=3)
    stored = [msgspec.structs.replace(each, attempt=2) for each in pieces(data, BLOCK)]
    library = _Library(row, *stored, piece(0, b"err", n=2, stream="stderr"), piece(0, b"first"))
    pages = library.read()
    assert (whole(pages), pages[0].attempt, pages[-1].lost) == (data, 2, "")
    assert whole(library.read(-10)) == data[-10:]
    assert whole(library.read(stream=ERR)) == b"err"
    pages = library.read(n=1)
    assert (whole(pages), pages[-1].lost) == (b"first", "")


def test_a_task_that_leaves_the_store_is_gone() -> None:
    """Pieces of its output may be gone already: what is left is not told for all of it."""
    data = pattern(20_000)
    row = marked_as_going(finished(T1, stdout_bytes=len(data)))
    error = _Library(row, *pieces(data, BLOCK)).ask(QueryOutput(seq=3, id=T1, stream=OUT))
    assert isinstance(error, Error)
    assert (error.code, error.seq) == ("gone", 3)


def test_a_task_that_nobody_knows_is_gone() -> None:
    """With the store asked, or without one to ask."""
    for library, word in ((_Library(), "neither"), (_Library(store=False), "the table does not")):
        error = library.ask(QueryOutput(seq=3, id=T1, stream=OUT))
        assert isinstance(error, Error)
        assert (error.code, error.seq, word in error.why) == ("gone", 3, True)


def test_without_a_store_there_is_only_what_rides_in_results() -> None:
    """The answer says what is missing."""
    library = _Library(store=False).run()
    error = library.ask(QueryOutput(seq=3, id=T1, stream=OUT))
    assert (error.code, error.why) == ("invalid", NO_STORE)
    error = library.ask(QueryIncrements(seq=4, id=T1))
    assert (error.code, error.why, error.seq) == ("invalid", NO_STORE, 4)


@pytest.mark.parametrize(
    "query",
    [
        QueryOutput(seq=1, id=T1, stream=OUT),
        QueryOutput(seq=1, id=T1, stream=OUT, offset=-5),
        QueryOutput(seq=1, id=task_id(2), stream=OUT),
        QueryIncrements(seq=1, id=T1),
    ],
)
def test_a_store_that_does_not_answer_is_an_error_with_its_reason(query: Message) -> None:
    """Never the end of a stream, and never a task that is gone."""
    library = _Library().run()
    library.error = "timeout"
    error = library.ask(query)
    assert isinstance(error, Error)
    assert (error.code, error.seq, "timeout" in error.why) == ("error", 1, True)


@pytest.mark.parametrize(
    "query",
    [
        QueryOutput(seq=1, id=T1, stream=OUT, offset=PLACE_MAX + 1),
        QueryOutput(seq=1, id=T1, stream=OUT, offset=-PLACE_MAX - 1),
        QueryOutput(seq=1, id=T1, stream=OUT, attempt=2**64 - 1),
        QueryOutput(seq=1, id="a\0b", stream=OUT),
        QueryOutput(seq=1, id="x" * 100_000, stream=OUT),
        QueryIncrements(seq=1, id=T1, after=2**64 - 1),
        QueryIncrements(seq=1, id="a\0b"),
    ],
)
def test_what_a_database_would_refuse_is_not_asked(query: Message) -> None:
    """It would look like a store that is away, and others who read would be told so."""
    library = _Library().run()
    error = library.ask(query)
    assert isinstance(error, Error)
    assert (error.code, error.seq, library.scans) == ("invalid", 1, [])


def test_the_greatest_offset_finds_nothing() -> None:
    """A reader that wants nothing of a stream asks for it."""
    library = _Library(piece(0, b"x")).run()
    (page,) = library.read(PLACE_MAX)
    assert (page.data, page.end) == (b"", True)


@pytest.mark.parametrize(
    ("found", "offset", "data"),
    [
        ((), 0, b""),
        ((piece(0, b"abc"),), 3, b""),
        ((piece(0, b"abc"), piece(3, b"def")), 2, b"cdef"),
        ((piece(0, b"abcdef"), piece(1, b"b"), piece(6, b"g")), 0, b"abcdefg"),
        ((piece(0, b"ab"), piece(3, b"d")), 0, b"ab"),
        ((piece(5, b"f"),), 4, b""),
        ((piece(0, b"ab"),), -1, b""),
    ],
)
def test_pieces_are_joined_as_far_as_they_reach(found: Sequence[Output], offset: int, data: bytes) -> None:
    """From the offset on, and to the first gap."""
    assert joined(found, offset) == data


# --- increments ---------------------------------------------------------------------------------------------


def listed(library: _Library, **fields: Any) -> tuple[list[int], bool]:
    """Return the numbers of a page of increments, and whether there are more."""
    page = library.ask(QueryIncrements(seq=1, id=T1, **fields))
    assert isinstance(page, IncrementsPage)
    return [row.seq for row in page.increments], page.more


def test_increments_come_in_pages() -> None:
    """In their order, from behind a number on, or the newest first; the last page says so."""
    library = _Library(*map(increment, range(1, 6)), msgspec.structs.replace(increment(9), task=task_id(2)))
    assert listed(library, limit=2) == ([1, 2], True)
    assert listed(library, limit=2, after=2) == ([3, 4], True)
    assert listed(library, limit=2, after=4) == ([5], False)
    assert listed(library, limit=5) == ([1, 2, 3, 4, 5], False)
    assert listed(library, limit=2, newest=True) == ([5, 4], True)
    assert listed(library, after=5) == ([], False)


def test_a_page_of_increments_is_bounded_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their number and in their bytes; each page holds one at least, so that a reader comes to an end."""
    monkeypatch.setattr(module, "PAGE_ROWS", 3)
    library = _Library(*map(increment, range(1, 6)))
    assert listed(library, limit=10**9) == ([1, 2, 3], True)
    assert listed(library, limit=-1) == ([1], True)
    assert listed(library, limit=0) == ([1], True)
    monkeypatch.setattr(module, "PAGE_BYTES", 1500)
    library = _Library(
        increment(1, "x" * 5000), increment(2), increment(3, "x" * 600), increment(4, "x" * 600)
    )
    assert listed(library) == ([1], True)
    assert listed(library, after=1) == ([2, 3], True)
    assert listed(library, after=3) == ([4], False)


# --- grants -------------------------------------------------------------------------------------------------


def gone(library: _Library) -> _Library:
    """Let the worker be gone that kept the output."""
    library.desks.state.workers.remove("w1")
    return library


def test_a_grant_is_served_from_the_store_when_the_worker_is_gone() -> None:
    """Piece by piece, to the end of the stream or of the grant."""
    data = pattern(2 * BLOCK + 10)
    library = gone(_Library(*pieces(data, 100_000)).run(len(data), tail=data[-4096:]))
    chunks = library.grant()
    assert b"".join(chunk.data for chunk in chunks) == data
    assert [chunk.end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {chunk.lost for chunk in chunks} == {""}
    chunks = library.grant(offset=5, window=BLOCK)
    assert b"".join(chunk.data for chunk in chunks) == data[5 : BLOCK + 5]
    assert not chunks[-1].end


def test_a_reader_learns_from_which_byte_on_its_stream_is_lost() -> None:
    """What is stored is sent before."""
    data = pattern(20_000)
    library = gone(_Library(*pieces(data[:15_000], BLOCK)).run(len(data), tail=data[-4096:]))
    chunks = library.grant()
    assert b"".join(chunk.data for chunk in chunks) == data[:15_000]
    assert (chunks[-1].offset, chunks[-1].end, chunks[-1].lost) == (15_000, True, WHY)


@pytest.mark.parametrize("offset", [-1, 2**62 + 1, 2**64 - 1])
def test_a_grant_beyond_all_streams_is_answered_without_the_store(offset: int) -> None:
    """There is nothing."""
    library = gone(_Library(piece(0, b"x")).run(20_000, tail=bytes(4096)))
    (chunk,) = library.grant(offset)
    assert (chunk.data, chunk.end, chunk.lost, library.scans) == (b"", True, WHY, [])


@pytest.mark.parametrize("window", [0, -5])
def test_an_empty_grant_gets_nothing(window: int) -> None:
    """And neither the end nor a loss."""
    data = pattern(20_000)
    library = gone(_Library(*pieces(data, BLOCK)).run(len(data), tail=data[-4096:]))
    assert all(not chunk.data and not chunk.end for chunk in library.grant(window=window))


def test_a_store_that_does_not_answer_loses_no_output() -> None:
    """Nothing is said: the reader asks again."""
    library = gone(_Library(piece(0, b"x")).run(20_000, tail=bytes(4096)))
    library.error = "timeout"
    assert library.grant() == []


def test_what_its_worker_lost_is_served_from_the_store() -> None:
    """From where it said that it has nothing; its own words where the store has nothing either."""
    data = pattern(20_000)
    library = _Library(*pieces(data[:15_000], BLOCK)).run(len(data), tail=data[-4096:])
    chunks = library.lose(1_000, 1)
    assert b"".join(chunk.data for chunk in chunks) == data[1_000:15_000]
    assert (chunks[-1].lost, chunks[-1].offset, chunks[-1].reader) == ("not kept", 15_000, b"")
    (chunk,) = library.lose(1_000, 7)
    assert (chunk.attempt, chunk.offset, chunk.lost) == (7, 1_000, "not kept")


def test_what_a_worker_has_is_not_read_from_the_store() -> None:
    """It is passed on as it comes."""
    library = _Library().run()
    chunk = Chunk(task=T1, attempt=1, stream=OUT, offset=5, data=b"x", reader=C1)
    library.desks.relay.chunk(chunk)
    assert library.desks.state.take_out() == [SendChunk(C1, msgspec.structs.replace(chunk, reader=b""))]


def test_a_loss_is_passed_on_where_there_is_no_store() -> None:
    """As before there was any."""
    library = _Library(store=False).run()
    chunk = Chunk(task=T1, attempt=1, stream=OUT, offset=5, end=True, lost="not kept", reader=C1)
    library.desks.relay.chunk(chunk)
    assert library.desks.state.take_out() == [SendChunk(C1, msgspec.structs.replace(chunk, reader=b""))]


def test_a_worker_that_is_only_silent_need_not_come_back_for_what_is_stored() -> None:
    """A reader does not wait for it."""
    data = pattern(20_000)
    library = _Library(*pieces(data, BLOCK)).run(len(data), tail=data[-4096:])
    library.desks.state.workers.by_name["w1"].link = False
    assert b"".join(chunk.data for chunk in library.grant()) == data
