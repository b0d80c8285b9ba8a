"""Everything of a kind, or everything at all, stops and starts again."""

from __future__ import annotations

from tests.harness import Work

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
