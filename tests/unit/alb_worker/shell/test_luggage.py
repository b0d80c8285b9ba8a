"""Between agent and runner: an attempt starts when its files are there, and ends when they left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.worker_parts import attempt, kind_desk

from alb_core.files import FileRef
from alb_core.increments import Line, Resume, checkpoint_line
from alb_core.io import logs
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_worker.core.actions import KillAttempt, LaunchAttempt
from alb_worker.courier.messages import Collect, Collected, NotPrepared, Prepare, Prepared, Save, Saved
from alb_worker.kinds.interface import Attempt, Kind, Launch
from alb_worker.runner.messages import Ended, Started
from alb_worker.shell.checkpoints import Checkpoints
from alb_worker.shell.luggage import Luggage

A1 = attempt(1)
FILE = FileRef(name="a", sha256="1" * 64, size_bytes=1)


class Courier:
    """A courier that does what the test says."""

    def __init__(self) -> None:
        self.orders: list[Prepare | Collect | Save] = []
        self.called_off: list[Any] = []
        self.discarded: list[str] = []
        self.said: list[Any] = []
        self.has_news = False

    def order(self, order: Prepare | Collect | Save) -> None:
        """Take an order."""
        self.orders.append(order)

    def call_off(self, of: Any) -> None:
        """Forget it."""
        self.called_off.append(of)

    def discard(self, directory: str) -> None:
        """Remove a directory."""
        self.discarded.append(directory)

    def receive(self) -> list[Any]:
        """Answer."""
        said, self.said = self.said, []
        return said


class Stage:
    """A luggage between an agent and a runner that only remember."""

    def __init__(self, home: Path, kinds: Mapping[str, Kind] | None = None) -> None:
        self.courier = Courier()
        self.started: list[tuple[Any, str]] = []
        self.killed: list[Any] = []
        self.rings = 0
        self.reported: tuple[Line, ...] = ()
        self.luggage = Luggage(
            lambda action, prepared: self.started.append((action.attempt, prepared)),
            self,  # type: ignore[arg-type]
            self.courier,  # type: ignore[arg-type]
            self.ring,
            logs.configure("error"),
            Checkpoints(self.courier, self, logs.configure("error")),  # type: ignore[arg-type]
            kind_desk(str(home), kinds),
        )

    def ring(self) -> None:
        """Wake the agent."""
        self.rings += 1

    def finish(self, _of: Any) -> tuple[Line, ...]:
        """Be the file of increments."""
        reported, self.reported = self.reported, ()
        return reported

    def told(self) -> list[Line]:
        """Return the increments that may be told now."""
        return [line for _, lines in self.luggage.checkpoints.take_lines() for line in lines]

    def kill(self, of: Any, _grace_s: float) -> None:
        """Be the runner."""
        self.killed.append(of)

    def launch(self, resume: Resume | None = None, **spec: Any) -> None:
        """Have an attempt launched."""
        self.luggage.launch(LaunchAttempt(attempt=A1, spec=TaskSpec(command="true", **spec), resume=resume))

    def end(self, kept: str = "/kept", cause: Cause = Cause.EXITED) -> list[Any]:
        """Have the runner say that it is over."""
        outcome = Outcome(cause=cause, exit_code=0, why="w" if cause is Cause.TIMED_OUT else "")
        ended = Ended(
            attempt=A1, outcome=outcome, stdout=b"o", stderr=b"", stdout_size=1, stderr_size=0, kept=kept
        )
        return self.luggage.unpack([Started(attempt=A1, pid=1), ended])

    def hear(self, *said: Any) -> list[Ended]:
        """Have the courier say something; return what is over with that."""
        self.courier.said += said
        self.luggage.hear()
        return self.luggage.take()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_without_files_it_is_not_there(stage: Stage) -> None:
    """The attempt starts at once, and its end passes."""
    stage.launch()
    assert stage.started == [(A1, "")]
    assert len(stage.end()) == 2
    stage.luggage.kill(KillAttempt(attempt=A1, grace_s=1.0))
    assert stage.killed == [A1]
    assert stage.courier.orders == []


def test_it_starts_when_the_files_are_there(stage: Stage) -> None:
    """In the directory that holds them."""
    stage.launch(files=(FILE,))
    assert stage.started == []
    (order,) = stage.courier.orders
    assert isinstance(order, Prepare)
    assert order.files == (FILE,)
    assert stage.hear(Prepared(attempt=A1, directory="/d")) == []
    assert stage.started == [(A1, "/d")]


def test_files_that_cannot_be_had_end_it(stage: Stage) -> None:
    """With the courier's sentence."""
    stage.launch(files=(FILE,), returns=("*",))
    (over,) = stage.hear(NotPrepared(attempt=A1, why="the disk is full"))
    assert (over.outcome.cause, over.outcome.exit_code, over.outcome.why) == (
        Cause.NOT_STARTED,
        125,
        "the disk is full",
    )
    assert stage.rings


