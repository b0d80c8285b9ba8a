"""From commands' pipes to the agent: reads, holds a little back, sends, and stops when the agent does.

It owns the pipes' registration and the outgoing side of the link. Nothing here is unbounded: a pipe is read
64 KiB at a time, in turn with the others; and while 1 MiB waits for the agent none is read, so that
commands wait in their own writes.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from typing import Final

from alb_worker.runner.attempt import OutputPipe, RunningAttempt
from alb_worker.runner.link import FrameLink
from alb_worker.runner.messages import Output, Started, ToRunner

HOLD_S: Final = 0.02
#: Output of a running command is held so long, so that the whole of a short command's rides with its end.
HOLD_BYTES: Final = 16 * 1024
#: Of one stream; more is sent at once.
PENDING_MAX: Final = 1024 * 1024
#: No output is read while so many bytes wait for the agent.
PENDING_LOW: Final = 256 * 1024
#: Then it is read again.
PIPES_A_TURN: Final = 16
#: One read each; the kernel reports ready pipes in turn.


class OutputFlow:
    """The output of all attempts on its way to the agent.

    Args:
        link: The way to the agent.
        poll: The loop's; it reports ``fileno`` when there is output to read, and the link when it takes more.
        output_over: Called with an attempt when both its pipes have come to their end.
        lives: Called once with an attempt that has lived longer than a moment.
    """

    def __init__(
        self,
        link: FrameLink[ToRunner],
        poll: select.epoll,
        output_over: Callable[[RunningAttempt], None],
        lives: Callable[[RunningAttempt], None],
    ) -> None:
        self._link = link
        self._poll = poll
        self._output_over = output_over
        self._lives = lives
        self._pipes_poll = select.epoll()
        #: All pipes; one file of `poll`, so that all of them are left alone with one call.
        self._pipes: dict[int, tuple[RunningAttempt, OutputPipe]] = {}
        self._holds: deque[RunningAttempt] = deque()
        #: In the order of ``hold_until``; those that are over are left in.
        self.paused = False
        #: The agent does not read, so nothing is read here.
        self._writing = False
        poll.register(self._pipes_poll, select.EPOLLIN)

    def fileno(self) -> int:
        """Return what the loop's poll reports when there is output."""
        return self._pipes_poll.fileno()

    def close(self) -> None:
        """Close its files."""
        for _, pipe in self._pipes.values():
            pipe.close()
        self._pipes_poll.close()

    def add(self, attempt: RunningAttempt, now: float) -> None:
        """Read an attempt's pipes from now on; tell the agent of it when it lives longer than a moment."""
        for pipe in attempt.pipes:
            self._pipes[pipe.descriptor] = attempt, pipe
            self._pipes_poll.register(pipe.descriptor, select.EPOLLIN)
        self._hold(attempt, now)

    # --- reading --------------------------------------------------------------------------------------------

    def read(self, now: float) -> None:
        """Read once from some of the pipes that have something."""
        for descriptor, _ in self._pipes_poll.poll(0, PIPES_A_TURN):
            attempt, pipe = self._pipes[descriptor]
            self._read_pipe(attempt, pipe, now)
            if attempt.output_over:
                self._output_over(attempt)

    def drain(self, attempt: RunningAttempt, now: float) -> None:
        """Read what a leader that exited left in its pipes, 1 MiB at most."""
        for pipe in attempt.pipes:
            for _ in range(PIPES_A_TURN):
                if pipe.closed or not self._read_pipe(attempt, pipe, now):
                    break

    def cut(self, attempt: RunningAttempt) -> None:
        """Close an attempt's pipes; whatever still writes to them gets SIGPIPE."""
        for pipe in attempt.pipes:
            if not pipe.closed:
                self._close_pipe(pipe)

    def _read_pipe(self, attempt: RunningAttempt, pipe: OutputPipe, now: float) -> bool:
        """Read some once; returns whether there may be more."""
        data = pipe.read()
        if not data:
            if data is not None:
                self._close_pipe(pipe)
            return False
        if pipe.held_bytes >= HOLD_BYTES:
            self._send_output(attempt, pipe)
        elif attempt.hold_until is None:
            self._hold(attempt, now)
        return True

    def _close_pipe(self, pipe: OutputPipe) -> None:
        del self._pipes[pipe.descriptor]
        # Closing is not enough: exec releases us before it closes the new process's copies of our files, and
        # epoll forgets a file only with its last copy.
        self._pipes_poll.unregister(pipe.descriptor)
        pipe.close()

    # --- sending --------------------------------------------------------------------------------------------

    def _hold(self, attempt: RunningAttempt, now: float) -> None:
        attempt.hold_until = now + HOLD_S
        self._holds.append(attempt)

    def next_release(self) -> float | None:
        """Return when ``release`` has something to do, or None."""
        return self._holds[0].hold_until if self._holds else None

    def release(self, now: float) -> None:
        """Send what was held long enough."""
        holds = self._holds
        while holds and (holds[0].hold_until is None or holds[0].hold_until <= now):
            attempt = holds.popleft()
            if attempt.hold_until is not None:
                attempt.hold_until = None
                if not attempt.grown_up:
                    attempt.grown_up = True
                    self._lives(attempt)
                self.announce(attempt)
                for pipe in attempt.pipes:
                    self._send_output(attempt, pipe)

    def announce(self, attempt: RunningAttempt) -> None:
        """Tell the agent that an attempt runs, if it was not told."""
        if not attempt.announced:
            attempt.announced = True
            directory = attempt.directory.path if attempt.keep and attempt.directory is not None else ""
            self._link.send(Started(attempt=attempt.id, pid=attempt.pid, directory=directory))

    def _send_output(self, attempt: RunningAttempt, pipe: OutputPipe) -> None:
        if pipe.held_bytes:
            self.announce(attempt)
            offset, data = pipe.take()
            self._link.send(Output(attempt=attempt.id, stream=pipe.stream, offset=offset, data=data))

    def flush(self) -> None:
        """Send what the agent takes now, and read no more output than it takes."""
        if self._link.pending_bytes:
            self._link.flush()
        pending = self._link.pending_bytes
        if (pending > 0) != self._writing:
            self._writing = pending > 0
            wanted = select.EPOLLIN | select.EPOLLOUT if self._writing else select.EPOLLIN
            self._poll.modify(self._link, wanted)
        if not self.paused and pending > PENDING_MAX:
            self.paused = True
            self._poll.unregister(self._pipes_poll)
        elif self.paused and pending < PENDING_LOW:
            self.paused = False
            self._poll.register(self._pipes_poll, select.EPOLLIN)
