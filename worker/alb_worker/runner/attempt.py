"""One attempt under way: its leader, its pipes, how it is to end, and how it did."""

from __future__ import annotations

import os
import resource
import signal
from typing import Final

from alb_core.amounts import size
from alb_core.messages import AttemptId, StreamName
from alb_core.tasks import NO_TIME, Cause, Outcome
from alb_worker.runner.command import Spawned
from alb_worker.runner.directories import FreshDirectory
from alb_worker.runner.groups import AttemptGroup
from alb_worker.runner.messages import Start
from alb_worker.runner.timers import Timer

READ_BYTES: Final = 64 * 1024
CLOCK_DIGITS: Final = 6
#: Of the seconds that are told: microseconds, the rest is noise.
_BLOCK: Final = 512
#: ``getrusage`` counts input and output in these.


class OutputPipe:
    """Our end of a command's stdout or stderr, and what was read but not yet sent."""

    __slots__ = ("attended", "closed", "descriptor", "held", "held_bytes", "size", "stream")

    def __init__(self, stream: StreamName, descriptor: int) -> None:
        self.stream = stream
        self.descriptor = descriptor
        self.closed = False
        self.attended = False
        #: The poll tells of it.
        self.size = 0
        #: Bytes read so far.
        self.held: list[bytes] = []
        self.held_bytes = 0

    def read(self) -> bytes | None:
        """Read some; ``b""`` at the end of the stream, None where there is nothing now."""
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except BlockingIOError:
            return None
        if data:
            self.size += len(data)
            self.held.append(data)
            self.held_bytes += len(data)
        return data

    def take(self) -> tuple[int, bytes]:
        """Return what is held, and its offset in the stream; then nothing is held."""
        offset = self.size - self.held_bytes
        data = self.held[0] if len(self.held) == 1 else b"".join(self.held)
        self.held.clear()
        self.held_bytes = 0
        return offset, data

    def close(self) -> None:
        """Close our end; a command that still writes gets SIGPIPE."""
        if not self.closed:
            self.closed = True
            os.close(self.descriptor)


