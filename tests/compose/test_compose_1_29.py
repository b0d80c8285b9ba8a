"""docker-compose 1.29, which Debian 12 ships: the same file, the same cluster."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from tests.compose.stack import ALB, named_project, run


@pytest.fixture(scope="module", autouse=True)
def _compose_1_29() -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("there is no docker-compose here: `make compose` installs it")
    version = run(["docker-compose", "version", "--short"]).stdout.decode().strip()
    if not version.startswith("1.29."):
        pytest.skip(f"docker-compose is {version} here, not 1.29")


def test_config_is_accepted() -> None:
    """Every key of the file is one that 1.29 knows."""
    run(["docker-compose", "config", "--quiet"])


def test_up_submit_down(tmp_path: object) -> None:
    """One cluster comes up, runs a command through ``deploy/alb``, and goes with its volumes."""
    with named_project("old"):
        try:
            run(["docker-compose", "up", "--detach"], timeout_s=200)
            ran = run(["sh", "-c", f"PATH={tmp_path}; exec {ALB} submit 'echo hello'"])
            assert ran.stdout == b"hello\n"
        finally:
            run(["docker-compose", "down", "--volumes"], timeout_s=100)
