"""Kinds of task in the agent: what they say is started, what they leave is read, nothing they do hurts."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.worker_parts import attempt, kind_desk

from alb_core import limits
from alb_core.files import FileRef
from alb_core.io.alarm import Alarm
from alb_core.kinds import PAYLOAD_FILE, VALUE_FILE
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_worker.core.actions import LaunchAttempt
from alb_worker.kinds.interface import Attempt, Kind, KindFailed, Launch
from alb_worker.runner.messages import Ended
from alb_worker.shell import kind_desk as desk_module
from alb_worker.shell.kind_desk import KindDesk, remove_bare, too_slow

A1 = attempt()
GOOD = Launch(command=("run", "it"), env={"B": "2"}, files={"in/a": b"data"}, stdin=b"words")


class Scripted(Kind):
    """A kind that does what a test says."""

    def __init__(
        self,
        prepare: Callable[[Attempt], Any] = lambda _: GOOD,
        conclude: Callable[[Outcome], Any] = lambda outcome: outcome,
    ) -> None:
        self._prepare = prepare
        self._conclude = conclude

    def prepare(self, attempt: Attempt) -> Launch:
        """Do it."""
        launch: Launch = self._prepare(attempt)
        return launch

    def conclude(self, outcome: Outcome) -> Outcome:
        """Do it."""
        told: Outcome = self._conclude(outcome)
        return told


def launched(**spec: Any) -> LaunchAttempt:
    """Return what the core wants started."""
    fields: dict[str, Any] = {"command": "shown", "kind": "mine", **spec}
    return LaunchAttempt(attempt=A1, spec=TaskSpec(**fields))


def ended(kept: Path | str, **outcome: Any) -> Ended:
    """Return the runner's word that it is over."""
    fields: dict[str, Any] = {"cause": Cause.EXITED, "exit_code": 0, **outcome}
    return Ended(
        attempt=A1,
        outcome=Outcome(**fields),
        stdout=b"",
        stderr=b"",
        stdout_size=0,
        stderr_size=0,
        kept=str(kept),
    )


def left_of(home: Path) -> list[Path]:
    """Return what lies where attempts are prepared."""
    return list((home / "kinds").iterdir())


def test_a_kind_turns_an_attempt_into_a_command(tmp_path: Path) -> None:
    """In a directory with its payload and files; the runner keeps that for its value."""
    seen: list[Attempt] = []

    def prepare(known: Attempt) -> Launch:
        seen.append(known)
        assert Path(known.directory, PAYLOAD_FILE).read_bytes() == b"load"
        return GOOD

    desk = kind_desk(str(tmp_path), {"mine": Scripted(prepare)})
    action, directory = desk.prepare(launched(payload=b"load", env={"A": "1"}, returns=("out",)), "")
    assert (action.spec.command, action.spec.env) == (("run", "it"), {"A": "1", "B": "2"})
    assert (action.spec.stdin, action.spec.returns) == (b"words", ("out", VALUE_FILE))
    assert (Path(directory) / "in/a").read_bytes() == b"data"
    assert (seen[0].worker, seen[0].arch, seen[0].n) == ("w1", "x86_64", 1)
    assert desk


