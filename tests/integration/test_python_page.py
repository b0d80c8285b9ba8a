"""The programs of ``docs/python.md`` run as they stand there, on a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tests.source_tree import ROOT

from alb.local.cluster import LocalCluster

PAGE = (ROOT / "docs" / "python.md").read_text()
PROGRAMS = dict(re.findall(r"^## ([^\n]*)\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("title", PROGRAMS)
def test_a_program_of_the_page_runs(cluster: LocalCluster, title: str) -> None:
    """What it asserts is so: it ends with status 0."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAMS[title]],
        env={**os.environ, "ALB_ZK": cluster.zk},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_all_programs_are_found() -> None:
    """None of the page's blocks escapes the test above."""
    assert len(PROGRAMS) == PAGE.count("```python") == 6
