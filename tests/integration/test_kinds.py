"""Kinds of task on real clusters: a plug-in of somebody else's, and programs that come along."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import alb, wait_for
from tests.plug_ins import install
from tests.source_tree import ROOT

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_core.tasks import TaskState

EXAMPLE = ROOT / "examples/kinds/sqlite"
ARCH = platform.machine()


SLOW = """
from alb_worker.kinds.interface import Kind

class Slow(Kind):
    def prepare(self, attempt):
        while True: pass
"""


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster whose worker has the example's kind, one that never answers, one that cannot be loaded."""
    target = tmp_path_factory.mktemp("site")
    (target / "slow_kind.py").write_text(SLOW)
    install(EXAMPLE, target, {"slow": "slow_kind:Slow", "broken": "no_such_module:Kind"})
    plan = Plan(brokers=1, workers=1, environ={"PYTHONPATH": str(target)})
    with LocalCluster(tmp_path_factory.mktemp("plugged") / "cluster", plan) as running:
        yield running


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of orders."""
    path = tmp_path / "orders.db"
    with sqlite3.connect(path) as made:
        made.execute("create table orders (what text, pieces int)")
        made.executemany("insert into orders values (?, ?)", [("bolt", 3), ("nut", 4), ("bolt", 5)])
    made.close()
    return path


def test_a_kind_of_somebody_elses(plugged: LocalCluster, database: Path, tmp_path: Path) -> None:
    """No broker knows it; its value comes back, small and large, and the files with it."""
    script = b"insert into orders values ('nut', 1);\nselect what, sum(pieces) from orders group by what;\n"
    with Client(zk=plugged.zk) as client:
        future = client.submit(
            "orders", kind="sqlite", payload=script, files={"db": database}, returns=["db"]
        )
        assert json.loads(future.value()) == [["bolt", 8], ["nut", 5]]
        assert future.result().stdout == b"bolt\t8\nnut\t5\n"
        (back,) = future.fetch(tmp_path / "back")
        assert back.stat().st_size > 0
        long = client.submit("long", kind="sqlite", payload=b"select hex(zeroblob(50000));")
        assert json.loads(long.value()) == [["0" * 100_000]]
        wrong = client.submit("wrong", kind="sqlite", payload=b"select nonsense;").result(60)
        assert (wrong.exit_status, wrong.why) == (1, "SQLite refused the script; its stderr says why")
        assert b"no such column" in wrong.stderr


def test_kinds_on_the_command_line(plugged: LocalCluster, database: Path, tmp_path: Path) -> None:
    """The payload is a file; the value is in what --json writes."""
    (tmp_path / "q.sql").write_text("select count(*) from orders;")
    words = ("--kind", "sqlite", "--payload", str(tmp_path / "q.sql"), "--file", f"{database}:db")
    assert alb(plugged, "submit", *words).stdout == "3\n"
    ran = alb(plugged, "submit", "--json", *words, "count")
    assert json.loads(ran.stdout)["value"] == "[[3]]"
    ran = alb(plugged, "submit", "--kind", "sqlite", "nothing")
    assert ran.returncode == 125
    assert "the kind 'sqlite': it has no script; give one with --payload" in ran.stderr


def test_a_plugin_that_misbehaves_hurts_nobody(plugged: LocalCluster) -> None:
    """One that never answers ends its own attempt; one that cannot be loaded is not announced."""
    ran = alb(plugged, "submit", "--kind", "slow", "x")
    assert ran.returncode == 125
    assert "the plug-in of the kind 'slow' failed on w1: KindTooSlow" in ran.stderr
    assert alb(plugged, "submit", "echo alive").stdout == "alive\n"
    with Client(zk=plugged.zk) as client:
        (worker,) = client.workers()
        kinds = {label for label in worker.capacity.labels if label.startswith("kind=")}
    assert kinds == {"kind=python", "kind=sqlite", "kind=slow"}
    assert '"kind_unusable"' in plugged["w1"].log.read_text()


def test_a_kind_that_no_worker_has_waits_and_says_so(cluster: LocalCluster, client: Client) -> None:
    """It is placed where the kind is; should it come elsewhere all the same, that is said."""
    future = client.submit("x", kind="sqlite", moves=True)
    told: list[str] = []
    future.call_when_moved(lambda notice: told.append(notice.why) if notice.why else None)
    wait_for(lambda: told, "word of why it waits")
    assert "no worker has the label kind=sqlite" in told[0]
    assert client.task(future.id).state is TaskState.QUEUED
    client.cancel(future.id)
    assert alb(cluster, "submit", "echo free").stdout == "free\n"


# --- programs -----------------------------------------------------------------------------------------------


def test_a_program_comes_along(cluster: LocalCluster, tmp_path: Path) -> None:
    """An ELF file by its head, or by name; COMMAND is its arguments, and no wildcard brings it back."""
    program = tmp_path / "prog"
    shutil.copy("/bin/echo", program)
    program.chmod(0o600)  # it is executable there, whatever it is here
    ran = alb(cluster, "submit", "--binary", str(program), "hello", "$HOME; exit")
    assert (ran.returncode, ran.stdout) == (0, "hello $HOME; exit\n"), ran.stderr
    both = ("--binary", f"{ARCH}={program}", "--binary", f"riscv64={program}")
    ran = alb(cluster, "submit", *both, "--return", "*", "--return-dir", str(tmp_path / "back"), "one")
    assert (ran.returncode, ran.stdout) == (0, "one\n"), ran.stderr
    assert not (tmp_path / "back").exists()


def test_a_script_goes_anywhere(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """With files, input lines, and steps, as any command."""
    script = tmp_path / "work.sh"
    script.write_text('#!/bin/sh\ncat data; echo "$1 $ALB_WORKER" | cut -d" " -f1\n')
    (tmp_path / "data").write_text("data\n")
    (tmp_path / "lines").write_text("a b\nc\n")
    ran = alb(
        cluster,
        *("submit", "--binary", str(script), "--file", str(tmp_path / "data")),
        *("--each-line", str(tmp_path / "lines")),
    )
    assert sorted(ran.stdout.split()) == ["a", "c", "data", "data"], ran.stderr
    result = client.submit(["x"], binary=script, files=[tmp_path / "data"], steps=2).result(60)
    assert result.stdout == b"data\nx\ndata\nx\n"


def test_a_program_for_other_machines_waits_and_says_so(client: Client) -> None:
    """It names the architectures that there are."""
    future = client.submit([], binary={"riscv64": "/bin/true"}, moves=True)
    told: list[str] = []
    future.call_when_moved(lambda notice: told.append(notice.why) if notice.why else None)
    wait_for(lambda: told, "word of why it waits")
    assert f"no worker has the architecture riscv64: there are {ARCH}" in told[0]
    client.cancel(future.id)


def test_what_cannot_be_a_program_is_refused_at_once(cluster: LocalCluster, tmp_path: Path) -> None:
    """Before anything is submitted, with a sentence and exit status 2."""
    text = tmp_path / "text"
    text.write_text("echo hello\n")
    here = os.fspath(text)
    for words, says in (
        (("--binary", here), "is no program: neither ELF nor a script"),
        (("--binary", "/bin/true", "--binary", "/bin/false"), "are both for"),
        (("--binary", "/bin/true", "--cwd", "/tmp"), "leave --cwd out"),  # noqa: S108 (nothing is opened)
        (("--binary", "/bin/true", "--kind", "python"), "not both"),
        (("--payload", here, "true"), "has no payload"),
    ):
        ran = alb(cluster, "submit", *words)
        assert (ran.returncode, says in ran.stderr) == (125, True), ran.stderr
