"""A depot's files on its disk: what is whole is verified, what is needed stays, all of it is bounded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alb_broker.depot.shelf import FRESH_S, PART_KEPT_S, UNUSED_KEPT_S, NoRoom, Shelf, Taken
from alb_core.errors import ConfigError, WrongContent
from alb_core.io.transfer import Content

BOUND = 1000
NOW = 1_000_000.0


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(tmp_path: Path, clock: Clock) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "d", BOUND, clock)
    yield made
    made.close()


def content(data: bytes) -> Content:
    return Content(hashlib.sha256(data).hexdigest(), len(data))


def put(shelf: Shelf, data: bytes, used: dict[str, int] | None = None) -> str:
    """Bring a file as the server does."""
    wanted = content(data)
    arrival = shelf.begin(wanted, used)
    arrival.open(0)
    arrival.write(data)
    arrival.finish()
    shelf.end(arrival, whole=True)
    return wanted.sha256


def test_a_whole_file_is_there_and_counted(shelf: Shelf) -> None:
    """Also the same one again: it counts once."""
    name = put(shelf, b"x" * 10)
    put(shelf, b"x" * 10)
    assert shelf.path(name).read_bytes() == b"x" * 10
    assert (shelf.size(name), shelf.bytes, len(shelf)) == (10, 10, 1)


def test_a_shelf_that_starts_again_knows_its_files(tmp_path: Path, shelf: Shelf) -> None:
    """And what had arrived of the others."""
    name = put(shelf, b"x" * 10)
    half = shelf.begin(content(b"y" * 10), None)
    half.open(0)
    half.write(b"y" * 4)
    shelf.end(half, whole=False)
    shelf.close()
    again = Shelf(tmp_path / "d", BOUND)
    assert (again.size(name), again.arrived(content(b"y" * 10).sha256)) == (10, 4)
    rest = again.begin(content(b"y" * 10), None)
    rest.open(4)
    rest.write(b"y" * 6)
    rest.finish()
    again.end(rest, whole=True)
    assert again.path(content(b"y" * 10).sha256).read_bytes() == b"y" * 10
    shelf._lock = os.open(tmp_path, os.O_RDONLY)  # closed by its fixture
    again.close()


def test_wrong_bytes_are_thrown_away(shelf: Shelf) -> None:
    """They never get the name."""
    wanted = content(b"right")
    arrival = shelf.begin(wanted, None)
    arrival.open(0)
    arrival.write(b"wrong")
    with pytest.raises(WrongContent):
        arrival.finish()
    shelf.end(arrival, whole=False)
    assert (shelf.size(wanted.sha256), shelf.arrived(wanted.sha256)) == (None, 0)


def test_one_brings_a_file_at_a_time(shelf: Shelf) -> None:
    """Two would write into one part."""
    arrival = shelf.begin(content(b"x"), None)
    with pytest.raises(Taken):
        shelf.begin(content(b"x"), None)
    shelf.end(arrival, whole=False)
    shelf.end(shelf.begin(content(b"x"), None), whole=False)


def test_the_longest_unused_gives_way(shelf: Shelf, clock: Clock) -> None:
    """Not what a task needs, not what came just now, and nothing while nobody knows what is needed."""
    first, second, third = (put(shelf, letter * 300) for letter in (b"1", b"2", b"3"))
    with pytest.raises(NoRoom, match="the depot is full"):
        put(shelf, b"4" * 300, {})
    clock.now += FRESH_S + 1
    with pytest.raises(NoRoom):
        put(shelf, b"4" * 300, None)
    shelf.touch(first)
    clock.now += FRESH_S + 1
    put(shelf, b"4" * 300, {second: 300})
    assert (shelf.size(first), shelf.size(second), shelf.size(third)) == (300, 300, None)
    with pytest.raises(NoRoom):
        put(shelf, b"5" * 800, {second: 300})
    assert shelf.size(first) == 300  # nothing goes in vain


def test_what_is_on_its_way_takes_room(shelf: Shelf) -> None:
    """Two uploads that fit alone, and not together, do not both begin; a part that was left gives way."""
    arrival = shelf.begin(content(b"x" * 600), {})
    with pytest.raises(NoRoom):
        shelf.begin(content(b"y" * 600), {})
    arrival.open(0)
    arrival.write(b"x" * 500)
    shelf.end(arrival, whole=False)
    put(shelf, b"y" * 600, {})
    assert shelf.arrived(content(b"x" * 600).sha256) == 0


def test_what_nobody_used_for_a_day_goes(shelf: Shelf, clock: Clock, tmp_path: Path) -> None:
    """And uploads that nobody went on with; what is needed stays for ever."""
    old, needed = put(shelf, b"1"), put(shelf, b"2")
    part = tmp_path / "d/parts" / content(b"3").sha256
    part.write_bytes(b"")
    os.utime(part, (NOW, NOW))
    clock.now += max(UNUSED_KEPT_S, PART_KEPT_S) + 1
    assert shelf.expire({needed: 1}) == [old]
    assert (shelf.size(old), shelf.size(needed), part.exists()) == (None, 1, False)


def test_a_directory_has_one_depot(tmp_path: Path, shelf: Shelf) -> None:
    """A second one is refused, and so is a place that cannot be used."""
    assert len(shelf) == 0
    with pytest.raises(ConfigError, match="in use by another depot"):
        Shelf(tmp_path / "d", BOUND)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        Shelf(tmp_path / "file", BOUND)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="others may write to it"):
        Shelf(tmp_path / "open", BOUND)
