"""Works: what makes two tasks do the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from alb_core.bounds import Bounds
from alb_core.files import FileRef
from alb_core.resources import Request
from alb_core.spec import OnLost, Retry, Start, TaskSpec
from alb_core.works import APART, work_of

PLAIN = TaskSpec(command="make report")
OTHERS: dict[str, Any] = {
    "command": ("make", "report"),
    "env": {"A": "b"},
    "cwd": "/somewhere",
    "time_limit_s": 5.0,
    "grace_s": 1.0,
    "request": Request(cpus=8.0, memory_bytes=1 << 30, net_bps=1000),
    "priority": 7,
    "on_lost": OnLost.FAIL,
    "preemptible": True,
    "name": "tuesday",
    "files": (FileRef(name="in", sha256="0" * 64, size_bytes=1),),
    "returns": ("*.pdf",),
    "checkpoints": ("state",),
    "steps": 7,
    "bounds": Bounds(processes=9),
    "retry": Retry(times=3),
    "start": Start(hold=True),
    "stdin": b"yes",
    "stdin_file": "in",
    "umask": 0o77,
    "nice": 5,
    "run_as": "ann",
    "kind": "python",
    "payload": b"f",
    "speculative": True,
    "binaries": {"x86_64": FileRef(name="prog", sha256="0" * 64, size_bytes=1)},
}


@pytest.mark.parametrize("field", TaskSpec.__struct_fields__)
def test_a_field_counts_unless_it_is_set_apart(field: str) -> None:
    """What decides what is executed makes another work; when and how patiently it runs does not."""
    assert field in OTHERS, f"is the new field {field} part of a work? give it another value here"
    other = msgspec.structs.replace(PLAIN, **{field: OTHERS[field]})
    assert (work_of("ann", other) == work_of("ann", PLAIN)) == (field in APART)


def test_labels_and_users_count() -> None:
    """Other machines may do it otherwise, and nobody is given what others ran."""
    labelled = msgspec.structs.replace(PLAIN, request=Request(labels=("gpu", "eu")))
    again = msgspec.structs.replace(PLAIN, request=Request(cpus=4.0, labels=("eu", "gpu")))
    assert work_of("ann", labelled) != work_of("ann", PLAIN)
    assert work_of("ann", labelled) == work_of("ann", again)
    elsewhere = msgspec.structs.replace(PLAIN, request=Request(archs=("riscv64",)))
    assert work_of("ann", elsewhere) != work_of("ann", PLAIN)
    assert work_of("bob", PLAIN) != work_of("ann", PLAIN)


def test_the_order_of_the_environment_does_not_count() -> None:
    """An environment is a set of variables."""
    one = msgspec.structs.replace(PLAIN, env={"A": "1", "B": "2"})
    two = msgspec.structs.replace(PLAIN, env={"B": "2", "A": "1"})
    assert work_of("ann", one) == work_of("ann", two)


def test_what_a_file_holds_counts() -> None:
    """Its bytes, its name and whether it can be executed."""
    file = FileRef(name="in", sha256="0" * 64, size_bytes=1)
    variants = [
        file,
        msgspec.structs.replace(file, sha256="1" * 64),
        msgspec.structs.replace(file, name="out"),
        msgspec.structs.replace(file, executable=True),
    ]
    works = {work_of("ann", msgspec.structs.replace(PLAIN, files=(each,))) for each in variants}
    assert len(works) == len(variants)


def test_names_of_works_stay() -> None:
    """They are kept for years: a later version must find what this one did."""
    assert work_of("ann", PLAIN) == "42c807ea89bb8eae700a839e3154951d"
