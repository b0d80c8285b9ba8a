"""The results store in a file: the contract, and what only files have."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store_contract import ALL, StoreContract
from tests.store_rows import Ear, output
from tests.store_servers import SqliteFile

from alb_broker.store.events import StoreAway, StoreBack
from alb_broker.store.interface import StoreUnavailable, StoreUnusable
from alb_broker.store.opening import open_store
from alb_broker.store.thread import StoreThread
from alb_core.rows import Output


@pytest.fixture
def place(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path)


class TestSqlite(StoreContract):
    """SQLite keeps the contract."""


def test_a_locked_file_is_waited_for(place: SqliteFile) -> None:
    """A call gives up in bounded time; the thread tells, and writes everything when the lock is gone."""
    store = open_store(place.url, "t")
    store.open()
    holder = sqlite3.connect(place.folder / "store.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.write(1, [output("a")])
    ear = Ear()
    thread = StoreThread(lambda: open_store(place.url, "t"), 1, ear.post)
    thread.start()
    thread.put(1, [output("b")])
    ear.wait(lambda: bool(ear.of(StoreAway)))
    thread.put(2, [output("c")])
    holder.execute("ROLLBACK")
    holder.close()
    ear.wait(lambda: ear.tokens() == [1, 2])
    assert thread.stop(10)
    assert len(ear.of(StoreAway)) == len(ear.of(StoreBack)) == 1
    assert [row.task for row in store.scan(Output, ALL, 10)] == ["b", "c"]
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """The batch that does not fit leaves nothing, the store says why, and goes on when there is room."""
    ballast = small_disk / "ballast"
    place = SqliteFile(small_disk)
    store = open_store(place.url, "t")
    store.open()
    store.write(1, [output("a")])
    ballast.write_bytes(bytes(3 * 1024 * 1024))
    with pytest.raises(StoreUnavailable, match=r"full|I/O"):
        store.write(1, [output("b", offset, bytes(64 * 1024)) for offset in range(16)])
    store.close()
    store.open()
    assert [row.task for row in store.scan(Output, ALL, 100)] == ["a"]
    ear = Ear()
    thread = StoreThread(lambda: open_store(place.url, "t"), 1, ear.post)
    thread.start()
    thread.put(1, [output("b", offset, bytes(64 * 1024)) for offset in range(16)])
    ear.wait(lambda: bool(ear.of(StoreAway)))
    ballast.unlink()
    ear.wait(lambda: ear.tokens() == [1])
    assert thread.stop(10)
    assert store.count(Output, ALL) == 17
    store.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("oracle://ann:secret@host/x", "nobody knows"),
        ("postgresql://ann:secret@host:notaport/x", "cannot be read"),
        ("redis://ann:secret@host:notaport/x", "cannot be read"),
        ("", "nobody knows"),
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str, why: str) -> None:
    """The error says what is wrong and never repeats what is secret."""
    with pytest.raises(StoreUnusable, match=why) as caught:
        open_store(url, "t")
    assert "secret" not in str(caught.getrepr(style="long", showlocals=False).reprcrash)
    assert caught.value.__cause__ is None


def test_a_file_that_is_no_database_is_refused(place: SqliteFile) -> None:
    """Somebody must look at it: trying again does not help."""
    (place.folder / "store.db").write_text("no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnusable, match="not a database"):
        open_store(place.url, "t").open()


def test_a_folder_that_is_not_there_may_come(tmp_path: Path) -> None:
    """A disk that is not mounted yet is worth trying again."""
    with pytest.raises(StoreUnavailable, match="unable to open"):
        open_store(f"sqlite:///{tmp_path}/gone/store.db", "t").open()
