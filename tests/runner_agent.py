"""An agent for tests of the runner: starts commands, listens, and gathers what came of each."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from pathlib import Path

from alb_core.messages import AttemptId, StreamName
from alb_core.spec import TaskSpec
from alb_core.tasks import Outcome
from alb_worker.runner.messages import Ended, Output
from alb_worker.shell.runner_link import Received, RunnerLink

PATIENCE_S = 60.0


class Finished:
    """One attempt as the agent came to know it."""

    def __init__(self, outcome: Outcome, streams: dict[StreamName, bytes]) -> None:
        self.outcome = outcome
        self.stdout = streams[StreamName.STDOUT]
        self.stderr = streams[StreamName.STDERR]


class Agent:
    """The part of a worker's agent that speaks with the runner."""

    def __init__(self, home: Path, link: RunnerLink) -> None:
        self.home = home
        self.link = link
        self.heard: list[Received] = []
        self.streams: dict[tuple[AttemptId, StreamName], bytearray] = {}
        self.serial = 0

    def start(self, spec: TaskSpec) -> AttemptId:
        """Have a command started."""
        self.serial += 1
        attempt = AttemptId(f"{self.serial:032x}", 1)
        self.link.start_attempt(attempt, spec, bounds=spec.bounds, time_limit_s=spec.time_limit_s)
        self.link.flush()
        return attempt

    def listen(self, until: Callable[[], bool]) -> None:
        """Take what the runner says until a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, f"not in {PATIENCE_S} s; heard {self.heard[-5:]}"
            self.link.flush()
            select.select([self.link], [], [], 0.05)
            for message in self.link.receive():
                self._take(message)

    def _take(self, message: Received) -> None:
        self.heard.append(message)
        if isinstance(message, Output):
            stream = self.streams.setdefault((message.attempt, message.stream), bytearray())
            assert message.offset == len(stream), "pieces come in order and without gaps"
            stream += message.data

    def find(self, kind: type[Received], attempt: AttemptId | None = None) -> list[Received]:
        """Return the messages of a kind, of one attempt where it is given."""
        return [
            message
            for message in self.heard
            if isinstance(message, kind) and (attempt is None or getattr(message, "attempt", None) == attempt)
        ]

    def output(self, attempt: AttemptId, stream: StreamName = StreamName.STDOUT) -> bytes:
        """Return what came of a stream so far."""
        return bytes(self.streams.get((attempt, stream), b""))

    def wait(self, attempt: AttemptId) -> Finished:
        """Wait for an attempt's end."""
        self.listen(lambda: bool(self.find(Ended, attempt)))
        ended = self.find(Ended, attempt)[0]
        assert isinstance(ended, Ended)
        streams = {
            StreamName.STDOUT: self.output(attempt) + ended.stdout,
            StreamName.STDERR: self.output(attempt, StreamName.STDERR) + ended.stderr,
        }
        assert (len(streams[StreamName.STDOUT]), len(streams[StreamName.STDERR])) == (
            ended.stdout_size,
            ended.stderr_size,
        )
        return Finished(ended.outcome, streams)

    def run(self, command: str | tuple[str, ...], **options: object) -> Finished:
        """Run a command to its end."""
        return self.wait(self.start(TaskSpec(command=command, **options)))  # type: ignore[arg-type]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read_pid(path: Path) -> int:
    """Wait for a file that a command writes its number to."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def is_gone(pid: int) -> bool:
    """Tell whether a process is dead (a zombie is)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"
