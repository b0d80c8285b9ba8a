"""Time, randomness and names from the machine: what a shell puts into the events of its core."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime

from alb_core import ids

monotonic = time.monotonic
#: Seconds since some start, never back: the time of every event.
wall = time.time
#: Seconds since 1970, which people set: for nothing but the age of files.


def wall_text() -> str:
    """Return the wall clock as ISO 8601 text in UTC, for people only: it decides nothing."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_id() -> str:
    """Make a task id, or an incarnation: a UUIDv7 as 32 hex digits."""
    return ids.uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def random_seed() -> int:
    """Return 64 random bits, to seed `alb_core.draws.Draws`."""
    return int.from_bytes(os.urandom(8), "big")


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()
