"""The interpreter of a call: what the call prints is output, what it comes to is in a file or nowhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from alb_core.calls import Reply, open_reply, pack_call
from alb_core.errors import CallFailed
from alb_core.files import FileRef
from alb_core.kinds import PAYLOAD_FILE, VALUE_FILE
from alb_core.spec import TaskSpec
from alb_worker.kinds.interface import Attempt, KindFailed
from alb_worker.kinds.python import Python

Ran = tuple[subprocess.CompletedProcess[str], Reply | None]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Have a payload done as a worker does it."""

    def go(payload: bytes) -> Ran:
        (tmp_path / ".alb").mkdir()
        (tmp_path / PAYLOAD_FILE).write_bytes(payload)
        spec = TaskSpec(command="x", kind="python", payload=payload)
        launch = Python().prepare(
            Attempt(task="t", n=1, spec=spec, worker="w1", arch="any", directory=str(tmp_path))
        )
        environ = {"PATH": os.environ["PATH"], "ALB_WORKER": "w1"}
        ran = subprocess.run(
            launch.command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        value = tmp_path / VALUE_FILE
        return ran, open_reply(value.read_bytes()) if value.exists() else None

    return go


def test_a_call_is_done(run: Callable[..., Ran]) -> None:
    """Whatever directory it goes to."""

    def work(where: str) -> list[str]:
        os.chdir(where)
        sys.stdout.write("to stdout\n")
        sys.stderr.write("to stderr\n")
        return [where]

    ran, reply = run(pack_call(work, ("/",), {}))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "to stdout\n", "to stderr\n")
    assert reply == Reply(["/"])


def test_a_call_may_remove_its_directory(run: Callable[..., Ran]) -> None:
    """Its value comes back all the same: only files that were to be brought back are gone."""

    def clear() -> int:
        shutil.rmtree(Path.cwd())
        return 5

    ran, reply = run(pack_call(clear, (), {}))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert reply == Reply(5)


def test_what_it_raises_is_told_twice(run: Callable[..., Ran]) -> None:
    """To who reads the output, and to the caller; the exit status says failed."""
    ran, reply = run(pack_call(lambda: {}["missing"], (), {}))
    assert (ran.returncode, "KeyError: 'missing'" in ran.stderr) == (1, True)
    assert reply is not None
    assert isinstance(reply.error, KeyError)


def test_a_call_that_cannot_be_opened_fails(run: Callable[..., Ran]) -> None:
    """With the worker's name."""
    ran, reply = run(b"nonsense")
    assert ran.returncode == 1
    assert reply is not None
    assert isinstance(reply.error, CallFailed)


def test_a_process_that_ends_leaves_no_reply(run: Callable[..., Ran]) -> None:
    """Neither half of one."""
    ran, reply = run(pack_call(os._exit, (7,), {}))
    assert (ran.returncode, reply) == (7, None)


def test_modules_that_came_along_are_found(run: Callable[..., Ran], tmp_path: Path) -> None:
    """They lie in the directory that the call starts in."""
    (tmp_path / "came_along.py").write_text("def answer(): return 42\n")
    ran, reply = run(pack_call(lambda: __import__("came_along").answer(), (), {}))
    assert (ran.stderr, reply) == ("", Reply(42))


def test_without_a_call_nothing_is_started() -> None:
    """Somebody named the kind by hand. A large call travels as a file."""
    spec = TaskSpec(command="x", kind="python")
    alone = Attempt(task="t", n=1, spec=spec, worker="w1", arch="any", directory="/")
    with pytest.raises(KindFailed, match=r"the task has no call: .* from alb\.Executor"):
        Python().prepare(alone)
    carries = msgspec.structs.replace(
        spec, files=(FileRef(name=PAYLOAD_FILE, sha256="0" * 64, size_bytes=1),)
    )
    assert Python().prepare(msgspec.structs.replace(alone, spec=carries)).command