def test_files_that_came_share_the_directory(tmp_path: Path) -> None:
    """A kind's own replace those of the same name."""
    prepared = tmp_path / "came"
    (prepared / "in").mkdir(parents=True)
    (prepared / "in/a").write_text("older and longer")
    desk = kind_desk(str(tmp_path), {"mine": Scripted()})
    assert desk.prepare(launched(), str(prepared))[1] == str(prepared)
    assert (prepared / "in/a").read_bytes() == b"data"


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    """With the worker, and the kinds that it has."""
    desk = kind_desk(str(tmp_path), {"mine": Scripted()})
    with pytest.raises(
        KindFailed, match=r"the worker w1 has no kind of task 'other', only binary, command, mine"
    ):
        desk.prepare(launched(kind="other"), "")


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda _: _raise(KindFailed("give it a script")), "the kind 'mine': give it a script"),
        (
            lambda _: _raise(ZeroDivisionError("x" * 10_000)),
            "plug-in of the kind 'mine' failed on w1: ZeroDiv",
        ),
        (lambda _: sys.exit("bye"), "failed on w1: SystemExit: bye"),
        (lambda _: None, "NoneType, which is no Launch"),
        (lambda _: Launch(command=7), "ValidationError"),
        (lambda _: Launch(command=()), "its command is empty"),
        (lambda _: Launch(command=("x",), env={"A": None}), "ValidationError"),  # type: ignore[dict-item]
        (lambda _: Launch(command="x", files={"../x": b""}), "does not lie in the task's directory"),
        (lambda _: Launch(command="x", files={"a": bytes(2**20 + 1)}), "more than 1048576"),
        (
            lambda _: Launch(command="x", stdin=bytes(limits.STDIN_BYTES_MAX + 1)),
            "let the command read a file",
        ),
    ],
)
def test_what_a_kind_does_wrong_ends_its_attempt(
    prepare: Callable[[Attempt], Any], says: str, tmp_path: Path
) -> None:
    """With a sentence of bounded length that names it, and nothing is left."""
    desk = kind_desk(str(tmp_path), {"mine": Scripted(prepare)})
    with pytest.raises(KindFailed, match=says) as caught:
        desk.prepare(launched(payload=b"load"), "")
    assert len(str(caught.value)) < 500
    assert left_of(tmp_path) == []
    assert not desk


def test_a_disk_that_is_full_is_said(tmp_path: Path) -> None:
    """As whatever else the disk says."""
    desk = kind_desk(str(tmp_path), {"mine": Scripted()})
    (tmp_path / "kinds").write_text("in the way")
    with pytest.raises(KindFailed, match="the worker w1 has no room to prepare it"):
        desk.prepare(launched(), "")


def test_a_program_comes_along_for_this_machine_only(tmp_path: Path) -> None:
    """It wins over what a checkpoint of another machine holds at its place, and leaves no value."""

    def ref(name: str, digit: str) -> FileRef:
        return FileRef(name=name, sha256=digit * 64, size_bytes=1)

    binaries = {"x86_64": ref("prog", "1"), "aarch64": ref("prog", "2")}
    spec = TaskSpec(command=("prog", "a"), kind="binary", binaries=binaries)
    desk = kind_desk(str(tmp_path), arch="aarch64")
    packed = desk.packed(spec, (ref("data", "3"), ref(".alb/prog", "4")))
    assert [(file.name, file.sha256[0], file.executable) for file in packed] == [
        ("data", "3", False),
        (".alb/prog", "2", True),
    ]
    action, _ = desk.prepare(LaunchAttempt(attempt=A1, spec=spec), str(tmp_path))
    assert (action.spec.command, action.spec.returns) == ((".alb/prog", "a"), ())
    assert not desk


def concluded(
    home: Path,
    conclude: Callable[[Outcome], Any] | None = None,
    data: bytes | None = b"value",
    **outcome: Any,
) -> tuple[Outcome, tuple[str, ...]]:
    """Have an attempt end that left a value; return what is told of it."""
    kind = Scripted() if conclude is None else Scripted(conclude=conclude)
    desk = kind_desk(str(home), {"mine": kind})
    _, directory = desk.prepare(launched(), "")
    if data is not None:
        Path(directory, VALUE_FILE).write_bytes(data)
    over, large = desk.conclude(ended(directory, **outcome))
    assert not desk
    shutil.rmtree(directory)
    return over.outcome, large


def test_a_value_rides_in_the_outcome(tmp_path: Path) -> None:
    """If it is small; else it must come back as a file."""
    most = bytes(limits.VALUE_BYTES_MAX)
    assert concluded(tmp_path, data=most) == (Outcome(cause=Cause.EXITED, exit_code=0, value=most), ())
    outcome, large = concluded(tmp_path, data=most + b"x", exit_code=1)
    assert (outcome.value, outcome.exit_code, large) == (b"", 1, (VALUE_FILE,))
    assert concluded(tmp_path, data=None)[0].value == b""


