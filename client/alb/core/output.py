"""One task's output on its way to its consumer: in order, without gaps, from the offset reached.

Bytes are pulled: a grant allows one window, the next is given when that has come and the consumer keeps up.
So a consumer that stops, stops its own stream and nothing else.
"""

from __future__ import annotations

from typing import Final

from alb.core import actions, notices
from alb.core.actions import ClientAction
from alb.core.events import OutputTaken
from alb_core.limits import WINDOW_BYTES_MAX
from alb_core.messages import Chunk, Grant, StreamName
from alb_core.tasks import Result, Stream, TaskState

ASK_AGAIN_S: Final = 2.0
#: A grant that brought nothing for so long is given again: it, or its answer, may be lost.
ASK_AGAIN_QUIET_S: Final = 8.0
#: While the command runs and is merely quiet, the pause doubles up to this.
GAP_PATIENCE_S: Final = 0.5
#: Chunks behind a gap are still under way when the gap is noticed; one new grant is enough for all of them.


class StreamReader:
    """How far one stream was read. Offsets are bytes from the beginning of the attempt's stream."""

    __slots__ = (
        "ask_at",
        "ended",
        "gap_until",
        "granted",
        "lost",
        "name",
        "pause_s",
        "reached",
        "size",
        "taken",
    )

    def __init__(self, name: StreamName, offset: int = 0) -> None:
        self.name = name
        self.begin(offset)

    def begin(self, offset: int = 0) -> None:
        """Start to read at an offset, of a new attempt unless this is the first."""
        self.reached = offset
        #: The next byte to deliver.
        self.granted = offset
        #: The first byte that we have not allowed to be sent.
        self.taken = offset
        #: The first byte that the consumer has not taken.
        self.size: int | None = None
        #: The whole length, once the result tells it.
        self.ended = False
        #: Its last byte was delivered, as far as the worker knows one.
        self.lost = ""
        #: Why the rest cannot be had.
        self.ask_at = 0.0
        #: When the grant is given again.
        self.pause_s = ASK_AGAIN_S
        self.gap_until = 0.0

    def allow(self, at: float) -> None:
        """Note that a window from the byte reached on was granted."""
        self.granted = self.reached + WINDOW_BYTES_MAX
        self.ask_at = at + self.pause_s

    @property
    def done(self) -> bool:
        """Whether nothing more can come. Known only with the result."""
        return self.size is not None and (self.ended or bool(self.lost) or self.reached >= self.size)

    def wants(self) -> bool:
        """Whether the next window should be granted: the last one has come, and the consumer keeps up."""
        return (
            not self.ended
            and not self.lost
            and self.reached >= self.granted
            and self.reached - self.taken <= WINDOW_BYTES_MAX // 2
            and not self.done
        )


