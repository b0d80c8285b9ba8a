"""What the benchmarks are made of, at the smallest size: a change breaks it here, not the next measurement.

The figures themselves are not looked at: a loaded machine is no place to judge them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import wait_for

import bench_cli
import bench_dispatch
import bench_failover
import bench_latency
import bench_placement
import bench_progress
import bench_recovery
import bench_speculation
import bench_store
import bench_throughput
import bench_transfer
from alb import Client
from alb.local.cluster import LocalCluster, Plan
from companions import InstantWorkers, wait_for_workers
from floors import popen_rate, record_rate
from usage import PARTS, medians, processor_us

TASKS = 20


@pytest.fixture(scope="module")
def _bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("bare") / "cluster", Plan(brokers=2, workers=0)) as running:
        yield running


@pytest.fixture
def bare_cluster(_bare_cluster: LocalCluster) -> LocalCluster:
    """Two brokers and no worker: what others leave in their table must not meet workers that run nothing."""
    _bare_cluster.start()
    return _bare_cluster


def test_an_instant_worker_answers_without_running_anything(bare_cluster: LocalCluster) -> None:
    """Commands that would fail succeed there: they were never started."""
    with Client(zk=bare_cluster.zk) as client, InstantWorkers(bare_cluster) as workers:
        workers.prepare("instant", 100)
        workers.go("instant")
        wait_for_workers(client, 1)
        results = [future.result(timeout=30) for future in [client.submit("false") for _ in range(TASKS)]]
    assert {(result.worker, result.exit_status) for result in results} == {("instant", 0)}


def test_speculation_makes_one_worker_slow(client: Client, tmp_path: Path) -> None:
    """Each worker reads how long its steps are from its own file, and the last tasks are waited for."""
    lengths = bench_speculation.Lengths(tmp_path / "lengths")
    took = bench_speculation.straggle(client, lengths, tasks=4, workers=4, speculative=True, slower=2.0)
    assert took.makespan_s > took.used_s / 4
    assert len(list((tmp_path / "lengths").glob("w*"))) == 2


def test_dispatch_measures_the_leader(cluster: LocalCluster, client: Client) -> None:
    """Its clients report when they began and ended, and the records that it wrote can be sized."""
    with bench_dispatch.leader_cpu(client, cluster) as used:
        assert bench_dispatch.run_tasks(cluster, client, TASKS) > 0
    assert used[0] >= 0
    assert bench_dispatch.record_bytes(cluster) > 100


def test_throughput_latency_and_the_command_line_run_their_commands(
    cluster: LocalCluster, client: Client
) -> None:
    """Each gets its results from a cluster, and checks them; the processor time of all parts is known."""
    with processor_us(cluster, TASKS) as spent:
        assert bench_throughput.cluster_rate(cluster, TASKS) > 0
    assert spent["runners"] > 0
    assert set(medians([spent, spent])) == {f"{part}_us" for part in PARTS}
    assert bench_latency.submit_ms(client) > 0
    assert bench_cli.command_ms(cluster, 1) > 0
    assert popen_rate(bench_throughput.COMMAND, TASKS) > 0


def test_a_transfer_is_timed_by_the_worker_that_fetched_it(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    """The worker's log tells how long the new file took; the floor copies one as large."""
    delivery = bench_transfer.deliver(cluster, client, tmp_path, 1)
    assert delivery.whole_s > delivery.upload_s > 0
    assert bench_transfer.floor(tmp_path, 1) > 0


def test_the_store_takes_as_many_rows_as_its_floor_writes(tmp_path: Path) -> None:
    """Both ways work on SQLite, and what the store acknowledged is counted in the database."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    assert bench_store.through_the_thread(url, TASKS) > 0
    assert bench_store.floor(url, TASKS) > 0


def test_failover_counts_what_its_load_brought(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a fault nothing is lost, doubled or run again, and the audit saw every task."""
    monkeypatch.setattr(bench_failover, "LONG_S", 0.1)
    load = bench_failover.Load(client, tmp_path / "witness")
    auditor = bench_failover.Auditor(load, client)
    tmp_path.chmod(0o777)
    load.begin(TASKS)
    try:
        wait_for(lambda: len(load.finished) >= TASKS, "results under load")
    finally:
        load.end()
    assert bench_failover.count_lost(load) == 0
    auditor.compare()
    assert (auditor.doubled, load.reruns()) == (0, 0)
    assert any(each.long for each in load.submitted)


def test_recovery_takes_over_a_table_and_adopts_what_runs(bare_cluster: LocalCluster) -> None:
    """Its whole repeat: fill, floor, kill the leader, the newcomer's first order, floor; all are adopted."""
    takeover, repeat = bench_recovery.Recovery(bare_cluster, TASKS).measure()
    assert record_rate(bare_cluster.zk, 100, TASKS) > 0
    assert (takeover.adopted, takeover.rerun) == (bench_recovery.RUNNING, 0)
    assert repeat.floor > 0


def test_progress_is_measured_beside_loops(tmp_path: Path) -> None:
    """All short commands end, all loops live until they are cancelled, and some were demoted."""
    plan = Plan(brokers=2, workers=1, environ={"ALB_QUANTUM_S": "0.5"})
    with LocalCluster(tmp_path / "cluster", plan) as crowded:
        figures = bench_progress.fare(crowded, workers=1, loops=4, tasks=3)
    assert (figures["finished"], figures["killed"]) == (3, 0)
    assert figures["demoted_max"] > 0


def test_a_placement_is_measured_on_a_core_alone() -> None:
    """The leader gets ready, is filled, and goes on; its workers are full and others wait."""
    leader = bench_placement.Leader()
    leader.lead()
    load = bench_placement.Load(leader, 3, TASKS)
    load.fill()
    assert len(leader.running) >= 3
    assert 0 < load.exchange(TASKS) < 1
