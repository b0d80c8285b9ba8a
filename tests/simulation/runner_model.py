"""The runner of a worker: starts commands, lets them run, ends them; and the witness of what really ran.

It lives beside the worker's process: a frozen worker's commands run on, a dead worker's are killed at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.commands import Script, lag_of, outcome_of, script_of
from tests.simulation.hosts import Source

from alb_core.increments import Line
from alb_core.messages import AttemptId, StreamName
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.core import events
from alb_worker.core.actions import LaunchAttempt

if TYPE_CHECKING:
    from tests.simulation.workers import WorkerHost

LAUNCH_S = 0.03
DIE_S = 0.05
FETCH_S = 3.0
FETCH_FAILS = 0.05
#: How long the files of a command take, and how often they cannot be had.


class Process:
    """One command that runs, or is about to."""

    __slots__ = ("attempt", "began", "ended", "gpus", "killed", "limit_s", "reported", "script", "spec")

    def __init__(self, order: LaunchAttempt) -> None:
        self.attempt: AttemptId = order.attempt
        self.spec: TaskSpec = order.spec
        self.limit_s = order.time_limit_s  #: Its own, or the default when it was ordered.
        self.gpus = order.gpus or ()  #: Indexes of its own.
        self.script: Script = script_of(order.spec)
        self.began = -1.0  #: True time of its start; below 0: not started.
        self.killed = False
        self.ended = False
        self.reported = int(order.resume.lines[-1].value) if order.resume is not None else 0
        #: The increment that it reported last, or some earlier attempt did.


class RunnerModel:
    """The runner of one worker's machine.

    Args:
        host: The worker.
    """

    def __init__(self, host: WorkerHost) -> None:
        self._host = host
        self._timeline = host.cluster.timeline
        self._witness = host.cluster.invariants.execution
        self.processes: dict[AttemptId, Process] = {}
        self.spool: dict[AttemptId, list[int]] = {}  #: Bytes of stdout and stderr that were written.

    def launch(self, order: LaunchAttempt) -> None:
        """Start a command."""
        attempt, spec = order.attempt, order.spec
        process = self.processes[attempt] = Process(order)
        self.spool[attempt] = [0, 0]
        wait = self._host.draws.uniform(0.001, LAUNCH_S)
        if spec.files:
            wait += self._host.draws.uniform(0.0, FETCH_S)
            if self._host.draws.random() < FETCH_FAILS:
                self._timeline.after(wait, self._end, process, Cause.NOT_STARTED)
                return
        self._timeline.after(wait, self._start, process)

    def kill(self, attempt: AttemptId, grace_s: float) -> None:
        """End a command: TERM, a grace, KILL."""
        process = self.processes.get(attempt)
        if process is None:
            return
        process.killed = True
        wait = self._host.draws.uniform(0.0, DIE_S)
        wait += 0.0 if process.script.obedient or process.began < 0 else grace_s
        self._timeline.after(wait, self._end, process, Cause.KILLED)

    def demote(self, attempt: AttemptId) -> None:
        """Give a command the lowest weight, which changes nothing here: no machine is slow."""
        if attempt in self.processes:
            told = partial(events.RunnerDemoted, attempt=attempt, mechanism="cpu.weight")
            self._host.post(Source.SELF, told)

    def die(self) -> None:
        """The worker's process is gone: kill everything."""
        for process in self.processes.values():
            self._timeline.after(self._host.draws.uniform(0.0, DIE_S), self._vanish, process)
        self.processes = {}
        self.spool = {}

    def fail(self) -> None:
        """The runner's own process dies, and what it ran with it; the worker starts another."""
        for process in self.processes.values():
            self._vanish(process)
        self.processes = {}
        self._host.post(Source.SELF, events.RunnerLost)

    def drop(self, attempt: AttemptId) -> None:
        """Let go of a finished attempt's output."""
        self.spool.pop(attempt, None)

    def drop_ended(self) -> None:
        """Let go of the output of all that has ended, whoever still wants it."""
        for attempt in [attempt for attempt in self.spool if attempt not in self.processes]:
            self.drop(attempt)
            self._host.post(Source.SELF, partial(events.SpoolDropped, attempt=attempt))

    def _start(self, process: Process) -> None:
        if process.ended or self.processes.get(process.attempt) is not process:
            return
        process.began = self._timeline.now
        host = self._host
        self._witness.on_start(process.attempt, process.spec, host.worker, host.incarnation, host.capacity)
        self._witness.on_gpus(process.attempt, process.spec, host.incarnation, process.gpus)
        host.post(Source.SELF, lambda at: events.AttemptLaunched(at=at, attempt=process.attempt, pid=1))
        limit, duration = process.limit_s, process.script.duration_s * lag_of(process.attempt, process.spec)
        if duration > 0.2 and (process.script.stdout_bytes or process.script.stderr_bytes):
            self._timeline.after(duration / 2, self._grow, process)
        left = process.script.increments - process.reported
        later = 0.5 if process.spec.speculative else 0.0  # it may have a copy before it reports
        for number in range(left):
            self._timeline.after(duration * (number + later) / left, self._report, process)
        if process.script.memory_bytes > process.spec.request.memory_bytes:
            self._timeline.after(duration / 2, self._end, process, Cause.OUT_OF_MEMORY)
        elif limit is not None and limit < duration:
            self._timeline.after(limit, self._end, process, Cause.TIMED_OUT)
        else:
            self._timeline.after(duration, self._end, process, Cause.EXITED)

    def _grow(self, process: Process) -> None:
        """Half of the output is written."""
        if process.ended or self.processes.get(process.attempt) is not process:
            return
        for stream, size in self._sizes(process):
            half = size // 2
            if half:
                self.spool[process.attempt][stream - 1] = half
                self._host.post(
                    Source.SELF,
                    lambda at, stream=stream, half=half: events.OutputGrew(
                        at=at, attempt=process.attempt, stream=stream, size_bytes=half
                    ),
                )

    def _report(self, process: Process) -> None:
        """The command reports one more increment."""
        if process.ended or self.processes.get(process.attempt) is not process:
            return
        process.reported += 1
        line = Line("", str(process.reported))
        self._host.post(
            Source.SELF, lambda at: events.Reported(at=at, attempt=process.attempt, lines=(line,))
        )

    @staticmethod
    def _sizes(process: Process) -> tuple[tuple[StreamName, int], tuple[StreamName, int]]:
        script = process.script
        return (StreamName.STDOUT, script.stdout_bytes), (StreamName.STDERR, script.stderr_bytes)

    def _end(self, process: Process, cause: Cause) -> None:
        attempt = process.attempt
        if process.ended or self.processes.get(attempt) is not process:
            return
        process.ended = True
        del self.processes[attempt]
        script, spool = process.script, self.spool[attempt]
        code: int | None = None
        if cause is Cause.EXITED:
            spool[:] = [script.stdout_bytes, script.stderr_bytes]
            code = script.exit_code_of(attempt.n)
        wall_s = self._timeline.now - process.began if process.began >= 0 else 0.0
        sizes = (spool[0], spool[1])
        outcome = outcome_of(attempt, cause, code, wall_s, sizes)
        self._witness.on_end(attempt, self._host.incarnation, outcome)
        self._host.post(
            Source.SELF,
            lambda at: events.RunnerEnded(
                at=at, attempt=attempt, outcome=outcome, stdout_bytes=sizes[0], stderr_bytes=sizes[1]
            ),
        )

    def _vanish(self, process: Process) -> None:
        if not process.ended:
            self._witness.on_end(process.attempt, self._host.incarnation, None)
        process.ended = True
