"""What every message is, and the names of a command's streams."""

from __future__ import annotations

import enum
import math

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag=True):
    """The base of all messages: an immutable value, tagged with its class name on the wire."""


class StreamName(enum.IntEnum):
    """Which output of a command; the numbers are its file descriptors."""

    STDOUT = 1
    STDERR = 2


class AttemptId(msgspec.Struct, frozen=True, gc=False, order=True, cache_hash=True):
    """One attempt of one task."""

    task: str
    n: int

    def __str__(self) -> str:
        return f"{self.task}/{self.n}"


class AttemptUse(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an attempt that runs was seen to use, with all of its processes."""

    attempt: AttemptId
    cpus: float = 0.0
    #: Processors that it kept busy since the look before.
    memory_bytes: int = 0
    #: Resident.
    cpu_s: float = 0.0
    #: Processor time so far.

    @property
    def countable(self) -> bool:
        """Whether anything can use so much: nothing of it is below zero, infinite, or no number."""
        return all(0 <= part < math.inf for part in (self.cpus, self.memory_bytes, self.cpu_s))


class AttemptProgress(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an attempt that runs has reported so far."""

    attempt: AttemptId
    increments: int = 0
    #: How many of its own.
    step: int = 0
    #: Of a task of steps, the newest that is over.