def test_a_kind_reads_what_came_of_it(tmp_path: Path) -> None:
    """It may word it, and nothing else of the outcome is its own."""

    def conclude(outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(
            outcome, value=outcome.value.upper(), why="done", exit_code=3, cause=Cause.KILLED, cpu_s=9.0
        )

    outcome, _ = concluded(tmp_path, conclude, cpu_s=1.0)
    assert outcome == Outcome(cause=Cause.EXITED, exit_code=3, value=b"VALUE", why="done", cpu_s=1.0)


@pytest.mark.parametrize(
    "conclude",
    [
        lambda _: _raise(ZeroDivisionError()),
        lambda _: None,
        lambda outcome: msgspec.structs.replace(outcome, value="text"),
        lambda outcome: msgspec.structs.replace(outcome, value=bytes(limits.VALUE_BYTES_MAX + 1)),
    ],
)
def test_a_kind_that_cannot_read_it_makes_no_success(
    conclude: Callable[[Outcome], Any], tmp_path: Path
) -> None:
    """How the command ended stays, and why is said beside it."""
    outcome, _ = concluded(tmp_path, conclude, why="before")
    assert (outcome.cause, outcome.exit_code, outcome.value) == (Cause.EXITED, 125, b"value")
    assert outcome.why.startswith("before; the plug-in of the kind 'mine' failed on w1: ")
    outcome, _ = concluded(tmp_path, conclude, cause=Cause.TIMED_OUT, exit_code=None, signal=9)
    assert (outcome.cause, outcome.exit_code, outcome.signal) == (Cause.TIMED_OUT, None, 9)


@pytest.mark.parametrize("trap", ["link", "folder", "pipe", "directory"])
def test_only_a_regular_file_is_a_value(trap: str, tmp_path: Path) -> None:
    """The agent may read more than the command: no link leads it anywhere, and no pipe holds it up."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "value").write_text("secret")
    desk = kind_desk(str(tmp_path), {"mine": Scripted()})
    directory = Path(desk.prepare(launched(), "")[1])
    if trap == "link":
        (directory / VALUE_FILE).symlink_to(secret / "value")
    elif trap == "folder":
        (directory / ".alb").rmdir()
        (directory / ".alb").symlink_to(secret)
    elif trap == "pipe":
        os.mkfifo(directory / VALUE_FILE)
    else:
        (directory / VALUE_FILE).mkdir()
    over, large = desk.conclude(ended(directory))
    assert (over.outcome.value, large) == (b"", ())


def test_a_command_that_removed_its_directory_has_no_value(tmp_path: Path) -> None:
    """And is over all the same; so is an attempt that is no kind's."""
    desk = kind_desk(str(tmp_path), {"mine": Scripted()})
    desk.prepare(launched(), "")
    assert desk.conclude(ended(""))[0].outcome.value == b""
    plain = ended("/kept")
    assert desk.conclude(plain) == (plain, ())


def test_what_a_kind_left_is_removed_if_that_is_all(tmp_path: Path) -> None:
    """Else somebody else has to do it."""
    for extra in ("", "more"):
        directory = tmp_path / "d"
        (directory / ".alb").mkdir(parents=True)
        (directory / PAYLOAD_FILE).touch()
        if extra:
            (directory / extra).touch()
        assert remove_bare(str(directory)) is not bool(extra)
        assert directory.exists() is bool(extra)


def test_a_dead_runner_leaves_nothing(tmp_path: Path) -> None:
    """Of attempts that it was to start; nor does a worker of before."""
    (tmp_path / "kinds/old").mkdir(parents=True)
    desk = kind_desk(str(tmp_path), {"mine": Scripted()})
    assert not (tmp_path / "kinds").exists()
    desk.prepare(launched(), "")
    desk.abandon()
    assert not (tmp_path / "kinds").exists()
    assert not desk


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    """An alarm, whose signal is given back."""
    import signal  # noqa: PLC0415 (only here)

    before = signal.getsignal(signal.SIGALRM)
    yield Alarm(too_slow)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.timeout(60, method="thread")  # pytest's own alarm would be replaced
def test_a_slow_kind_is_interrupted(alarm: Alarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the agent no more than its patience."""

    def spin(_: Attempt) -> Any:
        while True:
            pass

    monkeypatch.setattr(desk_module, "PATIENCE_S", 0.02)
    desk = KindDesk({"mine": Scripted(spin)}, bound=alarm, worker="w1", arch="x86_64", home=str(tmp_path))
    began = time.monotonic()
    with pytest.raises(KindFailed, match=r"failed on w1: KindTooSlow: it took more than 0\.02 s"):
        desk.prepare(launched(), "")
    assert time.monotonic() - began < 30
    assert left_of(tmp_path) == []
