"""Where rows come from: pages of a store or of a leader, and dumps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.broker_parts import TRUE, Desks, make_attempt, submit, task_id
from tests.store_rows import attempt, finished, load

from alb.analysis import sources
from alb.analysis.sources import Place, StoreSilent, from_dump, from_store, rows
from alb_broker.core.dump import dump
from alb_broker.store.opening import open_store
from alb_core.errors import ConfigError
from alb_core.ids import uuid7
from alb_core.rows import FinishedTask, LoadSample, PastAttempt, Row, key_of

NOW = 1_795_305_600.0
DAY_S = 86_400.0


def task(ago_s: float) -> str:
    """Return the id of a task that was made so long ago."""
    return uuid7(int((NOW - ago_s) * 1000), bytes(10))


def paged(found: Sequence[Row], size: int = 2) -> tuple[Callable[[type[Row], Place], Any], list[Place]]:
    """Return what reads pages of rows, and where it was asked to begin."""
    asked: list[Place] = []

    def read(family: type[Row], after: Place) -> tuple[Sequence[Row], bool]:
        asked.append(after)
        chosen = sorted((row for row in found if type(row) is family), key=key_of)
        chosen = [row for row in chosen if not after or key_of(row)[: len(after)] > after]
        return chosen[:size], len(chosen) > size

    return read, asked


def test_everything_is_read_page_by_page() -> None:
    """Each row once, whatever the size of the pages."""
    tasks = [finished(f"t{number}") for number in range(5)]
    attempts = [attempt(f"t{number}", n) for number in range(3) for n in (1, 2)]
    loads = [load(worker, float(when)) for worker in ("a", "b") for when in range(4)]
    for size in (1, 2, 100):
        read, _ = paged([*tasks, *attempts, *loads], size)
        assert list(rows(read, 0.0)) == [*tasks, *attempts, *loads]


def test_what_is_too_old_is_not_read() -> None:
    """Tasks by the time in their ids, a day more; samples by worker, a few reads for each."""
    old, edge, young = (finished(task(ago)) for ago in (10 * DAY_S, 1.5 * DAY_S, 0.0))
    loads = [load(worker, NOW - ago) for worker in ("a", "b", "c") for ago in range(100_000, 0, -20_000)]
    read, asked = paged([old, edge, young, *loads])
    found = list(rows(read, NOW - DAY_S))
    assert [row for row in found if isinstance(row, FinishedTask)] == [edge, young]
    samples = [row for row in found if isinstance(row, LoadSample)]
    assert {row.worker for row in samples} == {"a", "b", "c"}
    assert min(row.time for row in samples) >= NOW - DAY_S
    assert len(samples) == 3 * 4
    assert len(asked) < 20


# --- a store ------------------------------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'results.db'}"


def write(url: str, table: str, *kept: Row) -> None:
    """Write rows into a store."""
    store = open_store(url, table)
    store.open()
    store.write(1, kept)
    store.close()


def test_a_store_is_read_without_being_asked_whose(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one cluster uses it, that one is meant; nothing is opened for writing."""
    monkeypatch.setattr(sources, "PAGE_ROWS", 2)
    kept = [finished("a"), finished("b"), finished("c"), attempt("a"), load("w", 1.0)]
    write(url, "t1", *kept)
    assert list(rows(from_store(url, ""), 0.0)) == kept


def test_several_clusters_in_one_store_are_told_apart(url: str) -> None:
    """One must say which; the error lists them."""
    write(url, "t1", finished("a"))
    write(url, "t2", finished("b"))
    with pytest.raises(ConfigError, match=r"--table .*: t1, t2"):
        from_store(url, "")
    with pytest.raises(ConfigError, match=r"--table: no cluster of the id 't3' .*: t1, t2"):
        from_store(url, "t3")
    (found,) = rows(from_store(url, "t2"), 0.0)
    assert key_of(found) == ("b",)


def test_a_store_that_is_none_is_an_error(tmp_path: Path, url: str) -> None:
    """And no file is made in its place."""
    with pytest.raises(ConfigError, match="there is no results store"):
        from_store(url, "")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="nobody knows a results store"):
        from_store("oracle://x", "")
    (tmp_path / "results.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="the results store: "):
        from_store(url, "")


def test_a_store_that_breaks_off_is_an_error(url: str, tmp_path: Path) -> None:
    """Told as what it is, not as a defect of ours."""
    write(url, "t1", finished("a"))
    read = from_store(url, "t1")
    for file in tmp_path.iterdir():
        file.write_bytes(b"gone" * 5000)
    with pytest.raises(StoreSilent):
        list(rows(read, 0.0))


# --- a dump -------------------------------------------------------------------------------------------------


def test_a_dump_tells_what_waits_and_runs() -> None:
    """As a leader writes it: queued and running tasks, their attempts, and the workers as they are."""
    desks = Desks()
    desks.greet("ann")
    desks.join("w1")
    desks.run(1)
    desks.client(submit(2))
    desks.commit()
    desks.at(30.0)
    found, now = from_dump(dump(desks.state, "test"))
    tasks = {row.task: row for row in found if isinstance(row, FinishedTask)}
    running, queued = tasks[task_id(1)], tasks[task_id(2)]
    assert (running.state, running.worker, running.wall_s, running.command) == (
        "RUNNING",
        "w1",
        30.0,
        "/bin/true",
    )
    assert (queued.state, queued.worker, queued.wall_s, queued.attempt) == ("QUEUED", "", 0.0, 0)
    assert now == queued.finished == running.submitted + 30.0
    assert running.submitted < queued.submitted == pytest.approx(now - 30.0)
    (given,) = [row for row in found if isinstance(row, PastAttempt)]
    assert (given.task, given.cause, given.policy) == (task_id(1), "live", "least-loaded")
    (sample,) = [row for row in found if isinstance(row, LoadSample)]
    assert (sample.worker, sample.time, sample.reserved_cpus, sample.capacity_cpus) == ("w1", now, 1.0, 1.0)


def test_attempts_that_were_lost_are_in_a_dump() -> None:
    """With how long the task waited before each."""
    lost = msgspec.structs.replace(make_attempt(1, placed=110.0), ended=150.0, ended_as="lost")
    record = {
        **msgspec.to_builtins(TRUE),
        "id": task_id(1),
        "state": "QUEUED",
        "user": "ann",
        "digest": "d",
        "spec": msgspec.to_builtins(TRUE),
        "submitted": 100.0,
        "crashes": 1,
        "attempts": [msgspec.to_builtins(lost)],
    }
    data = msgspec.json.encode({"now": 200.0, "queue": [record], "running": []})
    task_row, attempt_row = from_dump(data)[0]
    assert isinstance(task_row, FinishedTask)
    assert isinstance(attempt_row, PastAttempt)
    assert task_row.crashes == 1
    assert (attempt_row.cause, attempt_row.waited_s, attempt_row.ended) == ("lost", 10.0, 150.0)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"now": 1}', b"\xff\xfe", b'{"now": "x", "queue": 1}'])
def test_what_is_no_dump_is_an_error(data: bytes) -> None:
    """With what would be one."""
    with pytest.raises(ConfigError, match="alb dump writes"):
        from_dump(data)
