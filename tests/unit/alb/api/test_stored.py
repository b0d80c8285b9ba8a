"""What a client reads from the store: streams page by page, the last lines, increments until the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.store_rows import increment

from alb.api import stored as module
from alb.api.stored import StoredData
from alb_core.errors import InvalidTask, TaskError, TaskGone
from alb_core.messages import IncrementsPage, OutputPage, QueryIncrements, QueryOutput, StreamName
from alb_core.rows import Increment
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskRecord, TaskState

TASK = "a" * 32
OUT = StreamName.STDOUT


class _Shelf(StoredData):
    """A leader that answers at once, from one stream and a list of increments."""

    def __init__(self, data: bytes = b"", rows: Sequence[Increment] = (), *, piece: int = 7) -> None:
        self._timeout = 5.0
        self.data = data
        self.rows = list(rows)
        self.piece = piece
        self.asked: list[Any] = []
        self.trouble: list[TaskError] = []
        #: The next questions are answered with these.
        self.states: Iterator[TaskState] = iter(())

    def _ask(self, query: Any, page: type[Any]) -> Any:
        self.asked.append(query)
        if self.trouble:
            raise self.trouble.pop(0)
        if isinstance(query, QueryOutput):
            begin = query.offset if query.offset >= 0 else max(0, len(self.data) + query.offset)
            found = self.data[begin : begin + self.piece]
            end = begin + len(found) >= len(self.data)
            return page(seq=1, attempt=query.attempt or 3, offset=begin, data=found, end=end)
        assert isinstance(query, QueryIncrements)
        rows = [row for row in self.rows if row.seq > query.after][:: -1 if query.newest else 1]
        most = min(query.limit, self.piece)
        return page(seq=1, increments=tuple(rows[:most]), more=len(rows) > most)

    def task(self, task_id: str) -> TaskRecord:
        state = next(self.states, None)
        if state is None:
            raise TaskGone(task_id, "gone")
        return TaskRecord(
            id=task_id, state=state, user="u", digest="d", spec=TaskSpec(command="true"), submitted=0.0
        )


def rows(*numbers: int) -> list[Increment]:
    """Return increments with these numbers."""
    return [increment(TASK, number) for number in numbers]


def seqs(found: Sequence[Increment] | Iterator[Increment]) -> list[int]:
    """Return the numbers of increments."""
    return [row.seq for row in found]


def test_a_stream_is_read_page_by_page_of_one_attempt() -> None:
    """The first page says which attempt it is of; the next ones ask for that, also when another one runs."""
    shelf = _Shelf(b"0123456789abcdef")
    pages = list(shelf.stored_output(TASK, OUT, offset=-12))
    assert [(page.offset, page.data, page.end) for page in pages] == [
        (4, b"456789a", False),
        (11, b"bcdef", True),
    ]
    assert [(query.attempt, query.offset) for query in shelf.asked] == [(0, -12), (3, 11)]


def test_an_empty_stream_is_one_page() -> None:
    """Its end."""
    (page,) = _Shelf().stored_output(TASK, OUT)
    assert isinstance(page, OutputPage)
    assert (page.data, page.end) == (b"", True)


@pytest.mark.parametrize("tail", [4, 5, 64, 1000])
@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 19, 20, 21, 1000])
def test_the_last_lines_are_found(monkeypatch: pytest.MonkeyPatch, tail: int, end: str, lines: int) -> None:
    """However far back they begin; a last line without an end is one."""
    monkeypatch.setattr(module, "TAIL_BYTES", tail)
    whole = [f"line {number}\n" for number in range(20)]
    text = "".join(whole).rstrip("\n") + end
    begin = _Shelf(text.encode()).last_lines(TASK, OUT, lines)
    assert text[begin:] == ("".join(whole[-lines:]).rstrip("\n") + end if lines else "")


def test_the_last_lines_of_nothing_begin_at_its_beginning() -> None:
    """There are none."""
    assert [_Shelf().last_lines(TASK, OUT, lines) for lines in (0, 5)] == [0, 0]


@pytest.mark.parametrize(("lines", "begin", "told"), [(3, 52, []), (10, 36, [24]), (0, 60, [])])
def test_the_last_lines_are_looked_for_within_a_bound(
    monkeypatch: pytest.MonkeyPatch, lines: int, begin: int, told: list[int]
) -> None:
    """Window by window, each byte once; where they begin further back, that is said."""
    monkeypatch.setattr(module, "TAIL_BYTES", 8)
    monkeypatch.setattr(module, "LOOK_BYTES_MAX", 20)
    shelf = _Shelf(b"abc\n" * 14 + b"d\ne\n", piece=8)
    bounds: list[int] = []
    assert shelf.last_lines(TASK, OUT, lines, on_bound=bounds.append) == begin
    assert bounds == told
    assert len({query.offset for query in shelf.asked}) == len(shelf.asked)
    assert len(shelf.asked) <= 3


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are asked again at once."""
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(module, "FOLLOW_S", 0.0)


def away() -> TaskError:
    """Return what a leader answers while its store is locked."""
    return TaskError("", "the store is locked")


