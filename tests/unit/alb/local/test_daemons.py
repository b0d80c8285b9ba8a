"""Background processes are told by pid and start time, and obey."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alb.local.daemons import Daemon, DaemonFailed, Life, log_end, wait_until

SLEEPS = (sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "sleeper.log"


@pytest.fixture
def sleeper(log: Path) -> Iterator[Daemon]:
    daemon = Daemon("sleeper", SLEEPS, log)
    yield daemon
    daemon.kill()


def _started(daemon: Daemon) -> Daemon:
    daemon.start()
    assert wait_until(lambda: daemon.log.exists() and "up" in daemon.log.read_text(), 10)
    return daemon


def test_a_daemon_runs_in_a_session_of_its_own(sleeper: Daemon) -> None:
    """It survives the terminal of the command that started it, and is not hit by its Ctrl-C."""
    _started(sleeper)
    assert sleeper.running
    assert os.getsid(sleeper.pid) == sleeper.pid


def test_starting_a_running_daemon_changes_nothing(sleeper: Daemon) -> None:
    """A second start keeps the first life."""
    pid = _started(sleeper).pid
    sleeper.start()
    assert sleeper.pid == pid


def test_kill_ends_it_and_a_new_start_is_a_new_life(sleeper: Daemon) -> None:
    """After kill it does not run; after another start it does, under another pid."""
    first = _started(sleeper).life
    sleeper.kill()
    assert not sleeper.running
    sleeper.start()
    assert sleeper.running
    assert sleeper.life != first


def test_a_frozen_daemon_still_exists_and_can_be_stopped(sleeper: Daemon) -> None:
    """Freezing stops the process without ending it; stop thaws it so that it can obey."""
    _started(sleeper).freeze()
    assert Path(f"/proc/{sleeper.pid}/stat").read_text().split()[2] == "T"
    assert sleeper.running
    sleeper.stop(grace_s=5)
    assert not sleeper.running


def test_stop_kills_what_ignores_term(log: Path) -> None:
    """A process that is deaf to SIGTERM is gone after the grace."""
    daemon = _started(Daemon("deaf", DEAF, log))
    daemon.stop(grace_s=0.1)
    assert not daemon.running


def test_another_process_under_the_same_pid_is_not_touched(sleeper: Daemon) -> None:
    """A life whose start time differs is gone, and a signal for it reaches nobody."""
    life = _started(sleeper).life
    assert life is not None
    reused = Life(life.pid, life.started - 1)
    assert not reused.running()
    assert not reused.send(signal.SIGKILL)
    assert sleeper.running


def test_a_life_is_recognised_by_another_command(sleeper: Daemon, log: Path) -> None:
    """What a state file remembers is enough to look after the process, and to end it."""
    remembered = Daemon("sleeper", SLEEPS, log, life=_started(sleeper).life)
    assert remembered.running
    remembered.stop()
    assert not sleeper.running


def test_a_failure_shows_the_end_of_the_log(log: Path) -> None:
    """The error of a process that will not end names the log and shows its last lines."""
    daemon = _started(Daemon("deaf", DEAF, log))
    with pytest.raises(DaemonFailed, match=r"(?s)deaf .*still runs.*sleeper\.log.*\n    up"):
        daemon.wait_gone(0.05)
    daemon.kill()


def test_a_log_that_is_missing_or_empty_is_said_so(tmp_path: Path) -> None:
    """`log_end` never raises: it is used while an error is being told."""
    empty = tmp_path / "empty"
    empty.touch()
    assert "empty" in log_end(empty)
    assert "cannot be read" in log_end(tmp_path / "missing")
