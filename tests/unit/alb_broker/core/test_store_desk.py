"""The leader's way to the results store: each answer goes to its asker, once, and terms are kept apart."""

from __future__ import annotations

from tests.broker_parts import make_state, notes, of_type
from tests.store_rows import finished

from alb_broker.core.actions import BeginStore, ClearStore, GetRows, MeasureStore, ScanStore, StoreRows
from alb_broker.core.state import State
from alb_broker.core.store_desk import NOBODY
from alb_broker.store import events
from alb_core import rows
from alb_core.rows import Span

URL = "sqlite:////somewhere"


def scanned(token: int, *found: rows.Row, error: str | None = None, epoch: int = 1) -> events.StoreScanned:
    """Return the store's answer."""
    return events.StoreScanned(at=0.0, epoch=epoch, token=token, rows=found, error=error)


def hearing(state: State) -> tuple[list[tuple[tuple[rows.Row, ...], str]], GetRows]:
    """Ask for a row; return what will be heard, and the question."""
    heard: list[tuple[tuple[rows.Row, ...], str]] = []
    state.store.get(rows.FinishedTask, [("a",)], lambda *told: heard.append(told))
    (get,) = of_type(GetRows, state.take_out())
    return heard, get


def test_answers_go_to_their_askers() -> None:
    """In whatever order they come; a second answer, or a foreign one, is nobody's."""
    state = make_state(store=URL)
    heard: list[tuple[str, tuple[rows.Row, ...], str]] = []
    state.store.get(rows.FinishedTask, [("a",)], lambda found, why: heard.append(("get", found, why)))
    span = Span(prefix=("a", 1))
    state.store.scan(rows.Output, span, 5, lambda found, why: heard.append(("scan", found, why)))
    out = state.take_out()
    (get,), (scan,) = of_type(GetRows, out), of_type(ScanStore, out)
    assert (get.family, get.keys, get.epoch) == (rows.FinishedTask, (("a",),), 1)
    assert (scan.family, scan.span, scan.limit, scan.newest_first) == (rows.Output, span, 5, False)
    row = finished("a")
    for answer in (scanned(scan.token), scanned(get.token, row), scanned(get.token), scanned(99)):
        assert state.store.on_event(answer)
    assert heard == [("scan", (), ""), ("get", (row,), "")]


def test_an_error_is_told() -> None:
    """With the store's reason, and no rows."""
    state = make_state(store=URL)
    heard, get = hearing(state)
    state.store.on_event(scanned(get.token, error="locked"))
    assert heard == [((), "the results store does not answer: locked")]


def test_an_answer_to_an_earlier_reign_is_nobodys() -> None:
    """Tokens are of the process; what an earlier term asked is not what this one wants."""
    state = make_state(store=URL)
    heard, get = hearing(state)
    assert state.store.on_event(scanned(get.token, epoch=0))
    assert heard == []


def test_no_key_is_no_question() -> None:
    """It is answered at once."""
    state = make_state(store=URL)
    heard: list[tuple[tuple[rows.Row, ...], str]] = []
    state.store.get(rows.FinishedTask, [], lambda *told: heard.append(told))
    assert heard == [((), "")]
    assert state.take_out() == []


def test_who_waits_is_told_when_rows_are_durable() -> None:
    """Who does not wait has no token."""
    state = make_state(store=URL)
    durable: list[str] = []
    state.store.keep((finished("a"),), lambda: durable.append("a"))
    state.store.keep((finished("b"),))
    first, second = of_type(StoreRows, state.take_out())
    assert second.token == NOBODY
    assert state.store.on_event(events.StoreWritten(at=0.0, epoch=1, tokens=(first.token, NOBODY)))
    assert durable == ["a"]


def test_a_term_begins_where_there_is_a_store_and_ends_with_the_fence() -> None:
    """Without a store nothing is asked of anybody."""
    state = make_state(store=URL)
    state.store.begin()
    assert of_type(BeginStore, state.take_out()) == [BeginStore(1)]
    assert not state.store.on_event(events.StoreFenced(at=0.0, epoch=1))
    bare = make_state()
    bare.store.begin()
    assert bare.take_out() == []


def test_a_store_that_is_away_is_said_and_remembered() -> None:
    """Until it is back."""
    state = make_state(store=URL)
    state.store.on_event(events.StoreAway(at=0.0, epoch=1, why="disk full"))
    assert state.store.away == "disk full"
    assert notes(state.take_out(), "store_away") == [{"why": "disk full", "waiting": 0}]
    state.store.on_event(events.StoreBack(at=0.0, epoch=1, seconds=2.0))
    assert state.store.away == ""
    assert notes(state.take_out(), "store_back") == [{"seconds": 2.0, "waiting": 0}]


def test_how_much_went_or_is_there_is_told_to_who_asked() -> None:
    """Once; or why that is not known."""
    state = make_state(store=URL)
    heard: list[tuple[str, int, str]] = []
    spans = (Span(prefix=("a",)),)
    state.store.remove(rows.Output, spans, 7, lambda count, why: heard.append(("gone", count, why)))
    state.store.measure(lambda size, why: heard.append(("size", size, why)))
    out = state.take_out()
    (clear,), (measure,) = of_type(ClearStore, out), of_type(MeasureStore, out)
    assert (clear.family, clear.spans, clear.limit, clear.epoch) == (rows.Output, spans, 7, 1)
    for answer in (
        events.StoreMeasured(at=0.0, epoch=1, token=measure.token, error="locked"),
        events.StoreRemoved(at=0.0, epoch=1, token=clear.token, count=3),
        events.StoreRemoved(at=0.0, epoch=1, token=clear.token, count=3),
        events.StoreMeasured(at=0.0, epoch=0, token=measure.token, size_bytes=5),
    ):
        assert state.store.on_event(answer)
    assert heard == [("size", 0, "locked"), ("gone", 3, "")]


def test_a_removal_may_wait_for_a_commit() -> None:
    """What memory let go the table may yet hold; and only who commits still leads."""
    state = make_state(store=URL)
    state.store.remove(rows.Output, (), 1, lambda *_: None, after_commit=True)
    assert of_type(ClearStore, state.take_out()) == []
    assert state.ledger.wants_commit()
