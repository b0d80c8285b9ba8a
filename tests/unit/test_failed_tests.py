"""What a failed test leaves open is nobody else's failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.source_tree import ROOT

PAIR = '''
import gc
import socket

def test_that_fails_with_a_socket_open():
    """It never comes to its close."""
    left = socket.socket()
    assert left is None

def test_that_passes():
    """As long as it is not blamed for the socket that is found in its time."""
    gc.collect()
'''


def test_the_next_test_is_not_blamed(tmp_path: Path) -> None:
    """Of two tests the first fails and leaves a socket: one has failed, not both."""
    (tmp_path / "test_pair.py").write_text(PAIR)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider")
    ran = subprocess.run(
        (*command, "-c", "pyproject.toml", "--rootdir", str(tmp_path), str(tmp_path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
