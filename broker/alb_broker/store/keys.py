"""Keys as bytes that sort like the keys themselves, for stores that order by bytes.

A text is its UTF-8 and a zero byte, which no text holds; a number is eight bytes, the greatest bit first. So
the packed form of the first fields of a key is a prefix of the packed form of the whole.
"""

from __future__ import annotations

import struct
import typing
from typing import Final

from alb_core.rows import Key, KeyPart, Row, Span

_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_NUMBER: Final = struct.Struct(">Q")


def pack(family: type[Row], key: Key) -> bytes:
    """Return a key, or the first fields of one, as bytes.

    Args:
        family: Tells which fields are fractions.
        key: The values.
    """
    kinds = _kinds(family)
    return b"".join(_pack(value, kinds[index]) for index, value in enumerate(key))


def unpack(family: type[Row], packed: bytes) -> Key:
    """Return the key that was packed."""
    key: list[KeyPart] = []
    at = 0
    for kind in _kinds(family):
        if kind is str:
            end = packed.index(0, at)
            key.append(packed[at:end].decode())
            at = end + 1
        else:
            (bits,) = _NUMBER.unpack_from(packed, at)
            key.append(_unsorted_float(bits) if kind is float else bits - _SIGN)
            at += 8
    return tuple(key)


def bounds(family: type[Row], span: Span) -> tuple[bytes, bytes | None]:
    """Return the first packed key of a span, and the first one beyond it; None: there is none beyond."""
    prefix, after, before = (pack(family, key) for key in (span.prefix, span.after, span.before))
    low = max(prefix, _beyond(after) or b"" if after else b"")
    highs = [high for high in (_beyond(prefix), before or None) if high is not None]
    return low, min(highs) if highs else None


def _beyond(packed: bytes) -> bytes | None:
    """Return the smallest bytes that sort after everything with this prefix."""
    kept = packed.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def _kinds(family: type[Row]) -> tuple[type, ...]:
    kinds = _KINDS.get(family)
    if kinds is None:
        hints = typing.get_type_hints(family)
        kinds = _KINDS[family] = tuple(hints[name] for name in family.key_fields)
    return kinds


_KINDS: Final[dict[type[Row], tuple[type, ...]]] = {}


def _pack(value: KeyPart, kind: type) -> bytes:
    if isinstance(value, str):
        return value.encode() + b"\0"
    return _NUMBER.pack(_sorted_float(float(value)) if kind is float else int(value) + _SIGN)


def _sorted_float(value: float) -> int:
    """Return the bits of a fraction so that they sort by value: negative ones are turned over."""
    bits: int = _NUMBER.unpack(struct.pack(">d", value))[0]
    return bits ^ (_ALL if bits & _SIGN else _SIGN)


def _unsorted_float(bits: int) -> float:
    value: float = struct.unpack(">d", _NUMBER.pack(bits ^ (_SIGN if bits & _SIGN else _ALL)))[0]
    return value
