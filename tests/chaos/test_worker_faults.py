"""A worker dies or is cut off: its tasks run elsewhere, and nothing of it is left when they start there."""

from __future__ import annotations

import signal

import psutil
import pytest
from tests.harness import Work, frozen, wait_for

from alb.local.cluster import LocalCluster
from alb_core.errors import TaskLost


def _worker_of(work: Work, task: str) -> str:
    return work.witness.starts_of(task)[0].worker


def _runner_of(agent: int) -> psutil.Process:
    """Return the runner process of a worker's agent."""
    (runner,) = (
        child
        for child in psutil.Process(agent).children()
        if "alb_worker.runner" in " ".join(child.cmdline())
    )
    return runner


def test_kill_of_a_worker(cluster: LocalCluster, work: Work) -> None:
    """Its running tasks start again elsewhere, after their processes are gone; the others never notice."""
    running = work.submit_running(6.0, count=4)
    victim = _worker_of(work, running[0].id)
    cluster[victim].kill()
    results = work.check(reruns=True)
    for future in running:
        starts = work.witness.starts_of(future.id)
        assert len(starts) == (2 if starts[0].worker == victim else 1)
        assert results[future.id].worker != victim


def test_kill_of_a_runner(cluster: LocalCluster, work: Work) -> None:
    """The process that spawns dies: what it left is killed, and its tasks run again."""
    running = work.submit_running(4.0, count=4)
    victim = _worker_of(work, running[0].id)
    _runner_of(cluster[victim].pid).send_signal(signal.SIGKILL)
    work.check(reruns=True)
    assert len(work.witness.starts_of(running[0].id)) == 2


def test_kill_of_agent_and_runner_and_a_new_start(cluster: LocalCluster, work: Work) -> None:
    """Nobody is left to clean up; the worker that starts under the same name does, before it takes tasks."""
    running = work.submit_running(5.0, count=4)
    victim = _worker_of(work, running[0].id)
    agent = cluster[victim]
    runner = _runner_of(agent.pid)
    agent.freeze()
    runner.send_signal(signal.SIGKILL)
    agent.kill()
    agent.start()
    work.check(reruns=True)
    assert len(work.witness.starts_of(running[0].id)) == 2


def test_worker_restarts_in_mid_command(cluster: LocalCluster, work: Work) -> None:
    """Killed and at once started again under its name: the new incarnation proves the old one dead."""
    running = work.submit_running(5.0, count=4)
    victim = _worker_of(work, running[0].id)
    cluster[victim].kill()
    cluster[victim].start()
    work.check(reruns=True)
    _, _, workers = cluster.look()
    assert victim in {node.worker for node in workers}


def test_a_task_that_must_not_run_twice_ends_lost(cluster: LocalCluster, work: Work) -> None:
    """With ``--on-lost fail`` the worker's death is the end of the task; it is never started again."""
    (once,) = work.submit_running(30.0, on_lost="fail")
    cluster[_worker_of(work, once.id)].kill()
    with pytest.raises(TaskLost):
        once.result(timeout=60)
    assert work.witness.counts() == {once.id: 1}


def test_frozen_worker_comes_back(cluster: LocalCluster, work: Work) -> None:
    """Frozen past its grace its tasks run elsewhere; thawed, its late reports are dropped and it serves on.

    The agent cannot be reached, so the first attempt may still run beside the second.
    """
    (task,) = work.submit_running(3.0)
    victim = _worker_of(work, task.id)
    with frozen(cluster, victim):
        wait_for(lambda: len(work.witness.starts_of(task.id)) == 2, "the second attempt")
        result = task.result(timeout=60)
        assert result.worker != victim

    def serves() -> bool:
        return any(line.worker == victim and line.link and line.session for line in work.client.workers())

    wait_for(serves, f"{victim} to serve again")
    assert work.client.task(task.id).result == result.record
    assert len(work.witness.starts_of(task.id)) == 2
