"""The cluster of the compose file: what its containers may do, and what survives when they are killed.

The tests share one cluster and leave it whole; they run in the order in which they stand.
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

from alb_worker.shell.capacity import OWN_MEMORY_BYTES

BROKERS = ("broker1", "broker2", "broker3")
WORKERS = ("worker", "worker-small", "worker-big")
KILLED = 137
#: Exit status of a container that was ended by SIGKILL.


def test_up_starts_everything_but_the_client(stack: Stack) -> None:
    """`docker compose up --wait` leaves every service healthy, and does not start the client."""
    health = {
        container["Config"]["Labels"]["com.docker.compose.service"]: container["State"]["Health"]["Status"]
        for container in stack.containers().values()
    }
    assert health == dict.fromkeys(("zk1", "zk2", "zk3", "postgres", *BROKERS, *WORKERS), "healthy")


def test_nothing_is_privileged(stack: Stack) -> None:
    """No container runs as root, holds a capability, can gain one, or can write to its image."""
    for name, container in stack.containers().items():
        host = container["HostConfig"]
        assert container["Config"]["User"] in ("alb", "zookeeper", "postgres"), name
        assert (host["Privileged"], host["ReadonlyRootfs"], host["CapDrop"]) == (False, True, ["ALL"]), name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0 < host["NanoCpus"], name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name


def test_two_projects_fit_side_by_side(stack: Stack) -> None:
    """No service claims a container name or a port of the host, which there is only once."""
    assert [
        name for name, service in stack.config.items() if {"container_name", "ports"} & service.keys()
    ] == []


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


def test_workers_offer_what_the_compose_file_gives_them(stack: Stack) -> None:
    """The capacity that a worker announces is its service's `cpus` and `mem_limit`, less its own need."""
    given = {}
    for service in WORKERS:
        its = stack.config[service]
        memory = int(its["mem_limit"]) - OWN_MEMORY_BYTES
        given[its["environment"]["ALB_LABELS"]] = (float(its["cpus"]), memory)
    offered = [line["capacity"] for line in stack.alb_json("workers")]
    assert {one["labels"][0]: (one["cpus"], one["memory_bytes"]) for one in offered} == given


def test_memory_limit_binds(stack: Stack) -> None:
    """A command that takes more memory than its worker's container has is killed; the worker is not."""
    before = stack.container("worker-small")["State"]["StartedAt"]
    greedy = "python3 -c 'b\"x\" * 400_000_000'"
    ran = stack.alb("submit", "-c", "0.1", "--label", "size=small", greedy)
    assert ran.returncode == KILLED, ran.stderr
    assert stack.container("worker-small")["State"]["StartedAt"] == before


def test_kill_of_the_leader(stack: Stack) -> None:
    """A command runs on while its leader is killed: no line of its output is missing or doubled."""
    with stack.submitted("for i in $(seq 12); do echo line $i; sleep 1; done") as submit:
        assert submit.stdout is not None
        first = submit.stdout.readline()
        leader = stack.leader()
        stack.compose("kill", leader)
        rest, said = submit.communicate(timeout=60)
    assert (first + rest).decode().split("\n") == [*(f"line {n}" for n in range(1, 13)), ""]
    assert submit.returncode == 0
    assert re.search(rf"{leader} lost.*\n?.*leads \(epoch \d+\)", said.decode())
    assert stack.container(leader)["State"]["Running"] is False  # nobody restarts what somebody killed
    stack.start(leader)


def test_kill_of_a_zookeeper_member(stack: Stack) -> None:
    """Two of three members are a quorum: commands are accepted and run as before."""
    stack.compose("kill", "zk1")
    assert stack.alb("submit", "echo still here").stdout == b"still here\n"
    stack.start("zk1")


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
    """`--scale worker=4` makes four workers of it, each under its own name."""
    arguments = ("up", "--detach", "--wait", "--no-recreate", "--scale", "worker=4")
    stack.compose(*arguments, timeout_s=120)
    names = [line["worker"] for line in stack.alb_json("workers")]
    assert len(names) == len(set(names)) == 6


def test_task_of_a_killed_worker_runs_elsewhere(stack: Stack) -> None:
    """A worker's container is killed: what it ran is run by another worker, and its one result is told."""
    command = "echo on $ALB_WORKER; sleep 12"  # still running when the kill arrives, on a slow machine too
    task = stack.alb("submit", "--detach", "--label", "size=medium", command).stdout.decode().strip()

    def worker() -> str:
        (record,) = stack.alb_json("status", task)
        return str(record["attempts"][-1]["worker"]) if record["attempts"] else ""

    wait_for(worker, "the placement of the task")
    first = worker()
    run(["docker", "kill", first])  # a worker of this service is named after its container
    ran = stack.alb("logs", "-f", task)
    assert re.fullmatch(rb"on \w+\n", ran.stdout)
    assert first.encode() not in ran.stdout
    assert stack.alb("wait", task).returncode == 0


def test_look_into_zookeeper(stack: Stack) -> None:
    """`zkCli.sh` in a member's container shows the tree."""
    shown = stack.compose("exec", "-T", "zk2", "zkCli.sh", "ls", "/alb")
    assert re.search(r"^\[.*brokers, .*tasks, .*workers.*\]$", shown, re.MULTILINE)
    assert '"broker":"' in stack.compose("exec", "-T", "zk2", "zkCli.sh", "get", "/alb/leader")


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


def test_stop_ends_everything_in_order(stack: Stack) -> None:
    """`docker compose stop` takes no longer than the grace, and nothing has to be killed."""
    stack.alb("submit", "--detach", "sleep 62")
    running = [name for name, container in stack.containers().items() if container["State"]["Running"]]
    stack.compose("stop", timeout_s=45)
    stopped = stack.containers()
    statuses = {name: stopped[name]["State"]["ExitCode"] for name in running}
    assert {name: status for name, status in statuses.items() if status == KILLED} == {}
