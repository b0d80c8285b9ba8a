"""Everything of a kind, or everything at all, stops and starts again."""

from __future__ import annotations

import pytest
from tests.harness import Work, wait_for

from alb import Client
from alb.local.cluster import LocalCluster


def test_every_broker_restarts(cluster: LocalCluster, work: Work) -> None:
    """All brokers die and start again: running commands are adopted, queued ones follow, none runs twice."""
    work.submit_running(8.0, count=2)
    for _ in range(20):
        work.submit(0.2)
    epoch = cluster.wait_for_leader().epoch
    for broker in cluster.named("broker"):
        broker.kill()
    for broker in cluster.named("broker"):
        broker.start()
    cluster.wait_for_leader(after_epoch=epoch)
    work.check()


def test_a_broker_restarts_under_its_name(cluster: LocalCluster, work: Work) -> None:
    """Killed and started at once, while its old registration is still there: it registers anew."""
    for broker in cluster.named("broker"):
        with work.submitting(per_second=10):
            broker.kill()
            broker.start()
            cluster.wait_for_leader()
    cluster.start()
    work.check()


@pytest.mark.parametrize("ends", ["stop", "kill"])
def test_output_outlives_its_worker(cluster: LocalCluster, client: Client, ends: str) -> None:
    """A worker that is started again serves what its commands had said: all, or, killed, what had a file.

    In the meantime a reader may learn that the worker is gone; what it kept is there when it is back.
    """
    numbers = {"long": 50_000, "short": 2_000} if ends == "stop" else {"long": 50_000}
    said = {
        length: "".join(f"{number}\n" for number in range(1, most + 1)).encode()
        for length, most in numbers.items()
    }
    tasks = {length: client.submit(["seq", str(most)], output=False) for length, most in numbers.items()}
    for task in tasks.values():
        worker = task.result(timeout=60).worker
        getattr(cluster[worker], ends)()
        cluster[worker].start()

    def has_all() -> bool:
        with Client(zk=cluster.zk) as late:
            return all(
                late.attach(task.id).result(timeout=60).stdout == said[length]
                for length, task in tasks.items()
            )

    wait_for(has_all, "the output of an earlier life")


def test_the_whole_cluster_loses_its_power(cluster: LocalCluster, work: Work) -> None:
    """Every process, ZooKeeper too, dies at once and starts again: every accepted task gets its result."""
    work.submit_running(4.0, count=2)
    for _ in range(20):
        work.submit(0.2)
    processes = [*cluster.named("worker"), *cluster.named("broker"), *cluster.named("zookeeper")]
    for process in processes:
        process.freeze()
    for process in processes:
        process.kill()
    cluster.start(timeout_s=60)
    work.check(reruns=True)
