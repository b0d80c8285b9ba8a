"""What leaves a broker in one turn: messages gathered by peer, so that each gets few frames."""

from __future__ import annotations

from typing import Final, TypeAlias

from alb_core import codec
from alb_core.errors import LocalProtocolError
from alb_core.io.sockets import Router
from alb_core.messages import Error, Message

Key: TypeAlias = tuple[bytes, int]
#: A peer, and the epoch that its frame carries.


class Outbox:
    """The messages of one turn for the peers of one link.

    Args:
        router: The link's socket.
        table: Id of the table, which every frame names.
    """

    def __init__(self, router: Router, table: str) -> None:
        self._router: Final = router
        self._table: Final = table
        self._messages: dict[Key, list[Message]] = {}

    def put(self, peer: bytes, epoch: int, message: Message) -> None:
        """Gather a message."""
        key = (peer, epoch)
        gathered = self._messages.get(key)
        if gathered is None:
            self._messages[key] = [message]
        else:
            gathered.append(message)

    def flush(self) -> None:
        """Send what was gathered. A peer that is gone or does not read gets it again by the core's timers."""
        if not self._messages:
            return
        for (peer, epoch), messages in self._messages.items():
            for frame in self._frames(epoch, messages):
                if not self._router.send(peer, frame):
                    break
        self._messages.clear()

    def _frames(self, epoch: int, messages: list[Message]) -> list[bytes]:
        """Encode; an answer that is too large for a frame becomes an error, and spoils nothing else."""
        try:
            return codec.encode_broker_frames(epoch, self._table, messages)
        except LocalProtocolError:
            fitting = [message if codec.fits_frame(message) else _too_large(message) for message in messages]
            return codec.encode_broker_frames(epoch, self._table, fitting)


def _too_large(message: Message) -> Error:
    why = f"the answer ({type(message).__name__}) is too large for one message; ask for less at once"
    return Error(code="too_large", why=why, seq=getattr(message, "seq", 0))


class OutputBox:
    """The grants or chunks of one turn for the peers of an output link.

    Args:
        router: The link's socket.
    """

    def __init__(self, router: Router) -> None:
        self._router: Final = router
        self._messages: dict[bytes, list[Message]] = {}

    def put(self, peer: bytes, message: Message) -> None:
        """Gather a message."""
        self._messages.setdefault(peer, []).append(message)

    def flush(self) -> None:
        """Send what was gathered; a reader asks again for what is lost."""
        if not self._messages:
            return
        for peer, messages in self._messages.items():
            for frame in codec.encode_frames(messages):
                if not self._router.send(peer, frame):
                    break
        self._messages.clear()
