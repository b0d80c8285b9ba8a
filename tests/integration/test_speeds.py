"""Speeds by kind of work, and what is to be optimised, on a real cluster with two workers more.

Both are on this machine, so what they would measure is written where they keep it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from tests.harness import PATIENCE_S, Gate, alb, environ_of, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, alb_command
from alb_core.speeds import Speeds
from alb_worker.calibration.keeping import FILE, Measured
from alb_worker.calibration.machine import take_fingerprint

SPEEDS: Final = {
    "ints": Speeds(integer=4.0, memory=1.0, floating=0.25),
    "floats": Speeds(integer=0.25, memory=1.0, floating=4.0),
}
PAIR: Final = "pair=speeds"


def start(cluster: LocalCluster, name: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a worker that measured its machine before."""
    folder.mkdir()
    kept = Measured(machine=take_fingerprint(), speeds=SPEEDS[name])
    (folder / FILE).write_bytes(msgspec.json.encode(kept))
    command = (*alb_command(), "worker", "--name", name, "--cpus", "4", "--memory", "256M", "--labels", PAIR)
    return subprocess.Popen(
        (*command, "--work-dir", str(folder)),
        env={**environ_of(cluster), "ALB_SPEED": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def linked(client: Client) -> int:
    """Return how many of the pair the leader hears."""
    return sum(line.link for line in client.workers() if line.worker in SPEEDS)


def running(client: Client) -> int:
    """Return how many tasks run on the pair."""
    return sum(line.running for line in client.workers(list(SPEEDS)))


@pytest.fixture(scope="module")
def pair(main_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster with two workers more, each fast in what the other is slow in."""
    folder = tmp_path_factory.mktemp("pair")
    processes = [start(main_cluster, name, folder / name) for name in SPEEDS]
    try:
        with Client(main_cluster.zk) as client:
            wait_for(
                lambda: len([w for w in client.workers() if w.worker in SPEEDS and w.link]) == 2, "the pair"
            )
        yield main_cluster
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(PATIENCE_S)
        with Client(main_cluster.zk) as client:
            wait_for(lambda: linked(client) == 0, "their end")


def test_a_task_goes_to_who_is_fast_in_what_it_strains(pair: LocalCluster, client: Client) -> None:
    """What was measured stands in the worker's node, which the leader read, and decides for who hurries."""
    known = {line.worker: line.capacity.speeds for line in client.workers() if line.worker in SPEEDS}
    assert known == SPEEDS
    for work, worker in (("integer", "ints"), ("float", "floats")):
        flags = ("--work", work, "--optimize", "time", "--require", PAIR)
        ran = alb(pair, "submit", *flags, "echo $ALB_WORKER")
        assert (ran.returncode, ran.stdout) == (0, f"{worker}\n"), ran.stderr
    shown = alb(pair, "workers", "ints").stdout
    assert "1 (4, 1, 0.25)" in shown


@pytest.mark.usefixtures("pair")
def test_who_saves_is_packed(client: Client, tmp_path: Path) -> None:
    """Four tasks fill one worker while the other one, as fast, is idle; who hurries goes there."""
    gate = Gate(tmp_path / "gate")
    want = {"require": [PAIR], "cpus": 1.0}
    saving = []
    for _ in range(3):
        saving.append(client.submit(gate.command, optimize="resources", **want))
        wait_for(lambda: running(client) == len(saving), "it to run")
    hurried = client.submit(gate.command, optimize="time", **want)
    wait_for(lambda: running(client) == 4, "all to run")
    gate.open()
    places = {future.result(PATIENCE_S).worker for future in saving}
    assert len(places) == 1
    assert hurried.result(PATIENCE_S).worker not in places
