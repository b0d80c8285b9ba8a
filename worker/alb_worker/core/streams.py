"""Output on its way to readers: how long each stream is, and what each reader has granted.

A reader pulls: it grants an offset and a window; the worker sends what the spool holds of it as it comes, and
tells the end once. The core knows only their count; the shell reads them from the spool when it sends.
"""

# ruff: noqa: S101 (asserts narrow types, and state what cannot be otherwise)
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from alb_core import limits
from alb_core.messages import AttemptId, Grant, Reader, StreamName
from alb_worker.core.actions import DropSpool, SendChunk, WorkerAction
from alb_worker.core.events import OutputGrew, RunnerEnded

READERS_MAX: Final = 32
#: Of one attempt. One more takes the place of the one that was silent longest: that may be dead, and
#: if it lives it is told.
FINISHED_KEPT_MAX: Final = limits.DONE_KEPT_MAX
#: Finished attempts whose output is kept; the spool's own bounds (bytes, time) may be reached first.

_NOTHING: Final = [0, 0]
_WHOLE: Final = (False, False)
_NOT_KEPT: Final = "the worker does not, or no longer, keep the output of this attempt"
_TRUNCATED: Final = "the command wrote more than its worker keeps of one stream, or has room for"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Output of an attempt that ended in an earlier life of the worker."""

    attempt: AttemptId
    sizes: tuple[int, int]
    #: Of stdout and stderr.
    truncated: tuple[bool, bool]


class Window(msgspec.Struct):
    """What one reader takes of one stream."""

    next: int
    #: The first byte that was not sent yet.
    limit: int
    #: The first byte that is not granted.
    asked: bool
    #: Granted over the output link, not with the order to run: even the smallest stream is sent to its end.


class Output(msgspec.Struct):
    """The output of one attempt."""

    sizes: list[int]
    #: What the spool holds of stdout and stderr.
    truncated: tuple[bool, bool] = _WHOLE
    over: bool = False
    windows: dict[tuple[bytes, StreamName], Window] = {}
    #: By reader and stream, the one whose grant is oldest first; closed ones are removed.

    @property
    def silent(self) -> bool:
        """Whether there is nothing of it to keep, and nobody to be told: most commands write nothing."""
        return self.sizes == _NOTHING and self.truncated == _WHOLE and not self.windows


class Streams:
    """The output of all attempts whose spool is kept.

    Args:
        newest: Names the newest attempt of a task that this worker heard of.
        owed: Tells whether the results store must still have more of an attempt.
        kept: What the spool has from an earlier life, the oldest first; at most `FINISHED_KEPT_MAX`.
    """

    def __init__(
        self,
        newest: Callable[[str], AttemptId | None],
        owed: Callable[[AttemptId], bool],
        kept: Sequence[Kept] = (),
    ) -> None:
        self._newest = newest
        self._owed = owed
        self._outputs: dict[AttemptId, Output] = {
            each.attempt: Output(sizes=list(each.sizes), truncated=each.truncated, over=True) for each in kept
        }
        self._finished: OrderedDict[AttemptId, None] = OrderedDict.fromkeys(self._outputs)
        #: Those that are over, the oldest first.

    def expect(self, attempt: AttemptId) -> list[WorkerAction]:
        """Expect output of an attempt that starts, or has started.

        After a restore of the table a number can come a second time: the output of the first makes way.
        """
        known = self._outputs.get(attempt)
        if known is not None and not known.over:
            return []
        actions: list[WorkerAction] = []
        if known is not None:
            self.on_dropped(attempt)
            actions.append(DropSpool(attempt=attempt))
        self._outputs[attempt] = Output(sizes=[0, 0])
        return actions

    def open(self, attempt: AttemptId) -> bool:
        """Tell whether more output of an attempt may come."""
        output = self._outputs.get(attempt)
        return output is not None and not output.over

    def on_readers(self, attempt: AttemptId, readers: tuple[Reader, ...]) -> list[WorkerAction]:
        """Take the first grants of readers, which come with the order to run; known ones keep theirs."""
        output = self._outputs.get(attempt)
        if output is None or output.over:
            return []
        actions: list[WorkerAction] = []
        for reader in readers:
            for stream, offset in ((StreamName.STDOUT, reader.stdout), (StreamName.STDERR, reader.stderr)):
                key = (reader.reader, stream)
                if reader.window > 0 and key not in output.windows:
                    window = _window(offset, reader.window, asked=False)
                    actions += self._admit(attempt, output, key, window)
        return actions

    def on_granted(self, grant: Grant) -> list[WorkerAction]:
        """Serve a grant from the output link; it replaces the reader's earlier one."""
        attempt = AttemptId(grant.task, grant.attempt) if grant.attempt else self._newest(grant.task)
        output = None if attempt is None else self._outputs.get(attempt)
        if attempt is None or output is None:
            nowhere = attempt or AttemptId(grant.task, 0)
            return [_lost(nowhere, grant.stream, grant.offset, grant.reader, _NOT_KEPT)]
        window = _window(grant.offset, grant.window, asked=True)
        return self._admit(attempt, output, (grant.reader, grant.stream), window)

    def on_grew(self, event: OutputGrew) -> list[WorkerAction]:
        """Send on what came, as far as readers granted it."""
        output = self._outputs.get(event.attempt)
        if output is None or output.over:
            return []
        output.sizes[event.stream - 1] = event.size_bytes
        if not output.windows:
            return []
        keys = [key for key in output.windows if key[1] is event.stream]
        return [action for key in keys for action in self._pump(event.attempt, output, key)]

    def on_ended(self, event: RunnerEnded) -> list[WorkerAction]:
        """Send the rest to those who granted it; small streams ride in the result, unless asked for."""
        output = self._outputs.get(event.attempt)
        if output is None:
            return []
        output.sizes = [event.stdout_bytes, event.stderr_bytes]
        output.truncated = (event.outcome.stdout.truncated, event.outcome.stderr.truncated)
        return self._close(event.attempt, output)

    def on_over(self, attempt: AttemptId) -> list[WorkerAction]:
        """Take note that an attempt is over, however: what the spool has is all there will be."""
        output = self._outputs.get(attempt)
        return [] if output is None or output.over else self._close(attempt, output)

    def on_dropped(self, attempt: AttemptId) -> None:
        """Forget output that the spool no longer holds."""
        self._outputs.pop(attempt, None)
        self._finished.pop(attempt, None)

    def forget_readers(self) -> None:
        """Forget all grants: the leader through which the readers were reached is another one now."""
        for output in self._outputs.values():
            output.windows.clear()

    def check_invariants(self) -> None:
        """Raise AssertionError where indexes disagree or a bound is passed; tests call it every time."""
        over = {attempt for attempt, output in self._outputs.items() if output.over}
        assert over == set(self._finished)
        assert sum(not self._owed(attempt) for attempt in over) <= FINISHED_KEPT_MAX
        assert all(len(output.windows) <= 2 * READERS_MAX for output in self._outputs.values())

    def _admit(
        self, attempt: AttemptId, output: Output, key: tuple[bytes, StreamName], window: Window
    ) -> list[WorkerAction]:
        actions: list[WorkerAction] = []
        output.windows.pop(key, None)
        if len(output.windows) >= 2 * READERS_MAX:
            (reader, stream), given_up = next(iter(output.windows.items()))
            del output.windows[reader, stream]
            why = f"more than {READERS_MAX} others read this output; ask again"
            actions.append(_lost(attempt, stream, given_up.next, reader, why))
        output.windows[key] = window
        return actions + self._pump(attempt, output, key)

    def _close(self, attempt: AttemptId, output: Output) -> list[WorkerAction]:
        output.over = True
        actions: list[WorkerAction] = []
        for key, window in list(output.windows.items()) if output.windows else ():
            size = output.sizes[key[1] - 1]
            inline = size <= limits.INLINE_OUTPUT_BYTES and not output.truncated[key[1] - 1]
            if inline and not window.asked:
                del output.windows[key]
            else:
                actions += self._pump(attempt, output, key)
        if output.silent:
            del self._outputs[attempt]
            return actions
        self._finished[attempt] = None
        if len(self._finished) > FINISHED_KEPT_MAX:
            oldest = next((each for each in self._finished if not self._owed(each)), None)
            if oldest is not None:
                self.on_dropped(oldest)
                actions.append(DropSpool(attempt=oldest))
        return actions

    def _pump(self, attempt: AttemptId, output: Output, key: tuple[bytes, StreamName]) -> list[WorkerAction]:
        """Send what is there and granted, in pieces; where all was sent, tell the end."""
        window = output.windows[key]
        reader, stream = key
        size = output.sizes[stream - 1]
        actions: list[WorkerAction] = []
        until = min(size, window.limit)
        while window.next < until:
            piece = min(until - window.next, limits.CHUNK_BYTES_MAX)
            end = output.over and window.next + piece == size and not output.truncated[stream - 1]
            actions.append(
                SendChunk(
                    attempt=attempt,
                    stream=stream,
                    offset=window.next,
                    size_bytes=piece,
                    end=end,
                    reader=reader,
                )
            )
            window.next += piece
            if end:
                del output.windows[key]
                return actions
        if output.over and window.next >= size:
            lost = _TRUNCATED if output.truncated[stream - 1] else ""
            actions.append(
                SendChunk(
                    attempt=attempt, stream=stream, offset=window.next, end=True, lost=lost, reader=reader
                )
            )
            del output.windows[key]
        return actions


def _window(offset: int, window: int, *, asked: bool) -> Window:
    offset = max(offset, 0)
    return Window(offset, offset + min(max(window, 0), limits.WINDOW_BYTES_MAX), asked)


def _lost(attempt: AttemptId, stream: StreamName, offset: int, reader: bytes, why: str) -> SendChunk:
    return SendChunk(attempt=attempt, stream=stream, offset=offset, end=True, lost=why, reader=reader)
