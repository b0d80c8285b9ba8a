"""The main job through the Python interface, on real processes: a command in, its output and status out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest
from tests.harness import Gate, wait_for

from alb import Client
from alb.local.cluster import LocalCluster
from alb_core.errors import CommandFailed, InvalidTask, TaskCancelled, TaskConflict, TaskGone
from alb_core.ids import uuid7
from alb_core.messages import StreamName
from alb_core.tasks import TaskState

PATIENCE_S = 60.0
MIB = 1024 * 1024


def test_a_shell_command_comes_back_with_its_output(client: Client) -> None:
    """Both streams, the status and the cost of a command are its result."""
    result = client.submit("echo out; echo err >&2").result(timeout=PATIENCE_S)
    assert (result.state, result.exit_status) == (TaskState.SUCCEEDED, 0)
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert result.worker in {"w1", "w2"}
    assert result.attempt == 1
    assert result.memory_bytes > 0


def test_an_argument_vector_is_executed_as_it_is(client: Client) -> None:
    """No shell looks at a vector: its words arrive whole."""
    words = ["a b", "$HOME", "*", "", "x;y"]
    result = client.submit(["printf", "[%s]", *words]).result(timeout=PATIENCE_S)
    assert result.stdout.decode() == "".join(f"[{word}]" for word in words)


@pytest.mark.parametrize("status", [1, 3, 124, 255])
def test_an_exit_status_is_a_result(client: Client, status: int) -> None:
    """A command that fails has FAILED, with its own status; only `check` raises."""
    result = client.submit(f"exit {status}").result(timeout=PATIENCE_S)
    assert (result.state, result.exit_code, result.exit_status) == (TaskState.FAILED, status, status)
    with pytest.raises(CommandFailed):
        result.check()


def test_a_signal_is_a_result(client: Client) -> None:
    """A command that a signal ended reports it, as 128 + its number to a shell."""
    result = client.submit("kill -USR1 $$").result(timeout=PATIENCE_S)
    assert (result.state, result.signal, result.exit_status) == (TaskState.FAILED, 10, 138)


def test_environment_and_directory(client: Client, tmp_path: Path) -> None:
    """A command sees what it was given and who it is, and nothing of the worker's own environment."""
    tmp_path.chmod(0o777)
    future = client.submit("pwd; env", env={"COLOUR": "vert é"}, cwd=str(tmp_path))
    directory, *lines = future.result(timeout=PATIENCE_S).stdout.decode().splitlines()
    environ = dict(line.partition("=")[::2] for line in lines)
    assert directory == str(tmp_path)
    assert environ["COLOUR"] == "vert é"
    assert (environ["ALB_TASK_ID"], environ["ALB_ATTEMPT"]) == (future.id, "1")
    assert environ["ALB_WORKER"] in {"w1", "w2"}
    assert "ALB_ZK" not in environ
    assert "ALB_WORK_DIR" not in environ


def test_every_command_starts_in_a_fresh_directory(client: Client) -> None:
    """Without a directory a command gets an empty one of its own."""
    run = [client.submit("ls -A; pwd; touch left").result(timeout=PATIENCE_S).stdout for _ in range(2)]
    assert run[0] != run[1]
    assert all(len(output.splitlines()) == 1 for output in run)


def test_output_comes_while_the_command_runs(client: Client, gate: Gate) -> None:
    """The first line arrives before the command ends."""
    stream = client.stream(f"echo first; {gate.command}; echo second")
    piece = stream.next_piece(timeout_s=PATIENCE_S)
    assert piece == (StreamName.STDOUT, b"first\n")
    assert not stream.done()
    gate.open()
    assert [data for _, data in stream] == [b"second\n"]
    assert stream.result(timeout=PATIENCE_S).exit_status == 0


def test_many_commands_keep_their_order(client: Client) -> None:
    """`map` yields the results in the order of its commands."""
    results = list(client.map([["echo", str(number)] for number in range(60)], window=20))
    assert [int(result.stdout) for result in results] == list(range(60))


