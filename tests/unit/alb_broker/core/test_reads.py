"""Questions to the results store: each answer goes to its asker, once."""

from __future__ import annotations

from tests.broker_parts import make_state, of_type
from tests.store_rows import finished

from alb_broker.core.actions import GetRows, ScanStore
from alb_broker.core.reads import Reads
from alb_broker.store import events
from alb_core import rows


def scanned(token: int, *found: rows.Row, error: str | None = None) -> events.StoreScanned:
    """Return the store's answer."""
    return events.StoreScanned(at=0.0, epoch=1, token=token, rows=found, error=error)


def test_answers_go_to_their_askers() -> None:
    """In whatever order they come; a second answer, or a foreign one, is nobody's."""
    state = make_state()
    reads = Reads(state)
    heard: list[tuple[str, tuple[rows.Row, ...], str]] = []
    reads.get(rows.FinishedTask, [("a",)], lambda found, why: heard.append(("get", found, why)))
    reads.newest(rows.Output, ("a", 1), 5, lambda found, why: heard.append(("newest", found, why)))
    out = state.take_out()
    (get,), (scan,) = of_type(GetRows, out), of_type(ScanStore, out)
    assert (get.family, get.keys, get.epoch) == (rows.FinishedTask, (("a",),), 1)
    assert (scan.family, scan.prefix, scan.after, scan.before, scan.limit) == (
        rows.Output,
        ("a", 1),
        (),
        (),
        5,
    )
    row = finished("a")
    assert reads.on_scanned(scanned(scan.token))
    assert reads.on_scanned(scanned(get.token, row))
    assert heard == [("newest", (), ""), ("get", (row,), "")]
    assert not reads.on_scanned(scanned(get.token))
    assert not reads.on_scanned(scanned(99))


def test_an_error_is_told() -> None:
    """With the store's reason, and no rows."""
    state = make_state()
    reads = Reads(state)
    heard: list[tuple[tuple[rows.Row, ...], str]] = []
    reads.get(rows.FinishedTask, [("a",)], lambda *told: heard.append(told))
    (get,) = of_type(GetRows, state.take_out())
    reads.on_scanned(scanned(get.token, error="locked"))
    assert heard == [((), "the results store does not answer: locked")]


def test_no_key_is_no_question() -> None:
    """It is answered at once."""
    state = make_state()
    heard: list[tuple[tuple[rows.Row, ...], str]] = []
    Reads(state).get(rows.FinishedTask, [], lambda *told: heard.append(told))
    assert heard == [((), "")]
    assert state.take_out() == []
