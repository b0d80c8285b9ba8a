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
import errno, pathlib, sys
import msgspec
from alb_core.tasks import Cause
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
spawn = loop.Spawner.spawn

def spawn_if_there_is_room(self, start, directory):
    if pathlib.Path(settings.home, "crowded").exists():
        raise loop.CommandNotStarted(Cause.NOT_STARTED, "no room") from BlockingIOError(errno.EAGAIN, "")
    return spawn(self, start, directory)

loop.Spawner.spawn = spawn_if_there_is_room
loop.CROWDED_S = 0.5
loop.INSIST_S, loop.UNKILLABLE_S = 0.05, 0.2
sys.exit(main(int(sys.argv[1]), settings))
"""
#: A runner whose signals do nothing until a file appears, as if the command hung in the kernel; and that
#: finds no room for a process while another file is there.


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
    assert process.wait(60) == 0, "the runner ends when its agent does"


def listen(link: FrameLink[FromRunner], until: Callable[[list[FromRunner]], bool]) -> list[FromRunner]:
    """Receive until a condition on all that was heard holds."""
    heard: list[FromRunner] = []
    deadline = time.monotonic() + 60
    while not until(heard):
        assert time.monotonic() < deadline
        select.select([link], [], [], 0.1)
        heard += link.receive()
    return heard


def order(attempt: AttemptId, *command: str) -> Start:
    """Make an order to start a command."""
    return Start(
        attempt=attempt,
        command=command,
        env={},
        cwd="/",
        time_limit_s=None,
        grace_s=5.0,
        cpus=1.0,
        memory_bytes=0,
        marks={},
    )


def test_an_unkillable_attempt_stays_running_and_is_noted_once(
    link: FrameLink[FromRunner], tmp_path: Path
) -> None:
    """While KILL does nothing there is no Ended; the log is told once; when it works, the attempt ends."""
    attempt = AttemptId("0" * 32, 1)
    start = order(attempt, "sleep", "600")
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


def test_a_command_waits_for_room_for_its_process(link: FrameLink[FromRunner], tmp_path: Path) -> None:
    """Where the kernel refuses a process it is tried again; it can be killed meanwhile; the end is told."""
    (tmp_path / "crowded").touch()
    lucky, killed, late = (AttemptId(f"{n:032x}", 1) for n in range(3))
    for attempt in (lucky, killed):
        link.send(order(attempt, "true"))
    link.send(order(lucky, "true"))  # an order that comes twice is one order
    link.send(Kill(attempt=killed, grace_s=5.0))
    link.flush()
    ends = listen(link, lambda heard: any(isinstance(m, Ended) for m in heard))
    assert [(m.attempt, m.outcome.cause) for m in ends if isinstance(m, Ended)] == [(killed, Cause.KILLED)]
    (tmp_path / "crowded").unlink()
    ends = listen(link, lambda heard: any(isinstance(m, Ended) for m in heard))
    assert [(m.attempt, m.outcome.cause) for m in ends if isinstance(m, Ended)] == [(lucky, Cause.EXITED)]
    (tmp_path / "crowded").touch()
    link.send(order(late, "true"))
    link.flush()
    (ended,) = listen(link, bool)
    assert isinstance(ended, Ended)
    assert (ended.outcome.cause, ended.outcome.exit_code) == (Cause.NOT_STARTED, 125)
