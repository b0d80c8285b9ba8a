"""The row reader: bounded pages of rows, and an error for every question that makes no sense."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.broker_parts import C1, Desks, of_type, to_client
from tests.store_rows import attempt, finished, load

from alb_broker.core import row_reader as module
from alb_broker.core.actions import ScanStore
from alb_broker.store import events
from alb_core.messages import Error, QueryRows, RowsPage
from alb_core.rows import FinishedTask, LoadSample, PastAttempt, Row, Span


def desks(store: str = "sqlite:////somewhere") -> Desks:
    """Return a leader with a client."""
    each = Desks(store=store)
    each.greet("ann")
    return each


def ask(each: Desks, query: QueryRows, *found: Row, error: str | None = None) -> Any:
    """Ask, let the store answer, and return what the client hears."""
    (scan,) = of_type(ScanStore, each.client(query))
    event = events.StoreScanned(at=0.0, epoch=1, token=scan.token, rows=found, error=error)
    each.state.store.on_event(event)
    return to_client(C1, each.state.take_out() + each.commit())[-1]


def names(page: RowsPage) -> list[str]:
    """Return the tasks of a page."""
    return [row.task for row in msgspec.msgpack.decode(page.rows, type=list[FinishedTask])]


@pytest.mark.parametrize(
    ("family", "kind", "row", "after"),
    [
        ("tasks", FinishedTask, finished("a"), ("0",)),
        ("attempts", PastAttempt, attempt("a"), ("0", 3)),
        ("loads", LoadSample, load("w1", 1.0), ("w1", 0.5)),
        ("loads", LoadSample, load("w1", 1.0), ()),
    ],
)
def test_each_family_comes_in_its_order(
    family: str, kind: type[Row], row: Row, after: tuple[Any, ...]
) -> None:
    """From the place where the page before ended."""
    each = desks()
    query = QueryRows(seq=1, family=family, after=after)
    (scan,) = of_type(ScanStore, each.client(query))
    assert (scan.family, scan.span, scan.newest_first) == (kind, Span(after=after), False)
    page = ask(each, query, row)
    assert isinstance(page, RowsPage)
    assert msgspec.msgpack.decode(page.rows, type=list[kind]) == [row]  # type: ignore[valid-type]
    assert not page.more


def test_pages_are_bounded_in_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full scan, or one that does not fit into a message, may be followed by more."""
    monkeypatch.setattr(module, "SCAN_ROWS", 2)
    monkeypatch.setattr(module, "PAGE_BYTES", 1000)
    each = desks()
    query = QueryRows(seq=1, family="tasks")
    full = ask(each, query, finished("a"), finished("b"))
    assert (names(full), full.more) == (["a", "b"], True)
    large = ask(each, query, finished("a", spec="x" * 2000), finished("b"))
    assert (names(large), large.more) == (["a"], True)
    assert not ask(each, query, finished("a")).more


@pytest.mark.parametrize(
    ("store", "query", "said"),
    [
        ("", QueryRows(seq=3, family="tasks"), "no --store"),
        ("sqlite:////x", QueryRows(seq=3, family="output"), "no rows of 'output'"),
        ("sqlite:////x", QueryRows(seq=3, family="loads", after=("w1", "now")), "no place in loads"),
        ("sqlite:////x", QueryRows(seq=3, family="tasks", after=(5.0,)), "no place in tasks"),
        ("sqlite:////x", QueryRows(seq=3, family="tasks", after=("a", "b")), "no place in tasks"),
    ],
)
def test_what_makes_no_sense_is_refused(store: str, query: QueryRows, said: str) -> None:
    """With the reason, and without asking the store."""
    each = desks(store)
    (error,) = to_client(C1, each.client(query) + each.commit())
    assert isinstance(error, Error)
    assert (error.seq, said in error.why) == (3, True), error.why


def test_a_store_that_does_not_answer_is_an_error() -> None:
    """A late answer to nobody changes nothing."""
    each = desks()
    error = ask(each, QueryRows(seq=4, family="tasks"), error="timeout")
    assert (type(error), error.seq, "timeout" in error.why) == (Error, 4, True)
    each.state.store.on_event(events.StoreScanned(at=0.0, epoch=1, token=99))
    assert each.commit() == []


def test_only_so_many_questions_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs does not let them pile up."""
    monkeypatch.setattr(module, "QUESTIONS_MAX", 1)
    each = desks()
    each.client(QueryRows(seq=1, family="tasks"))
    (error,) = to_client(C1, each.client(QueryRows(seq=2, family="tasks")) + each.commit())
    assert isinstance(error, Error)
    assert "too many" in error.why
