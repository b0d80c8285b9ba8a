"""What arrives on one link for requests: frames decoded, and their messages handed on one by one.

A frame may hold a thousand messages, more than a turn should take: the rest waits here for the next turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from alb_broker.core.events import BrokerEvent
from alb_core.errors import RemoteProtocolError
from alb_core.io.sockets import Router

FRAMES_AT_ONCE: Final = 8
#: Libzmq queues fairly between peers; what waits here keeps the order of the frames.


class Intake:
    """The way from one link's frames to events.

    Args:
        router: The link's socket.
        decode: Reads a frame, or raises RemoteProtocolError.
        said: The event of a message: takes `at`, `peer` and `message`.
        garbled: The event of a frame that cannot be read: takes `at`, `peer` and `why`.
    """

    def __init__(
        self,
        router: Router,
        decode: Callable[[bytes], Sequence[Any]],
        said: Callable[..., BrokerEvent],
        garbled: Callable[..., BrokerEvent],
    ) -> None:
        self._router: Final = router
        self._decode: Final = decode
        self._said: Final = said
        self._garbled: Final = garbled
        self._frames: Final[deque[tuple[bytes, bytes]]] = deque()
        self._messages: Final[deque[Any]] = deque()
        self._peer = b""  #: Whose frame the messages are from.

    @property
    def waiting(self) -> bool:
        """Whether something was taken from the socket and not handed on yet."""
        return bool(self._messages or self._frames)

    def arrived(self, at: float) -> Iterator[BrokerEvent]:
        """Yield what came, oldest first; whoever stops early finds the rest the next time.

        Args:
            at: Monotonic seconds, for the events.
        """
        more = True  #: The socket may have more: to ask one that has just said no costs as much as a frame.
        while True:
            while self._messages:
                yield self._said(at=at, peer=self._peer, message=self._messages.popleft())
            if not self._frames and more:
                self._frames.extend(self._router.receive(FRAMES_AT_ONCE))
                more = len(self._frames) == FRAMES_AT_ONCE
            if not self._frames:
                return
            self._peer, frame = self._frames.popleft()
            try:
                self._messages.extend(self._decode(frame))
            except RemoteProtocolError as error:
                yield self._garbled(at=at, peer=self._peer, why=str(error))