def test_a_kill_ends_the_wait(stage: Stage) -> None:
    """At once; the courier is told, and what it says later comes to nothing."""
    stage.launch(files=(FILE,))
    stage.luggage.kill(KillAttempt(attempt=A1, grace_s=60.0))
    (over,) = stage.luggage.take()
    assert over.outcome.cause is Cause.KILLED
    assert (stage.courier.called_off, stage.killed) == ([A1], [])


@pytest.mark.parametrize("cause", [Cause.EXITED, Cause.TIMED_OUT, Cause.KILLED, Cause.SIGNALLED])
def test_its_end_waits_until_the_files_left(stage: Stage, cause: Cause) -> None:
    """However it ended; its output and its reason stay."""
    stage.launch(returns=("*",))
    assert [type(message) for message in stage.end(cause=cause)] == [Started]
    (order,) = stage.courier.orders
    assert order == Collect(attempt=A1, directory="/kept", patterns=("*",))
    (over,) = stage.hear(Collected(attempt=A1, files=(FILE,), unmatched="u", unreturned="r"))
    assert (over.outcome.cause, over.outcome.returned, over.outcome.unreturned) == (cause, (FILE,), "r")
    assert over.outcome.why == ("w; u" if cause is Cause.TIMED_OUT else "u")
    assert over.stdout == b"o"


def test_a_kill_while_files_go_back_counts_as_one(stage: Stage) -> None:
    """Cancelled it is cancelled; evicted, or with its worker stopped, it runs again elsewhere."""
    stage.launch(returns=("*",))
    stage.end()
    stage.luggage.kill(KillAttempt(attempt=A1, grace_s=1.0))
    (over,) = stage.luggage.take()
    assert (over.outcome.cause, over.outcome.exit_code, over.outcome.returned) == (Cause.KILLED, None, ())
    assert stage.courier.called_off == [A1]


def test_a_command_that_removed_its_directory_is_told_so(stage: Stage) -> None:
    """Nothing can come back, and that is said."""
    stage.launch(returns=("*",))
    _, over = stage.end(kept="")
    assert "removed the directory" in over.outcome.unreturned


def test_a_lost_runner_ends_all_of_it(stage: Stage) -> None:
    """The core has ended these attempts itself."""
    stage.launch(files=(FILE,))
    stage.luggage.abandon()
    assert stage.courier.called_off == [A1]
    assert stage.luggage.take() == []


def test_what_could_not_be_started_leaves_nothing(stage: Stage) -> None:
    """Its prepared directory goes, and its patterns are forgotten."""
    stage.launch(files=(FILE,), returns=("*",))
    stage.hear(Prepared(attempt=A1, directory="/d"))
    stage.luggage.forget(A1, "/d")
    assert stage.courier.discarded == ["/d"]
    assert len(stage.end()) == 2


def test_an_attempt_starts_with_its_checkpoint(stage: Stage) -> None:
    """Which replaces what the task takes along; without it, it does not start at all."""
    saved = FileRef(name="a", sha256="2" * 64, size_bytes=2)
    stage.launch(files=(FILE,), checkpoints=("a",), resume=Resume(seq=1, files=(saved,)))
    (order,) = stage.courier.orders
    assert isinstance(order, Prepare)
    assert order.files == (saved,)
    (over,) = stage.hear(NotPrepared(attempt=A1, why="no depot has it"))
    assert over.outcome.cause is Cause.NOT_STARTED
    assert "cannot be restored, submit it again to begin anew: no depot has it" in over.outcome.why
    assert A1 not in stage.luggage.checkpoints


def test_the_last_save_comes_before_the_files_that_return(stage: Stage) -> None:
    """The increments are told between both, and the end after them."""
    stage.launch(checkpoints=("a",), returns=("*",))
    stage.reported = (Line("n", "1"),)
    assert [type(message) for message in stage.end()] == [Started]
    (save,) = stage.courier.orders
    assert save == Save(attempt=A1, directory="/kept", patterns=("a",), seen=(), last=True)
    assert stage.hear(Saved(attempt=A1, files=(FILE,))) == []
    assert stage.told() == [checkpoint_line((FILE,)), Line("n", "1")]
    assert stage.courier.orders[1] == Collect(attempt=A1, directory="/kept", patterns=("*",))
    (over,) = stage.hear(Collected(attempt=A1, files=(FILE,)))
    assert over.outcome.returned == (FILE,)


