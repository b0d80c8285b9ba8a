"""A running compose project as its users have it: the compose command, ``deploy/alb``, the engine's word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from testcontainers.compose import DockerCompose
from tests.harness import PATIENCE_S, wait_for
from tests.source_tree import ROOT

ALB: Final = ROOT / "deploy" / "alb"
PROJECT: Final = "COMPOSE_PROJECT_NAME"


@contextmanager
def named_project(suffix: str) -> Iterator[str]:
    """Let every compose command within the block, ours and testcontainers', mean a project of its own."""
    before = os.environ.get(PROJECT)
    os.environ[PROJECT] = name = f"albtest{os.getpid()}{suffix}"
    try:
        yield name
    finally:
        if before is None:
            del os.environ[PROJECT]
        else:
            os.environ[PROJECT] = before


class Stack:
    """The project of the top-level compose file, brought up and torn down by testcontainers.

    Args:
        compose: Its handle.
    """

    def __init__(self, compose: DockerCompose) -> None:
        self._compose = compose
        config = compose.get_config()
        self.project: str = config["name"]
        self.config: dict[str, Any] = config["services"]
        #: What the compose file says of each service.

    def compose(self, *arguments: str, timeout_s: float = PATIENCE_S) -> str:
        """Run a verb of ``docker compose`` and return what it printed on stdout."""
        command = [*self._compose.docker_compose_command(), *arguments]
        return run(command, timeout_s=timeout_s).stdout.decode()

    def alb(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
        """Run ``deploy/alb`` from some directory; any exit status will do."""
        return run([str(ALB), *arguments], cwd=cwd, check=False)

    def alb_json(self, *arguments: str) -> Any:
        """Run a verb with ``--json`` and return what it printed."""
        ran = self.alb(*arguments, "--json")
        assert ran.returncode == 0, ran.stderr.decode()
        return json.loads(ran.stdout)

    @contextmanager
    def submitted(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start an attached ``deploy/alb submit`` in a session of its own, and see to its end."""
        process = subprocess.Popen(
            [str(ALB), "submit", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def leader(self) -> str:
        """Return the name of the broker that leads, as soon as one does."""
        leaders: list[str] = []

        def found() -> bool:
            leaders[:] = [broker["broker"] for broker in self.alb_json("brokers") if broker["leads"]]
            return bool(leaders)

        wait_for(found, "a leader")
        return leaders[0]

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine knows of every container of the project, by container name."""
        ids = self.compose("ps", "--all", "--quiet").split()
        return {one["Name"].lstrip("/"): one for one in _inspect(ids)}

    def container(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's one container."""
        (one,) = _inspect(self.compose("ps", "--all", "--quiet", service).split())
        return one

    def health(self, service: str) -> str:
        """Return ``starting``, ``healthy`` or ``unhealthy``."""
        return str(self.container(service)["State"]["Health"]["Status"])

    def start(self, *services: str) -> None:
        """Start what was killed, and wait until it is healthy."""
        self.compose("start", *services)
        for service in services:
            wait_for(lambda name=service: self.health(name) == "healthy", f"the health of {service}")


def run(
    command: list[str],
    *,
    cwd: Path = ROOT,
    check: bool = True,
    timeout_s: float = PATIENCE_S,
    typed: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with some input; a failure shows what it said."""
    ran = subprocess.run(command, input=typed, capture_output=True, cwd=cwd, timeout=timeout_s, check=False)
    assert not check or ran.returncode == 0, f"{command}: {ran.stdout.decode()}{ran.stderr.decode()}"
    return ran


def _inspect(ids: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *ids]).stdout)
    return found
