"""What leaves a broker in one turn: messages gathered by peer, so that each gets few frames.

Acknowledgements of reports wait for company: nobody waits for them, and a frame of their own would wake a
worker just when the client is to hear of the result.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from alb_core import codec
from alb_core.errors import LocalProtocolError
from alb_core.io.sockets import Router
from alb_core.messages import AttemptAck, Error, Message

Key: TypeAlias = tuple[bytes, int]
#: A peer, and the epoch that its frame carries.

ACKS_MAX: Final = 256
#: Acknowledgements that wait for company, of one peer.


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
        self._acks: dict[Key, list[Message]] = {}
        #: Of peers for which there is nothing else.

    def put(self, peer: bytes, epoch: int, message: Message) -> None:
        """Gather a message."""
        key = (peer, epoch)
        gathered = self._messages.get(key)
        if gathered is not None:
            gathered.append(message)
        elif type(message) is AttemptAck:
            acks = self._acks.setdefault(key, [])
            acks.append(message)
            if len(acks) == ACKS_MAX:
                self._messages[key] = self._acks.pop(key)
        else:
            self._messages[key] = [*self._acks.pop(key, ()), message]

    def flush(self, *, patient: bool = True) -> None:
        """Send what was gathered. A peer that is gone or does not read gets it again by the core's timers.

        Args:
            patient: Let acknowledgements wait for company; the worker reports again only after a second.
        """
        if not patient and self._acks:
            self._messages |= self._acks
            self._acks.clear()
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
