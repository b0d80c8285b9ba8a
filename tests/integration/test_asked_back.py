"""What waits on a worker behind a long command, on a real cluster: it moves when another one is free."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.harness import PATIENCE_S, Gate, alb_json, wait_for

from alb import Client
from alb.local.cluster import LocalCluster
from alb_core.tasks import TaskState

SHORT: Final = 50
#: Commands so quick that a worker is given some ahead.
BEFORE: Final = 4
#: That end before the long one comes: few, for after a quantum the first command gives way to the others.


def place_of(client: Client, task_id: str) -> str:
    """Return the worker that a running task is on, or nothing."""
    record = client.task(task_id)
    return record.attempts[-1].worker if record.state is TaskState.RUNNING else ""


def test_what_waits_behind_a_long_command_moves_to_the_worker_that_is_free(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    """It was handed to a quick worker, whose slot a long command then took; the other one runs it at once."""
    width = max(worker.capacity.cpus for worker in client.workers())
    first, second, begun = Gate(tmp_path / "first"), Gate(tmp_path / "second"), tmp_path / "begun"
    try:
        other = client.submit(second.command, cpus=width)
        wait_for(lambda: place_of(client, other.id), "one worker to be taken")
        free = place_of(client, other.id)
        short = [client.submit("true", cpus=width) for _ in range(SHORT)]
        for future in short[:BEFORE]:
            future.result(timeout=PATIENCE_S)
        long = client.submit(f"touch {begun}; {first.command}", cpus=width, priority=10)
        wait_for(begun.exists, "the other worker to be taken")
        taken = place_of(client, long.id)
        left = [future.id for future in short if not future.done()]
        second.open()
        for future in (other, *short):
            assert future.result(timeout=PATIENCE_S).exit_code == 0
        assert not long.done()
        held = {line["worker"]: line["tasks"] for line in alb_json(cluster, "workers", "--tasks")}
        assert [(each["id"], each["holding"]) for each in held[taken]] == [(long.id, "runs")]
        assert taken == free or held[free] == []  # the same: the first was so slow to come that it gave way
    finally:
        first.open()
        second.open()
    assert long.result(timeout=PATIENCE_S).exit_code == 0
    for record in map(client.task, left):
        assert {attempt.ended_as for attempt in record.attempts[:-1]} <= {"given_back"}
        assert record.crashes == 0
