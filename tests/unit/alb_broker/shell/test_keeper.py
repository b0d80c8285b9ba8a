"""The broker's hand on the results store: one term at a time, on a real SQLite file."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store_rows import load

from alb_broker.core.actions import BeginStore, ScanStore, StoreRows
from alb_broker.shell.keeper import Keeper, check_store
from alb_broker.store.events import StoreEvent, StoreFenced, StoreScanned, StoreWritten
from alb_core.errors import ConfigError
from alb_core.rows import LoadSample, Span

PATIENCE_S = 60.0


class Place:
    """A database, and the events of keepers on it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'results.db'}"
        self.told: queue.Queue[StoreEvent] = queue.Queue()

    def keeper(self) -> Keeper:
        """Make one more broker's keeper."""
        return Keeper(self.url, "t", self.told.put)

    def hear(self) -> StoreEvent:
        """Return the next event."""
        return self.told.get(timeout=PATIENCE_S)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh one."""
    return Place(tmp_path)


@pytest.fixture
def keeper(place: Place) -> Iterator[Keeper]:
    """A keeper that is closed in the end."""
    made = place.keeper()
    yield made
    made.close()


def test_rows_are_kept_and_read_again(place: Place, keeper: Keeper) -> None:
    """Under the term that was begun; the newest first."""
    keeper.begin(BeginStore(3))
    keeper.keep(StoreRows(7, 3, (load("w1", 1.0), load("w1", 2.0))))
    written = place.hear()
    assert isinstance(written, StoreWritten)
    assert (written.epoch, written.tokens) == (3, (7,))
    keeper.scan(ScanStore(8, 3, LoadSample, Span(), 10, newest_first=True))
    scanned = place.hear()
    assert isinstance(scanned, StoreScanned)
    assert (scanned.token, scanned.rows) == (8, (load("w1", 2.0), load("w1", 1.0)))


def test_what_belongs_to_another_term_is_dropped(place: Place, keeper: Keeper) -> None:
    """Also before there was any, and after it is closed."""
    keeper.keep(StoreRows(1, 0, (load("w1", 1.0),)))
    keeper.begin(BeginStore(2))
    keeper.keep(StoreRows(2, 1, (load("w1", 1.0),)))
    keeper.scan(ScanStore(3, 1, LoadSample, Span(), 10, newest_first=True))
    keeper.keep(StoreRows(4, 2, (load("w1", 1.0),)))
    assert place.hear().epoch == 2
    keeper.close()
    keeper.keep(StoreRows(5, 2, ()))
    assert place.told.empty()


def test_a_later_leader_fences_an_earlier_one(place: Place, keeper: Keeper) -> None:
    """Whatever the earlier one still believes."""
    keeper.begin(BeginStore(1))
    keeper.keep(StoreRows(1, 1, (load("w1", 1.0),)))
    assert isinstance(place.hear(), StoreWritten)
    later = place.keeper()
    later.begin(BeginStore(2))
    later.keep(StoreRows(1, 2, (load("w1", 2.0),)))
    assert isinstance(place.hear(), StoreWritten)
    keeper.keep(StoreRows(2, 1, (load("w1", 3.0),)))
    assert isinstance(place.hear(), StoreFenced)
    later.close()


@pytest.mark.parametrize("url", ["oracle://x", "nonsense", "sqlite://"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    """At the start of the broker, in a sentence."""
    with pytest.raises(ConfigError, match="--store"):
        check_store(url)


def test_no_store_is_fine() -> None:
    """A cluster works without one."""
    check_store("")
