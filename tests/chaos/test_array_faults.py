"""Arrays while leaders die: no index is skipped, none runs again, and any client can read how each ended."""

from __future__ import annotations

from pathlib import Path

from tests.harness import kill_leader, wait_for

from alb import Client
from alb.local.cluster import LocalCluster
from alb_core.tasks import TaskState

TASKS = 300
FAILS = 7
#: Every so many indexes one fails.


def test_kill_of_the_leader_in_the_midst_of_an_array(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    """All results come, each once; another client reads every end afterwards; the commands bear witness."""
    witness = tmp_path / "indexes"
    command = f"echo {{#}} >> {witness}; echo $ALB_INDEX; [ $((ALB_INDEX % {FAILS})) -ne 0 ]"
    future = client.array(command, indexes=range(1, TASKS + 1))
    tasks = iter(future)
    seen = [next(tasks) for _ in range(TASKS // 5)]
    dead = kill_leader(cluster)
    cluster.wait_for_leader(after_epoch=dead.epoch)
    seen += tasks
    assert sorted(task.index for task in seen) == list(range(1, TASKS + 1))
    assert all((task.exit_status == 0) is (task.index % FAILS != 0) for task in seen)
    assert all(task.result().stdout == f"{task.index}\n".encode() for task in seen)
    wait_for(future.done, "the end of the array")
    line = future.result()
    assert (line.state, line.counts.failed) == (TaskState.FAILED, TASKS // FAILS)
    assert sorted(map(int, witness.read_text().split())) == list(range(1, TASKS + 1))
    with Client(zk=cluster.zk) as another:
        pages = list(another.array_pages(future.id))
    found = {
        position: stretch.exit_status
        for page in pages
        for stretch in page.stretches
        for position in range(stretch.first, stretch.first + stretch.count)
    }
    assert found == {index - 1: int(index % FAILS == 0) for index in range(1, TASKS + 1)}


def test_inputs_and_a_client_that_goes_away(cluster: LocalCluster) -> None:
    """A client submits lines and leaves, its leader dies; another one waits for the end and reads it all."""
    lines = [f'line {number}, it\'s "quoted"' for number in range(50)]
    with Client(zk=cluster.zk) as first:
        future = first.array(["/bin/echo", "{}"], inputs=lines, results=False, at_once=2)
        wait_for(lambda: first.array_line(future.id).counts.over > 3, "the first ends")
    dead = kill_leader(cluster)
    cluster.wait_for_leader(after_epoch=dead.epoch)
    with Client(zk=cluster.zk) as second:
        wait_for(lambda: second.array_line(future.id).finished, "the end of the array")
        (page,) = second.array_pages(future.id, inputs=True)
    assert list(page.inputs) == lines
    assert [(stretch.first, stretch.count, stretch.state) for stretch in page.stretches] == [
        (0, len(lines), TaskState.SUCCEEDED)
    ]
