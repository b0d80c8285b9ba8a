"""ZooKeeper's members die, or all of it does: commands run on, are adopted, and none runs again."""

from __future__ import annotations

import socket
import time

import pytest
from tests.harness import Work, wait_for

from alb.local.cluster import LocalCluster, Plan
from alb.local.daemons import Daemon
from alb.local.zookeeper import ZooKeeperServer

THREE = pytest.mark.parametrize("plan", [Plan(zookeepers=3)], ids=["three-zookeepers"], indirect=True)
OUTAGE_S = 9.0
#: Longer than every session: 3 s of brokers, 5 s of workers.


def _mode(server: Daemon) -> str:
    """Ask a server for its role in the ensemble: ``leader`` or ``follower``."""
    assert isinstance(server, ZooKeeperServer)
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"srvr")
        answer = connection.makefile("rb").read().decode()
    return answer.partition("Mode: ")[2].split()[0]


def _outage(cluster: LocalCluster, *names: str) -> None:
    """Kill servers, keep them away longer than every session lasts, and start them again."""
    for name in names:
        cluster[name].kill()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > OUTAGE_S, "the sessions to run out")
    for name in names:
        cluster[name].start()


@THREE
@pytest.mark.parametrize("mode", ["follower", "leader"])
def test_kill_of_a_member(cluster: LocalCluster, work: Work, mode: str) -> None:
    """One member of three dies, a follower or their leader: work goes on, nothing is lost or doubled."""
    work.submit_running(8.0, count=2)
    victim = next(server for server in cluster.named("zookeeper") if _mode(server) == mode)
    with work.submitting(per_second=20):
        victim.kill()
        submitted = len(work)
        wait_for(lambda: len(work) > submitted + 60, "submissions with two members")
        victim.start()
    work.check()


@THREE
def test_loss_and_return_of_the_quorum(cluster: LocalCluster, work: Work) -> None:
    """Two members of three are gone for longer than every session: commands run on and are adopted."""
    work.submit_running(20.0, count=2)
    for _ in range(10):
        work.submit(0.2)
    with work.submitting(per_second=5):
        _outage(cluster, "z1", "z2")
    cluster.wait_for_leader()
    work.check()


def test_loss_and_return_of_the_only_server(cluster: LocalCluster, work: Work) -> None:
    """The one ZooKeeper server dies and comes back: the table is on its disk, the commands still run."""
    work.submit_running(20.0, count=2)
    for _ in range(10):
        work.submit(0.2)
    with work.submitting(per_second=5):
        _outage(cluster, "z1")
    cluster.wait_for_leader()
    work.check()
