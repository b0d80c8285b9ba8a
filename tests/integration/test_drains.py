"""Workers are taken out of service and put back on a real cluster, by command line."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.harness import PATIENCE_S, Gate, alb, alb_json, environ_of, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, alb_command


@pytest.fixture(autouse=True)
def undrained(cluster: LocalCluster) -> Iterator[None]:
    """Find and leave everybody at work: commands of other tests may have failed on one worker only."""
    wait_for(
        lambda: "quarantine" not in alb(cluster, "workers").stdout,
        "no worker to be in quarantine",
        timeout_s=2 * PATIENCE_S,
    )
    yield
    assert alb(cluster, "undrain", "w1", "w2").returncode == 0


def test_a_drained_worker_is_given_nothing_until_it_is_undrained(
    cluster: LocalCluster, client: Client
) -> None:
    """All new tasks go to the other one; `alb workers` says who drained it and why."""
    drained = alb(cluster, "drain", "--reason", "new disk", "w1")
    assert (drained.returncode, drained.stdout) == (0, "w1 is drained and empty\n")
    assert {result.worker for result in client.map(["true"] * 20)} == {"w2"}
    listed = alb(cluster, "workers")
    assert ["w1", "drained"] in [line.split()[:2] for line in listed.stdout.splitlines()]
    assert "new disk" in listed.stderr
    assert alb(cluster, "undrain", "w1").stdout == "w1 is given tasks again\n"
    wait_for(lambda: "w1" in {r.worker for r in client.map(["sleep 0.2"] * 4)}, "w1 to work again")


def test_drain_waits_for_what_runs(cluster: LocalCluster, client: Client, gate: Gate) -> None:
    """It says what is left, and ends when the worker is empty; the command ends there, undisturbed."""
    futures = [client.submit(f"{gate.command}; echo done", cpus=2) for _ in range(2)]  # one on each worker
    wait_for(lambda: all(w.running for w in client.workers()), "both workers to be busy")
    with _draining(cluster, "w2") as waiting:
        assert waiting.stderr is not None
        assert "w2: 1 task left" in waiting.stderr.readline()
        gate.open()
        printed, _ = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, printed) == (0, "w2 is drained and empty\n")
    results = [future.result(timeout=PATIENCE_S) for future in futures]
    assert {result.worker for result in results} == {"w1", "w2"}
    assert {result.attempt for result in results} == {1}


def test_a_deadline_moves_what_runs(cluster: LocalCluster, client: Client) -> None:
    """After it the command is ended there and runs from its beginning on the other worker."""
    assert alb(cluster, "drain", "w2").returncode == 0
    future = client.submit("[ $ALB_ATTEMPT = 2 ] || sleep 600; echo done")
    wait_for(lambda: client.workers(["w1"])[0].running == 1, "w1 to be busy")
    assert alb(cluster, "undrain", "w2").returncode == 0
    assert alb(cluster, "drain", "w1", "--deadline", "0.5").returncode == 0
    result = future.result(timeout=PATIENCE_S)
    assert (result.stdout, result.worker, result.attempt) == (b"done\n", "w2", 2)


@contextmanager
def _draining(cluster: LocalCluster, worker: str) -> Iterator[subprocess.Popen[str]]:
    """Start `alb drain`, and see to its end."""
    command = [*alb_command(), "drain", worker]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environ_of(cluster), text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_leaves_the_drain_in_force(cluster: LocalCluster, client: Client, gate: Gate) -> None:
    """Only the waiting ends, and it says so."""
    future = client.submit(gate.command)
    wait_for(lambda: any(each.running for each in client.workers()), "a busy worker")
    (worker,) = (each.worker for each in client.workers() if each.running)
    with _draining(cluster, worker) as waiting:
        assert waiting.stderr is not None
        assert "1 task left" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 130
    assert "the drain stays in force" in said
    assert client.workers([worker])[0].drain is not None
    gate.open()
    assert future.result(timeout=PATIENCE_S).exit_code == 0


def test_an_unknown_worker_is_named(cluster: LocalCluster) -> None:
    """With those that are known; nobody is drained."""
    drained = alb(cluster, "drain", "w1", "w77")
    assert drained.returncode == 125
    assert "no worker w77 is known; known: w1, w2" in drained.stderr
    assert all(line.get("drain") is None for line in alb_json(cluster, "workers"))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("broker", "b1"), 0, "broker b1: "),
        (("worker", "w1"), 0, "worker w1: registered with b"),
        (("broker", "b9"), 1, "not registered"),
        (("worker", "w9"), 1, "not registered"),
        (("worker",), 125, "Missing argument 'NAME'"),
    ],
)
def test_health(cluster: LocalCluster, arguments: tuple[str, ...], status: int, words: str) -> None:
    """One sentence and the exit status that health checks want."""
    checked = alb(cluster, "health", *arguments)
    assert (checked.returncode, words in checked.stdout + checked.stderr) == (status, True), checked


def test_one_broker_leads_and_the_other_stands_by(cluster: LocalCluster) -> None:
    """Both are healthy."""
    said = [alb(cluster, "health", "broker", name).stdout for name in ("b1", "b2")]
    assert sorted(text.split()[2].rstrip(",") for text in said) == ["leads", "stands"]
