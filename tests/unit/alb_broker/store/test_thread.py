"""The store's thread against a store that fails on purpose: order, back-off, smaller batches, its bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.store_rows import Ear, output

from alb_broker.store import thread as subject
from alb_broker.store.events import StoreAway, StoreBack, StoreMeasured, StoreRemoved, StoreScanned
from alb_broker.store.interface import StoreUnavailable, StoreUnusable
from alb_broker.store.thread import StoreThread
from alb_core.rows import Output, Row, Span


class FakeStore:
    """Keeps rows in a list, and fails as it is told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.batches: list[int] = []
        self.errors: list[Exception] = []
        #: Raised by the next writes.
        self.rows_max = 10**9
        #: More in one write take too long.
        self.gate = threading.Event()
        self.gate.set()
        self.away = False
        #: The next question for the size fails.
        self.opened = 0
        self.closed = 0

    def open(self) -> None:
        """Connect."""
        self.opened += 1

    def close(self) -> None:
        """Let go."""
        self.closed += 1

    def begin_term(self, epoch: int) -> None:
        """Begin."""

    def write(self, epoch: int, rows: Sequence[Row]) -> None:  # noqa: ARG002
        """Write, or fail."""
        assert self.gate.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        if len(rows) > self.rows_max:
            raise StoreUnavailable("too slow")
        self.batches.append(len(rows))
        self.rows += rows

    def scan(self, *_: Any, **__: Any) -> list[Row]:
        """Fail."""
        raise StoreUnavailable("away")

    def remove(self, *_: Any) -> int:
        """Fail."""
        raise StoreUnavailable("too slow")

    def count(self, *_: Any) -> int:
        """Count all."""
        return len(self.rows)

    def tables(self) -> list[str]:
        """Know none."""
        return []

    def size_bytes(self) -> int:
        """Tell, or fail."""
        if self.away:
            raise StoreUnavailable("away")
        return 4096


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def running(store: FakeStore, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreThread]:
    monkeypatch.setattr(subject, "RETRY_FIRST_S", 0.001)
    made = StoreThread(lambda: store, 1, ear.post)
    made.start()
    yield made
    store.gate.set()
    made.stop(5)


def test_errors_of_every_kind_are_outlasted(running: StoreThread, store: FakeStore, ear: Ear) -> None:
    """Unavailable, unusable, even a defect: told when the reason changes, tried again, in order, once."""
    store.errors = [StoreUnavailable("a"), StoreUnavailable("a"), StoreUnusable("b"), ValueError("c")]
    for token in range(20):
        running.put(token, [output("a", token)])
    ear.wait(lambda: len(ear.tokens()) == 20)
    assert ear.tokens() == list(range(20))
    assert store.rows == [output("a", token) for token in range(20)]
    assert [event.why for event in ear.of(StoreAway)] == ["a", "b", "a defect of alb: ValueError('c')"]
    assert len(ear.of(StoreBack)) == 1
    assert store.opened == store.closed + 1 == 5


