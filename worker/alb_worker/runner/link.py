"""One end of the socket between agent and runner: whole messages in and out, and never a wait.

It owns the bytes under way. It knows nothing of what the messages mean.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, Generic, TypeVar

import msgspec

M = TypeVar("M")

_LENGTH: Final = struct.Struct(">I")
_RECEIVE_BYTES: Final = 256 * 1024


class FrameLink(Generic[M]):
    """Sends and receives length-prefixed messages over a stream socket, without blocking.

    Args:
        connection: The socket; the link owns it from now on.
        received: Type (a union) of the messages that the other end sends.
    """

    def __init__(self, connection: socket.socket, received: object) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(received)
        self._out = bytearray()
        self._in = bytearray()
        self._room = memoryview(bytearray(_RECEIVE_BYTES))
        #: What is received goes here first: to have a new place made for each call costs more than the call.
        self.ended = False
        #: The other end is gone; nothing more will come.

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._socket.fileno()

    @property
    def pending_bytes(self) -> int:
        """How much waits to be sent; above 0 the socket should be polled for writing too."""
        return len(self._out)

    def send(self, message: msgspec.Struct) -> None:
        """Queue a message. ``flush`` sends it."""
        out = self._out
        start = len(out)
        out += b"\0\0\0\0"
        self._encoder.encode_into(message, out, -1)
        _LENGTH.pack_into(out, start, len(out) - start - 4)

    def flush(self) -> bool:
        """Send what the other end takes now.

        Returns:
            Whether nothing is left.
        """
        try:
            while self._out:
                sent = self._socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            # What the other end said before it went can still be read: only `receive` ends the link.
            self._out.clear()
        return True

    def receive(self) -> list[M]:
        """Return the messages that have come, a bounded number of bytes at a time."""
        try:
            size = self._socket.recv_into(self._room)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            size = 0
        if not size:
            self.ended = True
            return []
        self._in += self._room[:size]
        return self._take()

    def _take(self) -> list[M]:
        buffer, position, messages = self._in, 0, []
        with memoryview(buffer) as view:
            while len(view) - position >= 4:
                end = position + 4 + _LENGTH.unpack_from(view, position)[0]
                if end > len(view):
                    break
                with view[position + 4 : end] as body:
                    messages.append(self._decoder.decode(body))
                position = end
        del buffer[:position]
        return messages

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
