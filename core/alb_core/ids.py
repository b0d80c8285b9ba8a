"""Task ids: what is one, how one is made, and which bucket of the table holds it."""

from __future__ import annotations

import re
import zlib
from typing import Final

TASK_ID: Final = re.compile(r"[0-9a-f]{32}(\.(0|[1-9][0-9]{0,8}))?\Z")
#: A UUIDv7 as 32 lower-case hex digits; a task of an array adds its index.

_PART: Final = re.compile(r"[0-9a-f]{1,32}\Z")

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
#: The name of a broker or a worker: it becomes a znode, so it holds nothing that a path could trip over.

BUCKETS: Final = 256
_VARIANTS: Final = "89ab"
#: A UUID's digit that holds the variant of RFC 9562 in its upper two bits.
_BUCKET_NAMES: Final = tuple(f"{number:02x}" for number in range(BUCKETS))


def uuid7(milliseconds: int, randomness: bytes) -> str:
    """Make a UUID of version 7 (RFC 9562, section 5.7) from a time and ten random bytes.

    Args:
        milliseconds: Unix time in milliseconds.
        randomness: Ten bytes from a good source.

    Returns:
        32 lower-case hex digits that sort by time.
    """
    if len(randomness) != 10:
        raise ValueError(f"uuid7 needs 10 random bytes, not {len(randomness)}")
    digits = randomness.hex()
    variant = _VARIANTS[randomness[2] >> 4 & 0x3]  # the first digit after twelve bits that are left at random
    return f"{milliseconds & 0xFFFF_FFFF_FFFF:012x}7{digits[1:4]}{variant}{digits[5:]}"


def first_of(seconds: float) -> str:
    """Return a text below all ids that were made after a time (in seconds since 1970)."""
    return f"{max(0, int(seconds * 1000)):012x}"


def is_task_id(text: str) -> bool:
    """Tell whether `text` can name a task."""
    return TASK_ID.match(text) is not None


def is_part(text: str) -> bool:
    """Tell whether an id can begin or end so, its index apart."""
    return _PART.match(text) is not None


def array_of(task_id: str) -> str:
    """Return the id of the array that a task belongs to; empty: to none."""
    return task_id.partition(".")[0] if "." in task_id else ""


def is_name(text: str) -> bool:
    """Tell whether `text` can name a broker or a worker."""
    return NAME.match(text) is not None


def bucket(task_id: str) -> str:
    """Return the bucket of a task: the low byte of the id's CRC-32, as two hex digits.

    Listings of 100,000 tasks stay far below ZooKeeper's 1 MB response limit this way.
    """
    return _BUCKET_NAMES[zlib.crc32(task_id.encode()) & 0xFF]


def buckets() -> list[str]:
    """Return the names of all buckets, in order."""
    return list(_BUCKET_NAMES)
