"""GPUs, named counts, labels and measured use on a real cluster whose worker is told what it has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from tests.harness import PATIENCE_S, alb, alb_json, environ_of, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, alb_command
from alb_core.resources import counts_of

HELD = "echo $ALB_GPUS/$CUDA_VISIBLE_DEVICES; while [ ! -e {} ]; do sleep 0.05; done"


@pytest.fixture
def lab(cluster: LocalCluster, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A third worker, with two GPUs that nobody can see, a licence, and a label."""
    folder = tmp_path_factory.mktemp("lab")
    process = subprocess.Popen(
        [
            *(*alb_command(), "worker", "--name", "lab", "--cpus", "4", "--memory", "256M"),
            *("--gpus", "2", "--resource", "licence=1", "--resource", "dongle=3", "--labels", "zone=lab"),
            *("--work-dir", str(folder)),
        ],
        env=environ_of(cluster),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: any(each.worker == "lab" and each.link for each in client.workers()), "the lab")
        yield "lab"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        wait_for(lambda: all(each.worker != "lab" or not each.link for each in client.workers()), "its end")


def test_each_task_has_gpus_of_its_own(client: Client, lab: str, tmp_path: os.PathLike[str]) -> None:
    """Two at once have different ones, a third waits for one that comes free; who asks for none sees none."""
    go = os.path.join(tmp_path, "go")  # noqa: PTH118 (a path as text)
    futures = [client.submit(HELD.format(go), cpus=0.1, gpus=1) for _ in range(3)]
    wait_for(lambda: client.workers([lab])[0].running == 2, "two to run")
    assert client.workers([lab])[0].reserved_counts == counts_of({"gpus": 2, "licence": 0, "dongle": 0})
    blind = client.submit("echo [$CUDA_VISIBLE_DEVICES]", cpus=0.1, require=["zone=lab"])
    assert blind.result(PATIENCE_S).stdout == b"[]\n"
    with open(go, "x"):  # noqa: PTH123 (as above)
        results = [future.result(PATIENCE_S) for future in futures]
    assert {result.worker for result in results} == {lab}
    assert {result.stdout for result in results} == {b"0/0\n", b"1/1\n"}
    wait_for(lambda: client.workers([lab])[0].reserved_counts[1].amount == 0, "all to be given back")


def test_a_licence_is_had_by_one_at_a_time(client: Client, tmp_path: os.PathLike[str], lab: str) -> None:
    """Those that want it run one after the other; `mkdir` fails where two are inside."""
    inside = os.path.join(tmp_path, "inside")  # noqa: PTH118 (a path as text)
    command = f"mkdir {inside} && sleep 0.2 && rmdir {inside}"
    results = client.map([command] * 5, cpus=0.1, resources={"licence": 1})
    assert {(result.exit_status, result.worker) for result in results} == {(0, lab)}


def test_labels_that_are_preferred_lead_there_and_hold_nobody_up(client: Client, lab: str) -> None:
    """Where the lab has room the task is there; where it cannot ever, it runs elsewhere."""
    wish = ["zone=lab"]
    assert {each.worker for each in client.map(["true"] * 4, cpus=0.1, prefer=wish)} == {lab}
    elsewhere = client.submit("true", require=["zone!=lab"], prefer=wish).result(PATIENCE_S)
    assert elsewhere.worker != lab


def test_what_no_worker_has_is_said(cluster: LocalCluster, client: Client) -> None:
    """The task waits, and `alb status` tells for what."""
    future = client.submit("true", resources={"unobtainium": 1})
    try:
        wait_for(
            lambda: "no worker has the resource unobtainium" in alb(cluster, "status", future.id).stdout,
            "the reason",
        )
    finally:
        future.cancel()


def test_what_a_task_uses_is_shown_while_it_runs(cluster: LocalCluster, client: Client) -> None:
    """A loop keeps a processor busy, as far as it gets one; `alb status` says so."""
    future = client.submit("while :; do :; done", time_limit=60)
    try:
        wait_for(lambda: "of processor time so far" in alb(cluster, "status", future.id).stdout, "its use")
        (use,) = client.task_page(future.id).uses
        assert (use.attempt.task, use.attempt.n) == (future.id, 1)
        assert use.cpu_s > 0
        assert use.memory_bytes > 0
    finally:
        future.cancel()


def test_workers_are_listed_with_what_they_have(cluster: LocalCluster, lab: str) -> None:
    """In the table, and as JSON."""
    row = next(line for line in alb(cluster, "workers").stdout.splitlines() if line.startswith(lab))
    assert "dongle=0/3,gpus=0/2,licence=0/1" in row
    listed = {line["worker"]: line for line in alb_json(cluster, "workers")}
    assert json.dumps(["gpus", 2]) in json.dumps(listed[lab]["capacity"]["counts"])
