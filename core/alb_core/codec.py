"""Messages to bytes and back. A frame that breaks a rule raises; nothing else is guessed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, Generic, TypeVar

import msgspec

from alb_core import limits
from alb_core.arrays import ArraySpec
from alb_core.errors import LocalProtocolError, RemoteProtocolError
from alb_core.messages import ClientMessage, Message, OutputMessage, ToClient, ToWorker, WorkerMessage
from alb_core.plain import plain
from alb_core.spec import TaskSpec, check_spec

M = TypeVar("M", bound=Message)

_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: What msgspec raises for bytes that are no message; the last for nesting without end.

_ENCODER: Final = msgspec.msgpack.Encoder()
_SORTING_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
#: Of what is compared by its bytes: two dictionaries are equal in whatever order they were filled.

SPECS_KEPT: Final = 64
#: The newest specifications that were read, 64 KiB each at most.


class Envelope(msgspec.Struct, Generic[M], frozen=True, array_like=True):
    """What a broker sends: its epoch, its table's id, and the messages."""

    epoch: int
    table: str
    messages: list[M]


_FROM_CLIENT: Final = msgspec.msgpack.Decoder(list[ClientMessage])
_FROM_WORKER: Final = msgspec.msgpack.Decoder(list[WorkerMessage])
_OUTPUT: Final = msgspec.msgpack.Decoder(list[OutputMessage])
_TO_CLIENT: Final = msgspec.msgpack.Decoder(Envelope[ToClient])
_TO_WORKER: Final = msgspec.msgpack.Decoder(Envelope[ToWorker])
_SPEC: Final = msgspec.msgpack.Decoder(TaskSpec)
_ARRAY: Final = msgspec.msgpack.Decoder(ArraySpec)


def encode_spec(spec: TaskSpec) -> bytes:
    """Return a specification as it travels; equal specifications give equal bytes."""
    return _SORTING_ENCODER.encode(plain(spec))


def decode_spec(data: bytes | memoryview | msgspec.Raw) -> TaskSpec:
    """Read a specification.

    Raises:
        RemoteProtocolError: It is none; the text says what is wrong with which field.
    """
    try:
        return _SPEC.decode(data)
    except _UNDECODABLE as error:
        raise RemoteProtocolError(f"not a task specification: {error}") from error


@lru_cache(maxsize=SPECS_KEPT)
def read_spec(wire: bytes) -> tuple[TaskSpec, str | None]:
    """Read a specification, and find what is wrong with it, its size apart.

    Who submits thousands of tasks submits the same bytes again and again: they are read once, and their tasks
    share one value.

    Args:
        wire: As it travels.

    Returns:
        The specification, `plain`, and a sentence that says what is wrong with it and what to do, or None.

    Raises:
        RemoteProtocolError: It is none; the text says what is wrong with which field.
    """
    spec = plain(decode_spec(wire))
    return spec, check_spec(spec, 0)


def encode_array(spec: ArraySpec) -> bytes:
    """Return the specification of an array as it travels; equal ones give equal bytes."""
    return _SORTING_ENCODER.encode(plain(spec))


def decode_array(data: bytes | memoryview | msgspec.Raw) -> ArraySpec:
    """Read the specification of an array.

    Raises:
        RemoteProtocolError: It is none; the text says what is wrong with which field.
    """
    try:
        return _ARRAY.decode(data)
    except _UNDECODABLE as error:
        raise RemoteProtocolError(f"not the specification of an array: {error}") from error


def _frames(messages: Iterable[Message]) -> Iterator[list[msgspec.Raw]]:
    """Split messages into frames that keep the bounds of ``limits``."""
    frame: list[msgspec.Raw] = []
    size = 0
    for message in messages:
        encoded = _ENCODER.encode(message)
        if len(encoded) > limits.MESSAGE_BYTES_MAX - 1024:
            raise LocalProtocolError(f"{type(message).__name__} has {len(encoded)} bytes")
        if frame and (
            size + len(encoded) > limits.FRAME_BYTES_SOFT or len(frame) >= limits.FRAME_MESSAGES_MAX
        ):
            yield frame
            frame, size = [], 0
        frame.append(msgspec.Raw(encoded))
        size += len(encoded)
    if frame:
        yield frame


def _encode(messages: Sequence[Message], enclose: Callable[[Sequence[object]], object]) -> list[bytes]:
    """Return messages as frames; where all fit into one, as they nearly always do, nobody looks at each.

    Args:
        messages: What is sent.
        enclose: Makes of the messages of a frame what is encoded.
    """
    whole = _ENCODER.encode(enclose(messages))
    if 0 < len(messages) <= limits.FRAME_MESSAGES_MAX and len(whole) <= limits.FRAME_BYTES_SOFT:
        return [whole]
    return [_ENCODER.encode(enclose(frame)) for frame in _frames(messages)]


def fits_frame(message: Message) -> bool:
    """Tell whether a message is small enough to be sent."""
    return len(_ENCODER.encode(message)) <= limits.MESSAGE_BYTES_MAX - 1024


def encode_frames(messages: Sequence[Message]) -> list[bytes]:
    """Return the frames of a client, a worker, or an output link."""
    return _encode(messages, lambda frame: frame)


def encode_broker_frames(epoch: int, table: str, messages: Sequence[Message]) -> list[bytes]:
    """Return the frames of a broker: each carries its epoch and its table's id."""
    return _encode(messages, lambda frame: (epoch, table, frame))


def decode_from_client(frame: bytes) -> list[ClientMessage]:
    """Read a client's frame, or raise RemoteProtocolError."""
    return _decode(_FROM_CLIENT, frame)


def decode_from_worker(frame: bytes) -> list[WorkerMessage]:
    """Read a worker's frame, or raise RemoteProtocolError."""
    return _decode(_FROM_WORKER, frame)


def decode_output(frame: bytes) -> list[OutputMessage]:
    """Read a frame of an output link, or raise RemoteProtocolError."""
    return _decode(_OUTPUT, frame)


def decode_to_client(frame: bytes) -> Envelope[ToClient]:
    """Read a broker's frame to a client, or raise RemoteProtocolError."""
    return _decode(_TO_CLIENT, frame)


def decode_to_worker(frame: bytes) -> Envelope[ToWorker]:
    """Read a broker's frame to a worker, or raise RemoteProtocolError."""
    return _decode(_TO_WORKER, frame)


T = TypeVar("T")


def _decode(decoder: msgspec.msgpack.Decoder[T], frame: bytes) -> T:
    try:
        return decoder.decode(frame)
    except _UNDECODABLE as error:
        raise RemoteProtocolError(f"a frame of {len(frame)} bytes cannot be understood: {error}") from error
