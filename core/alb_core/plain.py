"""The plain form of a value: equal values in it are the same bytes, and what is a default is left out.

The encoder leaves a field out where it holds the very object that is the default. A float that only equals it
is another object, as is a whole number where a float belongs: who says ``cpus=1`` asks for what one gets who
says nothing, and sends it a second time as the same task.
"""

from __future__ import annotations

from functools import lru_cache
from types import UnionType
from typing import Final, TypeVar, Union, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

_UNIONS: Final = (Union, UnionType)


def plain(value: S) -> S:
    """Return a value with its defaults as they are declared, and its floats as floats.

    Args:
        value: Immutable; its fields may be structures themselves, whose own are then plain, too.

    Returns:
        The same object where it is plain already.
    """
    changed: dict[str, object] = {}
    for name, default, is_float in _fields(type(value)):
        field = getattr(value, name)
        if field is default:
            continue
        settled: object = field
        if isinstance(field, msgspec.Struct):
            settled = plain(field)
        elif is_float and type(field) is int:
            settled = float(field)
        if isinstance(settled, float | msgspec.Struct) and settled == default:
            settled = default
        if settled is not field:
            changed[name] = settled
    return msgspec.structs.replace(value, **changed) if changed else value


@lru_cache(maxsize=64)  # as many as there are types of structures in a specification, and more
def _fields(of: type[msgspec.Struct]) -> tuple[tuple[str, object, bool], ...]:
    """Return name and default of each field that may hold a float or a structure; and whether a float."""
    found = []
    for field in msgspec.structs.fields(of):
        kinds = get_args(field.type) if get_origin(field.type) in _UNIONS else (field.type,)
        structured = any(isinstance(kind, type) and issubclass(kind, msgspec.Struct) for kind in kinds)
        if structured or float in kinds:
            found.append((field.name, field.default, float in kinds))
    return tuple(found)
