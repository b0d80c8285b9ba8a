"""Where there is no Docker, the compose suite says so; in CI that is a failure."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.source_tree import ROOT


@pytest.mark.parametrize(
    ("ci", "status", "said"), [("", 0, "make compose"), ("true", 1, "CI does not allow")]
)
def test_a_suite_without_docker(ci: str, status: int, said: str) -> None:
    """The reason is printed in both cases."""
    environ = {**os.environ, "CI": ci, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/compose/test_compose_1_29.py"]
    ran = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == status, ran.stdout
    assert said in ran.stdout
