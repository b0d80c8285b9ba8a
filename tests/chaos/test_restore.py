"""The whole ensemble is lost, and the table comes back from a backup that was made while everybody worked.

What went through ``deploy/backup.sh``, ``restore.sh`` and ``new-table.sh`` is read from the restored nodes
themselves, before any broker runs: that, and no more, must come to its end.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from kazoo.client import KazooClient
from tests.harness import Work, kill_leader, wait_for
from tests.source_tree import ROOT

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb.local.zookeeper import ZooKeeperServer
from alb_core import znodes
from alb_core.errors import TaskGone
from alb_core.tasks import TaskRecord, TaskState
from alb_core.znodes import MetaNode

THREE = pytest.mark.parametrize("plan", [Plan(zookeepers=3)], ids=["three-zookeepers"], indirect=True)


class Restored(msgspec.Struct, frozen=True):
    """What the restored ensemble holds before any broker is there."""

    table: str
    live: dict[str, TaskRecord]
    done: dict[str, TaskRecord]


def _do(script: str, *arguments: object) -> None:
    """Run an operator's script, which must work."""
    words = ["sh", str(ROOT / "deploy" / script), *map(str, arguments)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def _servers(cluster: LocalCluster) -> list[ZooKeeperServer]:
    return [server for server in cluster.named("zookeeper") if isinstance(server, ZooKeeperServer)]


def _data(cluster: LocalCluster, server: ZooKeeperServer) -> Path:
    return cluster.folder / "zookeeper" / server.name / "data"


def _back_up(cluster: LocalCluster, work: Work, target: Path) -> None:
    """Make a backup of a member while tasks flow, and let them flow on for a while."""
    with work.submitting(per_second=40):
        wait_for(lambda: len(work.witness.starts()) > 20, "tasks before the backup")
        _do("backup.sh", _data(cluster, _servers(cluster)[1]), target)
        seen = len(work.witness.starts())
        wait_for(lambda: len(work.witness.starts()) > seen + 20, "tasks after the backup")


def _lose_and_restore(cluster: LocalCluster, backup: Path) -> Restored:
    """Kill every member, destroy its data, and start the backup as a new ensemble and a new table."""
    servers = _servers(cluster)
    for server in servers:
        server.kill()
    for server in servers:
        shutil.rmtree(_data(cluster, server) / "version-2")
        _do("restore.sh", backup, _data(cluster, server))
    for server in servers:
        server.start()
    for server in servers:
        server.wait_serving()
    before = _read(servers[0]).table
    _do("new-table.sh", servers[0].address)
    restored = _read(servers[2])
    assert restored.table not in ("", before)
    return restored


def _read(server: ZooKeeperServer) -> Restored:
    """Read the whole table from one member."""
    client = KazooClient(server.address + znodes.CHROOT)
    client.start()
    try:
        found: dict[str, dict[str, TaskRecord]] = {}
        for branch in ("/tasks", "/done"):
            paths = [
                f"{branch}/{bucket}/{name}"
                for bucket in client.get_children(branch)
                for name in client.get_children(f"{branch}/{bucket}")
            ]
            records = [msgspec.json.decode(client.get(path)[0], type=TaskRecord) for path in paths]
            found[branch] = {record.id: record for record in records}
        meta = msgspec.json.decode(client.get(znodes.META)[0], type=MetaNode)
        return Restored(meta.table, found["/tasks"], found["/done"])
    finally:
        client.stop()
        client.close()


def _ended(cluster: LocalCluster, restored: Restored) -> dict[str, TaskRecord]:
    """Wait until every restored task has ended, and return all that is in the table then."""
    with Client(zk=cluster.zk) as fresh:
        for task in restored.live:
            fresh.attach(task).exception(60)  # it ended, well or badly
        return {task: fresh.task(task) for task in (*restored.live, *restored.done)}


@THREE
def test_a_lost_ensemble_is_restored(cluster: LocalCluster, work: Work, tmp_path: Path) -> None:
    """Stopped, restored and started: unfinished tasks end, results stay, nothing is invented."""
    long = work.submit_running(6.0, count=2)
    (once,) = work.submit_running(60.0, count=1, on_lost="fail", cpus=0.5)
    _back_up(cluster, work, tmp_path / "backup")
    (late,) = work.submit_running(60.0, cpus=0.5)
    deposed = kill_leader(cluster)  # epochs rise after the backup: the restored ones are used a second time
    cluster.wait_for_leader(after_epoch=deposed.epoch)
    for process in (*cluster.named("worker"), *cluster.named("broker")):
        process.kill()
    restored = _lose_and_restore(cluster, tmp_path / "backup")
    assert {*(future.id for future in long), once.id} <= set(restored.live)
    assert restored.done
    assert late.id not in {*restored.live, *restored.done}

    cluster.start()
    table = _ended(cluster, restored)
    assert cluster.wait_for_leader().table == restored.table
    for task, record in restored.done.items():
        assert table[task].result == record.result, "a result that was in the backup changed"
    for task in restored.live:
        expected = TaskState.LOST if task == once.id else TaskState.SUCCEEDED
        assert table[task].state is expected, f"{task}: {table[task].state}"
    with Client(zk=cluster.zk) as fresh:
        assert {line.id for line in fresh.tasks()} <= work.ids, "the table holds what nobody submitted"
    assert len(work.witness.starts_of(once.id)) == 1
    assert isinstance(late.exception(60), TaskGone), "accepted after the backup: its client is told"
    assert [start for start in work.witness.starts() if start.others] == []


@THREE
def test_workers_that_live_through_a_restore_keep_their_commands(
    cluster: LocalCluster, work: Work, tmp_path: Path
) -> None:
    """What runs, and ran when the backup was made, is adopted under the new table id and runs once."""
    long = work.submit_running(30.0, count=2)
    _back_up(cluster, work, tmp_path / "backup")
    deposed = kill_leader(cluster)
    cluster.wait_for_leader(after_epoch=deposed.epoch)
    for broker in cluster.named("broker"):
        broker.kill()
    restored = _lose_and_restore(cluster, tmp_path / "backup")
    cluster.start()
    table = _ended(cluster, restored)
    for future in long:
        assert table[future.id].state is TaskState.SUCCEEDED
        assert len(work.witness.starts_of(future.id)) == 1
