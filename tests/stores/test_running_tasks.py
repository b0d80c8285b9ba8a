"""Tasks that hand over what they write while they run, on a real cluster with PostgreSQL."""

from __future__ import annotations

import hashlib
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import alb, kill_leader, wait_for
from tests.store_servers import Server
from tests.stores.conftest import demand

from alb import Client
from alb.api.future import TaskFuture
from alb.local.cluster import LocalCluster, Plan
from alb_core.messages import StreamName
from alb_core.rows import Increment
from alb_core.tasks import TaskState

STEPS = 40
TASKS = 5
STEP_S = 0.2
KILLS = 12
BIG = 1_000_000_000

COUNT = """
step=$((${ALB_RESUME:-0} + 1))
while [ $step -le %(steps)d ]; do
  echo "$ALB_ATTEMPT $step" >> %(witness)s/$ALB_TASK_ID
  echo "attempt $ALB_ATTEMPT does step $step"
  printf '{"key":"step","value":%%d}\\n' $step >> "$ALB_INCREMENTS"
  sleep %(pause)s
  step=$((step + 1))
done
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """A PostgreSQL server that may be killed; each test has a database of its own."""
    with demand("postgresql")() as server:
        yield server


@pytest.fixture
def cluster(database: Server, tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster that keeps its results there."""
    plan = Plan(environ={"ALB_STORE": database.fresh(), "ALB_CRASH_LIMIT": "100"})
    with LocalCluster(tmp_path / "cluster", plan) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of it."""
    with Client(zk=cluster.zk) as connected:
        yield connected


class Killer:
    """Kills the leader, a worker, the database, in turn and without warning, and starts them again."""

    def __init__(self, cluster: LocalCluster, database: Server) -> None:
        self._cluster = cluster
        self._database = database

    def kill(self, number: int) -> None:
        """Kill who is next."""
        if number % 3 == 0:
            self._cluster[kill_leader(self._cluster).broker].start()
        elif number % 3 == 1:
            worker = self._cluster[f"w{1 + number // 3 % 2}"]
            worker.kill()
            worker.start()
        else:
            self._database.kill()
            time.sleep(0.3)
            self._database.start()


def increments_of(client: Client, future: TaskFuture) -> list[Increment]:
    """Return what is stored."""
    return list(client.increments(future.id))


def started_at(folder: Path, future: TaskFuture) -> dict[int, list[int]]:
    """Return the steps that each attempt did, by what it wrote itself."""
    steps = defaultdict(list)
    for line in (folder / future.id).read_text().splitlines():
        attempt, step = map(int, line.split())
        steps[attempt].append(step)
    return dict(steps)


def check(client: Client, future: TaskFuture, witness: Path) -> int:
    """Hold a task to what was promised; returns how many attempts it took."""
    assert future.result(timeout=240).state is TaskState.SUCCEEDED
    stored = increments_of(client, future)
    assert [(row.seq, row.key, row.value) for row in stored] == [
        (seq, "step", str(seq)) for seq in range(1, STEPS + 1)
    ]
    attempts = [row.attempt for row in stored]
    assert attempts == sorted(attempts)
    did = started_at(witness, future)
    for attempt, steps in did.items():
        before = [row.seq for row in stored if row.attempt < attempt]
        assert steps[0] == max(before, default=0) + 1, "it went on where its last increment was stored"
        assert steps == list(range(steps[0], steps[-1] + 1))
    last = future.result().attempt  # it did nothing where everything was reported before it
    written = "".join(f"attempt {last} does step {step}\n" for step in did.get(last, ()))
    pages = client.stored_output(future.id, StreamName.STDOUT)
    assert b"".join(page.data for page in pages).decode() == written
    return len(did)


def test_increments_survive_the_death_of_everybody(
    cluster: LocalCluster, database: Server, client: Client, tmp_path: Path
) -> None:
    """Leader, workers and database are killed at any point: each increment is stored once, none is lost."""
    witness = tmp_path / "witness"
    witness.mkdir()
    command = COUNT % {"steps": STEPS, "witness": witness, "pause": STEP_S}
    futures = [client.submit(command, output=False, cpus=0.5) for _ in range(TASKS)]
    for future in futures:
        wait_for(lambda path=witness / future.id: path.exists(), "all tasks to run")
    killer, draws = Killer(cluster, database), random.Random(7)
    for number in range(KILLS):
        time.sleep(draws.uniform(0.2, 1.5))
        killer.kill(number)
    attempts = [check(client, future, witness) for future in futures]
    assert max(attempts) > 1, "no kill met a running task"


def test_a_task_does_not_end_before_its_output_is_stored(
    cluster: LocalCluster, database: Server, client: Client
) -> None:
    """While the database is away it runs on in name, its room is free for others, and then it ends."""
    client.submit("true").result(timeout=60)
    database.kill()
    held = [client.submit("seq 1 5000", output=False, cpus=2.0) for _ in range(2)]
    quick = [client.submit("echo short", cpus=2.0) for _ in range(8)]
    assert [task.result(timeout=60).stdout for task in quick] == [b"short\n"] * 8
    wait_for(lambda: sum(line.storing for line in client.workers()) == 2, "two attempts to wait for it")
    assert [task.done() for task in held] == [False, False]
    assert all(line.running == 0 for line in client.workers())
    assert client.cluster().store not in ("", "ok")
    assert "the output of 2 that are over is being stored" in alb(cluster, "status").stdout
    database.start()
    for task in held:
        assert task.result(timeout=60).state is TaskState.SUCCEEDED
        logs = alb(cluster, "logs", "--stdout", task.id)
        assert logs.stdout == "".join(f"{number}\n" for number in range(1, 5001))


def test_output_outlives_its_worker(cluster: LocalCluster, client: Client) -> None:
    """Also that of an attempt that was lost with it."""
    lost = client.submit("seq 1 20000; test $ALB_ATTEMPT -gt 1 || sleep 60", output=False)
    whole = "".join(f"{number}\n" for number in range(1, 20_001)).encode()

    def stored(attempt: int) -> bytes:
        return b"".join(
            page.data for page in client.stored_output(lost.id, StreamName.STDOUT, attempt=attempt)
        )

    wait_for(lambda: stored(1) == whole, "the output to be stored while the command runs")
    name = client.task(lost.id).attempts[0].worker
    cluster[name].kill()
    lost.result(timeout=60)
    assert stored(1) == stored(2) == whole
    other = client.task(lost.id).attempts[-1].worker
    cluster[other].kill()
    wait_for(lambda: not any(line.worker == other for line in client.workers()), "the other to be lost")
    assert alb(cluster, "logs", lost.id, "--stdout").stdout.encode() == whole
    assert alb(cluster, "logs", lost.id, "--stdout", "-n", "2").stdout == "19999\n20000\n"


@pytest.mark.timeout(900)  # a slow disk, and others at work on it
def test_a_gigabyte_of_output(client: Client) -> None:
    """Byte for byte, from the store; and nobody else waits for it."""
    line = hashlib.sha256(b"alb").hexdigest() * 100
    big = client.submit(f"yes {line} | head -c {BIG}", output=False)
    slowest = 0.0
    while not big.done():
        began = time.monotonic()
        client.submit("true", output=False).result(timeout=60)
        slowest = max(slowest, time.monotonic() - began)
    assert big.result(timeout=1).state is TaskState.SUCCEEDED
    assert slowest < 30.0
    digest, wanted = hashlib.sha256(), hashlib.sha256()
    for page in client.stored_output(big.id, StreamName.STDOUT):
        digest.update(page.data)
    whole, rest = divmod(BIG, len(line) + 1)
    for _ in range(whole):
        wanted.update(f"{line}\n".encode())
    wanted.update(f"{line}\n".encode()[:rest])
    assert digest.hexdigest() == wanted.hexdigest()
