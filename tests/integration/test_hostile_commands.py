"""Commands that want more than they may, or want to stay: each is ended, says why, and nothing of it stays.

They run all at once under one runner, once for each mechanism that can be had here: control groups of
version 1, of version 2 (perhaps without controllers: it only kills), none, and none as another user. The
witness is the kernel's list of processes: whatever carries the worker's mark, or its name.
Those that multiply stop by themselves at some hundred, so that no machine suffers from a failing test.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.runner_agent import Agent

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome
from alb_worker.runner import cgroup, dye, processes
from alb_worker.runner.groups import CGROUP1, CGROUP2, SAMPLING
from alb_worker.runner.messages import Ended, Ready
from alb_worker.shell.runner_link import RunnerLink

MIB = 1024**2
GONE_S = 20.0
#: After its end nothing of an attempt is left; at once, but a busy machine has to get there.
NOBODY = 65534
MECHANISMS = (CGROUP1, CGROUP2, SAMPLING, "another user")

AS_NOBODY = """#!{python}
# The interpreter may lie where only root reads: import everything, then become the other user.
import ctypes, os, sys
import msgspec
from alb_worker.runner import __main__, census, messages
settings = msgspec.json.decode(sys.argv[-1], type=messages.Settings)
os.setgroups([])
os.setgid({user})
os.setuid({user})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after exec: /proc/self is ours
sys.exit(__main__.main(int(sys.argv[-2]), settings))
"""
#: A stand-in for the interpreter, as far as the agent uses it to start a runner.

COMET = "[ $1 -lt 400 ] && setsid -f sh $0 $(($1+1)) >/dev/null 2>&1"
#: Each is dead before anybody can look at it, and has a child that is not.


class Hostile(NamedTuple):
    """A command, what it may use, and how it must end."""

    command: str | tuple[str, ...]
    cause: Cause
    bounds: Bounds = NO_BOUNDS
    limit: str = ""
    time_limit_s: float | None = None


BOMB = "b() { if [ $1 -lt 8 ]; then b $(($1+1)) & b $(($1+1)) & fi; exec sleep 600; }; b 0"
#: 511 processes, in no time.
THREADS = """
import threading, time
for _ in range(200):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    time.sleep(0.005)
time.sleep(600)
"""
VFORKS = """
import subprocess
started = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(300)]
started[0].wait()
"""
WASHED = """
import os, resource, subprocess, time
time.sleep(0.6)
resource.setrlimit(10, (5, 5))
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execve("/bin/sleep", ["sleep", "NAP"], {})
    os._exit(0)
os.wait()
time.sleep(0.2)
"""
#: When it is old enough for a group of its own, it sheds the mark, the session, the parent and the names.

SLOW_FORKS = (
    "perl -e 'for (;;) { my $n = fork; exec qw(sleep 600) if defined $n && !$n; "
    "select undef, undef, undef, 0.02 }'"
)
#: Of no shell: that ends where the bombs beside it leave no fork for it.

RESPAWN = "trap '' TERM; while :; do sleep 600 & wait; done"

HOSTILE = {
    "fork bomb": Hostile(BOMB, Cause.OVER_LIMIT, Bounds(processes=60), "processes"),
    "slow forks": Hostile(SLOW_FORKS, Cause.OVER_LIMIT, Bounds(processes=20), "processes"),
    "fork bomb without a bound": Hostile(BOMB, Cause.TIMED_OUT, limit="time_limit_s", time_limit_s=1.5),
    "daemons": Hostile(
        "for i in 1 2 3; do setsid -f sh -c 'sleep 600 & sleep 600' >/dev/null 2>&1; done", Cause.EXITED
    ),
    "daemons without a name": Hostile(
        "env -i /usr/bin/setsid -f /bin/sh -c '/bin/sleep 600 & /bin/sleep 600' >/dev/null 2>&1; sleep 0.1",
        Cause.EXITED,
    ),
    "a held pipe": Hostile("sleep 600 & echo hi", Cause.EXITED),
    "deaf to TERM": Hostile(
        "trap '' TERM HUP INT; sleep 600 & while :; do sleep 0.05; done",
        Cause.TIMED_OUT,
        limit="time_limit_s",
        time_limit_s=0.5,
    ),
    "stopped": Hostile(
        "sh -c 'kill -STOP $$' & sleep 600 & kill -STOP $! $$",
        Cause.TIMED_OUT,
        limit="time_limit_s",
        time_limit_s=0.5,
    ),
    "a respawner": Hostile(
        f'setsid sh -c "{RESPAWN}" & {RESPAWN}', Cause.TIMED_OUT, limit="time_limit_s", time_limit_s=0.8
    ),
    "who is left goes on": Hostile(
        "setsid sh -c 'i=0; while [ $i -lt 200 ]; do i=$((i+1)); sleep 600 & done; wait' >/dev/null 2>&1 &",
        Cause.EXITED,
    ),
    "memory": Hostile(
        "head -c 300000000 /dev/zero | tail -c 300000000 | sleep 600",
        Cause.OUT_OF_MEMORY,
        Bounds(memory_bytes=50 * MIB),
        "memory_bytes",
    ),
    "memory of several": Hostile(
        "for i in 1 2 3 4 5; do (head -c 30000000 /dev/zero; sleep 600) | tail -c 30000000 & done; wait",
        Cause.OUT_OF_MEMORY,
        Bounds(memory_bytes=60 * MIB),
        "memory_bytes",
    ),
    "processor time": Hostile(
        "for i in 1 2 3; do (while :; do :; done) & done; wait", Cause.TIMED_OUT, Bounds(cpu_s=0.6), "cpu_s"
    ),
    "a full directory": Hostile(
        "while :; do head -c 3000000 /dev/zero >>f; sleep 0.02; done",
        Cause.OVER_LIMIT,
        Bounds(scratch_bytes=20 * MIB),
        "scratch_bytes",
    ),
    "a comet": Hostile("echo '$COMET' >comet; sh comet 0; sh comet 200", Cause.EXITED),
}
PYTHONS = {
    "threads": Hostile((sys.executable, "-c", THREADS), Cause.OVER_LIMIT, Bounds(processes=50), "processes"),
    "vforks": Hostile((sys.executable, "-c", VFORKS), Cause.OVER_LIMIT, Bounds(processes=50), "processes"),
}


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a worker's directory that another user could reach, too."""
    path = Path(tempfile.mkdtemp(prefix="alb-hostile-"))
    yield path
    shutil.rmtree(path)


