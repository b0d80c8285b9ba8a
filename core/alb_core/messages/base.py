"""What every message is, and the names of a command's streams."""

from __future__ import annotations

import enum

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag=True):
    """The base of all messages: an immutable value, tagged with its class name on the wire."""


class StreamName(enum.IntEnum):
    """Which output of a command; the numbers are its file descriptors."""

    STDOUT = 1
    STDERR = 2


class AttemptId(msgspec.Struct, frozen=True, gc=False, order=True):
    """One attempt of one task."""

    task: str
    n: int

    def __str__(self) -> str:
        return f"{self.task}/{self.n}"
