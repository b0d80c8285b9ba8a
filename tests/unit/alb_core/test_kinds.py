"""Kinds of task: which are accepted, and which program goes to which machine."""

from __future__ import annotations

from typing import Any

import pytest

from alb_core import limits
from alb_core.files import FileRef
from alb_core.kinds import archs_of, label_of, program_for
from alb_core.resources import Capacity, Request
from alb_core.spec import TaskSpec, check_spec


def ref(name: str, number: int = 1) -> FileRef:
    """Return a file."""
    return FileRef(name=name, sha256=f"{number:064x}", size_bytes=number)


X86, ARM = ref("prog", 1), ref("prog", 2)
BINARY: dict[str, Any] = {
    "kind": "binary",
    "binaries": {"x86_64": X86, "aarch64": ARM},
    "request": Request(archs=("aarch64", "x86_64")),
}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "python", "payload": b"x" * limits.PAYLOAD_BYTES_MAX},
        {"kind": "a-kind_2"},
        BINARY,
        {**BINARY, "steps": 3, "files": (ref("prog", 3),)},
        {"kind": "binary", "binaries": {"any": X86}},
        {"kind": "binary", "binaries": {"any": X86, "aarch64": ARM}},
        {**BINARY, "request": Request(archs=("x86_64",))},
    ],
)
def test_a_task_of_any_kind_may_be_submitted(fields: dict[str, Any]) -> None:
    """Nobody but the worker need know the kind."""
    assert check_spec(TaskSpec(command=("prog", "a"), **fields), 100) is None


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"kind": "Python"}, "no kind of task"),
        ({"kind": "x" * 33}, "no kind of task"),
        ({"kind": "x", "payload": b"x" * (limits.PAYLOAD_BYTES_MAX + 1)}, "ship a file"),
        ({"payload": b"x"}, "'command' has no payload"),
        ({"kind": "x", "cwd": "/tmp"}, "leave --cwd out"),  # noqa: S108 (nothing is opened)
        ({**BINARY, "cwd": "/tmp"}, "leave --cwd out"),  # noqa: S108
        ({"kind": "x", "steps": 2}, "has no steps"),
        ({"kind": "binary"}, "has a program for each architecture"),
        ({"binaries": {"x86_64": X86}}, "has a program for each architecture"),
        ({"kind": "binary", "binaries": {"a b": X86}}, "'a b' is no architecture"),
        (
            {"kind": "binary", "binaries": {f"a{n}": X86 for n in range(limits.BINARIES_MAX + 1)}},
            "architectures, more than",
        ),
        ({"kind": "binary", "binaries": {"any": ref("../x")}}, "'../x'"),
        (
            {"kind": "binary", "binaries": {"any": X86}, "files": (ref(".alb/prog"),)},
            "two files have the name '.alb/prog'",
        ),
        ({"kind": "binary", "binaries": {"x86_64": X86}}, "only where it has a program for: x86_64"),
        ({**BINARY, "request": Request(archs=("riscv64",))}, "only where it has a program for"),
    ],
)
def test_each_mistake_has_its_sentence(fields: dict[str, Any], part: str) -> None:
    """It names what is wrong."""
    wrong = check_spec(TaskSpec(command=("prog",), **fields), 100)
    assert wrong is not None
    assert part in wrong


def test_each_machine_gets_its_own_program() -> None:
    """Executable, and where no pattern of returns or checkpoints finds it; any stands in for the others."""
    found = program_for({"x86_64": X86, "any": ARM}, "x86_64")
    assert found == FileRef(name=".alb/prog", sha256=X86.sha256, size_bytes=1, executable=True)
    other = program_for({"x86_64": X86, "any": ARM}, "riscv64")
    assert other is not None
    assert other.sha256 == ARM.sha256
    assert program_for({"x86_64": X86}, "aarch64") is None
    assert program_for({}, "x86_64") is None


def test_a_task_is_placed_only_where_its_program_runs() -> None:
    """A worker of another architecture does not suit it; with one for any, all do."""
    archs = archs_of({"x86_64": X86, "aarch64": ARM})
    request = Request(archs=archs)
    suited = [
        arch
        for arch in ("x86_64", "aarch64", "riscv64", "")
        if request.suits(Capacity(cpus=1, memory_bytes=1, arch=arch))
    ]
    assert suited == ["x86_64", "aarch64"]
    assert archs_of({"x86_64": X86, "any": ARM}) == ()


def test_a_kind_is_asked_for_by_its_label() -> None:
    """So the broker places it where it is, and knows no kinds."""
    request = Request(labels=(label_of("python"),))
    assert request.suits(Capacity(cpus=1, memory_bytes=1, labels=("gpu", "kind=python")))
    assert not request.suits(Capacity(cpus=1, memory_bytes=1))


def test_all_programs_are_luggage() -> None:
    """Depots keep each until the task has ended: nobody knows yet where it runs."""
    spec = TaskSpec(command=("prog",), files=(ref("a", 3),), **BINARY)
    assert {file.sha256 for file in spec.luggage} == {f"{n:064x}" for n in (1, 2, 3)}
    plain = TaskSpec(command="x", files=(ref("a"),))
    assert plain.luggage is plain.files
