"""Arrays on real processes: every index once, whatever dies; left, come back to, cancelled, tried again."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import alb, environ_of, wait_for

from alb import Client
from alb.local.cluster import LocalCluster, Plan, alb_command
from alb.local.witness import Witness
from alb_core.tasks import TaskState

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster whose leaders are killed here."""
    with LocalCluster(tmp_path_factory.mktemp("arrays") / "cluster", Plan(brokers=3)) as running:
        yield running


def kill_leader(cluster: LocalCluster) -> None:
    """Kill the leader, wait until another one leads, and have the dead one back as a standby."""
    leader = cluster.wait_for_leader()
    cluster[leader.broker].kill()
    cluster.wait_for_leader(after_epoch=leader.epoch)
    cluster[leader.broker].start()


def test_no_index_is_skipped_or_repeated_when_the_leader_dies(
    breakable: LocalCluster, tmp_path: Path
) -> None:
    """The commands themselves are the witnesses; the client gets every result, a new one every state."""
    witness = Witness(tmp_path)
    command = witness.command("sleep 0.05; test {#} -ne 7")
    with Client(zk=breakable.zk) as client:
        array = client.array(command, indexes="1-240", cpus=0.5)
        tasks = [array.next_task(PATIENCE_S) for _ in range(40)]
        kill_leader(breakable)
        tasks += list(array)
        assert sorted(task.index for task in tasks if task is not None) == list(range(1, 241))
        assert [task.index for task in tasks if task is not None and task.exit_status] == [7]
        assert (array.counts.succeeded, array.counts.failed) == (239, 1)
    starts = Counter(start.task for start in witness.starts())
    assert starts == Counter(f"{array.id}.{index}" for index in range(1, 241))
    with Client(zk=breakable.zk) as client:
        ended = list(client.array_stretches(array.id))
        assert sum(stretch.count for _, stretch in ended) == 240
        (failed,) = [strides for strides, stretch in ended if stretch.state is TaskState.FAILED]
        assert [str(stride) for stride in failed] == ["7"]


def test_a_chain_over_an_array_survives_its_leader(breakable: LocalCluster, tmp_path: Path) -> None:
    """A task, an array, a task: each sees what the one before it left, although leaders die in between."""
    count = f"cat {tmp_path}/part.* | wc -l"
    with Client(zk=breakable.zk) as client:
        first = client.submit(f"echo ready > {tmp_path}/ready", hold=True)
        array = client.array(f"cp {tmp_path}/ready {tmp_path}/part.{{#}}", indexes="1-20", after=first)
        part = client.submit(f"cat {tmp_path}/part.20", after=f"afterok:{array.id}.20")
        last = client.submit(count, after=array)
        wait_for(lambda: array.accepted, "the array is accepted")
        assert "which has not begun" in alb(breakable, "status", array.id).stdout
        kill_leader(breakable)
        held = alb(breakable, "hold", array.id, first.id)
        assert held.returncode == 0, held.stderr
        assert alb(breakable, "release", first.id).returncode == 0
        assert first.result(timeout=PATIENCE_S).exit_code == 0
        assert "holds it" in alb(breakable, "status", array.id).stdout
        assert not list(tmp_path.glob("part.*"))
        assert alb(breakable, "release", array.id[-8:]).stdout == f"{array.id} released\n"
        kill_leader(breakable)
        assert last.result(timeout=PATIENCE_S).stdout.split() == [b"20"]
        assert part.result(timeout=PATIENCE_S).stdout == b"ready\n"
        assert array.wait(PATIENCE_S).state is TaskState.SUCCEEDED


