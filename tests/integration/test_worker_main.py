"""A worker as a process: how it registers, yields, stops, and what its exit code says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness import wait_for

from alb.local.cluster import LocalCluster
from alb_core.config import WorkerConfig
from alb_core.io.zookeeper import read_cluster
from alb_core.znodes import WorkerNode
from alb_worker.core.departure import EXIT_REPLACED, EXIT_STOPPED
from alb_worker.main import EXIT_CONFIG, main

NAME = "w9"
EXIT_S = 60.0


@contextmanager
def worker(zk: str, work_dir: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``python -m alb_worker``; kill it at the end should it still run."""
    environ = {"ALB_ZK": zk, "ALB_NAME": NAME, "ALB_WORK_DIR": str(work_dir), "ALB_SPEED": "1", **settings}
    with subprocess.Popen(
        [sys.executable, "-m", "alb_worker"], env={**os.environ, **environ}, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def node(cluster: LocalCluster) -> WorkerNode | None:
    """Return the registration of the worker, as ZooKeeper holds it."""
    config = WorkerConfig(zk=cluster.zk, name=NAME)
    _, _, workers = read_cluster(config.zk_hosts(), config.zk_chroot())
    return next((found for found in workers if found.worker == NAME), None)


def is_registered(cluster: LocalCluster, process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the node is of this process."""
    found = node(cluster)
    return found is not None and found.pid == process.pid


def log_of(process: subprocess.Popen[bytes]) -> list[dict[str, object]]:
    """Return the lines of an ended process's log."""
    assert process.stderr is not None
    return [json.loads(line) for line in process.stderr.read().splitlines()]


def test_a_worker_yields_to_its_successor_which_stops_in_order(cluster: LocalCluster, tmp_path: Path) -> None:
    """The second process takes the node, the first exits with 3; SIGTERM: the node is deleted, exit 0."""
    with worker(cluster.zk, tmp_path / "a", ALB_LABELS="blue,zone=1", ALB_CPUS="0.5") as first:
        wait_for(lambda: is_registered(cluster, first), "the first worker to register")
        found = node(cluster)
        assert found is not None
        assert (found.capacity.cpus, found.capacity.labels[:2]) == (0.5, ("blue", "zone=1"))
        with worker(cluster.zk, tmp_path / "b") as second:
            wait_for(lambda: is_registered(cluster, second), "the second worker to register")
            assert first.wait(EXIT_S) == EXIT_REPLACED
            assert log_of(first)[-1]["event"] == "worker_stopped"
            assert is_registered(cluster, second)
            second.send_signal(signal.SIGTERM)
            assert second.wait(EXIT_S) == EXIT_STOPPED
            assert node(cluster) is None


def test_a_directory_serves_one_worker(cluster: LocalCluster, tmp_path: Path) -> None:
    """A second process in the same directory is refused before it registers anything."""
    with worker(cluster.zk, tmp_path) as first:
        wait_for(lambda: is_registered(cluster, first), "the first worker to register")
        with worker(cluster.zk, tmp_path) as second:
            assert second.wait(EXIT_S) == EXIT_CONFIG
            line = log_of(second)[-1]
            assert line["event"] == "configuration_refused"
            assert "in use" in str(line["why"])
        assert is_registered(cluster, first)
        first.send_signal(signal.SIGINT)
        assert first.wait(EXIT_S) == EXIT_STOPPED


def test_settings_that_cannot_work_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """More memory than the machine has: exit 78 and a sentence, nothing started."""
    config = WorkerConfig(zk="127.0.0.1:1", name=NAME, work_dir=str(tmp_path), memory_bytes=1 << 60)
    assert main(config) == EXIT_CONFIG
    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert line["event"] == "configuration_refused"
    assert "cannot be offered" in line["why"]


def test_without_settings_the_process_says_what_is_missing() -> None:
    """``python -m alb_worker`` without a ZooKeeper ends with a sentence."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ALB_")}
    ran = subprocess.run(
        [sys.executable, "-m", "alb_worker"], env=environ, capture_output=True, text=True, check=False
    )
    assert ran.returncode == EXIT_CONFIG
    assert "ALB_ZK" in ran.stderr
