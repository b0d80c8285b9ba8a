"""The environment of commands, the search for programs, and what failures to start mean."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from alb_core.messages import AttemptId
from alb_core.tasks import Cause
from alb_worker.runner.command import Spawner
from alb_worker.runner.messages import Settings, Start
from alb_worker.runner.program import CommandNotStarted, classified, find_program


def start(task: str = "0" * 32, **changes: object) -> Start:
    """Build an order to run ``true``."""
    fields = {
        "attempt": AttemptId(task, 3),
        "command": ("true",),
        "env": {},
        "cwd": None,
        "time_limit_s": None,
        "grace_s": 5.0,
        "cpus": 0.5,
        "memory_bytes": 1024,
        "marks": {},
    }
    return Start(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def spawner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawner]:
    # The mark would stay on this process: lowering a hard limit cannot always be undone.
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    environ = {"HOME": "/h", "LC_ALL": "C.UTF-8", "LD_PRELOAD": "x.so", "ALB_RUNNER": "r", "PYTHONPATH": "/p"}
    spawner = Spawner(Settings(worker="w1", home="/work", cgroup="g"), environ)
    yield spawner
    spawner.close()


def test_the_environment_has_what_is_promised_and_no_more(spawner: Spawner) -> None:
    """Inherited names are few; alb's own cannot be overwritten; a PATH is always there."""
    environment = spawner.environment(start(env={"A": "b", "ALB_TASK_ID": "forged", "HOME": "/mine"}))
    assert environment == {
        "HOME": "/mine",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "A": "b",
        "ALB_WORKER": "w1",
        "ALB_WORKER_HOME": "/work",
        "ALB_TASK_ID": "0" * 32,
        "ALB_ATTEMPT": "3",
        "ALB_CPUS": "0.5",
        "ALB_MEM": "1024",
    }


def test_a_task_of_an_array_knows_its_index(spawner: Spawner) -> None:
    """The array's id and the index come with the id of the task."""
    environment = spawner.environment(start("0" * 32 + ".17"))
    assert (environment["ALB_ARRAY_ID"], environment["ALB_INDEX"]) == ("0" * 32, "17")


def test_a_failed_start_leaves_nothing_open(spawner: Spawner, tmp_path: Path) -> None:
    """Neither descriptors nor the working directory change with starts that fail."""
    before, directory = sorted(Path("/proc/self/fd").iterdir()), Path.cwd()
    for command in (("no-such-command",), ("/no/such/file",), ("tr\0ue",), ("/bin/tr\0ue",)):
        with pytest.raises(CommandNotStarted):
            spawner.spawn(start(command=command), str(tmp_path))
    with pytest.raises(CommandNotStarted):
        spawner.spawn(start(), str(tmp_path / "missing"))
    os.chdir(directory)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_the_first_executable_of_the_path_is_found(tmp_path: Path) -> None:
    """Directories and files without permission are passed over as long as something better follows."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "tool").mkdir()
    (tmp_path / "b" / "tool").touch(mode=0o644)
    (tmp_path / "c" / "tool").touch(mode=0o755)
    path = ":".join(str(tmp_path / name) for name in ("missing", "a", "b", "c"))
    assert find_program("tool", path) == str(tmp_path / "c" / "tool")
    assert find_program("./tool", path) == "./tool"
    with pytest.raises(CommandNotStarted) as caught:
        find_program("tool", str(tmp_path / "a"))
    assert caught.value.cause is Cause.NOT_EXECUTABLE
    with pytest.raises(CommandNotStarted) as caught:
        find_program("tool", str(tmp_path))
    assert caught.value.cause is Cause.NOT_FOUND


@pytest.mark.parametrize(
    ("number", "cause", "word"),
    [
        (errno.ENOENT, Cause.NOT_FOUND, "no such file"),
        (errno.EACCES, Cause.NOT_EXECUTABLE, "Permission denied"),
        (errno.ENOEXEC, Cause.NOT_EXECUTABLE, "format"),
        (errno.ENOTDIR, Cause.NOT_EXECUTABLE, "Not a directory"),
        (errno.E2BIG, Cause.NOT_STARTED, "larger than the kernel takes"),
        (errno.EAGAIN, Cause.NOT_STARTED, "unavailable"),
        (errno.EMFILE, Cause.NOT_STARTED, "Too many open files"),
        (errno.ENOMEM, Cause.NOT_STARTED, "memory"),
    ],
)
def test_failures_of_exec_are_classified(number: int, cause: Cause, word: str) -> None:
    """Each errno has its cause and a sentence that names the program and the reason."""
    failure = classified("/no/such/program", OSError(number, os.strerror(number)))
    assert failure.cause is cause
    assert "/no/such/program" in failure.why
    assert word in failure.why
