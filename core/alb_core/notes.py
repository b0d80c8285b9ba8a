"""What a core wants logged. Cores never log: they return notes, and shells write them with structlog."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Level(enum.IntEnum):
    """How much a note matters; the numbers are those of ``logging``."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Note(msgspec.Struct, frozen=True):
    """One line of the log: an event in snake_case ``noun_verbed``, and its data."""

    event: str
    fields: dict[str, Any] = {}
    level: Level = Level.INFO
