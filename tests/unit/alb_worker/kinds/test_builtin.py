"""The built-in kinds: a command as it is, a program by the worker's architecture."""

from __future__ import annotations

import pytest

from alb_core.files import FileRef
from alb_core.spec import TaskSpec
from alb_worker.kinds.builtin import Binary, Command
from alb_worker.kinds.interface import Attempt, KindFailed, Launch


def attempt(spec: TaskSpec, arch: str = "aarch64") -> Attempt:
    """Return an attempt on a machine."""
    return Attempt(task="t", n=1, spec=spec, worker="w1", arch=arch, directory="/d")


def program(name: str) -> FileRef:
    """Return a program."""
    return FileRef(name=name, sha256="1" * 64, size_bytes=1)


def test_a_command_is_started_as_it_is() -> None:
    """A line for a shell, or words."""
    for command in ("echo $HOME", ("echo", "x")):
        assert Command().prepare(attempt(TaskSpec(command=command))) == Launch(command=command)


def test_a_program_is_that_of_the_machine() -> None:
    """With the task's arguments behind its name."""
    spec = TaskSpec(
        command=("a", "-v", "x y"), kind="binary", binaries={"x86_64": program("a"), "aarch64": program("b")}
    )
    assert Binary().prepare(attempt(spec)).command == (".alb/b", "-v", "x y")
    assert Binary().prepare(attempt(spec, "x86_64")).command == (".alb/a", "-v", "x y")


def test_a_machine_without_a_program_says_so() -> None:
    """Should it be placed there all the same."""
    spec = TaskSpec(command=("a",), kind="binary", binaries={"x86_64": program("a")})
    with pytest.raises(KindFailed, match="no program for aarch64, only for x86_64"):
        Binary().prepare(attempt(spec))
