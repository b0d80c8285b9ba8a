"""Commands that never end, on a real cluster: others pass, nobody is killed, and people can see why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import PATIENCE_S, alb, alb_json, kill_leader, wait_for

from alb import Client
from alb.api.future import TaskFuture
from alb.local.cluster import LocalCluster, Plan
from alb_core.errors import TaskCancelled
from alb_core.tasks import TaskState

LOOP = "while :; do :; done"
QUANTUM_S = "0.5"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One worker of two slots, and a quantum that is soon over."""
    plan = Plan(brokers=2, workers=1, environ={"ALB_QUANTUM_S": QUANTUM_S})
    with LocalCluster(tmp_path_factory.mktemp("crowded") / "cluster", plan) as running:
        yield running


def test_short_commands_pass_endless_ones(crowded: LocalCluster, tmp_path: Path) -> None:
    """Two loops for each slot, then short commands: all of these end well, and every loop lives on."""
    with Client(zk=crowded.zk, user="ann") as ann, Client(zk=crowded.zk, user="bob") as bob:
        loops = [ann.submit(LOOP) for _ in range(4)]
        wait_for(lambda: bob.workers()[0].running == 2, "every slot to be held")
        for number in range(3):
            file = tmp_path / str(number)
            result = bob.submit(f"echo done >{file}", time_limit=30).result(timeout=PATIENCE_S)
            assert (result.state, file.read_text()) == (TaskState.SUCCEEDED, "done\n")
        worker = bob.workers()[0]
        assert 1 <= worker.demoted <= 4
        states = [line.state for line in ann.tasks(user="ann")]
        assert set(states) <= {TaskState.RUNNING, TaskState.QUEUED}
        told = [alb_json(crowded, "status", loop.id) for loop in loops]
        assert "demoted" in str(told)
        assert "demoted" in alb(crowded, "workers").stdout
        _end(loops)


def test_what_is_preemptible_gives_its_memory(crowded: LocalCluster) -> None:
    """To a higher priority, and runs again after it: not failed, and everybody can see what happened."""
    with Client(zk=crowded.zk, user="ann") as ann, Client(zk=crowded.zk, user="bob") as bob:
        memory = bob.workers()[0].capacity.memory_bytes
        patient = ann.submit("sleep 600", memory=memory, preemptible=True)
        wait_for(lambda: ann.task(patient.id).state is TaskState.RUNNING, "it to run")
        urgent = bob.submit("true", memory=memory, priority=1)
        assert urgent.result(timeout=PATIENCE_S).exit_status == 0
        wait_for(lambda: len(ann.task(patient.id).attempts) == 2, "it to run again")
        record = ann.task(patient.id)
        assert (record.preemptions, record.crashes, record.failures) == (1, 0, 0)
        assert "(preempted)" in alb(crowded, "status", patient.id).stdout
        assert "(preempted)" in alb(crowded, "explain", patient.id).stdout
        _end([patient])


def test_a_new_leader_goes_on_with_what_is_demoted(crowded: LocalCluster) -> None:
    """It gives nobody the processors twice, and those who wait go on passing."""
    with Client(zk=crowded.zk, user="ann") as ann, Client(zk=crowded.zk, user="bob") as bob:
        loops = [ann.submit(LOOP) for _ in range(3)]
        wait_for(lambda: bob.workers()[0].running == 2, "every slot to be held")
        assert bob.submit("true", time_limit=30).result(timeout=PATIENCE_S).exit_status == 0
        before = bob.workers()[0].demoted
        assert before
        dead = kill_leader(crowded)
        crowded.wait_for_leader(after_epoch=dead.epoch)
        assert bob.submit("true", time_limit=30).result(timeout=PATIENCE_S).exit_status == 0
        wait_for(lambda: bob.workers()[0].demoted >= before, "the new leader to know the worker")
        _end(loops)


def _end(loops: list[TaskFuture]) -> None:
    """Cancel loops: nothing else has ended one."""
    for loop in loops:
        loop.cancel()
    ends = [loop.exception(timeout=PATIENCE_S) for loop in loops]
    assert {type(end) for end in ends} == {TaskCancelled}
