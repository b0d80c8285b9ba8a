"""The compose suite needs a Docker engine and built images: `make compose` makes both ready and runs it.

One cluster serves the modules of ``ORDER``, for bringing it up is what takes time: as `up` leaves it, on the
tour, broken further, lost and restored, and at last stopped as the tour stops it.

Without them its tests are skipped and say why; with ``CI=true`` a skipped test has failed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from testcontainers.compose import DockerCompose
from tests.compose.stack import Stack, named_project
from tests.source_tree import ROOT

UP_S = 600
#: For a test that brings a cluster up, on a busy machine of two cores.
ORDER = ("test_start", "test_tour", "test_cluster", "test_backup", "test_stop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(UP_S))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """Return where an item belongs: other suites first, then who shares the cluster, then the rest."""
    if Path(__file__).parent not in item.path.parents:
        return -1
    return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack):
        report.sections.append(("containers", stack.compose("ps", "--all")))
        report.sections.append(("logs", stack.compose("logs", "--no-color", "--tail", "15")))
    return report


@pytest.fixture(scope="session", autouse=True)
def _docker() -> None:
    image = ["docker", "image", "inspect", os.environ.get("ALB_IMAGE", "alb")]
    for command in (["docker", "version"], ["docker", "compose", "version"], image):
        if not _succeeds(command):
            pytest.skip(f"`{' '.join(command)}` fails; `make compose` gets what is missing")


def _succeeds(command: list[str]) -> bool:
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except OSError:
        return False
    return ran.returncode == 0


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The cluster of the compose file, as testcontainers brings it up: all of it healthy."""
    with named_project("shared"), DockerCompose(ROOT) as compose:
        yield Stack(compose)
