"""The agent's end of the link: deaths are told once, and the order of calls is kept."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alb_core.errors import ConfigError
from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_worker.runner.messages import Ended, Ready
from alb_worker.shell.runner_link import Received, RunnerDied, RunnerLink


@pytest.fixture
def link(tmp_path: Path) -> Iterator[RunnerLink]:
    link = RunnerLink(worker="w1", work_dir=str(tmp_path), incarnation="unit")
    yield link
    link.close()


def listen(link: RunnerLink, kind: type[Received]) -> list[Received]:
    """Receive until a message of a kind has come."""
    deadline = time.monotonic() + 60
    heard: list[Received] = []
    while not any(isinstance(message, kind) for message in heard):
        assert time.monotonic() < deadline
        select.select([link], [], [], 0.1)
        heard += link.receive()
    return heard


def test_without_a_runner_nothing_can_be_asked(link: RunnerLink) -> None:
    """Calls in the wrong order are defects; close is always allowed."""
    assert link.pid is None
    assert not link.wants_write
    with pytest.raises(AssertionError):
        link.receive()
    assert link.close() == []


def test_a_runner_says_that_it_is_ready(link: RunnerLink) -> None:
    """Ready is the first message and names the process that was started."""
    link.start()
    (ready,) = listen(link, Ready)
    assert isinstance(ready, Ready)
    assert ready.pid == link.pid
    assert link.close() == []
    assert link.pid is None


def test_a_death_is_told_once_with_its_signal(link: RunnerLink) -> None:
    """After RunnerDied nothing comes, and what is sent goes nowhere without an error."""
    link.start()
    listen(link, Ready)
    assert link.pid is not None
    os.kill(link.pid, signal.SIGKILL)
    assert listen(link, RunnerDied) == [RunnerDied(signal=signal.SIGKILL)]
    assert link.receive() == []
    link.start_attempt(AttemptId("0" * 32, 1), TaskSpec(command="true"))
    link.kill(AttemptId("0" * 32, 1), 0.0)
    assert link.flush()
    link.restart()
    listen(link, Ready)


def test_a_runner_that_cannot_start_is_a_death_with_its_code(
    link: RunnerLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that fails at once is told as RunnerDied with the exit code."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    link.start()
    assert listen(link, RunnerDied) == [RunnerDied(exit_code=1)]


def test_a_start_that_fails_leaves_no_runner(link: RunnerLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started the error is raised, and a later start works."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError):
        link.start()
    assert link.pid is None
    monkeypatch.undo()
    link.start()
    listen(link, Ready)


def test_a_worker_whose_directory_was_replaced_leaves_the_new_ones_processes_alone(
    tmp_path: Path,
) -> None:
    """Where another worker took the path over, a restart is refused and kills nothing of the other's."""
    home = tmp_path / "home"
    home.mkdir()
    old = RunnerLink(worker="w1", work_dir=str(home), incarnation="old")
    old.start()
    listen(old, Ready)
    home.rename(tmp_path / "elsewhere")
    home.mkdir()
    new = RunnerLink(worker="w1", work_dir=str(home), incarnation="new")
    new.start()
    listen(new, Ready)
    with pytest.raises(ConfigError, match="removed or replaced"):
        old.restart()
    assert old.close() == []
    attempt = AttemptId("0" * 32, 1)
    new.start_attempt(attempt, TaskSpec(command=("true",)))
    new.flush()
    assert any(isinstance(message, Ended) for message in listen(new, Ended))
    assert new.close() == []


def test_what_the_runner_does_not_take_waits(link: RunnerLink) -> None:
    """A runner that does not read makes the link want to write; nothing blocks."""
    link.start()
    listen(link, Ready)
    assert link.pid is not None
    os.kill(link.pid, signal.SIGSTOP)
    spec = TaskSpec(command=("true", "x" * 60_000))
    for number in range(20):
        link.start_attempt(AttemptId(f"{number:032x}", 1), spec)
    assert not link.flush()
    assert link.wants_write
    os.kill(link.pid, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while not link.flush():
        assert time.monotonic() < deadline
        select.select([], [link], [], 0.1)
    assert not link.wants_write
