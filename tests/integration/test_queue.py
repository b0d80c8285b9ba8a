"""Whose turn it is, on a real cluster: shares, large tasks between small ones, and `alb explain`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.harness import PATIENCE_S, alb, alb_json, environ_of, wait_for

from alb import Client, TaskFuture
from alb.local.cluster import LocalCluster, alb_command
from alb_core.tasks import TaskState


def running_of(client: Client, user: str) -> int:
    """Return how many tasks of a user run."""
    return sum(1 for _ in client.tasks(states=[TaskState.RUNNING], user=user))


def is_reserved_for(client: Client, task_id: str) -> bool:
    """Tell whether the leader says that a worker is set aside for a task."""
    told = client.task_page(task_id, explain=True).explanation
    return told is not None and any(reason.code == "reserved" for reason in told.reasons)


@pytest.fixture(autouse=True)
def alike(cluster: LocalCluster) -> Iterator[None]:
    """Leave all users alike, and nothing that runs."""
    yield
    assert alb(cluster, "share", "unset", "--default").returncode == 0
    assert alb(cluster, "share", "unset", "ann").returncode == 0
    with Client(cluster.zk) as client:
        for line in client.tasks(states=[TaskState.QUEUED, TaskState.RUNNING]):
            client.cancel(line.id)
        wait_for(lambda: not any(worker.running for worker in client.workers()), "everything to end")


def test_the_second_user_gets_half_within_seconds(cluster: LocalCluster) -> None:
    """What comes free goes to who has less, until both have the same; a weight makes it more."""
    with Client(cluster.zk, user="ann") as ann, Client(cluster.zk, user="bob") as bob:
        room = int(sum(worker.capacity.cpus for worker in ann.workers()))
        for _ in range(30 * room):
            ann.submit("sleep 0.5")
        wait_for(lambda: running_of(ann, "ann") == room, "ann to have everything")
        for _ in range(30 * room):
            bob.submit("sleep 0.5")
        wait_for(lambda: running_of(ann, "bob") == room // 2, "bob to have half", 10.0)
        assert alb(cluster, "share", "set", "ann", "--weight", "1000").returncode == 0
        wait_for(lambda: running_of(ann, "bob") <= 1, "ann to have more by weight", 10.0)
        users = {line["user"]: line for line in alb_json(cluster, "share")["users"]}
        assert users["ann"]["weight"] == 1000
        assert users["ann"]["share"] < users["bob"]["share"] or users["bob"]["share"] == 0


def test_a_bound_on_a_user_is_kept_and_explained(cluster: LocalCluster, client: Client) -> None:
    """What is beyond it waits, and says why; too many tasks wait at the client, which says why."""
    assert alb(cluster, "share", "set", "ann", "--cpus-max", "1", "--tasks-max", "3").returncode == 0
    with Client(cluster.zk, user="ann") as ann:
        futures = [ann.submit("sleep 60") for _ in range(3)]
        wait_for(lambda: running_of(client, "ann") == 1, "one of them to run")
        waiting = [f.id for f in futures if client.task(f.id).state is TaskState.QUEUED]
        told = alb(cluster, "explain", waiting[0])
        assert "ann may reserve 1 cpus at once, has 1" in told.stdout
        assert "ann may reserve 1 cpus at once" in alb(cluster, "status", waiting[0]).stdout
    words = [*alb_command(), "submit", "--user", "ann", "true"]
    late = subprocess.Popen(words, env=environ_of(cluster), stderr=subprocess.PIPE, text=True)
    assert late.stderr is not None
    assert "ann has 3 tasks in the table, and may have 3" in late.stderr.readline()
    late.terminate()
    late.communicate(timeout=PATIENCE_S)


def test_a_large_task_is_not_starved_by_small_ones(cluster: LocalCluster) -> None:
    """A worker is set aside for it, which is told, and it starts; afterwards, too, it is told why."""
    with Client(cluster.zk, user="eve") as client:
        largest = max(worker.capacity.cpus for worker in client.workers())
        room = int(sum(worker.capacity.cpus for worker in client.workers()))
        small = [client.submit(f"sleep {2 + n % 3 / 2}") for n in range(15 * room)]
        wait_for(lambda: running_of(client, "eve") == room, "the small ones to have everything")
        large = client.submit("true", cpus=largest)
        wait_for(lambda: is_reserved_for(client, large.id), "a reservation")
        assert large.result(timeout=PATIENCE_S).exit_code == 0
        assert not all(map(TaskFuture.done, small))
    told = alb_json(cluster, "explain", large.id)
    (choice,) = told["placements"]
    assert (told["state"], choice["part"], choice["policy"]) == ("SUCCEEDED", "reserved", "least-loaded")
    assert choice["waited_s"] > 9.0
    assert choice["considered"]


def test_what_cannot_be_explained_is_said(cluster: LocalCluster, client: Client) -> None:
    """An unknown id; an array, whose tasks are explained one by one."""
    unknown = alb(cluster, "explain", "0" * 32)
    assert unknown.returncode == 125
    array = client.array("true", indexes="0-1")
    array.wait(timeout=PATIENCE_S)
    told = alb(cluster, "explain", array.id)
    assert told.returncode == 0
    assert f"alb explain {array.id}.INDEX" in told.stdout
    assert "went to w" in alb(cluster, "explain", f"{array.id}.0").stdout
