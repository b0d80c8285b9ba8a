"""The lock of a worker's directory, and which processes count as left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alb_core.errors import ConfigError
from alb_worker.shell import leftovers
from alb_worker.shell.leftovers import kill_leftovers, lock_work_dir


def sleeper(**environ: str) -> subprocess.Popen[bytes]:
    """Start a process with marks in its environment."""
    # The first byte tells that the program, and so its environment, is in place.
    process = subprocess.Popen(
        ["sh", "-c", "echo; exec sleep 600"],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill and reap a process."""
    process.kill()
    process.communicate()


def test_a_directory_is_made_private_and_locked(tmp_path: Path) -> None:
    """The directory and its parents are made; the lock names its holder."""
    home = tmp_path / "some" / "home"
    lock = lock_work_dir(str(home))
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "lock").read_text() == f"{os.getpid()}\n"
    lock.close()


def test_a_second_worker_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    """The refusal names the directory and the process; the lock ends with its holder, however that ends."""
    program = (
        "import sys, time\n"
        "from alb_worker.shell.leftovers import lock_work_dir\n"
        "lock = lock_work_dir(sys.argv[1])\n"
        "print('locked', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError) as refused:
            lock_work_dir(str(tmp_path))
        assert f"process {holder.pid}" in str(refused.value)
        assert str(tmp_path) in str(refused.value)
        holder.kill()
    lock_work_dir(str(tmp_path)).close()


def test_a_lock_can_be_taken_again_after_close(tmp_path: Path) -> None:
    """Close gives the directory up."""
    lock_work_dir(str(tmp_path)).close()
    lock_work_dir(str(tmp_path)).close()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """Nobody else may plant files where commands' output and directories are kept."""
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write"):
        lock_work_dir(str(tmp_path))
    tmp_path.chmod(0o700)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file in the way is a configuration error with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        lock_work_dir(str(tmp_path / "file"))


def test_runners_and_commands_of_the_directory_are_killed_and_no_others(tmp_path: Path) -> None:
    """Equal worker names mean nothing: the directory tells whose a process is."""
    home = os.path.realpath(tmp_path)
    ours = [
        sleeper(ALB_WORKER_HOME=home, ALB_TASK_ID="t1", ALB_WORKER="w1"),
        sleeper(ALB_WORKER_HOME=home, ALB_RUNNER="i.1"),
    ]
    others = [
        sleeper(ALB_WORKER_HOME=f"{home}-2", ALB_TASK_ID="t1", ALB_WORKER="w1"),
        sleeper(ALB_WORKER="w1", ALB_TASK_ID="t1"),
        sleeper(ALB_WORKER_HOME=home),
    ]
    killed = kill_leftovers(str(tmp_path))
    assert {(one.pid, one.task, one.gone) for one in killed} == {
        (ours[0].pid, "t1", True),
        (ours[1].pid, "", True),
    }
    assert [other.poll() for other in others] == [None] * 3
    for process in ours + others:
        end(process)
    assert kill_leftovers(str(tmp_path)) == []


def test_a_symbolic_link_to_the_directory_is_the_directory(tmp_path: Path) -> None:
    """However the directory is named, its processes are found."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    process = sleeper(ALB_WORKER_HOME=os.path.realpath(tmp_path / "real"), ALB_TASK_ID="t1")
    assert [one.pid for one in kill_leftovers(str(tmp_path / "link"))] == [process.pid]
    end(process)


def test_a_worker_does_not_kill_itself(tmp_path: Path) -> None:
    """A worker that is started from one of its own old commands spares itself and its parents."""
    program = (
        "import sys\n"
        "from alb_worker.shell.leftovers import kill_leftovers\n"
        "print(kill_leftovers(sys.argv[1]))\n"
    )
    environ = {**os.environ, "ALB_WORKER_HOME": os.path.realpath(tmp_path), "ALB_TASK_ID": "t1"}
    command = ["sh", "-c", '"$@"; echo alive', "sh", sys.executable, "-c", program, str(tmp_path)]
    said = subprocess.run(command, env=environ, capture_output=True, check=True).stdout
    assert said == b"[]\nalive\n"


def test_what_cannot_be_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience the answer comes, with what is still there."""
    process = sleeper(ALB_WORKER_HOME=os.path.realpath(tmp_path), ALB_TASK_ID="t1")
    monkeypatch.setattr(leftovers, "_kill", lambda _pid, _home: None)
    (left,) = kill_leftovers(str(tmp_path), patience_s=0.05)
    assert (left.pid, left.gone) == (process.pid, False)
    end(process)
