"""Puts the runner's output into the spool, and tells its news as events of the core.

Of what came together only the sum is told: a growth once, and neither start nor growth of what ended with it.
So a short command is one event, and its output rides in its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from alb_core import limits
from alb_core.messages import AttemptId, StreamName
from alb_core.tasks import EMPTY_STREAM, Stream
from alb_worker.core.events import AttemptLaunched, OutputGrew, RunnerEnded
from alb_worker.runner.messages import Ended, Output, Started
from alb_worker.shell.spool import Spool

News = AttemptLaunched | OutputGrew | RunnerEnded
_STDOUT: Final = StreamName.STDOUT
_STDERR: Final = StreamName.STDERR
#: For what is asked of each attempt: looked up in their class they cost thirty times as much.


class RunnerNews:
    """The way from the runner's messages to events.

    Args:
        spool: Keeps the bytes.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def abandon(self) -> None:
        """Close the output of what died with its runner: what is there is all there will be."""
        self._spool.finish_running()

    def translate(self, at: float, messages: Sequence[Started | Output | Ended]) -> list[News]:
        """Keep the output in messages that came together, and return what happened, attempts apart.

        Args:
            at: Monotonic seconds.
            messages: In the order in which they came.
        """
        launched: dict[AttemptId, AttemptLaunched] = {}
        grown: dict[tuple[AttemptId, StreamName], int] = {}
        ended: list[RunnerEnded] = []
        for message in messages:  # an isinstance of a Struct that says no costs 800 instructions
            if type(message) is Started:
                launched[message.attempt] = AttemptLaunched(at=at, attempt=message.attempt, pid=message.pid)
            elif type(message) is Output:
                key = (message.attempt, message.stream)
                grown[key] = self._spool.append(message.attempt, message.stream, message.data)
            elif type(message) is Ended:
                launched.pop(message.attempt, None)
                if grown:
                    grown.pop((message.attempt, _STDOUT), None)
                    grown.pop((message.attempt, _STDERR), None)
                ended.append(self._ended(at, message))
        grew = [
            OutputGrew(at=at, attempt=attempt, stream=stream, size_bytes=size)
            for (attempt, stream), size in grown.items()
        ]
        return [*launched.values(), *grew, *ended]

    def _ended(self, at: float, message: Ended) -> RunnerEnded:
        attempt = message.attempt
        stdout, stdout_bytes = self._keep(attempt, _STDOUT, message.stdout, message.stdout_size)
        stderr, stderr_bytes = self._keep(attempt, _STDERR, message.stderr, message.stderr_size)
        outcome = message.outcome
        self._spool.finish(attempt)
        if stdout is not EMPTY_STREAM or stderr is not EMPTY_STREAM:
            outcome = msgspec.structs.replace(outcome, stdout=stdout, stderr=stderr)
        return RunnerEnded(
            at=at, attempt=attempt, outcome=outcome, stdout_bytes=stdout_bytes, stderr_bytes=stderr_bytes
        )

    def _keep(self, attempt: AttemptId, stream: StreamName, last: bytes, size: int) -> tuple[Stream, int]:
        """Keep the last bytes of a stream; return its record, and how much of it the spool holds."""
        if not size:
            return EMPTY_STREAM, 0
        if last:
            self._spool.append(attempt, stream, last)
        kept, left_out = self._spool.seal(attempt, stream)
        if len(last) == size == kept and not left_out:
            return Stream.of(last, size), kept
        tail = self._spool.tail(attempt, stream, limits.INLINE_OUTPUT_BYTES)
        truncated = self._spool.truncated(attempt, stream) or (not left_out and kept < size)
        return Stream.of(tail, kept, truncated=truncated, left_out=left_out), kept