@pytest.mark.usefixtures("hasty")
def test_a_store_that_is_away_for_a_moment_is_asked_again() -> None:
    """From the same place: nothing is yielded twice, and nothing is left out."""
    shelf = _Shelf(b"0123456789", rows(1, 2, 3), piece=4)
    pages = shelf.stored_output(TASK, OUT)
    data = [next(pages).data]
    shelf.trouble = [away(), away()]
    data += [page.data for page in pages]
    assert b"".join(data) == b"0123456789"
    assert [query.offset for query in shelf.asked] == [0, 4, 4, 4, 8]
    shelf.trouble = [away()]
    assert seqs(shelf.increments(TASK)) == [1, 2, 3]
    shelf.trouble = [away()]
    assert seqs(shelf.newest_increments(TASK, 1)) == [3]


def test_a_store_that_stays_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout; any other error is one at once."""
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.02)
    shelf = _Shelf(b"data")
    shelf._timeout = 0.1
    shelf.trouble = [away() for _ in range(100)]
    with pytest.raises(TaskError, match="locked"):
        list(shelf.stored_output(TASK, OUT))
    assert 2 <= len(shelf.asked) <= 6
    shelf.asked.clear()
    shelf.trouble = [InvalidTask("", "there is no store")]
    with pytest.raises(InvalidTask):
        list(shelf.stored_output(TASK, OUT))
    assert len(shelf.asked) == 1


@pytest.mark.usefixtures("hasty")
def test_following_outlives_a_store_that_is_away() -> None:
    """As long as the task lives; after its end for the timeout only."""
    shelf = _Shelf(rows=rows(1, 2))
    shelf._timeout = -1.0  # each question once
    shelf.states = iter([TaskState.RUNNING] * 3)
    shelf.trouble = [away(), away()]
    assert seqs(shelf.follow_increments(TASK)) == [1, 2]
    shelf.trouble = [away() for _ in range(5)]
    shelf.states = iter([TaskState.RUNNING] * 3)
    with pytest.raises(TaskError, match="locked"):
        list(shelf.follow_increments(TASK))
    assert shelf.trouble == []


def test_numbers_that_cannot_be_sent_are_refused() -> None:
    """They would end the client's thread."""
    shelf = _Shelf(b"data")
    for number in (2**62 + 1, 2**64, -1):
        for ask in (
            lambda number=number: list(shelf.increments(TASK, after=number)),
            lambda number=number: list(shelf.stored_output(TASK, OUT, attempt=number)),
            lambda number=number: shelf.newest_increments(TASK, number),
            lambda number=number: shelf.last_lines(TASK, OUT, number),
        ):
            with pytest.raises(InvalidTask, match="must be between"):
                ask()
    for offset in (2**62 + 1, -(2**62) - 1):
        with pytest.raises(InvalidTask, match="an offset must be between"):
            list(shelf.stored_output(TASK, OUT, offset=offset))
    assert shelf.asked == []


def test_increments_are_listed_over_all_pages() -> None:
    """Each page begins behind the last number of the one before, whatever numbers are missing."""
    shelf = _Shelf(rows=rows(1, 3, 5, 9), piece=2)
    assert seqs(shelf.increments(TASK)) == [1, 3, 5, 9]
    assert [query.after for query in shelf.asked] == [0, 3]
    assert seqs(shelf.increments(TASK, after=5)) == [9]
    assert seqs(shelf.newest_increments(TASK, 2)) == [5, 9]


def test_a_page_that_promises_more_and_has_nothing_is_the_last() -> None:
    """A leader that is wrong keeps nobody waiting for ever."""

    class _Liar(_Shelf):
        def _ask(self, query: Any, page: type[Any]) -> Any:
            return page(seq=query.seq, increments=(), more=True)

    assert list(_Liar().increments(TASK)) == []


@pytest.mark.parametrize("last", [TaskState.SUCCEEDED, TaskState.CANCELLED, None])
def test_following_looks_once_more_after_the_end(
    monkeypatch: pytest.MonkeyPatch, last: TaskState | None
) -> None:
    """What was stored last was stored before the end was recorded; a task that is gone has ended."""
    monkeypatch.setattr(module, "FOLLOW_S", 0.0)
    shelf = _Shelf(rows=rows(1, 2))

    def states() -> Iterator[TaskState]:
        yield TaskState.QUEUED
        shelf.rows += rows(3)
        yield TaskState.RUNNING
        shelf.rows += rows(4)
        if last is not None:
            yield last

    shelf.states = states()
    assert seqs(shelf.follow_increments(TASK)) == [1, 2, 3, 4]


@pytest.mark.parametrize("text", ["", "a", "A" * 32, "a\0b", TASK + "x"])
def test_what_is_no_task_id_is_not_asked_for(text: str) -> None:
    """The error says what ids look like."""
    shelf = _Shelf()
    for ask in (
        lambda: list(shelf.increments(text)),
        lambda: shelf.newest_increments(text, 1),
        lambda: list(shelf.stored_output(text, OUT)),
    ):
        with pytest.raises(InvalidTask, match="32 lower-case hex digits"):
            ask()
    assert shelf.asked == []


def test_pages_are_of_the_kind_that_was_asked_for() -> None:
    """Else the session would wait for another answer."""
    shelf = _Shelf(rows=rows(1))
    assert isinstance(shelf._ask(QueryIncrements(seq=0, id=TASK), IncrementsPage), IncrementsPage)