def test_commands_run_side_by_side(client: Client, tmp_path: Path) -> None:
    """Four slots take four commands at a time: each waits until it sees all of them."""
    command = f"touch {tmp_path}/$ALB_TASK_ID; until [ $(ls {tmp_path} | wc -l) -eq 4 ]; do sleep 0.05; done"
    futures = [client.submit(command) for _ in range(4)]
    assert {future.result(timeout=PATIENCE_S).worker for future in futures} == {"w1", "w2"}


def test_a_time_limit_ends_a_command(client: Client) -> None:
    """At its limit a command gets TERM, and the result says TIMEOUT and 124."""
    result = client.submit("trap 'echo bye; exit 0' TERM; sleep 60 & wait", time_limit=0.5).result(
        timeout=PATIENCE_S
    )
    assert (result.state, result.exit_status) == (TaskState.TIMEOUT, 124)
    assert result.stdout == b"bye\n"
    assert 0.4 < result.wall_s < 40


def test_a_command_that_ignores_term_is_killed(client: Client) -> None:
    """After the grace the whole tree is killed, deaf children and their sessions included."""
    command = "trap '' TERM; setsid sh -c \"trap '' TERM; echo $$ \\$\\$; exec sleep 61\" & wait; sleep 61"
    result = client.submit(command, time_limit=0.5, grace=0.5).result(timeout=PATIENCE_S)
    assert result.state is TaskState.TIMEOUT
    for pid in result.stdout.split():
        assert not Path(f"/proc/{int(pid)}").exists(), f"{int(pid)} was left behind"


def test_cancel_of_a_running_command(client: Client) -> None:
    """A cancelled command is killed; the future raises, and the table says CANCELLED."""
    stream = client.stream("echo $$; exec sleep 62")
    piece = stream.next_piece(timeout_s=PATIENCE_S)
    assert piece is not None
    stream.cancel()
    with pytest.raises(TaskCancelled):
        stream.result(timeout=PATIENCE_S)
    assert not Path(f"/proc/{int(piece.data)}").exists()
    assert client.task(stream.id).state is TaskState.CANCELLED


def test_cancel_of_a_queued_command(client: Client, tmp_path: Path, gate: Gate) -> None:
    """A task that is cancelled while it waits never starts."""
    blockers = [client.submit(gate.command) for _ in range(4)]
    started = tmp_path / "started"
    waiting = client.submit(f"touch {started}")
    waiting.cancel()
    with pytest.raises(TaskCancelled):
        waiting.result(timeout=PATIENCE_S)
    gate.open()
    for blocker in blockers:
        blocker.result(timeout=PATIENCE_S)
    assert not started.exists()


def test_a_late_client_gets_the_whole_output(cluster: LocalCluster, client: Client) -> None:
    """Output beyond what the table keeps is served from the worker's spool, at any time and offset."""
    task = client.submit("seq 1 200000", output=False)
    task.result(timeout=PATIENCE_S)
    whole = "".join(f"{number}\n" for number in range(1, 200_001)).encode()
    with Client(zk=cluster.zk) as late:
        assert late.attach(task.id).result(timeout=PATIENCE_S).stdout == whole
        tail = b"".join(data for _, data in late.attach_stream(task.id, stdout=len(whole) - 100_000))
    assert tail == whole[-100_000:]


def test_a_hundred_megabytes_of_output(client: Client) -> None:
    """A flood arrives whole and unchanged, while other commands go on."""
    command = "dd if=/dev/urandom bs=1048576 count=1 status=none >block; sha256sum <block; "
    stream = client.stream(command + "for i in $(seq 100); do cat block; done >&2")
    digest, first, size = hashlib.sha256(), b"", 0
    for name, data in stream:
        if name is StreamName.STDOUT:
            first += data
            continue
        digest.update(data[: max(0, MIB - size)])
        size += len(data)
    assert size == 100 * MIB
    assert digest.hexdigest() == first.split()[0].decode()
    assert stream.result(timeout=PATIENCE_S).exit_status == 0


def test_binary_output(client: Client) -> None:
    """Every byte value comes back as it was, also where it is no text."""
    result = client.submit(["sh", "-c", r"for i in $(seq 0 255); do printf \\$(printf %o $i); done"]).result(
        timeout=PATIENCE_S
    )
    assert result.stdout == bytes(range(256))


