"""docker-compose 1.29, which Debian 12 ships: the same file, the same cluster."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.compose.stack import ALB, named_project, run
from tests.harness import wait_for


@pytest.fixture(scope="module", autouse=True)
def _compose_1_29() -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("there is no docker-compose here: `make compose` installs it")
    version = run(["docker-compose", "version", "--short"]).stdout.decode().strip()
    if not version.startswith("1.29."):
        pytest.skip(f"docker-compose is {version} here, not 1.29")


@pytest.fixture
def _without_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the current compose: `docker` without its verb `compose`, first in PATH."""
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" != compose ] || exit 1\nexec {shutil.which("docker")} "$@"\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_config_is_accepted() -> None:
    """Every key of the file is one that 1.29 knows."""
    run(["docker-compose", "config", "--quiet"])


@pytest.mark.usefixtures("_without_plugin")
def test_up_submit_down() -> None:
    """One cluster comes up, runs a command through ``deploy/alb``, and goes with its volumes.

    It needs no database for that; one that comes later gets the task.
    """
    with named_project("old"):
        try:
            run(["docker-compose", "up", "--detach", "--scale", "postgres=0"], timeout_s=200)
            ran = run([str(ALB), "submit", "echo hello; exit 3"], check=False)
            assert (ran.returncode, ran.stdout) == (3, b"hello\n"), ran.stderr
            run(["docker-compose", "up", "--detach", "--no-deps", "postgres"])
            history = [str(ALB), "history", "--state", "FAILED"]
            wait_for(lambda: b"echo hello" in run(history, check=False).stdout, "the task in the history")
        finally:
            run(["docker-compose", "down", "--volumes"], timeout_s=100)
