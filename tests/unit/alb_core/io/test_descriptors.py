"""The limit of open files, raised in a process of its own: it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from alb_core.io.descriptors import FILES_MAX, allow_open_files
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, hard))
allow_open_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == ({expected}, hard))
"""


def run(soft: str, expected: str) -> str:
    """Run the program; returns what it printed."""
    program = PROGRAM.format(soft=soft, expected=expected)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_low_limit_is_raised_as_far_as_it_may() -> None:
    """To the hard limit, but no further than any broker or worker needs; the hard limit stays."""
    assert run("64", "FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)") == "True"


def test_a_high_limit_is_left_alone() -> None:
    """Who allowed more than that meant it."""
    assert run("hard", "hard") == "True"