def test_a_stream_of_lines_survives_its_leader(breakable: LocalCluster, tmp_path: Path) -> None:
    """Lines run as they come; those of before, during and after a failover all do, once, in their order."""
    witness = Witness(tmp_path)
    submit = subprocess.Popen(
        [*alb_command(), "submit", "--each-line", "-", "--keep-order", witness.command("echo {}")],
        env=environ_of(breakable),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert submit.stdin is not None
    submit.stdin.write("".join(f"line {number}\n" for number in range(20)))
    submit.stdin.flush()
    wait_for(lambda: len(witness.starts()) >= 10, "lines that run before the end of the pipe")
    submit.stdin.write("".join(f"line {number}\n" for number in range(20, 40)))
    submit.stdin.flush()
    breakable.add_broker("b9").start()
    kill_leader(breakable)
    submit.stdin.write("".join(f"line {number}\n" for number in range(40, 60)))
    out, err = submit.communicate(timeout=PATIENCE_S)
    assert (submit.returncode, out.splitlines()) == (0, [f"line {number}" for number in range(60)]), err
    assert err.endswith("alb: 60 lines: 60 ran\n")
    assert sorted(Counter(start.task for start in witness.starts()).values()) == [1] * 60


def test_what_failed_runs_again_with_its_inputs(cluster: LocalCluster, tmp_path: Path) -> None:
    """And only that: its indexes and inputs are those of before."""
    flag = tmp_path / "flag"
    tmp_path.chmod(0o777)
    command = f"test -e {flag} -o {{#}} -ne 2 && echo {{#}} {{}}"
    first = alb(cluster, "submit", command, ":::", "a b", "c d", "e f")
    assert (first.returncode, sorted(first.stdout.splitlines())) == (1, ["1 a b", "3 e f"])
    array = first.stderr.partition("alb retry --failed ")[2].split()[0]
    flag.touch()
    again = alb(cluster, "retry", "--failed", "--attach", array)
    assert (again.returncode, again.stdout) == (0, "2 c d\n")


def test_an_array_is_left_and_come_back_to(cluster: LocalCluster, tmp_path: Path) -> None:
    """Cancelled in part, it goes on; attach shows what is kept, status how every index ended."""
    gate = tmp_path / "gate"
    tmp_path.chmod(0o755)
    command = f"until test -e {gate}; do sleep 0.05; done; echo {{#}}"
    left = alb(cluster, "submit", "--detach", "--array", "1-40%2", command)
    array = left.stdout.strip()
    assert alb(cluster, "cancel", f"{array}.11-30").returncode == 0
    listed = json.loads(alb(cluster, "tasks", "--json").stdout)
    assert [line["id"] for line in listed if line["id"].startswith(array)] == [array]
    gate.touch()
    back = alb(cluster, "attach", "--keep-order", array)
    kept = [*range(1, 11), *range(31, 41)]
    assert back.stdout.splitlines() == list(map(str, kept)), back.stderr
    assert back.returncode == 125
    (form,) = json.loads(alb(cluster, "status", "--json", array).stdout)
    assert [(each["indexes"], each["state"]) for each in form["ended"]] == [
        ("1-10", "SUCCEEDED"),
        ("11-30", "CANCELLED"),
        ("31-40", "SUCCEEDED"),
    ]
    assert alb(cluster, "logs", f"{array}.3").stdout == "3\n"


def test_an_array_that_fails_too_often_is_ended(cluster: LocalCluster) -> None:
    """What is left is cancelled, soon after the bound was passed."""
    begun = time.monotonic()
    done = alb(cluster, "submit", "--json", "--max-fails", "2", "--array", "1-500%2", "sleep 0.2; exit 9")
    assert done.returncode == 9
    states = Counter(json.loads(line)["state"] for line in done.stdout.splitlines())
    assert states.total() == 500
    assert 3 <= states["FAILED"] <= 6
    assert time.monotonic() - begun < PATIENCE_S * 3 / 4


def test_an_array_that_no_worker_can_run_says_so(breakable: LocalCluster) -> None:
    """To who follows it, by itself, and to who looks: a label misspelt is no queue."""
    told = "no worker has the label sdd; it waits for one that has"
    submit = subprocess.Popen(
        [*alb_command(), "submit", "--array", "1-50", "--require", "sdd", "true"],
        stderr=subprocess.PIPE,
        env=environ_of(breakable),
        text=True,
    )
    with submit:
        assert submit.stderr is not None
        said = next(line for line in submit.stderr if "none of its tasks runs" in line)
        assert said == f"alb: none of its tasks runs: {told}\n"
        (array,) = json.loads(alb(breakable, "tasks", "--json").stdout)
        assert f"state     QUEUED: {told}\n" in alb(breakable, "status", array["id"]).stdout
        assert alb(breakable, "cancel", array["id"]).returncode == 0
        submit.communicate(timeout=PATIENCE_S)
    assert submit.returncode == 125
