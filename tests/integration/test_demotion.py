"""Demotion, measured: of two loops on one core, the demoted one gets next to nothing. By each mechanism."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runner_agent import Agent, read_pid

from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_worker.runner import demotion
from alb_worker.runner.attempt import RunningAttempt
from alb_worker.runner.demotion import AUTOGROUP, CPU_SHARES, CPU_WEIGHT, NICE, Demotion
from alb_worker.runner.groups import CGROUP1, CGROUP2, SAMPLING
from alb_worker.runner.hierarchies import DEMOTING, own_places
from alb_worker.runner.messages import Demoted
from alb_worker.shell.runner_link import RunnerLink

CORE = min(os.sched_getaffinity(0))
MEASURED_S = 2.0
ALLOWED = 0.1
LOOP = "while :; do :; done"


def _ticks(pids: list[int]) -> int:
    """Return the processor time that processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def _part(demoted: list[int], other: list[int]) -> float:
    """Measure which part of what they get together the demoted ones get."""
    before = _ticks(demoted), _ticks(other)
    time.sleep(MEASURED_S)  # a measurement over time
    low, high = _ticks(demoted) - before[0], _ticks(other) - before[1]
    assert low + high > 0
    return low / (low + high)


@contextlib.contextmanager
def _loops(*, sessions: bool) -> Iterator[tuple[int, int]]:
    """Run two loops on one core."""
    loops = [subprocess.Popen(["/bin/sh", "-c", LOOP], start_new_session=sessions) for _ in range(2)]
    try:
        for loop in loops:
            os.sched_setaffinity(loop.pid, {CORE})
        yield loops[0].pid, loops[1].pid
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _sole(pid: int) -> RunningAttempt:
    """Return an attempt that has no control group; nothing else of it is looked at."""
    attempt = RunningAttempt.__new__(RunningAttempt)
    attempt.pid, attempt.group = pid, None
    return attempt


def test_shares_of_version_1_demote() -> None:
    """A group with the least shares gets what is left over."""
    places = [place for place in own_places(wanted=DEMOTING) if place.version == 1]
    if not places or not os.access(places[0].path, os.W_OK):
        pytest.skip("no cpu controller of version 1 that we may write to")
    shares = Demotion(f"alb-test-{os.getpid()}", CGROUP1)
    with _loops(sessions=True) as (low, high):
        assert shares.apply(_sole(low), [low]) == CPU_SHARES
        assert shares.apply(_sole(low), [low]) == CPU_SHARES, "again is no different"
        assert _part([low], [high]) < ALLOWED
    shares.leave()
    assert not Path(places[0].below(f"alb-test-{os.getpid()}").path).exists()


def test_the_niceness_of_sessions_demotes() -> None:
    """Where the kernel groups processes by session."""
    if not demotion._groups_sessions():
        pytest.skip("this kernel does not group processes by session: sched_autogroup_enabled is not 1")
    with _loops(sessions=True) as (low, high):
        assert Demotion("", SAMPLING).apply(_sole(low), [low]) == AUTOGROUP
        assert _part([low], [high]) < ALLOWED


def test_niceness_demotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a session, and everywhere where the kernel does not group by session."""
    monkeypatch.setattr(demotion, "AUTOGROUP_ENABLED", Path("/nowhere"))
    with _loops(sessions=False) as (low, high):
        assert Demotion("", SAMPLING).apply(_sole(low), [low]) == NICE
        assert _part([low], [high]) < ALLOWED


@pytest.mark.parametrize("mechanism", ["", CGROUP2, SAMPLING])
def test_a_demoted_command_gets_next_to_nothing(tmp_path: Path, mechanism: str) -> None:
    """Through the runner, by whatever works here; what starts later, in a session of its own, is so too."""
    link = RunnerLink(
        worker="w1", work_dir=str(tmp_path), incarnation=f"test{os.getpid()}", mechanism=mechanism
    )
    link.start()
    agent = Agent(tmp_path, link)
    try:
        late = f"setsid sh -c 'echo $$ >{tmp_path}/late; {LOOP}'"
        low = agent.start(TaskSpec(command=f"echo $$ >{tmp_path}/low; read x <{tmp_path}/go; {late}"))
        os.mkfifo(tmp_path / "go")
        high = agent.start(TaskSpec(command=f"echo $$ >{tmp_path}/high; {LOOP}"))
        pids = [read_pid(tmp_path / name) for name in ("low", "high")]
        for pid in pids:
            os.sched_setaffinity(pid, {CORE})
        used = _demote(agent, low)
        if mechanism == CGROUP2 and used != CPU_WEIGHT:
            pytest.skip(f"no cpu controller of version 2 that we may write to: {used} does it here")
        (tmp_path / "go").write_text("\n")
        loop = read_pid(tmp_path / "late")
        time.sleep(1.5)  # a round of the watch finds the new session
        assert _part([loop], [pids[1]]) < ALLOWED, used
        for attempt in (low, high):
            link.kill(attempt, 0.0)
            agent.wait(attempt)
    finally:
        assert link.close() == []


def _demote(agent: Agent, attempt: AttemptId) -> str:
    agent.link.demote(attempt)
    agent.listen(lambda: bool(agent.find(Demoted, attempt)))
    (told,) = agent.find(Demoted, attempt)
    assert isinstance(told, Demoted)
    return told.mechanism