def start(home: Path, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> RunnerLink:
    """Start a runner with a mechanism, or skip where that cannot be had."""
    if mechanism == "another user":
        if os.geteuid():
            pytest.skip("only root may become another user")
        stand_in = home / "interpreter"
        stand_in.write_text(AS_NOBODY.format(python=sys.executable, user=NOBODY))
        stand_in.chmod(0o755)
        for path in (home, home / "trash", home / "prepared"):  # the agent would be that user, too
            path.mkdir(mode=0o700, exist_ok=True)
            os.chown(path, NOBODY, NOBODY)
        monkeypatch.setattr(sys, "executable", str(stand_in))
    wanted = "" if mechanism == "another user" else mechanism
    link = RunnerLink(worker="w1", work_dir=str(home), incarnation=f"h{os.getpid()}", mechanism=wanted)
    link.start()
    monkeypatch.undo()
    return link


def marked(home: Path, runner: int | None) -> list[str]:
    """Return the processes, dead ones not counted, that carry the mark or the name of this worker."""
    found = []
    for pid in processes.all_processes():
        stat = processes.stat_of(pid)
        if stat is None or stat.state in "ZX" or pid in (os.getpid(), runner):
            continue
        try:
            mark = dye.read(pid)
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        named = processes.environment_of(pid).get(b"ALB_WORKER_HOME") == os.fsencode(home)
        if named or dye.is_of_home(mark, str(home)) or os.fsencode(home) in words:
            found.append(f"{pid} {stat.state} {words!r}")
    return found


def wait_until_gone(home: Path, runner: int | None) -> None:
    """Fail where something stays after the end."""
    deadline = time.monotonic() + GONE_S
    while left := marked(home, runner):
        assert time.monotonic() < deadline, left


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_nothing_of_a_hostile_command_is_left(
    home: Path, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends as it must, its result says what it broke and how that was held, and nothing survives it."""
    link = start(home, mechanism, monkeypatch)
    agent = Agent(home, link)
    try:
        agent.listen(lambda: bool(agent.find(Ready)))
        ready = agent.find(Ready)[0]
        assert isinstance(ready, Ready)
        if mechanism in (CGROUP1, CGROUP2) and not ready.cgroup:
            pytest.skip(f"there is no {mechanism} here")
        hostile = HOSTILE if mechanism == "another user" else HOSTILE | PYTHONS
        under_way = {name: agent.start(_spec(each)) for name, each in hostile.items()}
        for name, attempt in under_way.items():
            outcome = _outcome(agent, attempt)
            expected = hostile[name]
            assert (outcome.cause, outcome.limit) == (expected.cause, expected.limit), (name, outcome)
            if expected.limit:
                assert outcome.mechanism in (ready.mechanism, SAMPLING, CGROUP2), (name, outcome)
                assert any(letter.isdigit() for letter in outcome.why), (name, outcome)
        wait_until_gone(home, link.pid)
        assert agent.run("echo well").stdout == b"well\n"
    finally:
        left = link.close()
    assert left == [], "the runner leaves nothing for others to kill"
    assert not list(cgroup.groups_of(os.path.realpath(home)))


def test_a_process_that_shed_every_mark_dies_with_its_group(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where groups can be killed it need not wait for its neighbours' end."""
    link = start(home, "", monkeypatch)
    agent = Agent(home, link)
    try:
        agent.listen(lambda: bool(agent.find(Ready)))
        if not getattr(agent.find(Ready)[0], "cgroup", ""):
            pytest.skip("there are no control groups here")
        nap = f"600.{os.getpid():07d}"  # other tests' commands sleep on this machine too
        neighbour = agent.start(TaskSpec(command=["sleep", nap]))
        agent.run((sys.executable, "-c", WASHED.replace("NAP", nap)), bounds=Bounds(processes=50))
        sleepers = [pid for pid in processes.all_processes() if _arguments(pid) == ["sleep", nap]]
        assert len(sleepers) == 1, "the neighbour's, and no other"
        assert not agent.find(Ended, neighbour)
    finally:
        link.close()


def _spec(hostile: Hostile) -> TaskSpec:
    command = hostile.command
    if isinstance(command, str):
        command = command.replace("$COMET", COMET)
    return TaskSpec(command=command, bounds=hostile.bounds, time_limit_s=hostile.time_limit_s, grace_s=0.2)


def _outcome(agent: Agent, attempt: AttemptId) -> Outcome:
    return agent.wait(attempt).outcome


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []
