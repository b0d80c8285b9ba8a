"""What a short-lived client has to import."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["zookeeper", "sockets", "probe", "clock"])
def test_clients_do_not_load_the_log(module: str) -> None:
    """The command line talks to ZooKeeper and brokers without paying for structlog and what it imports."""
    program = f"import sys, alb_core.io.{module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert f"alb_core.io.{module}" in run.stdout.split()
    assert {"structlog", "asyncio", "rich"} & set(run.stdout.split()) == set()
