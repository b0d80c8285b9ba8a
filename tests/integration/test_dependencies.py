"""Tasks that wait for others, for a time, or for somebody, on a real cluster."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from tests.harness import PATIENCE_S, alb, alb_json, environ_of

from alb import Client, TaskCancelled
from alb.local.cluster import LocalCluster, alb_command
from alb_core.tasks import TaskState


def test_a_chain_on_the_command_line(cluster: LocalCluster, tmp_path: Path) -> None:
    """Ids may be abbreviated; the second is told what it waits for, and begins when the first has ended."""
    file = tmp_path / "file"
    first = alb(cluster, "submit", "--detach", "--hold", f"echo 1 > {file}").stdout.strip()
    second = subprocess.Popen(
        [*alb_command(), "submit", "-d", f"afterok:{first[:28]}", f"cat {file}"],
        env=environ_of(cluster),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr is not None
    assert second.stderr.readline() == f"alb: task waits: it waits for afterok:{first}, which has not begun\n"
    assert alb(cluster, "release", first).returncode == 0
    output, _ = second.communicate(timeout=PATIENCE_S)
    assert (second.returncode, output) == (0, "1\n")


def test_a_dependency_that_cannot_be_met_ends_the_task(client: Client) -> None:
    """And those that wait for it in turn, each with the reason."""
    first = client.submit("exit 4")
    second = client.submit("true", after=first)
    third = client.submit("true", after=second)
    other = client.submit("echo sorry", after=[f"afternotok:{first.id}"])
    for future, awaited in ((second, first), (third, second)):
        with pytest.raises(TaskCancelled, match=f"dependency afterok:{awaited.id} cannot be met"):
            future.result(timeout=PATIENCE_S)
    assert other.result(timeout=PATIENCE_S).stdout == b"sorry\n"


def test_singletons_do_not_overlap(client: Client, tmp_path: Path) -> None:
    """Three runs of one name, one after the other, although there is room for all."""
    lock = tmp_path / "lock"
    command = f"mkdir {lock} && sleep 0.3 && rmdir {lock}"
    futures = [client.submit(command, name="nightly", singleton=True) for _ in range(3)]
    assert [future.result(timeout=PATIENCE_S).exit_code for future in futures] == [0, 0, 0]


def test_hold_and_release(cluster: LocalCluster, client: Client) -> None:
    """A held task is listed, says so, and runs when it is released."""
    future = client.submit("echo free", hold=True)
    listed = alb_json(cluster, "tasks", "--state", "HELD")
    assert [line["id"] for line in listed] == [future.id]
    assert "submitted to be held" in alb(cluster, "status", future.id).stdout
    assert alb(cluster, "hold", future.id).returncode == 0
    assert alb(cluster, "release", future.id[-8:]).stdout == f"{future.id} released\n"
    assert future.result(timeout=PATIENCE_S).stdout == b"free\n"
    refused = alb(cluster, "hold", future.id)
    assert (refused.returncode, "has ended already" in refused.stderr) == (125, True)


def test_a_task_begins_at_its_time(cluster: LocalCluster, client: Client) -> None:
    """Not before."""
    began = time.monotonic()
    assert alb(cluster, "submit", "--begin", "+2", "true").returncode == 0
    assert time.monotonic() - began >= 2
    absolute = client.submit("true", begin=time.time() - 5)
    assert absolute.result(timeout=PATIENCE_S).record.state is TaskState.SUCCEEDED
