"""``alb sql`` with a query: it reads, and nothing else, without the database's own shell."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from alb.cli.main import run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with a table; no shell of any database can be found."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (name TEXT, n INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [("a b", 1), ("10:30 50%", None)])
        connection.commit()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ALB_STORE", f"sqlite:///{path}")
    return path


def test_what_a_query_finds_is_shown(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As a table, as JSON and as CSV; signs that drivers take for parameters are none."""
    query = "SELECT name, n FROM t WHERE name <> ':x' AND name NOT LIKE '%z' ORDER BY n DESC"
    assert run(["sql", query]) == 0
    assert capfd.readouterr().out.splitlines() == ["name       n", "a b        1", "10:30 50%"]
    assert run(["sql", "--json", query]) == 0
    assert json.loads(capfd.readouterr().out) == [{"name": "a b", "n": 1}, {"name": "10:30 50%", "n": None}]
    assert run(["sql", "--csv", query, "--store", f"sqlite:///{store}"]) == 0
    assert capfd.readouterr().out.splitlines() == ["name,n", "a b,1", "10:30 50%,"]


@pytest.mark.parametrize("query", ["DELETE FROM t", "INSERT INTO t VALUES ('c', 3)", "DROP TABLE t"])
def test_a_query_changes_nothing(store: Path, query: str, capfd: pytest.CaptureFixture[str]) -> None:
    """History is not edited by mistake."""
    assert run(["sql", query]) == 125
    assert "the results store refused" in capfd.readouterr().err
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["SELECT nonsense"], 125, "no such column"),
        (["SELECT 1", "--store", "sqlite:////does/not/exist.db"], 125, "unable to open"),
        (["SELECT 1", "--store", "redis://host"], 125, "has no SQL"),
        (["SELECT 1", "--store", "postgresql://u:secret@host:port/x"], 125, "cannot be read"),
        (["SELECT 1", "--store", "postgresql://u:secret@127.0.0.1:1/x"], 125, "refused"),
        ([], 125, "there is no sqlite3 on this machine: give a query"),
    ],
)
@pytest.mark.usefixtures("store")
def test_errors_say_what_is_wrong(
    arguments: list[str], status: int, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """And never the password."""
    assert run(["sql", *arguments]) == status
    told = capfd.readouterr().err
    assert why in told
    assert "secret" not in told


def test_the_url_is_printed(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """For tools of one's own."""
    assert run(["sql", "--url"]) == 0
    assert capfd.readouterr().out == f"sqlite:///{store}\n"
    assert run(["sql", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"url": f"sqlite:///{store}"}
