"""Structures that say only what differs from the standard: the rest does not travel and is not kept.

A structure leaves out what *is* its default, not what is equal to it; a number that was made anew is not. So
whatever is alike is taken from the standard itself, as it is in a structure that was decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def with_fields(standard: S, fields: Mapping[str, Any]) -> S:
    """Return a standard with other fields; the standard itself where none is another.

    Args:
        standard: A structure, best with all fields at their defaults.
        fields: By name. One of another type is another field: what is wrong with it is told later.
    """
    said = {name: value for name, value in fields.items() if _differs(value, getattr(standard, name))}
    return msgspec.structs.replace(standard, **said) if said else standard


def _differs(value: object, own: object) -> bool:
    if value is own:
        return False
    return type(value) is not type(own) or isinstance(own, msgspec.Struct) or value != own
