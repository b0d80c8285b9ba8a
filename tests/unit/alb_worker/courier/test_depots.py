"""How long a courier waits for a file, and for whom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alb_core.errors import DepotRefused, DepotUnreachable, TransferStopped
from alb_core.io import transfer
from alb_core.io.transfer import Content, always
from alb_core.notes import Note
from alb_worker.courier import depots as module
from alb_worker.courier.depots import Depots
from alb_worker.courier.errors import NotMoved

WANTED = Content("1" * 64, 7)
ONE, TWO = "http://one:1", "http://two:1"


class Network:
    """What each depot answers, instead of a network."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[int], None]] = {}

    def fetch(self, depot: str, _content: Content, descriptor: int, *_: object) -> None:
        """Answer as `transfer.fetch`."""
        self.asked.append(depot)
        self.answers[depot](descriptor)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(transfer, "fetch", made.fetch)
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "MISSING_S", 0.2)
    monkeypatch.setattr(module, "UNREACHABLE_S", 40.0)
    return made


def missing(_descriptor: int) -> None:
    raise DepotRefused(ONE, 404, "there is no file")


def silent(_descriptor: int) -> None:
    raise DepotUnreachable(ONE, "refused")


def gives(descriptor: int) -> None:
    os.write(descriptor, b"content")


def fetch(tmp_path: Path, goes_on: Callable[[], bool] = always, *depots: str) -> tuple[bytes, list[Note]]:
    notes: list[Note] = []
    known = Depots(notes.append)
    known.use(depots or (ONE, TWO))
    descriptor = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    try:
        known.fetch(WANTED, descriptor, goes_on)
        return (tmp_path / "part").read_bytes(), notes
    finally:
        os.close(descriptor)


def test_the_next_depot_is_asked(network: Network, tmp_path: Path) -> None:
    """Where one does not have it, or does not answer."""
    network.answers = {ONE: missing, TWO: gives}
    assert fetch(tmp_path)[0] == b"content"
    assert network.asked == [ONE, TWO]


def test_a_depot_that_returns_is_asked_again(network: Network, tmp_path: Path) -> None:
    """The task waits meanwhile."""

    def later(descriptor: int) -> None:
        (silent if len(network.asked) < 5 else gives)(descriptor)

    network.answers = {ONE: later, TWO: silent}
    assert fetch(tmp_path)[0] == b"content"


def test_what_no_depot_has_is_given_up_soon(network: Network, tmp_path: Path) -> None:
    """With what the last one said."""
    network.answers = {ONE: missing, TWO: missing}
    began = time.monotonic()
    with pytest.raises(NotMoved, match=r"cannot be had, after .* there is no file"):
        fetch(tmp_path)
    assert time.monotonic() - began < 20


def test_while_none_answers_it_waits_longer(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so in the log; but not for ever."""
    monkeypatch.setattr(module, "REMIND_S", 0.1)
    monkeypatch.setattr(module, "UNREACHABLE_S", 0.4)
    network.answers = {ONE: silent, TWO: silent}
    notes: list[Note] = []
    known = Depots(notes.append)
    known.use((ONE, TWO))
    began = time.monotonic()
    descriptor = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    with pytest.raises(NotMoved, match="cannot be reached"):
        known.fetch(WANTED, descriptor, always)
    os.close(descriptor)
    assert time.monotonic() - began > 0.4
    assert {note.event for note in notes} == {"files_awaited"}


def test_a_worker_that_knows_no_depot_says_so(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brokers are older, or none has registered the worker yet."""
    monkeypatch.setattr(module, "UNREACHABLE_S", 0.4)
    known = Depots(lambda _: None)
    descriptor = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    with pytest.raises(NotMoved, match="no broker has told this worker of a depot"):
        known.fetch(WANTED, descriptor, always)
    os.close(descriptor)
    assert network.asked == []


def test_who_is_called_off_stops_at_once(network: Network, tmp_path: Path) -> None:
    """However long the patience is."""
    network.answers = {ONE: silent, TWO: silent}
    with pytest.raises(TransferStopped):
        fetch(tmp_path, lambda: len(network.asked) < 4)
