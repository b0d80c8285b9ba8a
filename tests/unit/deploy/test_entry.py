"""``deploy/alb`` hands a command line to a container: what it passes on, and what it leaves to its caller."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.source_tree import ROOT


def _typed(tmp_path: Path, *words: str) -> str:
    """Return what the client in the container reads when this is typed; a stub stands in for Docker."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$2" = version ] || cat\n')
    docker.chmod(0o755)
    ran = subprocess.run(
        ["sh", str(ROOT / "deploy" / "alb"), *words],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        input="typed",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return ran.stdout


@pytest.mark.parametrize("option", ["--each-line", "--stdin", "--payload"])
def test_standard_input_reaches_who_is_told_to_read_it(tmp_path: Path, option: str) -> None:
    """In both forms of the option."""
    assert _typed(tmp_path, "submit", option, "-", "wc") == "typed"
    assert _typed(tmp_path, "submit", f"{option}=-", "wc") == "typed"


def test_standard_input_is_left_to_the_script_otherwise(tmp_path: Path) -> None:
    """In a loop that reads lines, a submission must not swallow those that follow."""
    assert _typed(tmp_path, "submit", "--stdin", "numbers", "wc") == ""
