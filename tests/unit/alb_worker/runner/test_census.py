"""What processes use is read from the kernel, and whose they are from their mark."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from alb_worker.runner import census

HUNGRY = "import sys; x = b'x' * 30_000_000; print(flush=True); sys.stdin.read()"


def test_processes_threads_memory_and_time_are_counted() -> None:
    """We are at least one thread with some memory and time; more threads count."""
    before = census.count([os.getpid()])
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    after = census.count([os.getpid()])
    stop.set()
    for thread in threads:
        thread.join()
    assert after.processes == before.processes + 3
    assert before.resident_bytes > 5_000_000
    assert before.cpu_s > 0


def test_the_dead_count_nothing() -> None:
    """A process that is gone, and one that nobody has waited for, use no memory and are no processes."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = census.count([process.pid])
    assert zombie[:2] == (0, 0)
    assert census.count([process.pid]) == (0, 0, 0.0)
    assert census.own_bytes([process.pid]) == 0


def test_own_memory_is_what_a_process_has_for_itself() -> None:
    """Thirty megabytes that it wrote are its own; the libraries that it has mapped are not."""
    with subprocess.Popen(
        [sys.executable, "-c", HUNGRY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = census.own_bytes([process.pid])
        resident = census.count([process.pid]).resident_bytes
        process.communicate(b"")
    assert 30_000_000 < own < resident


def test_nobody_here_carries_the_mark_of_a_process_that_only_gives_them() -> None:
    """This process is never among the marked ones, and who was looked at once is not looked at again."""
    seen: set[int] = set()
    census.marked(seen)
    assert os.getpid() not in seen
    assert 1 in seen
    with subprocess.Popen(["sleep", "60"]) as process:
        before = set(seen)
        census.marked(seen)
        assert process.pid in seen - before
        process.kill()
    assert Path("/proc/self").exists()
