"""What the loop does when a kill does not work: it insists, says so, and never reports the attempt over."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from alb_core.messages import AttemptId
from alb_core.tasks import Cause
from alb_worker.runner.link import FrameLink
from alb_worker.runner.messages import Ended, FromRunner, Kill, Noted, Settings, Start, Started

PROGRAM = """
import pathlib, sys
import msgspec
from alb_worker.runner import loop
from alb_worker.runner.__main__ import main
from alb_worker.runner.messages import Settings

settings = msgspec.json.decode(sys.argv[2], type=Settings)
signal_attempt, kill_attempt = loop.signal_attempt, loop.kill_attempt

def signal_if_allowed(attempt, number):
    if pathlib.Path(settings.home, "allowed").exists():
        signal_attempt(attempt, number)

def kill_if_allowed(attempt, look):
    if pathlib.Path(settings.home, "allowed").exists():
        kill_attempt(attempt, look)

loop.signal_attempt, loop.kill_attempt = signal_if_allowed, kill_if_allowed
loop.INSIST_S, loop.UNKILLABLE_S = 0.05, 0.2
sys.exit(main(int(sys.argv[1]), settings))
"""
#: A runner whose signals do nothing until a file appears: as if the command hung in the kernel.


@pytest.fixture
def link(tmp_path: Path) -> Iterator[FrameLink[FromRunner]]:
    ours, theirs = socket.socketpair()
    settings = msgspec.json.encode(
        Settings(worker="w1", home=str(tmp_path), cgroup="no/such/parent")
    ).decode()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(theirs.fileno()), settings], pass_fds=[theirs.fileno()]
        )
    link: FrameLink[FromRunner] = FrameLink(ours, FromRunner)
    yield link
    link.close()
    assert process.wait(20) == 0, "the runner ends when its agent does"


def listen(link: FrameLink[FromRunner], until: Callable[[list[FromRunner]], bool]) -> list[FromRunner]:
    """Receive until a condition on all that was heard holds."""
    heard: list[FromRunner] = []
    deadline = time.monotonic() + 20
    while not until(heard):
        assert time.monotonic() < deadline
        select.select([link], [], [], 0.1)
        heard += link.receive()
    return heard


def test_an_unkillable_attempt_stays_running_and_is_noted_once(
    link: FrameLink[FromRunner], tmp_path: Path
) -> None:
    """While KILL does nothing there is no Ended; the log is told once; when it works, the attempt ends."""
    attempt = AttemptId("0" * 32, 1)
    start = Start(
        attempt=attempt,
        command=("sleep", "600"),
        env={},
        cwd="/",
        time_limit_s=None,
        grace_s=5.0,
        cpus=1.0,
        memory_bytes=0,
        marks={},
    )
    link.send(start)
    link.send(start)  # an order that comes twice is one order
    link.flush()
    (started,) = listen(link, lambda heard: any(isinstance(m, Started) for m in heard))[1:]
    assert isinstance(started, Started)
    link.send(Kill(attempt=attempt, grace_s=0.0))
    link.flush()
    heard = listen(link, lambda heard: any(isinstance(m, Noted) for m in heard))
    (noted,) = heard
    assert isinstance(noted, Noted)
    assert noted.note.event == "attempt_unkillable"
    assert noted.note.fields == {"attempt": str(attempt), "pids": [started.pid]}
    (tmp_path / "allowed").touch()
    (ended,) = listen(link, bool)
    assert isinstance(ended, Ended)
    assert ended.outcome.cause is Cause.KILLED