def test_a_directory_that_nobody_wants_is_removed(stage: Stage) -> None:
    """It was kept for the last save, and nothing is to be saved."""
    stage.launch(checkpoints=("a",))
    stage.end()
    assert len(stage.luggage.take()) == 1
    assert stage.courier.discarded == ["/kept"]


def test_a_failed_last_save_is_said(stage: Stage) -> None:
    """Beside what else there is to say; the task has its result, so its increments are told."""
    stage.launch(checkpoints=("a",))
    stage.reported = (Line("n", "1"),)
    stage.end(cause=Cause.TIMED_OUT)
    (over,) = stage.hear(Saved(attempt=A1, trouble="no depot"))
    assert over.outcome.why == "w; its last checkpoint was not saved: no depot"
    assert stage.told() == [Line("n", "1")]


def test_a_cancelled_task_does_not_wait_for_its_last_save(stage: Stage) -> None:
    """Evicted it does: somebody goes on with it."""
    stage.launch(checkpoints=("a",), returns=("*",))
    stage.reported = (Line("n", "1"),)
    stage.end()
    stage.luggage.kill(KillAttempt(attempt=A1, grace_s=1.0, resumes=True))
    assert stage.luggage.take() == []
    stage.luggage.kill(KillAttempt(attempt=A1, grace_s=1.0))
    (over,) = stage.luggage.take()
    assert (over.outcome.cause, over.outcome.exit_code) == (Cause.KILLED, None)
    assert (stage.courier.called_off, stage.courier.discarded) == ([A1], ["/kept"])
    assert stage.told() == [Line("n", "1")]
    assert stage.killed == []


def test_a_lost_runner_takes_the_increments_along(stage: Stage) -> None:
    """What was not saved is done again."""
    stage.launch(checkpoints=("a",))
    stage.reported = (Line("n", "1"),)
    assert stage.luggage.checkpoints.hold(A1, (Line("n", "0"),))
    stage.luggage.abandon()
    assert (stage.told(), stage.reported) == ([], ())
    assert not stage.luggage.checkpoints.hold(A1, (Line("n", "0"),))


class Echo(Kind):
    """A kind whose attempts start as they are."""

    def prepare(self, attempt: Attempt) -> Launch:
        """Start it."""
        return Launch(command=attempt.spec.command)


def test_another_kind_starts_in_a_directory_of_its_own(tmp_path: Path) -> None:
    """And what it left there is its value; a bare directory is removed without the courier."""
    stage = Stage(tmp_path, {"echo": Echo()})
    stage.launch(kind="echo", payload=b"x")
    ((_, directory),) = stage.started
    (Path(directory) / ".alb/value").write_bytes(b"made")
    _, over = stage.end(kept=directory)
    assert (over.outcome.value, Path(directory).exists()) == (b"made", False)
    assert (stage.courier.orders, stage.courier.discarded) == ([], [])


def test_a_large_value_comes_back_as_a_file(tmp_path: Path) -> None:
    """Beside what else is to come back."""
    stage = Stage(tmp_path, {"echo": Echo()})
    stage.launch(kind="echo", returns=("out",))
    ((_, directory),) = stage.started
    (Path(directory) / ".alb/value").write_bytes(bytes(100_000))
    stage.end(kept=directory)
    (order,) = stage.courier.orders
    assert order == Collect(attempt=A1, directory=directory, patterns=("out", ".alb/value"))


def test_an_unknown_kind_ends_the_attempt(stage: Stage) -> None:
    """It is not started, and the result says what the worker lacks; its files go."""
    stage.launch(kind="other", files=(FILE,))
    (over,) = stage.hear(Prepared(attempt=A1, directory="/d"))
    assert (over.outcome.cause, over.outcome.exit_code) == (Cause.NOT_STARTED, 125)
    assert "the worker w1 has no kind of task 'other'" in over.outcome.why
    assert (stage.started, stage.courier.discarded) == ([], ["/d"])


def test_a_program_is_fetched_with_the_files(stage: Stage) -> None:
    """That for this machine; and where there is none, the attempt ends."""
    program = FileRef(name="prog", sha256="3" * 64, size_bytes=3)
    stage.launch(kind="binary", files=(FILE,), binaries={"x86_64": program, "aarch64": FILE})
    (order,) = stage.courier.orders
    assert [file.name for file in order.files] == [FILE.name, ".alb/prog"]
    stage.hear(Prepared(attempt=A1, directory="/d"))
    assert stage.started == [(A1, "/d")]
    stage.end()
    stage.launch(kind="binary", binaries={"aarch64": program})
    (over,) = stage.luggage.take()
    assert "no program for x86_64, only for aarch64" in over.outcome.why
