"""The witness file tells which attempts of which tasks really started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from alb.local.daemons import wait_until
from alb.local.witness import Witness


def _run(witness: Witness, task: str, attempt: int, then: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "ALB_TASK_ID": task, "ALB_ATTEMPT": str(attempt), "ALB_WORKER": "w1"}
    return subprocess.Popen(
        ["/bin/sh", "-c", witness.command(then)], env=environ, stdout=subprocess.PIPE, text=True
    )


def test_a_command_writes_one_line_and_goes_on(tmp_path: Path) -> None:
    """The line names task, attempt, the command's own pid and worker; output and status are the command's."""
    witness = Witness(tmp_path)
    with _run(witness, "a1", 1, "echo out; exit 3") as command:
        output, _ = command.communicate()
    assert (output, command.returncode) == ("out\n", 3)
    (start,) = witness.starts()
    assert (start.task, start.attempt, start.pid, start.worker) == ("a1", 1, command.pid, "w1")
    assert start.others == ()


def test_an_earlier_attempt_that_still_lives_is_noticed(tmp_path: Path) -> None:
    """A second attempt records the pid of the first while that runs, and not once it is over."""
    witness = Witness(tmp_path)
    with _run(witness, "a1", 1, "exec sleep 30") as first:
        assert wait_until(lambda: witness.starts_of("a1"), 5)
        with _run(witness, "a1", 2, "true") as second:
            second.wait()
        with _run(witness, "b2", 1, "true") as other:
            other.wait()
        first.kill()
    with _run(witness, "a1", 3, "true") as third:
        third.wait()
    assert [start.others for start in witness.starts_of("a1")] == [(), (first.pid,), ()]
    assert witness.starts_of("b2")[0].others == ()
    assert witness.counts() == {"a1": 3, "b2": 1}


def test_many_commands_at_once_lose_no_line(tmp_path: Path) -> None:
    """Lines of commands that start at the same moment do not overwrite each other."""
    witness = Witness(tmp_path)
    commands = [_run(witness, f"t{n}", 1, "true") for n in range(40)]
    for command in commands:
        command.communicate()
    assert witness.counts() == {f"t{n}": 1 for n in range(40)}