class OutputReader:
    """Both streams of one task.

    Args:
        task: Its id.
        live: Read while the command runs, at the pace of a consumer that reports what it took.
        stdout: Offset to begin at, in bytes.
        stderr: The same of the other stream.
    """

    __slots__ = ("_final", "attempt", "live", "streams", "task")

    def __init__(self, task: str, *, live: bool, stdout: int = 0, stderr: int = 0) -> None:
        self.task = task
        self.live = live
        self.attempt = 0
        #: The one whose bytes we read; 0 until one is known.
        self._final = False
        #: Whether the attempt is that of the result.
        self.streams = (StreamReader(StreamName.STDOUT, stdout), StreamReader(StreamName.STDERR, stderr))

    @property
    def done(self) -> bool:
        """Whether all output that can be had was delivered."""
        return self.streams[0].done and self.streams[1].done

    def on_attempt(self, attempt: int, out: list[ClientAction]) -> None:
        """Note which attempt runs; a newer one starts its output anew."""
        if attempt <= self.attempt or self._final:
            return
        if self.attempt:
            for stream in self.streams:
                stream.begin()
            out.append(actions.Tell(notices.OutputRestarted(id=self.task, attempt=attempt)))
        self.attempt = attempt

    def on_chunk(self, at: float, link: int, chunk: Chunk, out: list[ClientAction]) -> None:
        """Deliver what a chunk adds, and ask for more."""
        if chunk.attempt:
            self.on_attempt(chunk.attempt, out)
            if chunk.attempt != self.attempt:
                return
        stream = self.streams[chunk.stream - 1]
        if chunk.lost:
            self._on_lost(at, stream, chunk)
            return
        end = chunk.offset + len(chunk.data)
        if chunk.offset > stream.reached:
            if at >= stream.gap_until:
                stream.gap_until = at + GAP_PATIENCE_S
                self._ask(at, link, stream, out)
            return
        if end > stream.reached:
            self._deliver(stream, chunk.data[stream.reached - chunk.offset :], out)
            stream.pause_s = ASK_AGAIN_S
            stream.ask_at = at + ASK_AGAIN_S
        if chunk.end and end == stream.reached:
            stream.ended = True
        elif stream.wants():
            self._ask(at, link, stream, out)

    def _on_lost(self, at: float, stream: StreamReader, chunk: Chunk) -> None:
        if not self._final:
            # The attempt may go on elsewhere, or its worker may come back: the result will tell.
            stream.ask_at = at + ASK_AGAIN_QUIET_S
        elif not stream.done:
            stream.lost = chunk.lost

    def _deliver(self, stream: StreamReader, data: bytes, out: list[ClientAction]) -> None:
        out.append(actions.DeliverOutput(self.task, self.attempt, stream.name, stream.reached, data))
        stream.reached += len(data)
        if not self.live:
            stream.taken = stream.reached

    def on_taken(self, event: OutputTaken, link: int, out: list[ClientAction]) -> None:
        """Note how far the consumer is, and ask for more where that makes room."""
        stream = self.streams[event.stream - 1]
        if event.attempt == self.attempt:
            stream.taken = min(max(stream.taken, event.offset), stream.reached)
            if stream.wants():
                self._ask(event.at, link, stream, out)

    def on_result(self, at: float, link: int, result: Result, out: list[ClientAction]) -> None:
        """Learn how long the streams are, deliver what the result holds of them, and ask for the rest."""
        if not result.attempt:
            self._end_undelivered(result)
            return
        self.on_attempt(result.attempt, out)
        if result.attempt < self.attempt:
            # An earlier attempt delivered after all: what we read of the later one was not the task's output.
            for stream in self.streams:
                stream.begin()
            out.append(actions.Tell(notices.OutputRestarted(id=self.task, attempt=result.attempt)))
            self.attempt = result.attempt
        self._final = True
        for stream, record in zip(self.streams, (result.stdout, result.stderr), strict=True):
            self._use_tail(stream, record, out)
            # What was granted to the running attempt may have got lost on the way.
            stream.granted = stream.reached
            if stream.wants():
                self._ask(at, link, stream, out)

    def _end_undelivered(self, result: Result) -> None:
        """No attempt delivered: what was read of one is all there will be, and stays."""
        self._final = True
        for stream in self.streams:
            stream.size = stream.reached
            if result.state is TaskState.LOST:
                stream.lost = result.why or "no attempt of it came to its end"

    def _use_tail(self, stream: StreamReader, record: Stream, out: list[ClientAction]) -> None:
        """Take the end of a stream from its record, where that closes the gap."""
        stream.size = record.size_bytes
        if stream.done or (record.truncated and not record.complete):
            return
        tail = record.tail()
        start = record.size_bytes - len(tail)
        if start <= stream.reached:
            self._deliver(stream, tail[stream.reached - start :], out)

    def give_up(self, why: str) -> None:
        """Nobody can send the rest any more."""
        for stream in self.streams:
            if not stream.done:
                stream.lost = why

    def ask(self, at: float, link: int, out: list[ClientAction], *, now: bool = False) -> None:
        """Give grants that are due, or (`now`) every grant again, because the link is new."""
        for stream in self.streams:
            if stream.ended or stream.lost or stream.done:
                continue
            if stream.reached - stream.taken > WINDOW_BYTES_MAX // 2:
                continue
            if now or at >= stream.ask_at or stream.reached >= stream.granted:
                self._ask(at, link, stream, out)

    def _ask(self, at: float, link: int, stream: StreamReader, out: list[ClientAction]) -> None:
        stream.allow(at)
        if not self._final:
            stream.pause_s = min(stream.pause_s * 2, ASK_AGAIN_QUIET_S)
        if link:
            attempt = self.attempt if self._final else 0
            grant = Grant(
                task=self.task,
                stream=stream.name,
                offset=stream.reached,
                window=WINDOW_BYTES_MAX,
                attempt=attempt,
            )
            out.append(actions.SendGrant(link, grant))

    def on_granted(self, at: float) -> None:
        """Note that Submit or Attach carried the first grants of both streams."""
        for stream in self.streams:
            stream.pause_s = ASK_AGAIN_S
            stream.allow(at)

    @property
    def missing(self) -> tuple[notices.OutputMissing, ...]:
        """What cannot be had any more."""
        return tuple(
            notices.OutputMissing(id=self.task, stream=stream.name, offset=stream.reached, why=stream.lost)
            for stream in self.streams
            if stream.lost
        )
