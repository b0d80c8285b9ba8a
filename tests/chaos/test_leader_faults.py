"""The leader dies, hangs, or freezes: no accepted task is lost, none runs again, each has one result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness import Work, frozen, kill_leader, wait_for
from tests.plug_ins import install
from tests.source_tree import ROOT
from tests.thread_freezer import frozen_thread

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_core import limits

ONE_AND_THREE = pytest.mark.parametrize(
    "plan", [Plan(), Plan(zookeepers=3)], ids=["one-zookeeper", "three-zookeepers"], indirect=True
)


def _wait_until_deposable(since: float) -> None:
    """Wait until a leader that was seen at `since` is old enough to be deposed."""
    age = limits.DEPOSE_LEADER_AGE_S + 1
    wait_for(lambda: time.monotonic() - since > age, "the leader to come of age")


@ONE_AND_THREE
def test_kill_of_the_leader(cluster: LocalCluster, work: Work) -> None:
    """Killed with tasks running, queued and being submitted; its heir adopts what runs and takes the rest."""
    work.submit_running(8.0, count=2)
    for _ in range(20):
        work.submit(0.3)
    with work.submitting(per_second=20):
        dead = kill_leader(cluster)
        heir = cluster.wait_for_leader(after_epoch=dead.epoch)
        submitted = len(work)
        wait_for(lambda: len(work) > submitted + 20, "submissions under the new leader")
    assert heir.broker != dead.broker
    work.check()


def test_three_leaders_in_a_row(cluster: LocalCluster, work: Work) -> None:
    """Each leader is killed as soon as it leads, while the one before starts again; the same work goes on."""
    running = work.submit_running(12.0)
    with work.submitting(per_second=10):
        for _ in range(3):
            dead = kill_leader(cluster)
            cluster.wait_for_leader(after_epoch=dead.epoch)
            cluster[dead.broker].start()
    results = work.check()
    assert [results[future.id].attempt for future in running] == [1]


def test_hung_loop_of_the_leader(cluster: LocalCluster, work: Work) -> None:
    """Its loop stands still while its ZooKeeper thread keeps the session alive: it is deposed all the same.

    When the loop goes on, the broker finds itself deposed, says nothing more, and serves as a standby.
    """
    leader = cluster.wait_for_leader()
    seen = time.monotonic()
    work.submit_running(20.0)
    _wait_until_deposable(seen)
    with work.submitting(per_second=10), frozen_thread(leader.pid):
        heir = cluster.wait_for_leader(after_epoch=leader.epoch)
        _, brokers, _ = cluster.look()
        assert leader.broker in {node.broker for node in brokers}, "its session was to live on"
    assert heir.broker != leader.broker
    work.check()
    assert cluster.wait_for_leader().epoch == heir.epoch
    assert cluster[leader.broker].running


STUCK = """
import ctypes

MUTEX = ctypes.create_string_buffer(64)

def stuck(task, candidates, context):
    '''Wait in C for a lock that it holds itself: no signal ends that.'''
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(MUTEX)
    return candidates[0]
"""


@contextmanager
def _with_policy(folder: Path, name: str, source: str) -> Iterator[tuple[LocalCluster, Client]]:
    """A cluster of two brokers that have a policy besides, the function `stuck` of a program."""
    site = folder / "site"
    site.mkdir()
    (site / "stuck_policy.py").write_text(source)
    install(ROOT / "examples/policies/sticky", site, {name: "stuck_policy:stuck"})
    plan = Plan(brokers=2, workers=1, environ={"PYTHONPATH": str(site)})
    with LocalCluster(folder / "cluster", plan) as cluster, Client(zk=cluster.zk) as client:
        yield cluster, client


def _fall_to(cluster: LocalCluster, client: Client, name: str, told: str) -> int:
    """Let the leader end in a policy; its heir places by the default and tells why. Returns its epoch."""
    leader = cluster.wait_for_leader()
    client.set_policy(name)
    first = client.submit("true")
    assert first.result(60).attempt == 1
    heir = cluster.wait_for_leader(after_epoch=leader.epoch)
    assert client.submit("true").result(30).attempt == 1
    (attempt,) = client.task(first.id).attempts
    assert (attempt.policy, attempt.epoch) == ("least-loaded", heir.epoch)
    page = client.policies()
    assert (page.in_force.policy, told in page.why) == (name, True), page.why
    return heir.epoch


def test_leader_hangs_in_a_policy_that_blocks_in_c(tmp_path: Path) -> None:
    """Nothing can interrupt that; it would hang each in turn. The heir places by the default and says why."""
    with _with_policy(tmp_path, "stuck", STUCK) as (cluster, client):
        leader = cluster.wait_for_leader()
        _wait_until_deposable(time.monotonic())
        _fall_to(cluster, client, "stuck", "the leader before hung")
        cluster[leader.broker].kill()  # it would wait for the lock for ever


def test_leader_ends_in_a_policy_that_keeps_the_interpreter(tmp_path: Path) -> None:
    """Its session ends, as after a crash. The heir finds that it did not come back, and does not ask."""
    source = STUCK.replace("CDLL", "PyDLL")  # which keeps the lock
    with _with_policy(tmp_path, "keeper", source) as (cluster, client):
        leader = cluster.wait_for_leader()
        heir = _fall_to(cluster, client, "keeper", "ended when it first asked it")
        assert cluster.wait_for_leader().epoch == heir
        cluster[leader.broker].kill()  # it would wait for ever


def test_leader_frozen_past_its_session(cluster: LocalCluster, work: Work) -> None:
    """SIGSTOP until another one leads, then SIGCONT: the old one acts on nothing and stands by."""
    work.submit_running(10.0, count=2)
    leader = cluster.wait_for_leader()
    with work.submitting(per_second=20):
        with frozen(cluster, leader.broker):
            heir = cluster.wait_for_leader(after_epoch=leader.epoch)
            submitted = len(work)
            wait_for(lambda: len(work) > submitted + 10, "submissions under the new leader")

        def stands_by() -> bool:
            now, brokers, _ = cluster.look()
            return now == heir and leader.broker in {node.broker for node in brokers}

        wait_for(stands_by, f"{leader.broker} to stand by")
    work.check()


def test_leader_is_asked_to_stop(cluster: LocalCluster, work: Work) -> None:
    """SIGTERM: it dumps its whole state as one JSON file, hands over, and ends with status 0."""
    work.submit_running(6.0)
    with work.submitting(per_second=20):
        leader = cluster.wait_for_leader()
        process = cluster[leader.broker]
        process.ask_to_stop()
        cluster.wait_for_leader(after_epoch=leader.epoch)
        process.wait_gone(15)
    work.check()
    (dump,) = Path(cluster.folder).glob("*dump*.json")
    assert json.loads(dump.read_text())["epoch"] == leader.epoch


def test_a_drain_outlives_its_leader(cluster: LocalCluster, work: Work, client: Client) -> None:
    """The next leader gives the worker nothing, evicts at the deadline, and still knows who drained it."""
    running = work.submit_running(16.0, count=4)
    drained = work.witness.starts_of(running[0].id)[0].worker
    client.drain([drained], reason="new disk", deadline=4.0)
    kill_leader(cluster)
    for _ in range(6):
        work.submit()
    results = work.check(reruns=True)
    assert drained not in {result.worker for result in results.values()}
    assert client.task(running[0].id).crashes == 0
    (line,) = client.workers([drained])
    assert (line.running, line.drain is not None and line.drain.reason) == (0, "new disk")
