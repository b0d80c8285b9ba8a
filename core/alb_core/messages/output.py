"""What travels on the output links: grants one way, pieces of output the other."""

from __future__ import annotations

from typing import TypeAlias

from alb_core.messages.base import Message, StreamName


class Grant(Message, frozen=True, kw_only=True):
    """A reader takes up to `window` bytes of a stream from `offset` on. A later grant replaces it."""

    task: str
    stream: StreamName
    offset: int
    window: int
    attempt: int = 0
    #: 0: the newest, or the one whose result was recorded.
    reader: bytes = b""
    #: Filled in by the leader on the way to the worker.


class Chunk(Message, frozen=True, kw_only=True):
    """A piece of a stream, within its reader's grant."""

    task: str
    attempt: int
    stream: StreamName
    offset: int
    data: bytes = b""
    end: bool = False
    #: The stream is over after this.
    lost: str = ""
    #: Why the bytes from `offset` on cannot be had; then `data` is empty and `end` is set.
    reader: bytes = b""
    #: Of a worker's: for whom; empty: for the results store.
    stored: int = 0
    #: What is for the store: the offset below which it has the stream, as far as the worker was told.


OutputMessage: TypeAlias = Grant | Chunk
