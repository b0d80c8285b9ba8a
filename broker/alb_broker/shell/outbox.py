"""What leaves a broker in one turn: messages gathered by peer, so that each gets few frames.

Acknowledgements of reports leave together, with each tick: nobody waits for them, and at once they would wake
a worker just when the client is to hear of the result, or keep it from what it is to run.
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
#: Acknowledgements of one peer that gather; so many leave with the next flush.


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
        #: What leaves with the next tick.

    def put(self, peer: bytes, epoch: int, message: Message) -> None:
        """Gather a message."""
        key = (peer, epoch)
        is_ack = type(message) is AttemptAck
        box = self._acks if is_ack else self._messages
        gathered = box.get(key)
        if gathered is None:
            gathered = box[key] = []
        gathered.append(message)
        if is_ack and len(gathered) == ACKS_MAX:
            self._add_acks(key, self._acks.pop(key))

    def flush(self, *, patient: bool = True) -> None:
        """Send what was gathered. A peer that is gone or does not read gets it again by the core's timers.

        Args:
            patient: Let acknowledgements gather; a worker reports again only after a second.
        """
        if not patient:
            while self._acks:
                self._add_acks(*self._acks.popitem())
        if not self._messages:
            return
        for (peer, epoch), messages in self._messages.items():
            for frame in self._frames(epoch, messages):
                if not self._router.send(peer, frame):
                    break
        self._messages.clear()

    def _add_acks(self, key: Key, acks: list[Message]) -> None:
        """Have acknowledgements leave with the next flush."""
        self._messages.setdefault(key, []).extend(acks)

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
