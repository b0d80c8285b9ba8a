"""The freezer of single threads, which the chaos tests use, stops what it should and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.thread_freezer import frozen_thread

_PROGRAM = """
import os, threading, time
def tick(letter):
    while True:
        os.write(1, letter)
        time.sleep(0.01)
threading.Thread(target=tick, args=(b"t",), daemon=True).start()
tick(b"m")
"""
#: Its main thread writes m, its other thread t.


def _read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += os.read(descriptor, 65536)
    return seen


def test_only_the_chosen_thread_stops() -> None:
    """While the main thread is frozen the other one goes on; afterwards both do."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.fileno()
        try:
            _read_until(output, b"m")
            _read_until(output, b"t")
            with frozen_thread(process.pid):
                os.read(output, 1 << 20)  # all that was written before
                assert _read_until(output, b"t" * 10).strip(b"t") == b""
                assert process.poll() is None
            _read_until(output, b"m")
        finally:
            process.kill()
