"""The mark passes through what a command may do to hide, and tells worker homes apart."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from alb_worker.runner import dye

PROGRAM = """
import os, subprocess, sys
from alb_worker.runner import dye
dyes = dye.Dye(sys.argv[1])
first, second = dyes.dip(), dyes.dip()
hidden = ["env", "-i", "setsid", "sleep", "600"]
child = subprocess.Popen(hidden, stdout=subprocess.DEVNULL)
print(first, second, child.pid, dyes.works, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


def test_a_mark_is_inherited_and_unique() -> None:
    """A process in another session with an empty environment carries the mark it was started under."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "/some/home"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first, second, pid, works = process.stdout.readline().split()
        mark = dye.read(int(pid))
        process.communicate("")
    assert works == "True"
    assert first != second
    assert mark == int(second)
    assert dye.is_of_home(mark, "/some/home")
    assert not dye.is_of_home(mark, "/another/home")


def test_others_carry_no_mark() -> None:
    """A process that no runner started is read as unmarked, and belongs to no home."""
    mark = dye.read(1)
    assert mark == dye.NO_DYE
    assert not dye.is_of_home(mark, "/some/home")


def test_a_process_that_is_not_there_is_told() -> None:
    """Reading the mark of nobody raises, so that it cannot be taken for an unmarked process."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process.pid}").exists():
        assert time.monotonic() < deadline
    with pytest.raises(ProcessLookupError):
        dye.read(process.pid)


def test_where_no_mark_can_be_given_core_files_are_still_off() -> None:
    """Under a low hard limit that may not be raised, there is no mark and no core file."""
    program = (
        "import ctypes, os, resource\n"
        "from alb_worker.runner import dye\n"
        "resource.setrlimit(10, (4096, 4096))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096))\n"
        "if os.geteuid() == 0:\n"
        "    os.setuid(65534)\n"
        "dyes = dye.Dye('/home')\n"
        "print(dyes.works, dyes.dip(), resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == f"False {dye.NO_DYE} (0, 4096)\n"
