"""The agent's end of its runner: starts it, speaks with it, notices its death, and leaves nothing behind.

It owns the runner's process and the socket. It never waits, except for a runner that is to end. What an
attempt is, and what becomes of one whose runner died, is the worker core's business.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from alb_core.bounds import NO_BOUNDS, Bounds
from alb_core.errors import ConfigError
from alb_core.messages import AttemptId
from alb_core.spec import TaskSpec
from alb_worker.core.steps import command_of_steps
from alb_worker.runner import cgroup
from alb_worker.runner.directories import clear_prepared
from alb_worker.runner.link import FrameLink
from alb_worker.runner.messages import Demote, FromRunner, Kill, Settings, Start
from alb_worker.shell import leftovers

CLOSE_S: Final = 15.0
#: A runner whose agent is gone kills its commands for up to 10 s.
_NO_MARKS: Final[Mapping[str, str]] = MappingProxyType({})


class RunnerDied(msgspec.Struct, frozen=True, kw_only=True):
    """The runner is gone, with it the control of its commands; ``restart`` kills what is left of them."""

    exit_code: int | None = None
    signal: int | None = None


Received: TypeAlias = FromRunner | RunnerDied


class RunnerLink:
    """A runner and the link to it.

    Args:
        worker: The worker's name.
        work_dir: The worker's directory; ``leftovers.lock_work_dir`` has made and locked it.
        incarnation: Of this agent.
        allow_run_as: Users whose rights commands may have.
        mechanism: What holds commands to their bounds, as `Settings` has it; empty: the best there is.
    """

    def __init__(
        self,
        *,
        worker: str,
        work_dir: str,
        incarnation: str,
        allow_run_as: tuple[str, ...] = (),
        mechanism: str = "",
    ) -> None:
        self._worker = worker
        self._home = os.path.realpath(work_dir)
        self._incarnation = incarnation
        self._allow_run_as = allow_run_as
        self._mechanism = mechanism
        self._starts = 0
        self._directory = -1
        #: Keeps the directory that we started in, so that another one at its place can be told from it.
        self._group = ""
        #: Name of the runner's control group.
        self._link: FrameLink[FromRunner] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._died = False

    @property
    def pid(self) -> int | None:
        """The runner's process number, None where there is no runner."""
        return None if self._process is None else self._process.pid

    @property
    def wants_write(self) -> bool:
        """Whether messages wait until the socket takes more: poll it for writing too, then call ``flush``."""
        return self._link is not None and self._link.pending_bytes > 0

    def start(self) -> None:
        """Start a runner. Messages may be sent at once, files prepared for them; its first one is Ready.

        Raises:
            OSError: The process could not be started, or the worker's directory is not there.
        """
        if self._directory < 0:
            self._directory = os.open(self._home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        clear_prepared(self._home)
        self._starts += 1
        incarnation = f"{self._incarnation}.{self._starts}"
        self._group = cgroup.group_name(self._home, self._worker, incarnation)
        settings = Settings(
            worker=self._worker,
            home=self._home,
            cgroup=self._group,
            allow_run_as=self._allow_run_as,
            mechanism=self._mechanism,
        )
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-X", "utf8", "-P", "-m", "alb_worker.runner"),
                        *(str(theirs.fileno()), msgspec.json.encode(settings).decode()),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=_runner_environment() | {leftovers.HOME: self._home, leftovers.RUNNER: incarnation},
                )
            except BaseException:
                ours.close()
                raise
        self._link = FrameLink(ours, FromRunner)
        self._died = False

    def fileno(self) -> int:
        """Return the file descriptor to poll for reading; it changes with ``restart``."""
        return self._open_link().fileno()

    def start_attempt(  # noqa: PLR0913 (what there is to say of one)
        self,
        attempt: AttemptId,
        spec: TaskSpec,
        marks: Mapping[str, str] = _NO_MARKS,
        *,
        first_step: int = 1,
        prepared: str = "",
        bounds: Bounds = NO_BOUNDS,
        time_limit_s: float | None = None,
    ) -> None:
        """Have a command run. Answers: Started, Output, Ended. Sent with the next ``flush``.

        Args:
            attempt: What runs.
            spec: What it is.
            marks: What is added to its environment.
            first_step: Of a task of steps, where it begins.
            prepared: The directory that holds its files; empty: it has none.
            bounds: What it may use.
            time_limit_s: Its wall-clock limit.
        """
        command = spec.command
        if spec.steps:
            command = command_of_steps(command, spec.steps, first_step)
            marks = {**marks, "ALB_STEPS": str(spec.steps)}
        self._open_link().send(
            Start(
                attempt=attempt,
                command=command,
                env=spec.env,
                cwd=spec.cwd,
                time_limit_s=time_limit_s,
                bounds=bounds,
                grace_s=spec.grace_s,
                cpus=spec.request.cpus,
                memory_bytes=spec.request.memory_bytes,
                marks=dict(marks),
                prepared=prepared,
                keep=bool(spec.returns or spec.checkpoints),
                stdin=spec.stdin,
                stdin_file=spec.stdin_file,
                umask=spec.umask,
                nice=spec.nice,
                run_as=spec.run_as,
            )
        )

    def kill(self, attempt: AttemptId, grace_s: float) -> None:
        """End an attempt: TERM, the grace, KILL; a grace of 0: KILL at once. Sent with the next ``flush``."""
        self._open_link().send(Kill(attempt=attempt, grace_s=grace_s))

    def demote(self, attempt: AttemptId) -> None:
        """Give an attempt the lowest weight. Answer, unless it has ended: Demoted. Sent with ``flush``."""
        self._open_link().send(Demote(attempt=attempt))

    def flush(self) -> bool:
        """Send what the runner takes now; returns whether nothing is left."""
        return self._open_link().flush()

    def receive(self) -> list[Received]:
        """Return what the runner said, a bounded amount; RunnerDied is the last thing that comes of it."""
        link = self._open_link()
        received: list[Received] = [*link.receive()]
        if link.ended and not self._died:
            self._died = True
            received.append(self._how_it_died())
        return received

    def restart(self) -> list[leftovers.Leftover]:
        """Kill what a dead runner left, and start another. Blocks until all of it is gone.

        Returns:
            What was killed.

        Raises:
            ConfigError: Somebody removed the worker's directory, or put another one in its place.
        """
        killed = self._end(patience_s=0.0)
        if not self._home_is_ours():
            raise ConfigError(
                f"work_dir {self._home} was removed or replaced while this worker ran: "
                "another worker may use it now; start this one again"
            )
        self.start()
        return killed

    def close(self) -> list[leftovers.Leftover]:
        """End the runner and all its commands. Blocks until they are gone, usually some milliseconds.

        Returns:
            What the runner had not killed itself.
        """
        killed = self._end(patience_s=CLOSE_S)
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
        return killed

    def _end(self, patience_s: float) -> list[leftovers.Leftover]:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is None:
            return []
        if patience_s > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        self._process.kill()
        self._process.wait()
        self._process = None
        if self._home_is_ours():
            return leftovers.kill_leftovers(self._home)
        # Processes that carry the directory's marks may be another worker's by now; the group's are ours.
        for group in cgroup.groups_named(self._group):
            cgroup.kill(group, leftovers.PATIENCE_S)
        return []

    def _home_is_ours(self) -> bool:
        """Tell whether the worker's directory is still the one that we started in."""
        try:
            return os.path.samestat(os.fstat(self._directory), os.stat(self._home))  # noqa: PTH116 (beside fstat)
        except OSError:
            return False

    def _how_it_died(self) -> RunnerDied:
        process = self._process
        if process is None:
            raise AssertionError("no runner was started")
        process.kill()  # a runner without a link is of no use, should it live
        code = process.wait()
        return RunnerDied(exit_code=code) if code >= 0 else RunnerDied(signal=-code)

    def _open_link(self) -> FrameLink[FromRunner]:
        if self._link is None:
            raise AssertionError("the runner is not started")
        return self._link


def _runner_environment() -> dict[str, str]:
    """Return the runner's environment: ours, without what would make it look like a command of ours."""
    return {name: value for name, value in os.environ.items() if name not in leftovers.MARKS}
