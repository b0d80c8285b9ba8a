"""The command line as a person at a shell uses it: real processes, their output, their exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.harness import alb, alb_json, environ_of, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, alb_command
from alb_core.tasks import TaskState


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 3", 3), ("kill -KILL $$", 137), ("no-such-command", 127), ("exit 0", 0)],
)
def test_submit_passes_the_exit_status_on(cluster: LocalCluster, command: str, status: int) -> None:
    """A shell script cannot tell `alb submit CMD` from CMD."""
    assert alb(cluster, "submit", command).returncode == status


def test_submit_keeps_the_streams_apart(cluster: LocalCluster) -> None:
    """Standard output is the command's alone; what alb has to say goes to standard error."""
    ran = alb(cluster, "submit", "--zk", cluster.zk, "echo out; echo err >&2")
    assert (ran.returncode, ran.stdout) == (0, "out\n")
    assert "err\n" in ran.stderr


def test_submit_takes_a_vector(cluster: LocalCluster) -> None:
    """Several words are a program and its arguments; its own flags are not ours."""
    assert alb(cluster, "submit", "printf", "[%s]", "--json", "a b").stdout == "[--json][a b]"


def test_submit_hands_on_options(cluster: LocalCluster, tmp_path: Path) -> None:
    """Directory, environment and time limit reach the command."""
    tmp_path.chmod(0o777)
    ran = alb(cluster, "submit", "--env", "A=b c", "-D", str(tmp_path), 'pwd; echo "$A"')
    assert ran.stdout == f"{tmp_path}\nb c\n"
    assert alb(cluster, "submit", "-t", "0.5s", "sleep 64").returncode == 124


def test_binary_output_through_a_pipe(cluster: LocalCluster) -> None:
    """Bytes come out as they went in."""
    ran = subprocess.run(
        [*alb_command(), "submit", "head -c 300000 /dev/zero | tr '\\0' '\\377'"],
        env=environ_of(cluster),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == b"\xff" * 300_000


def test_the_life_of_a_detached_task(cluster: LocalCluster, tmp_path: Path) -> None:
    """Detach prints the id; status, logs and wait find the task by it, or by its first digits."""
    tmp_path.chmod(0o777)
    end = tmp_path / "end"
    command = f"echo started; until [ -e {end} ]; do sleep 0.1; done; echo ended; exit 4"
    ran = alb(cluster, "submit", "--detach", command)
    assert ran.returncode == 0
    task = ran.stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{32}", task)
    assert task in alb(cluster, "tasks").stdout
    with subprocess.Popen(
        [*alb_command(), "logs", "-f", task], env=environ_of(cluster), stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "started\n"
        end.touch()
        assert following.stdout.read() == "ended\n"
    assert alb(cluster, "wait", task).returncode == 4
    assert "FAILED" in alb(cluster, "status", task[-8:]).stdout
    assert alb(cluster, "logs", task).stdout == "started\nended\n"
    assert task in alb(cluster, "tasks", "--all").stdout


def test_cancel_ends_a_task(cluster: LocalCluster, client: Client) -> None:
    """After `alb cancel` the task is CANCELLED, and its processes are gone."""
    task = alb(cluster, "submit", "--detach", "sleep 65").stdout.strip()
    wait_for(lambda: client.task(task).state is TaskState.RUNNING, "the start of the task")
    assert alb(cluster, "cancel", task).returncode == 0
    wait_for(lambda: client.task(task).state is TaskState.CANCELLED, "the end of the task")


def test_the_same_id_runs_once(cluster: LocalCluster, tmp_path: Path) -> None:
    """With --id a script that is run twice submits once."""
    command = f"echo ran >>{tmp_path}/runs; cat {tmp_path}/runs"
    task = "0123456789abcdef0123456789abcdef"
    outputs = {alb(cluster, "submit", "--id", task, command).stdout for _ in range(2)}
    assert outputs == {"ran\n"}
    other = alb(cluster, "submit", "--id", task, "echo something else")
    assert other.returncode == 125
    assert task in other.stderr


def test_ctrl_c_tells_and_a_second_one_cancels(cluster: LocalCluster, client: Client) -> None:
    """The first Ctrl-C says what is running and how to go on; the second within two seconds ends it."""
    attached = subprocess.Popen(
        [*alb_command(), "submit", "echo running; sleep 66"],
        env=environ_of(cluster),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert attached.stdout is not None
    assert attached.stdout.readline() == "running\n"
    attached.send_signal(signal.SIGINT)
    assert attached.stderr is not None
    said = attached.stderr.readline()
    while "Ctrl-C" not in said:
        said += attached.stderr.readline()
    attached.send_signal(signal.SIGINT)
    _, rest = attached.communicate(timeout=30)
    assert attached.returncode == 130
    (task,) = set(re.findall(r"[0-9a-f]{32}", said + rest))
    wait_for(lambda: client.task(task).state is TaskState.CANCELLED, "the end of the task")


def test_workers_and_brokers_are_listed(cluster: LocalCluster) -> None:
    """Both lists name everybody, with a word for the one that leads."""
    workers = alb_json(cluster, "workers")
    assert {line["worker"] for line in workers} == {"w1", "w2"}
    brokers = alb(cluster, "brokers")
    assert brokers.returncode == 0
    assert {"b1", "b2"} <= set(re.findall(r"\bb\d\b", brokers.stdout))
    assert all("depot" in line and "depot_key" not in line for line in alb_json(cluster, "brokers"))


def test_dump_is_the_whole_state(cluster: LocalCluster, tmp_path: Path) -> None:
    """`alb dump FILE` writes one JSON value that knows the epoch and the workers."""
    assert alb(cluster, "dump", str(tmp_path / "dump.json")).returncode == 0
    dump = json.loads((tmp_path / "dump.json").read_text())
    assert dump["epoch"] == cluster.wait_for_leader().epoch
    assert {"w1", "w2"} <= set(re.findall(r"\bw\d\b", json.dumps(dump["workers"])))
    assert json.loads(alb(cluster, "dump", "-").stdout)["epoch"] == dump["epoch"]


@pytest.mark.parametrize("verb", ["tasks", "status", "workers", "brokers", "policy"])
def test_every_question_has_json(cluster: LocalCluster, verb: str) -> None:
    """With --json there is one JSON value on standard output, and nothing else."""
    alb_json(cluster, verb)


def test_without_a_cluster_it_says_what_to_do(cluster: LocalCluster) -> None:
    """No address, a wrong one, and one where nobody answers: each error names what was tried, in time."""
    environ = {name: value for name, value in os.environ.items() if name != "ALB_ZK"}
    bare = subprocess.run(
        [*alb_command(), "submit", "true"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert bare.returncode == 125
    assert "ALB_ZK" in bare.stderr
    malformed = alb(cluster, "submit", "--zk", "host:port", "true")
    assert malformed.returncode == 125
    assert "host:port" in malformed.stderr
    silent = alb(cluster, "submit", "--zk", "127.0.0.1:1", "--connect-timeout", "1s", "true")
    assert silent.returncode == 125
    assert "127.0.0.1:1" in silent.stderr
