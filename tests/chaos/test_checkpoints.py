"""Tasks with checkpoints: whoever dies, the next attempt has files that are as new as what was reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.test_file_faults import kill_all, processes_of
from tests.harness import alb, kill_leader, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_core.increments import checkpoint_of
from alb_core.rows import Increment

with_store = pytest.mark.parametrize("plan", [Plan(store=True)], indirect=True)

COUNT = """
count=$(cat count 2>/dev/null || echo 0) told=${ALB_RESUME:-0}
echo "$ALB_ATTEMPT $count $told" >> %(place)s/starts
while [ $told -lt $count ]; do told=$((told + 1)); echo $told >> "$ALB_INCREMENTS"; done
while ! [ -e %(place)s/enough ]; do
  count=$((count + 1))
  echo $count > count.new && mv count.new count
  echo $count >> "$ALB_INCREMENTS"
  sleep 0.1
done
cat count
"""
#: What was saved and not reported is reported first: files are as new as the increments, or newer.


def starts(place: Path) -> list[tuple[int, int, int]]:
    """Return each attempt, what its file held when it began, and what it was told to go on from."""
    lines = (place / "starts").read_text().splitlines() if (place / "starts").exists() else []
    return [(int(attempt), int(count), int(told)) for attempt, count, told in map(str.split, lines)]


def reported(client: Client, task: str) -> list[Increment]:
    """Return what is stored of what the command itself reported."""
    return [row for row in client.increments(task) if checkpoint_of(row) is None]


def checkpoints(client: Client, task: str) -> list[Increment]:
    """Return the checkpoints that are stored."""
    return [row for row in client.increments(task) if checkpoint_of(row) is not None]


def counted(cluster: LocalCluster, worker: str) -> int:
    """Return how far the command on a worker has counted."""
    texts = [path.read_text() for path in (cluster.folder / worker).glob("attempts/*/count")]
    return max((int(text) for text in texts if text), default=0)


@with_store
def test_a_count_goes_on_whoever_dies(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """Workers, the leader, all depots are killed; then a worker is stopped, another drained.

    No count is skipped, stored twice or forgotten; and who is not killed saves what is there at the end.
    """
    future = client.submit(COUNT % {"place": tmp_path}, checkpoints=["count"], output=False)

    def next_attempt(number: int) -> None:
        wait_for(lambda: len(starts(tmp_path)) == number, f"attempt {number}")

    def runs_on() -> str:
        return client.task(future.id).attempts[-1].worker

    for kill in (1, 2):
        known = len(checkpoints(client, future.id))
        wait_for(lambda known=known: len(checkpoints(client, future.id)) > known, "another checkpoint")
        worker = cluster[runs_on()]
        if kill == 2:
            for broker in cluster.named("broker"):
                kill_all(processes_of(broker.pid, "alb_broker.depot"))
            cluster[kill_leader(cluster).broker].start()
        worker.kill()
        worker.start()
        next_attempt(kill + 1)
    least = []
    for number, leave in ((4, "stop"), (5, "drain")):
        worker = cluster[runs_on()]
        begun_with = starts(tmp_path)[-1][1]
        wait_for(lambda: counted(cluster, worker.name) > begun_with + 5, "some counts")  # noqa: B023
        least.append(counted(cluster, worker.name))
        if leave == "stop":
            worker.stop()
            next_attempt(number)
            worker.start()
        else:
            assert alb(cluster, "drain", worker.name, "--deadline", "0").returncode == 0
            next_attempt(number)
    (tmp_path / "enough").touch()
    result = future.result(60)
    last = int(result.stdout)
    assert [int(row.value) for row in reported(client, future.id)] == list(range(1, last + 1))
    began = starts(tmp_path)
    assert [attempt for attempt, _, _ in began] == [1, 2, 3, 4, 5]
    for attempt, count, told in began:
        before = [int(row.value) for row in reported(client, future.id) if row.attempt < attempt]
        assert told == max(before, default=0)
        assert count >= told, "its file was older than what was stored"
    assert began[2][1] > began[1][1] > 0, "nobody began anew"
    assert began[3][1] >= least[0], "the stopped worker saved what it had"
    assert began[4][1] >= least[1], "and so did the drained one"


@with_store
def test_a_large_file_is_saved_and_restored(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """50 MiB, whole, with what else there is; what ``alb status`` says of it; a task's input is replaced."""
    (tmp_path / "state").write_text("as it was shipped\n")
    command = """
    if [ $ALB_ATTEMPT = 1 ]; then
      cat state; head -c 52428800 /dev/urandom > new; mkdir deep; echo deep > deep/file
      sha256sum < new > %(sum)s; mv new state
      echo '{"key":"alb.checkpoint","value":[]}' >> $ALB_INCREMENTS
      sleep 60
    fi
    sha256sum < state; cat deep/file
    """
    path = tmp_path / "sum"
    what = ("--file", str(tmp_path / "state"), "--checkpoint", "state", "--checkpoint", "deep/*")
    submitted = alb(cluster, "submit", "--detach", *what, command % {"sum": path})
    future = client.attach(submitted.stdout.strip())
    wait_for(lambda: reported(client, future.id), "the first increment")
    (row,) = checkpoints(client, future.id)
    assert {file.name: file.size_bytes for file in checkpoint_of(row) or ()} == {
        "deep/file": 5,
        "state": 50 * 2**20,
    }
    assert "2 files, 50" in alb(cluster, "status", future.id).stdout
    assert "alb.checkpoint\t2 files, 50" in alb(cluster, "increments", future.id).stdout
    cluster[client.task(future.id).attempts[-1].worker].kill()
    assert future.result(60).stdout.decode() == f"{path.read_text()}deep\n"
