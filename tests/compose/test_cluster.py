"""The cluster of the compose file: ``deploy/alb`` in it, and what survives when its containers are killed.

What `docs/tour.md` shows, `test_tour` checks. These tests leave the cluster whole, and run in their order.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from select import select

import pytest
from tests.compose.stack import ALB, Stack, run
from tests.harness import wait_for

BROKERS = ("broker1", "broker2", "broker3")
KILLED = 137
#: Exit status of a container that was ended by SIGKILL.


def test_submit_from_any_directory(stack: Stack, tmp_path: Path) -> None:
    """`deploy/alb submit` runs the user's own words: output and exit status are theirs, nothing is added."""
    ran = stack.alb("submit", "--zk", "zk1:2181", "echo out; echo err >&2; exit 3", cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, b"out\n", b"err\n")


def test_output_is_exact_to_the_byte(stack: Stack) -> None:
    """Binary output passes containers and pipes as it is, to its last byte."""
    ran = stack.alb("submit", "head -c 3000000 /dev/zero | tr '\\0' '\\377'; printf '\\r\\n\\0'")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == b"\xff" * 3_000_000 + b"\r\n\0"


def test_tasks_belong_to_the_caller(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table names who called on the host, not the user of the container."""
    monkeypatch.setenv("ALB_USER", "marie")
    task = stack.alb("submit", "--detach", "true").stdout.decode().strip()
    (record,) = stack.alb_json("status", task)
    assert record["user"] == "marie"


def test_memory_limit_binds(stack: Stack) -> None:
    """A command that takes more memory than its worker's container has is killed; the worker is not."""
    before = stack.container("worker-small")["State"]["StartedAt"]
    greedy = "python3 -c 'b\"x\" * 400_000_000'"
    ran = stack.alb("submit", "-c", "0.1", "--label", "size=small", greedy)
    assert ran.returncode == KILLED, ran.stderr
    assert stack.container("worker-small")["State"]["StartedAt"] == before


def test_kill_of_the_leader(stack: Stack) -> None:
    """A command runs on while its leader is killed: no line of its output is missing or doubled."""
    with stack.submitted("for i in $(seq 15); do echo line $i; sleep 1; done") as submit:
        assert submit.stdout is not None
        first = submit.stdout.readline()
        leader = stack.leader()
        stack.compose("kill", leader)
        rest, said = submit.communicate(timeout=60)
    assert (first + rest).decode().split("\n") == [*(f"line {n}" for n in range(1, 16)), ""]
    assert submit.returncode == 0
    assert re.search(rf"{leader} lost.*\n?.*leads \(epoch \d+\)", said.decode())
    assert stack.container(leader)["State"]["Running"] is False  # nobody restarts what somebody killed
    stack.start(leader)


def test_kill_of_the_database(stack: Stack) -> None:
    """Commands run while it is away and the leader says so; afterwards it has everything."""

    def store() -> tuple[str, int]:
        (line,) = [broker for broker in stack.alb_json("brokers") if broker["leads"]]
        return line["store"], line["unarchived"]

    stack.compose("kill", "postgres")
    assert stack.alb("submit", "-J", "unseen", "echo still here").stdout == b"still here\n"
    wait_for(lambda: store()[0] not in ("", "ok"), "the leader to miss the store")
    assert store()[1] > 0
    assert "does not answer" in stack.alb("history").stderr.decode()
    stack.start("postgres")
    wait_for(lambda: store() == ("ok", 0), "the store to have everything")
    query = "SELECT state, exit_code FROM v_tasks WHERE name = 'unseen'"
    assert stack.alb_json("sql", query) == [{"state": "SUCCEEDED", "exit_code": 0}]


def test_commands_do_not_reach_the_database(stack: Stack) -> None:
    """Workers are not on its network: its password alone does not keep commands out."""
    look = "import socket; socket.create_connection(('postgres', 5432), 3)"
    ran = stack.alb("submit", f'python3 -c "{look}"')
    assert ran.returncode == 1
    assert b"error" in ran.stderr.lower()


def test_health_of_brokers_follows_the_quorum(stack: Stack) -> None:
    """Without a quorum no broker is healthy; with its return all are."""
    stack.compose("kill", "zk2", "zk3")
    for broker in BROKERS:
        wait_for(lambda name=broker: stack.health(name) == "unhealthy", f"{broker} to be unhealthy")
    stack.start("zk2", "zk3")
    for broker in BROKERS:
        wait_for(lambda name=broker: stack.health(name) == "healthy", f"{broker} to be healthy")
    assert stack.alb("submit", "echo again").stdout == b"again\n"


def test_health_says_what_a_container_does(stack: Stack) -> None:
    """A broker is healthy as it leads, or knows who does; a worker when it is registered."""
    leader = stack.leader()
    for broker in BROKERS:
        said = stack.compose("exec", "-T", broker, "alb", "health", "broker")
        assert said.startswith(f"broker {broker}: {'leads' if broker == leader else f'stands by, {leader}'}")
    said = stack.compose("exec", "-T", "worker-big", "alb", "health", "worker")
    assert said.startswith(f"worker worker-big: registered with {leader}")


def test_crashed_broker_is_restarted(stack: Stack) -> None:
    """A broker that dies by itself comes back by its restart policy."""
    run(["docker", "exec", stack.container("broker2")["Id"], "sh", "-c", "kill -9 -1"], check=False)
    wait_for(lambda: stack.container("broker2")["RestartCount"] > 0, "the restart of broker2")
    wait_for(lambda: stack.health("broker2") == "healthy", "the health of broker2")


def test_scale(stack: Stack) -> None:
    """`--scale worker=10` makes ten workers of it, each under its own name, and all of them work."""
    arguments = ("up", "--detach", "--wait", "--no-recreate", "--scale", "worker=10")
    stack.compose(*arguments, timeout_s=200)
    workers = stack.alb_json("workers")
    assert len({line["worker"] for line in workers if line["link"]}) == 12
    names = "".join(f"{line['worker']}\n" for line in workers).encode()
    ran = run([str(ALB), "submit", "--each-line", "-", "echo {}"], typed=names)
    assert b"12 lines: 12 ran" in ran.stderr


def test_interrupt_reaches_the_command(stack: Stack) -> None:
    """Ctrl-C is alb's to answer: the first says how to go on, the second cancels the task."""
    with stack.submitted("echo begun; sleep 61") as submit:
        assert submit.stdout is not None
        assert submit.stderr is not None
        assert submit.stdout.readline() == b"begun\n"
        os.killpg(submit.pid, signal.SIGINT)
        assert b"Ctrl-C again" in submit.stderr.readline()
        os.killpg(submit.pid, signal.SIGINT)
        submit.communicate(timeout=30)
    assert submit.returncode == 130


@pytest.mark.usefixtures("stack")
def test_interrupt_from_a_terminal() -> None:
    """With a terminal on both sides, Ctrl-C is typed into it, and alb answers it in the same way."""
    ours, theirs = os.openpty()
    shown = b""

    def shows(text: bytes) -> bool:
        nonlocal shown
        while select([ours], [], [], 0)[0]:
            shown += os.read(ours, 4096)
        return text in shown

    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", str(ALB), "submit", "echo begun; sleep 63"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as submit:
        wait_for(lambda: shows(b"begun\r\n"), "the command's output")
        os.write(ours, b"\x03")
        wait_for(lambda: shows(b"Ctrl-C again"), "the answer to Ctrl-C")
        os.write(ours, b"\x03")
        wait_for(lambda: shows(b"was cancelled"), "the cancellation")
        assert submit.wait(30) == 130
    os.close(ours)
    os.close(theirs)