class RunningAttempt:
    """What the runner knows of one attempt that is not over."""

    __slots__ = (
        "adopted",
        "announced",
        "bounds",
        "cause",
        "cpu_before_s",
        "cpu_s",
        "cpu_seen_s",
        "demoted",
        "directory",
        "drain_until",
        "dye",
        "ended",
        "escalation",
        "grace_s",
        "group",
        "grown_up",
        "half_group",
        "hold_until",
        "id",
        "keep",
        "kill_at",
        "killing",
        "limit",
        "limit_broken",
        "mechanism",
        "orphans",
        "out_of_memory",
        "output_open",
        "peak_bytes",
        "pid",
        "read_bytes",
        "resident_bytes",
        "settling",
        "started",
        "status",
        "stderr",
        "stdout",
        "ungrouped",
        "unkillable_at",
        "why",
        "written_bytes",
    )

    def __init__(self, start: Start, spawned: Spawned, directory: FreshDirectory | None, now: float) -> None:
        self.id: AttemptId = start.attempt
        self.pid = spawned.pid
        #: Its leader; also the number of its session.
        self.dye = spawned.dye
        self.directory = directory
        self.grace_s = start.grace_s
        self.keep = start.keep
        #: The directory is wanted when it is over.
        self.started = now
        self.stdout = OutputPipe(StreamName.STDOUT, spawned.stdout)
        self.stderr = OutputPipe(StreamName.STDERR, spawned.stderr)
        self.announced = False
        #: Started was sent.
        self.grown_up = False
        #: It has lived longer than a moment.
        self.hold_until: float | None = None
        #: When held output is sent, at the latest; None: nothing is held.

        self.cause: Cause | None = None
        #: Why we end it; None: we do not, or its leader had exited before.
        self.why = ""
        self.limit_broken = ""
        #: The bound that it broke.
        self.kill_at: float | None = None
        #: TERM was sent, and KILL follows then.
        self.killing = False
        #: KILL was sent.
        self.unkillable_at: float | None = None
        #: When the log is told that something does not die; None: it was told, or KILL was not sent.
        self.limit: Timer | None = None
        self.escalation: Timer | None = None
        self.settling: Timer | None = None

        self.status: int | None = None
        #: The leader's wait status; None: it is not reaped.
        self.ended = 0.0
        #: When the leader was reaped.
        self.drain_until = 0.0
        #: When the pipes are closed that something still holds open.
        self.output_open = False
        self.out_of_memory = False
        self.orphans: set[int] = set()
        #: Its processes that are the runner's own children now, the leader not counted.
        self.cpu_s = 0.0
        #: Of its processes that were reaped, those included that they had waited for.
        self.peak_bytes = 0
        #: The most that was seen of the whole tree, or of the largest process.
        self.read_bytes = 0
        self.written_bytes = 0

        self.bounds = start.bounds
        self.group: AttemptGroup | None = None
        #: Its control group; None: it is too young for one, or there is none.
        self.ungrouped = False
        #: It cannot have one.
        self.half_group: AttemptGroup | None = None
        #: One that only some of its processes could be moved to.
        self.adopted: float | None = None
        #: When all of it was in its group, in seconds since boot.
        self.mechanism = ""
        #: What holds it to its bounds; empty: nothing had to yet.
        self.cpu_seen_s = 0.0
        self.cpu_before_s = 0.0
        #: Processor time when it was last looked at, and when it was moved to its group.
        self.resident_bytes = 0
        #: The most that its processes had together, what they share counted for each.
        self.demoted = False
        #: It runs on with what nobody else wants.

    @property
    def pipes(self) -> tuple[OutputPipe, OutputPipe]:
        """Both pipes."""
        return self.stdout, self.stderr

    @property
    def memory_held(self) -> bool:
        """Whether the kernel holds it to a bound of memory in its own group, and counts its kills there."""
        return self.group is not None and "memory" in self.group.holds

    @property
    def output_over(self) -> bool:
        """Whether both pipes are closed."""
        return self.stdout.closed and self.stderr.closed

    @property
    def in_grace(self) -> bool:
        """Whether it got TERM and has time left: then what outlives its leader has that time too."""
        return self.kill_at is not None and not self.killing

    def processes(self) -> list[int]:
        """Return its processes that are the runner's children."""
        return sorted(self.orphans | ({self.pid} if self.status is None else set()))

    def escalate(self, timer: Timer) -> None:
        """Replace the timer of what happens next to an attempt that is to end."""
        if self.escalation is not None:
            self.escalation.cancel()
        self.escalation = timer

    def leader_ended(self, status: int, now: float, drain_s: float) -> None:
        """The leader was reaped; what it left behind may hold the output open for `drain_s`, or its grace."""
        self.status = status
        self.ended = now
        self.drain_until = max(now + drain_s, self.kill_at or 0.0) if self.in_grace else now + drain_s
        if self.limit is not None:
            self.limit.cancel()

    def add_usage(self, used: resource.struct_rusage) -> None:
        """Count what a reaped process used.

        The kernel counts a new process's peak memory from that of the process that started it: what uses less
        than the runner, some 20 MiB, is reported with that.
        """
        self.cpu_s += used.ru_utime + used.ru_stime
        self.peak_bytes = max(self.peak_bytes, used.ru_maxrss * 1024)
        self.read_bytes += used.ru_inblock * _BLOCK
        self.written_bytes += used.ru_oublock * _BLOCK

    def cancel_timers(self) -> None:
        """Nothing is to happen to it any more."""
        self.hold_until = None
        for timer in (self.limit, self.escalation, self.settling):
            if timer is not None:
                timer.cancel()

    def outcome(self) -> Outcome:
        """Return how it ended. The leader must have been reaped."""
        if self.status is None:
            raise AssertionError(f"{self.id} has not ended")
        code = os.waitstatus_to_exitcode(self.status)
        cause, why = self.cause, self.why
        if cause is None and code >= 0:
            cause = Cause.EXITED
        elif cause is None and self.out_of_memory:
            cause = Cause.OUT_OF_MEMORY
            why = f"the kernel killed it because memory ran out: its peak was {size(self.peak_bytes)}"
        elif cause is None:
            cause, why = Cause.SIGNALLED, signal.strsignal(-code) or ""
        return Outcome(
            cause=cause,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            why=why,
            wall_s=round(self.ended - self.started, CLOCK_DIGITS) or NO_TIME,
            cpu_s=round(max(self.cpu_s, self.cpu_seen_s), CLOCK_DIGITS) or NO_TIME,
            memory_bytes=self.peak_bytes,
            output_open=self.output_open,
            limit=self.limit_broken,
            mechanism=self.mechanism,
            read_bytes=self.read_bytes,
            written_bytes=self.written_bytes,
        )
