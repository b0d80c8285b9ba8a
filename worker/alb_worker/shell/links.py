"""The worker's two links to its leader: orders and reports over one, output over the other.

It owns the sockets and what waits for them. Messages gather during a turn and leave as one frame. Of output
only the order of pieces waits: their bytes are read from the spool when the link takes them, so a slow leader
costs no memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import Final, TypeAlias

import zmq

from alb_core import codec, limits
from alb_core.io.sockets import Dealer, LinkChange
from alb_core.messages import AttemptEnded, AttemptStarted, Chunk, WorkerMessage
from alb_worker.core.actions import SendChunk
from alb_worker.core.events import LinkClosed, LinkOpened

FRAMES_A_TURN: Final = 8
#: Taken from one link, so that the others get their turn.
CHUNKS_MAX: Final = 4096
#: Pieces that wait for the output link; the oldest are dropped beyond it, and their readers ask again.
CHUNK_FRAME_BYTES: Final = 2 * limits.CHUNK_BYTES_MAX
CHUNK_FRAMES_A_TURN: Final = 8
OUTPUT_HIGH_WATER: Final = 8
#: Frames that wait in the socket: what is written there can no longer give way to newer orders.

Source: TypeAlias = "zmq.Socket[bytes] | int"
#: A socket of ZeroMQ or a file descriptor, as a poller names it.
Wanted: TypeAlias = "tuple[Source, int]"


class LeaderSocket:
    """The link for orders and reports.

    Args:
        identity: The worker's name and incarnation.
    """

    def __init__(self, identity: bytes) -> None:
        self._identity = identity
        self._dealer: Dealer | None = None
        self._waiting: list[WorkerMessage] = []
        #: What leaves with the next flush.
        self._ends = 0
        #: AttemptEnded messages among them.
        self._urgent = False
        #: Something else than AttemptStarted and AttemptEnded waits.

    def connect(self, endpoint: str) -> None:
        """Link to a broker instead of the one before."""
        self.close()
        self._dealer = Dealer(endpoint, self._identity)

    def close(self) -> None:
        """Close the link, and forget what waits for it."""
        if self._dealer is not None:
            self._dealer.close()
        self._dealer = None
        self._forget()

    def _forget(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()
        self._ends = 0
        self._urgent = False

    def wanted(self) -> tuple[Wanted, ...]:
        """Return what to wait for: frames and changes of the connection."""
        if self._dealer is None:
            return ()
        return ((self._dealer.socket, zmq.POLLIN), (self._dealer.monitor, zmq.POLLIN))

    def stirred(self, ready: Container[Source]) -> bool:
        """Tell whether the connection changed."""
        return self._dealer is not None and self._dealer.monitor in ready

    def spoke(self, ready: Container[Source]) -> bool:
        """Tell whether frames came."""
        return self._dealer is not None and self._dealer.socket in ready

    def changes(self, at: float) -> list[LinkOpened | LinkClosed]:
        """Return what happened to the connection."""
        if self._dealer is None:
            return []
        endpoint = self._dealer.endpoint
        return [
            LinkOpened(at=at, endpoint=endpoint)
            if change is LinkChange.CONNECTED
            else LinkClosed(at=at, endpoint=endpoint, refused=change is LinkChange.FAILED)
            for change in self._dealer.changes()
        ]

    def receive(self) -> list[bytes]:
        """Return the frames that came, a bounded number."""
        return [] if self._dealer is None else self._dealer.receive(FRAMES_A_TURN)

    def add(self, message: WorkerMessage) -> None:
        """Have a message leave with the next flush."""
        self._waiting.append(message)
        if type(message) is AttemptEnded:
            self._ends += 1
        elif type(message) is not AttemptStarted:
            self._urgent = True

    def flush(self, *, patient: bool = False, ahead: int = 0) -> None:
        """Send what waits. What the link does not take is lost: the core says again what matters.

        Args:
            patient: Let messages wait for company, for each frame costs the leader a turn: AttemptStarted
                most often for its own attempt's end, since the leader asks again only after a second; ends
                while the worker has more to go on with than it has to report.
            ahead: How many attempts wait on this worker for room.
        """
        if not self._waiting or (patient and not self._urgent and self._ends <= ahead):
            return
        if self._dealer is not None:
            for frame in codec.encode_frames(self._waiting):
                self._dealer.send(frame)
        self._forget()


class OutputSocket:
    """The link for output.

    Args:
        identity: The worker's name and incarnation.
        read: Reads bytes of a stream from the spool; fewer, or none, where they are gone.
    """

    def __init__(self, identity: bytes, read: Callable[[SendChunk], bytes]) -> None:
        self._identity = identity
        self._read = read
        self._dealer: Dealer | None = None
        self._waiting: deque[SendChunk] = deque(maxlen=CHUNKS_MAX)

    def connect(self, endpoint: str) -> None:
        """Link to the leader's output socket, unless that is done."""
        if self._dealer is None or self._dealer.endpoint != endpoint:
            self.close()
            self._dealer = Dealer(endpoint, self._identity, high_water=OUTPUT_HIGH_WATER)

    def close(self) -> None:
        """Close the link, and forget what waits for it."""
        if self._dealer is not None:
            self._dealer.close()
        self._dealer = None
        self._waiting.clear()

    def wanted(self) -> tuple[Wanted, ...]:
        """Return what to wait for: frames, changes of the connection, and room while something waits."""
        if self._dealer is None:
            return ()
        wish = zmq.POLLIN | zmq.POLLOUT if self._waiting else zmq.POLLIN
        return ((self._dealer.socket, wish), (self._dealer.monitor, zmq.POLLIN))

    def stirred(self, ready: Container[Source]) -> bool:
        """Tell whether frames came, or the connection changed."""
        dealer = self._dealer
        return dealer is not None and (dealer.socket in ready or dealer.monitor in ready)

    def receive(self) -> list[bytes]:
        """Return the frames that came, a bounded number."""
        if self._dealer is None:
            return []
        self._dealer.changes()  # drained: libzmq connects again by itself, and readers ask again
        return self._dealer.receive(FRAMES_A_TURN)

    def add(self, chunk: SendChunk) -> None:
        """Have a piece of output leave when the link takes it."""
        self._waiting.append(chunk)

    def flush(self) -> None:
        """Send what the link takes, a bounded amount."""
        if self._dealer is None:
            return
        for _ in range(CHUNK_FRAMES_A_TURN):
            count = self._fill()
            if not count:
                return
            messages = [self._message(self._waiting[index]) for index in range(count)]
            if not all(self._dealer.send(frame) for frame in codec.encode_frames(messages)):
                return
            for _ in range(count):
                self._waiting.popleft()

    def _fill(self) -> int:
        """Return how many of the waiting pieces make one frame."""
        size = 0
        for count, chunk in enumerate(self._waiting):
            size += chunk.size_bytes
            if count and (size > CHUNK_FRAME_BYTES or count >= limits.FRAME_MESSAGES_MAX):
                return count
        return len(self._waiting)

    def _message(self, chunk: SendChunk) -> Chunk:
        """Put the bytes in; what the spool lost since the core decided is said."""
        data = self._read(chunk) if chunk.size_bytes else b""
        gone = len(data) < chunk.size_bytes
        return Chunk(
            task=chunk.attempt.task,
            attempt=chunk.attempt.n,
            stream=chunk.stream,
            offset=chunk.offset,
            data=b"" if gone else data,
            end=chunk.end or gone,
            lost="the worker no longer keeps the output of this attempt" if gone else chunk.lost,
            reader=chunk.reader,
            stored=chunk.stored,
        )
