"""`alb up` and `alb down`, as a newcomer types them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alb.local.cluster import LocalCluster, alb_command, down, read_state

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the cluster goes; nothing of it is left afterwards."""
    yield tmp_path / "local"
    down(tmp_path / "local", say=lambda _: None)


@pytest.fixture
def run(folder: Path) -> Run:
    """Run the command line with ``$ALB_HOME`` set."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*alb_command(), *arguments],
            env={**os.environ, "ALB_HOME": str(folder.parent), **environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


def test_the_first_five_minutes(run: Run, folder: Path) -> None:
    """Up, a command through it, a dead broker, up again, down: each says what it did."""
    first = run("up", "--brokers", "2", "--workers", "1")
    assert first.returncode == 0, first.stderr
    state = read_state(folder)
    assert state is not None
    assert f"export ALB_ZK={state.zk}" in first.stdout
    assert [member.name for member in state.members] == ["z1", "b1", "b2", "w1"]

    submitted = run("submit", "--zk", state.zk, "echo hello; exit 7")
    assert (submitted.returncode, submitted.stdout) == (7, "hello\n")

    cluster = LocalCluster(folder)
    pids = {name: process.pid for name, process in cluster.processes.items()}
    again = run("up")
    assert again.returncode == 0
    assert "already up" in again.stdout
    assert {name: process.pid for name, process in LocalCluster(folder).processes.items()} == pids

    cluster["b1"].kill()
    mended = run("up")
    assert mended.returncode == 0, mended.stderr
    assert "b1" in mended.stdout.splitlines()[0]
    assert LocalCluster(folder)["b1"].running

    ended = run("down")
    assert ended.returncode == 0
    assert ended.stdout.startswith("ended z1, b1, b2, w1")
    assert not any(process.running for process in cluster.processes.values())
    assert run("down").stdout.startswith("nothing is up")


def test_the_table_outlives_down_and_up(run: Run, folder: Path) -> None:
    """Without --purge a cluster that is started again still knows its tasks; with it, nothing is left."""
    assert run("up", "--brokers", "1", "--workers", "1").returncode == 0
    zk = LocalCluster(folder).zk
    assert run("submit", "--zk", zk, "echo kept").returncode == 0
    assert run("down").returncode == 0
    assert run("up", "--brokers", "1", "--workers", "1").returncode == 0
    listed = run("tasks", "--all", "--zk", LocalCluster(folder).zk)
    assert "echo kept" in listed.stdout
    assert run("down", "--purge").returncode == 0
    assert not folder.exists()


def test_up_without_zookeeper_says_how_to_get_one(run: Run, tmp_path: Path) -> None:
    """On a machine that has none, the error names the package and the variable."""
    ran = run("up", ZOOKEEPER_HOME=str(tmp_path))
    assert ran.returncode != 0
    assert "apt-get install zookeeper" in ran.stderr
    assert "ZOOKEEPER_HOME" in ran.stderr
