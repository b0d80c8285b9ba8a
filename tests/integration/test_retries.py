"""Commands that fail and are tried again, on a real cluster."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.harness import PATIENCE_S, alb, kill_leader, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_core.tasks import TaskState


def counting(file: Path, good_from: int) -> str:
    """Return a command that adds a line to a file, and fails with 75 until there are so many."""
    return f'echo "$ALB_ATTEMPT" >> {file}; test "$(wc -l < {file})" -ge {good_from} || exit 75'


def test_a_command_is_tried_again_until_it_succeeds(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    """Its result is the last attempt's; how the others ended is kept; each ran once."""
    runs = tmp_path / "runs"
    ran = alb(
        cluster, "submit", "--retries", "5", "--retry-on", "75", "--retry-delay", "0.1", counting(runs, 3)
    )
    assert ran.returncode == 0, ran.stderr
    assert "exited with 75; retry 1 of 5" in ran.stderr
    assert runs.read_text().split() == ["1", "2", "3"]
    (line,) = [each for each in client.tasks(states=(TaskState.SUCCEEDED,)) if str(runs) in each.command]
    record = client.task(line.id)
    assert record.failures == 2
    assert [(each.ended_as, each.exit_code) for each in record.attempts] == [
        ("exited", c) for c in (75, 75, 0)
    ]


def test_the_last_failure_is_the_result(client: Client, tmp_path: Path) -> None:
    """When the retries are used up; and another exit code than those named ends it at once."""
    used_up = client.submit(counting(tmp_path / "a", 9), retries=2, retry_delay=0.1)
    another = client.submit(f"echo x >> {tmp_path / 'b'}; exit 3", retries=2, retry_on=[75], retry_delay=0.1)
    assert used_up.result(timeout=PATIENCE_S).exit_code == 75
    assert another.result(timeout=PATIENCE_S).exit_code == 3
    assert [len((tmp_path / name).read_text().split()) for name in "ab"] == [3, 1]


def test_a_cancel_ends_the_waiting(client: Client) -> None:
    """What waits for its next attempt is cancelled as anything else."""
    future = client.submit("false", retries=3, retry_delay=300)
    wait_for(lambda: client.task(future.id).failures == 1, "the first failure")
    assert "is tried again in" in client.task_page(future.id).why
    client.cancel(future.id)
    assert client.task(future.id).state is TaskState.CANCELLED


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> LocalCluster:
    """Return a cluster whose leaders may be killed."""
    return LocalCluster(tmp_path_factory.mktemp("own") / "cluster", Plan(brokers=2, workers=1))


def test_a_failover_in_the_midst_of_waiting(own_cluster: LocalCluster, tmp_path: Path) -> None:
    """The next leader keeps the moment and the count; what waits waits on and goes on, an array among it."""
    with own_cluster as cluster, Client(zk=cluster.zk, timeout=PATIENCE_S) as client:
        runs, order = tmp_path / "runs", tmp_path / "order"
        began = time.time()
        failing = client.submit(counting(runs, 2), retries=1, retry_delay=6)
        after = client.submit(f"echo second >> {order}", after=failing)
        last = client.submit(f"echo third >> {order}", after=[after], hold=True)
        array = client.array(f"echo {{#}} >> {order}", indexes="1-20", after=[last.id])
        end = client.submit(f"echo end >> {order}", after=[array.id])
        wait_for(lambda: client.task(failing.id).failures == 1, "the first failure")
        wait_for(lambda: client.task(last.id).state is TaskState.HELD, "the last one to be held")
        wait_for(lambda: client.task(end.id).state is TaskState.HELD, "the task behind the array to be held")
        assert client.array_line(array.id).state is TaskState.HELD
        kill_leader(cluster)
        assert failing.result(timeout=PATIENCE_S).exit_code == 0
        assert time.time() - began >= 6
        assert runs.read_text().split() == ["1", "2"]
        assert after.result(timeout=PATIENCE_S).exit_code == 0
        assert client.task(last.id).state is TaskState.HELD
        client.release([last.id])
        assert last.result(timeout=PATIENCE_S).exit_code == 0
        assert end.result(timeout=PATIENCE_S).exit_code == 0
        lines = order.read_text().split()
        assert (lines[:2], lines[-1]) == (["second", "third"], "end")
        assert sorted(map(int, lines[2:-1])) == list(range(1, 21))
