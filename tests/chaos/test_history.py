"""History on a real cluster: nothing that ended is missing from it, whatever died meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.harness import Work, alb, alb_json, kill_leader, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_core.rows import FinishedTask

with_store = pytest.mark.parametrize("plan", [Plan(store=True)], indirect=True)
forgetful = pytest.mark.parametrize(
    "plan", [Plan(workers=1, store=True, environ={"ALB_DONE_KEPT_MAX": "0"})], indirect=True
)


@contextmanager
def locked(cluster: LocalCluster) -> Iterator[None]:
    """Hold the database, as somebody may who looks into it with too much trust."""
    path = cluster.store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def archived(client: Client) -> dict[str, FinishedTask]:
    """Return the history."""
    return {task.task: task for task in client.history()}


@with_store
def test_every_result_is_in_the_history(cluster: LocalCluster, work: Work, client: Client) -> None:
    """Leaders die, the database is locked; in the end the store says of each task what its client heard."""
    with work.submitting(30.0):
        running = work.submit_running(3.0, count=2)
        kill_leader(cluster)
        running[0].result(timeout=60)
        with locked(cluster):
            wait_for(lambda: client.cluster().store not in ("", "ok"), "the leader to notice")
            kill_leader(cluster)
            wait_for(lambda: client.cluster().unarchived > 0, "tasks to wait for the store")
    results = work.check()
    wait_for(lambda: len(archived(client)) == len(results), "all tasks to be archived")
    for task, row in archived(client).items():
        result = results[task]
        assert (row.state, row.exit_code, row.worker) == (result.state.value, result.exit_code, result.worker)
        assert row.attempt == result.attempt
    page = client.cluster()
    assert (page.store, page.unarchived) == ("ok", 0)


@with_store
def test_history_by_command_line(cluster: LocalCluster) -> None:
    """Filters, JSON, CSV; and the database's own shell on the documented views."""
    wait_for(lambda: len(alb_json(cluster, "workers")) == 2, "both workers to be candidates")
    for status in (0, 3):
        assert alb(cluster, "submit", "-J", f"job{status}", f"exit {status}").returncode == status
    wait_for(lambda: len(alb_json(cluster, "history")) == 2, "both tasks to be archived")
    assert [task["name"] for task in alb_json(cluster, "history")] == ["job3", "job0"]
    assert [task["name"] for task in alb_json(cluster, "history", "--state", "FAILED")] == ["job3"]
    assert alb_json(cluster, "history", "--since", "2099-01-01") == []
    assert len(alb_json(cluster, "history", "--since", "10m", "--limit", "1")) == 1
    table = alb(cluster, "history", "--name", "job0")
    assert table.stdout.splitlines()[1].split()[1:3] == ["SUCCEEDED", "0"]
    lines = alb(cluster, "history", "--csv").stdout.splitlines()
    assert lines[0].startswith("task,user,name,command,state,exit_code")
    assert len(lines) == 3
    assert alb(cluster, "history", "--since", "soon").returncode == 125
    path = cluster.store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT state, count(*) FROM v_tasks GROUP BY state ORDER BY state")
        assert found.fetchall() == [("FAILED", 1), ("SUCCEEDED", 1)]
        attempts = connection.execute("SELECT policy, candidates, cause FROM v_attempts").fetchall()
        assert attempts == [("least-loaded", 2, "exited")] * 2
    url = alb(cluster, "sql", "--store", cluster.store, "--url")
    assert url.stdout.strip() == cluster.store


@with_store
def test_a_store_that_cannot_be_is_refused_at_the_start(cluster: LocalCluster) -> None:
    """Before anybody relies on a history that nobody keeps."""
    broker = cluster.add_broker("b9")
    ran = subprocess.run(
        [*broker.command, "--store", "oracle://x"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 78
    assert "nobody knows a results store of the kind 'oracle'" in ran.stderr


@forgetful
def test_what_was_done_well_is_not_run_again(cluster: LocalCluster, tmp_path: Path) -> None:
    """Also when its tasks have left the table and its leader died; what failed is, and so is what is new."""
    witness, lines = tmp_path / "witness", tmp_path / "lines"
    lines.write_text("".join(f"{number}\n" for number in range(50)))
    command = f"echo {{}} >>{witness}; test {{}} -ge 5"

    def run_all() -> str:
        ran = alb(cluster, "submit", "--each-line", str(lines), "--incremental", command)
        assert ran.returncode == 1
        return ran.stderr.splitlines()[-1]

    assert run_all() == "alb: 50 lines: 50 ran, 0 skipped (they have a good result), 5 failed"
    wait_for(lambda: len(alb_json(cluster, "history")) == 50, "all tasks to be archived")
    wait_for(lambda: not alb_json(cluster, "tasks", "--all"), "all tasks to leave the table")
    kill_leader(cluster)
    assert run_all() == "alb: 50 lines: 5 ran, 45 skipped (they have a good result), 5 failed"
    with lines.open("a") as more:
        more.write("50\n")
    assert run_all() == "alb: 51 lines: 6 ran, 45 skipped (they have a good result), 5 failed"
    runs = Counter(map(int, witness.read_text().split()))
    assert runs == Counter({number: 3 if number < 5 else 1 for number in range(51)})


@forgetful
def test_a_task_that_left_the_table_is_remembered(cluster: LocalCluster, client: Client) -> None:
    """Its status, its exit status and the end of its output come from the store."""
    task = client.submit("echo out; echo err >&2; exit 3").result(timeout=60)
    wait_for(lambda: not alb_json(cluster, "tasks", "--all"), "the task to leave the table")
    (record,) = alb_json(cluster, "status", task.id)
    assert (record["result"]["exit_code"], record["result"]["stdout"]["text"]) == (3, "out\n")
    assert record["attempts"][0]["worker"] == "w1"
    shown = alb(cluster, "status", task.id[-10:]).stdout
    assert "source    the results store: the task has left the table" in shown
    assert alb(cluster, "wait", task.id).returncode == 3
    logs = alb(cluster, "logs", task.id)
    assert (logs.stdout, "err\n" in logs.stderr) == ("out\n", True)
    assert client.attach(task.id).result(timeout=60).stderr == b"err\n"
    large = alb(cluster, "submit", "--incremental", "seq 200000")
    wait_for(lambda: not alb_json(cluster, "tasks", "--all"), "the large one to leave the table")
    again = alb(cluster, "submit", "--incremental", "seq 200000")
    assert (again.returncode, again.stdout) == (0, large.stdout)
    assert "did this well" in again.stderr
    assert client.submit("seq 200000", incremental=True).result(timeout=60).stdout == large.stdout.encode()
    unknown = alb(cluster, "wait", "0" * 32)
    assert (unknown.returncode, "results store" in unknown.stderr) == (125, True)
