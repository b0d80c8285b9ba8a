"""The executor on a real cluster: calls in processes of their own on workers, and through a failover."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import alb, alb_json, environ_of, kill_leader, wait_for

from alb import Client, CommandFailed, Executor
from alb.local.cluster import LocalCluster, Plan
from alb_core.errors import CallFailed
from alb_core.limits import VALUE_BYTES_MAX


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    """An executor on the run's cluster."""
    with Executor(client=client, cpus=0.5) as made:
        yield made


def test_calls_run_on_workers(executor: Executor, cluster: LocalCluster) -> None:
    """Several at once, in processes that are neither ours nor each other's; what they print is output."""

    def work(number: int) -> tuple[int, int, str]:
        print("number", number)  # noqa: T201 (that is the test)
        return number, os.getpid(), os.environ["ALB_WORKER"]

    futures = [executor.submit(work, number) for number in range(4)]
    found = [future.result(60) for future in futures]
    assert [number for number, _, _ in found] == list(range(4))
    assert len({pid for _, pid, _ in found}) == 4
    assert {worker for _, _, worker in found} <= {"w1", "w2"}
    assert alb(cluster, "logs", futures[2].id).stdout == "number 2\n"


def test_large_arguments_and_values_travel(executor: Executor) -> None:
    """Through the depots, where they are too large for the table."""
    data = os.urandom(300_000)
    large = executor.submit(lambda text: text * 2, data)
    edge = executor.submit(bytes, VALUE_BYTES_MAX)
    assert large.result(60) == data * 2
    assert edge.result(60) == bytes(VALUE_BYTES_MAX)


def test_what_a_call_raises_comes_back(executor: Executor, cluster: LocalCluster) -> None:
    """Its exception with the traceback of the worker; the task failed, and its stderr says why."""
    future = executor.submit(lambda: {}["missing"])
    error = future.exception(60)
    assert isinstance(error, KeyError)
    assert 'File "' in str(error.__cause__)
    ran = alb(cluster, "wait", future.id)
    assert ran.returncode == 1
    assert "KeyError: 'missing'" in alb(cluster, "logs", future.id).stderr


def test_a_process_that_dies_fails_its_call_alone(executor: Executor) -> None:
    """However it dies."""
    killed = executor.submit(lambda: os.kill(os.getpid(), 9))
    left = executor.submit(os._exit, 0)
    good = executor.submit(pow, 2, 8)
    error = killed.exception(60)
    assert isinstance(error, CommandFailed)
    assert error.exit_status == 137
    assert isinstance(left.exception(60), CallFailed)
    assert good.result(60) == 256


def test_a_call_keeps_to_its_limit(client: Client) -> None:
    """It ends as a command would."""
    with Executor(client=client, time_limit=0.5, grace=0) as made:
        error = made.submit(time.sleep, 60).exception(60)
    assert isinstance(error, CommandFailed)
    assert (error.exit_status, "TIMEOUT" in str(error)) == (124, True)


def test_what_waits_is_cancelled_in_the_cluster(executor: Executor, client: Client) -> None:
    """And what runs, only by its id."""
    with Executor(client=client, labels=["nowhere"]) as other:
        waiting = other.submit(pow, 2, 8)
        assert waiting.cancel()
    wait_for(lambda: client.task(waiting.id).state.value == "CANCELLED", "the task to be cancelled")
    running = executor.submit(time.sleep, 60)
    wait_for(running.running, "the call to run")
    assert not running.cancel()
    client.cancel(running.id)
    assert "CANCELLED" in str(running.exception(60))


def test_modules_come_along(client: Client, tmp_path: Path) -> None:
    """As files of every call; without them the error says what is missing."""
    (tmp_path / "came_along.py").write_text("class Answer(Exception):\n    pass\n\ndef answer(): return 42\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import came_along  # type: ignore[import-not-found]  # noqa: PLC0415 (it was just written)

        with Executor(client=client, files=[tmp_path / "came_along.py"]) as made:
            assert made.submit(came_along.answer).result(60) == 42
        with Executor(client=client) as made:
            error = made.submit(came_along.answer).exception(60)
        assert isinstance(error, CallFailed)
        assert "has no module 'came_along'" in str(error)
    finally:
        sys.path.remove(str(tmp_path))


def test_an_interpreter_that_ends_waits_for_its_calls(cluster: LocalCluster) -> None:
    """Also for those that it has not handed over yet; and it takes none after that."""
    program = (
        "import atexit, alb, time\n"
        "executor = alb.Executor(1)\n"
        "def late():\n"
        "    try: executor.submit(pow, 1, 1)\n"
        "    except RuntimeError as error: print(error)\n"
        "atexit.register(late)\n"
        "for word in ('apple', 'pear'):\n"
        "    call = executor.submit(lambda it: (time.sleep(0.3), it)[1], word)\n"
        "    call.add_done_callback(lambda done: print(done.result(), flush=True))\n"
        "executor.map(abs, [1])\n"
        "print('end')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environ_of(cluster),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr
    said = ran.stdout.splitlines()
    assert said == ["end", "apple", "pear", "cannot schedule new futures after interpreter shutdown"]


def test_people_see_what_is_called(executor: Executor, cluster: LocalCluster) -> None:
    """The function's name stands where a command would."""
    future = executor.submit(divmod, 7, 2)
    assert future.result(60) == (3, 1)
    (line,) = [line for line in alb_json(cluster, "tasks", "--all") if line["id"] == future.id]
    assert "builtins.divmod" in str(line)


def test_a_call_under_way_survives_its_leader(tmp_path: Path) -> None:
    """It runs on, once, and its value arrives through the next leader."""
    with LocalCluster(tmp_path / "cluster", Plan(brokers=2, workers=1)) as own:
        journal = tmp_path / "journal"

        def work(path: str) -> str:
            with open(path, "a") as file:  # noqa: PTH123 (on the worker)
                file.write("began\n")
            time.sleep(3)
            return "survived"

        with Executor(zk=own.zk) as made:
            future = made.submit(work, str(journal))
            wait_for(journal.exists, "the call to begin")
            before = kill_leader(own)
            assert future.result(60) == "survived"
            assert own.wait_for_leader(after_epoch=before.epoch)
            assert made.submit(pow, 2, 8).result(60) == 256
        assert journal.read_text() == "began\n"
