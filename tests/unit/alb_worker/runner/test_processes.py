"""What is read of processes is right, and signals reach the process that is meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alb_worker.runner import processes


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_stat_reads_names_that_look_like_fields(tmp_path: Path) -> None:
    """A program whose name holds spaces and parentheses does not shift the fields."""
    program = tmp_path / ") Z 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "600"]) as child:
        wait_until(lambda: b") Z 1 (" in Path(f"/proc/{child.pid}/stat").read_bytes())
        stat = processes.stat_of(child.pid)
        child.kill()
    assert stat is not None
    assert (stat.parent, stat.state in "SR") == (os.getpid(), True)
    assert processes.stat_of(child.pid) is None


def test_the_environment_is_that_of_the_start() -> None:
    """Names and values come as bytes; a process that is gone has none."""
    with subprocess.Popen(["sleep", "600"], env={"A": "b=c", "D": ""}) as child:
        wait_until(lambda: processes.environment_of(child.pid))
        found = processes.environment_of(child.pid)
        child.kill()
    assert found == {b"A": b"b=c", b"D": b""}
    assert processes.environment_of(child.pid) == {}


def test_descendants_are_walked_parents_first() -> None:
    """A child and a grandchild are found, each with its parent; own children too."""
    with subprocess.Popen(["sh", "-c", "sleep 600; true"]) as child:
        wait_until(lambda: list(processes.descendants_of(child.pid)))
        ((parent, grandchild),) = processes.descendants_of(child.pid)
        own = processes.OwnChildren()
        assert child.pid in own.read()
        assert child.pid in processes.children_of(os.getpid())
        assert processes._children_by_scan(child.pid) == [grandchild]
        own.close()
        os.kill(grandchild, signal.SIGKILL)
    assert parent == child.pid


def test_a_long_list_of_children_is_read_whole() -> None:
    """More children than fit into one read of the kernel's file are all found."""
    program = (
        "import os, signal\n"
        "from alb_worker.runner.processes import OwnChildren\n"
        "own = OwnChildren()\n"
        "pids = [os.posix_spawn('/bin/sleep', ['sleep', '600'], {}) for _ in range(1200)]\n"
        "print(own.read() == pids)\n"
        "[os.kill(pid, signal.SIGKILL) for pid in pids]\n"
        "[os.waitpid(pid, 0) for pid in pids]\n"
        "print(own.read())\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "True\n[]\n"


def test_a_signal_goes_only_to_a_child_of_the_parent_that_was_seen() -> None:
    """A process whose parent is another than expected is not the one that was seen: it gets nothing."""
    with subprocess.Popen(["sleep", "600"]) as child:
        assert not processes.signal_child_of(1, child.pid, signal.SIGKILL)
        assert child.poll() is None
        assert processes.signal_child_of(os.getpid(), child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not processes.signal_child_of(os.getpid(), child.pid, signal.SIGKILL)


def test_the_score_is_raised_only_for_the_command() -> None:
    """Between raise and restore a new process inherits the high score; afterwards ours is as before."""
    own = Path("/proc/self/oom_score_adj").read_text()
    score = processes.OutOfMemoryScore()
    score.raise_for_command()
    raised = subprocess.run(["cat", "/proc/self/oom_score_adj"], capture_output=True, check=True).stdout
    score.restore()
    score.close()
    assert raised.strip() == score.COMMANDS
    assert Path("/proc/self/oom_score_adj").read_text() == own


def test_memory_kills_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rise of the kernel's count is reported by the next question and by no later one."""
    counts = iter((3, 3, 4, 4))
    monkeypatch.setattr(processes.OutOfMemoryKills, "_count", staticmethod(lambda: next(counts)))
    kills = processes.OutOfMemoryKills()
    assert [kills.happened() for _ in range(3)] == [False, True, False]


def test_memory_kills_of_before_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies by SIGKILL later is not blamed on them."""
    counts = iter((3, 4, 4))
    monkeypatch.setattr(processes.OutOfMemoryKills, "_count", staticmethod(lambda: next(counts)))
    kills = processes.OutOfMemoryKills()
    kills.forget()
    assert not kills.happened()


def test_the_kernels_count_of_memory_kills_is_read() -> None:
    """The count is there and does not fall."""
    assert processes.OutOfMemoryKills._count() >= 0
    assert "oom_kill " in Path("/proc/vmstat").read_text()
