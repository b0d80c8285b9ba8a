"""What a client reads from the store: streams page by page, the last lines, increments until the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.store_rows import increment

from alb.api import stored as module
from alb.api.stored import StoredData
from alb_core.errors import InvalidTask, TaskGone
from alb_core.messages import IncrementsPage, OutputPage, QueryIncrements, QueryOutput, StreamName
from alb_core.rows import Increment
from alb_core.tasks import TaskRecord, TaskSpec, TaskState

TASK = "a" * 32
OUT = StreamName.STDOUT


class _Shelf(StoredData):
    """A leader that answers at once, from one stream and a list of increments."""

    def __init__(self, data: bytes = b"", rows: Sequence[Increment] = (), *, piece: int = 7) -> None:
        self.data = data
        self.rows = list(rows)
        self.piece = piece
        self.asked: list[Any] = []
        self.states: Iterator[TaskState] = iter(())

    def _ask(self, query: Any, page: type[Any]) -> Any:
        self.asked.append(query)
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