def test_patient_rows_gather(
    running: StoreThread, store: FakeStore, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until so many are there, their time has come, something comes that cannot wait, or the end does."""
    monkeypatch.setattr(subject, "GATHER_S", 60.0)
    monkeypatch.setattr(subject, "GATHER_ROWS", 3)
    for token in (1, 2):
        running.put(token, [output("a", token)], patient=True)
    assert store.batches == []
    running.put(3, [output("a", 3)], patient=True)
    ear.wait(lambda: ear.tokens() == [1, 2, 3])
    running.put(4, [output("a", 4)], patient=True)
    running.put(5, [output("a", 5)])
    ear.wait(lambda: ear.tokens() == [1, 2, 3, 4, 5])
    monkeypatch.setattr(subject, "GATHER_S", 0.05)
    running.put(6, [output("a", 6)], patient=True)
    ear.wait(lambda: 6 in ear.tokens())
    monkeypatch.setattr(subject, "GATHER_S", 60.0)
    running.put(7, [output("a", 7)], patient=True)
    assert running.stop(5)
    assert store.batches == [3, 2, 1, 1]


def test_batches_gather_and_are_bounded(
    running: StoreThread, store: FakeStore, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is under way the next gathers, up to the bound; one hand-over is never split."""
    monkeypatch.setattr(subject, "BATCH_ROWS", 10)
    store.gate.clear()
    for token in range(100):
        running.put(token, [output("a", token)])
    running.put(100, [output("b", number) for number in range(15)])
    store.gate.set()
    ear.wait(lambda: 100 in ear.tokens())
    assert max(store.batches[:-1]) == 10
    assert store.batches[-1] == 15
    assert len(store.batches) <= 13


def test_a_slow_store_is_given_less(running: StoreThread, store: FakeStore, ear: Ear) -> None:
    """A batch that cannot be done in time is halved until it can."""
    store.rows_max = 100
    store.gate.clear()
    for token in range(4000):
        running.put(token, [output("a", token)])
    store.gate.set()
    ear.wait(lambda: len(ear.tokens()) == 4000)
    assert max(store.batches) <= 100
    assert [row.offset for row in store.rows if isinstance(row, Output)] == list(range(4000))


def test_it_says_when_it_is_full(
    running: StoreThread, store: FakeStore, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rows and by bytes, until what waits is durable."""
    monkeypatch.setattr(subject, "WAITING_ROWS_MAX", 10)
    store.gate.clear()
    states: list[bool] = []
    for token in range(12):
        running.put(token, [output("a", token)])
        states.append(running.full)
    assert states == [False] * 9 + [True] * 3
    store.gate.set()
    ear.wait(lambda: len(ear.tokens()) == 12)
    assert not running.full
    monkeypatch.setattr(subject, "WAITING_BYTES_MAX", 1000)
    store.gate.clear()
    running.put(12, [output("a", 12, bytes(1000))])
    assert running.full


def test_scans_do_not_wait_for_writes(running: StoreThread, store: FakeStore, ear: Ear) -> None:
    """They have a thread of their own, and tell the asker what is wrong."""
    store.gate.clear()
    running.put(1, [output("a")])
    running.scan(5, Output, Span(), 10)
    ear.wait(lambda: bool(ear.of(StoreScanned)))
    (event,) = ear.of(StoreScanned)
    assert (event.token, event.rows, event.error) == (5, (), "away")


def test_it_waits_longer_and_longer(monkeypatch: pytest.MonkeyPatch, store: FakeStore, ear: Ear) -> None:
    """From 0.1 s, doubled, up to 5 s."""
    delays: list[float] = []
    rest: Callable[[StoreThread, float], bool] = lambda _, delay_s: delays.append(delay_s) is None  # noqa: E731
    monkeypatch.setattr(StoreThread, "_rest", rest)
    store.errors = [StoreUnavailable("a")] * 8
    made = StoreThread(lambda: store, 1, ear.post)
    made.start()
    made.put(1, [output("a")])
    ear.wait(lambda: ear.tokens() == [1])
    assert made.stop(5)
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_a_removal_that_fails_is_answered_and_holds_up_no_write(
    running: StoreThread, store: FakeStore, ear: Ear
) -> None:
    """It is not the store that is away: the next write is done at once."""
    running.put(1, [output("a")])
    running.remove(2, Output, [Span()], 10)
    running.put(3, [output("b")])
    ear.wait(lambda: ear.tokens() == [1, 3])
    assert [(event.token, event.count, event.error) for event in ear.of(StoreRemoved)] == [(2, 0, "too slow")]
    assert ear.of(StoreAway) == []
    assert store.rows == [output("a"), output("b")]


def test_the_size_is_asked_and_a_failure_answered(running: StoreThread, store: FakeStore, ear: Ear) -> None:
    """By the thread that reads, on a connection of its own."""
    running.measure(1)
    ear.wait(lambda: len(ear.of(StoreMeasured)) == 1)
    store.away = True
    running.measure(2)
    ear.wait(lambda: len(ear.of(StoreMeasured)) == 2)
    told = [(event.token, event.size_bytes, event.error) for event in ear.of(StoreMeasured)]
    assert told == [(1, 4096, None), (2, 0, "away")]
