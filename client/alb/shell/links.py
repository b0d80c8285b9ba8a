"""The client's ends of its links: sockets, what waits to leave on them, and what arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import zmq

from alb.core import events
from alb.core.events import ClientEvent
from alb_core import codec
from alb_core.io.clock import monotonic
from alb_core.io.sockets import Dealer, LinkChange
from alb_core.messages import Ack, Chunk, Message

FRAMES_PER_TURN: Final = 16
#: Taken from one link before the others get their turn.
BACKLOG_FRAMES_MAX: Final = 256
#: Frames that wait while the peer does not read; beyond, the newest is dropped and sent again by the core.
ACKS_MAX: Final = 256
#: Acknowledgements that gather, until the engine's tick.
LINGER_MS: Final = 200


class Link:
    """One link to a broker, of requests or of output.

    Args:
        number: The core's number for it.
        endpoint: Where it leads.
        identity: The client's ZeroMQ routing id, the same on both its links.
    """

    def __init__(self, number: int, endpoint: str, identity: bytes) -> None:
        self.number = number
        self.dealer = Dealer(endpoint, identity)
        self._outgoing: list[Message] = []
        #: They leave together in few frames.
        self._acks: list[Message] = []
        #: These too, later.
        self.backlog: deque[bytes] = deque()
        #: Frames that the socket would not take.
        self._open = False

    def put(self, message: Message) -> None:
        """Take a message that is to leave."""
        (self._acks if type(message) is Ack else self._outgoing).append(message)

    def flush(self, *, patient: bool = False) -> None:
        """Send what is to leave. Nothing is kept for a link that is not open: the core asks again.

        Args:
            patient: Let acknowledgements gather: nobody waits for them, each frame wakes a leader, and they
                are not to stand before a task that it is to place.
        """
        if self._acks and (not patient or len(self._acks) >= ACKS_MAX):
            self._outgoing = self._acks + self._outgoing  # the last words of a client come last
            self._acks = []
        if self._outgoing:
            messages, self._outgoing = self._outgoing, []
            if self._open:
                frames = codec.encode_frames(messages)
                self.backlog.extend(frames[: BACKLOG_FRAMES_MAX - len(self.backlog)])
        while self.backlog and self.dealer.send(self.backlog[0]):
            self.backlog.popleft()

    def receive(self, handle: Callable[[ClientEvent], None], decode: Decode, *, changed: bool) -> None:
        """Pass on what happened, in the order in which it did.

        Args:
            handle: Takes each event.
            decode: Reads a frame.
            changed: Whether the monitor has something to say.
        """
        changes = self.dealer.changes() if changed else []
        broken = [change for change in changes if change is not LinkChange.CONNECTED]
        if changes and not broken:
            self._on_change(changes[-1], handle)
        at = monotonic()
        for frame in self.dealer.receive(FRAMES_PER_TURN):
            for event in decode(self, at, frame):
                handle(event)
        if broken:
            for change in changes:
                self._on_change(change, handle)

    def _on_change(self, change: LinkChange, handle: Callable[[ClientEvent], None]) -> None:
        self._open = change is LinkChange.CONNECTED
        if not self._open:
            self.backlog.clear()
        at = monotonic()
        match change:
            case LinkChange.CONNECTED:
                handle(events.LinkOpened(at=at, link=self.number))
            case LinkChange.DISCONNECTED:
                handle(events.LinkClosed(at=at, link=self.number))
            case LinkChange.FAILED:
                handle(events.LinkRefused(at=at, link=self.number))

    def close(self) -> None:
        """Close; what was sent last (Ack, Goodbye) gets a moment to leave in the background."""
        self.flush()
        self.dealer.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.dealer.close()


Decode = Callable[[Link, float, bytes], list[ClientEvent]]


def decode_requests(link: Link, at: float, frame: bytes) -> list[ClientEvent]:
    """Read a broker's frame on a link of requests; raises RemoteProtocolError."""
    envelope = codec.decode_to_client(frame)
    return [
        events.BrokerSaid(
            at=at,
            link=link.number,
            epoch=envelope.epoch,
            table=envelope.table,
            messages=envelope.messages,
        )
    ]


def decode_output(link: Link, at: float, frame: bytes) -> list[ClientEvent]:
    """Read a broker's frame on a link of output; raises RemoteProtocolError."""
    return [
        events.OutputSaid(at=at, link=link.number, chunk=message)
        for message in codec.decode_output(frame)
        if isinstance(message, Chunk)
    ]