def test_output_held_open_by_a_grandchild(client: Client) -> None:
    """What a command leaves behind holds nobody up: the task ends with its command, the rest is killed."""
    began = time.monotonic()
    result = client.submit("setsid sleep 63 & echo $!; exit 5").result(timeout=PATIENCE_S)
    assert result.exit_status == 5
    assert time.monotonic() - began < 40
    pid = int(result.stdout)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of what was left behind")


def test_a_command_that_does_not_exist(client: Client) -> None:
    """A vector whose program is not there fails with 127, and the result says which."""
    result = client.submit(["no-such-program-here"]).result(timeout=PATIENCE_S)
    assert (result.state, result.exit_status) == (TaskState.FAILED, 127)
    assert "no-such-program-here" in result.why


def test_a_command_without_permission(client: Client, tmp_path: Path) -> None:
    """A file that cannot be executed fails with 126."""
    (tmp_path / "data").write_text("no program")
    result = client.submit([str(tmp_path / "data")]).result(timeout=PATIENCE_S)
    assert (result.state, result.exit_status) == (TaskState.FAILED, 126)


def test_a_directory_that_does_not_exist(client: Client) -> None:
    """The command is not started elsewhere instead; the result names the directory."""
    result = client.submit("true", cwd="/no/such/directory").result(timeout=PATIENCE_S)
    assert (result.state, result.exit_status) == (TaskState.FAILED, 125)
    assert "/no/such/directory" in result.why


def test_an_environment_of_megabytes(client: Client) -> None:
    """It is refused before it leaves the client, with the bound and what to do."""
    with pytest.raises(InvalidTask, match=r"65536.*file"):
        client.submit("true", env={"BIG": "x" * 3 * MIB})


def test_the_same_id_and_command_is_the_same_task(client: Client, tmp_path: Path) -> None:
    """A resubmission runs nothing: both futures get the one result."""
    command = f"echo once >>{tmp_path}/ran; cat {tmp_path}/ran"
    first = client.submit(command)
    record = first.result(timeout=PATIENCE_S).record
    assert client.submit(command, id=first.id).result(timeout=PATIENCE_S).record == record
    assert (tmp_path / "ran").read_text() == "once\n"


def test_the_same_id_with_another_command(client: Client) -> None:
    """It is a conflict; the first task keeps its result."""
    first = client.submit("echo first")
    first.result(timeout=PATIENCE_S)
    with pytest.raises(TaskConflict):
        client.submit("echo second", id=first.id).result(timeout=PATIENCE_S)
    assert client.attach(first.id).result(timeout=PATIENCE_S).stdout == b"first\n"


def test_an_unknown_id_is_gone(client: Client) -> None:
    """Attaching to what the table does not hold raises TaskGone, at once and for every question."""
    unknown = uuid7(0, os.urandom(10))
    with pytest.raises(TaskGone):
        client.attach(unknown).result(timeout=PATIENCE_S)
    with pytest.raises(TaskGone):
        client.task(unknown)
    with pytest.raises(TaskGone):
        client.cancel(unknown)


def test_futures_can_be_awaited(client: Client) -> None:
    """The same client serves asyncio."""

    async def both() -> list[bytes]:
        results = await asyncio.gather(*(client.submit(["echo", word]) for word in ("a", "b")))
        return [result.stdout for result in results]

    assert asyncio.run(both()) == [b"a\n", b"b\n"]


def test_policies_are_switched_without_a_restart(client: Client) -> None:
    """Both policies place; an unknown one is refused with the names that exist."""
    before = client.cluster().policy
    with pytest.raises(InvalidTask, match="least-loaded"):
        client.set_policy("no-such-policy")
    for policy in ("uniform", "least-loaded"):
        client.set_policy(policy)
        wait_for(lambda name=policy: client.cluster().policy == name, f"{policy} to place")
        assert client.submit("echo placed").result(timeout=PATIENCE_S).stdout == b"placed\n"
    client.set_policy(before)
