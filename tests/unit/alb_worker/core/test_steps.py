"""Tasks of steps, run by the real shell: each step once, reported when it is over, from the right one on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from alb_core.increments import STEP_KEY, Line, parse_line
from alb_worker.core.steps import command_of_steps


def execute(home: Path, command: str | tuple[str, ...], steps: int, first: int = 1) -> tuple[int, str]:
    """Run a command of steps; return its status and what it printed."""
    environment = {"PATH": "/usr/bin:/bin", "ALB_INCREMENTS": str(home / "reported")}
    words = command_of_steps(command, steps, first)
    done = subprocess.run(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False
    )
    return done.returncode, done.stdout.decode()


def reported(home: Path) -> list[Line | None]:
    """Return what the steps reported."""
    path = home / "reported"
    return [parse_line(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def steps_of(*numbers: int) -> list[Line | None]:
    """Return the reports of these steps."""
    return [Line(STEP_KEY, str(number)) for number in numbers]


def test_each_step_runs_once_and_is_reported(tmp_path: Path) -> None:
    """In order, with its number in the environment; the task ends well after the last."""
    assert execute(tmp_path, "echo step $ALB_STEP", 3) == (0, "step 1\nstep 2\nstep 3\n")
    assert reported(tmp_path) == steps_of(1, 2, 3)


def test_a_task_goes_on_with_the_step_that_is_next(tmp_path: Path) -> None:
    """What is stored of it is not done again; where all of it is, nothing runs and the task ends well."""
    assert execute(tmp_path, "echo $ALB_STEP", 3, first=3) == (0, "3\n")
    assert execute(tmp_path, "echo $ALB_STEP", 3, first=4) == (0, "")
    assert reported(tmp_path) == steps_of(3)


def test_a_step_that_fails_ends_the_task_with_its_status(tmp_path: Path) -> None:
    """It is not reported: the next attempt begins with it."""
    assert execute(tmp_path, 'echo $ALB_STEP; test "$ALB_STEP" -lt 2 || exit 7', 3) == (7, "1\n2\n")
    assert reported(tmp_path) == steps_of(1)


def test_a_step_that_leaves_its_shell_does_not_leave_the_loop(tmp_path: Path) -> None:
    """Steps are processes of their own: neither ``exit 0`` nor a directory or a variable reaches the next."""
    line = 'echo "$PWD $x" >&1; cd /; x=1; exit 0'
    assert execute(tmp_path, line, 2) == (0, f"{Path.cwd()} \n" * 2)


def test_a_vector_keeps_its_words(tmp_path: Path) -> None:
    """Nothing in them is the shell's, neither blanks nor quotes nor variables nor patterns."""
    words = ("a b", "'", '"', "$ALB_STEP", "*", "", "-n", "`x`", "\\", "new\nline", "%d")
    assert execute(tmp_path, ("printf", "[%s]", *words), 1) == (0, "".join(f"[{word}]" for word in words))


@pytest.mark.parametrize(
    ("command", "status"), [(("no-such-program",), 127), (("/etc/passwd",), 126), (("exit", "0"), 127)]
)
def test_a_program_that_cannot_be_run_ends_the_task(
    tmp_path: Path, command: tuple[str, ...], status: int
) -> None:
    """With the status of shells, at its first step; none is reported."""
    assert execute(tmp_path, command, 3) == (status, "")
    assert reported(tmp_path) == []


def test_a_step_that_cannot_be_reported_ends_the_task(tmp_path: Path) -> None:
    """Otherwise it would be taken for undone and run again, though the task said that all was well."""
    (tmp_path / "reported").mkdir()
    status, printed = execute(tmp_path, "echo $ALB_STEP", 3)
    assert (status != 0, printed) == (True, "1\n")
