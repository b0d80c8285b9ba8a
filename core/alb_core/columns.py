"""Rows as columns that every database can keep, one row for each key.

One value that a database refuses would hold up everything behind it. So NUL and lone surrogates in texts
become the replacement character, numbers beyond 64 bits the nearest one within, and what is no number 0. Most
columns need nothing of it, which a look at the whole column tells in a third of the time of a look at each
value.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from alb_core.rows import FAMILIES, USER_LENGTH_MAX, FinishedTask, Merge, Row, Value, columns

Column: TypeAlias = Sequence[Value]

INTEGER_MAX: Final = 2**63 - 1
FLOAT_MAX: Final = 1.7976931348623157e308

_CUT: Final[dict[tuple[type[Row], str], int]] = {(FinishedTask, "user"): USER_LENGTH_MAX}


class _Plan(msgspec.Struct, frozen=True):
    """What a field may hold."""

    family: str
    kind: type
    #: Of its values; flags are kept as numbers.
    optional: bool
    #: It may be None.
    cut: int
    #: The greatest length.


def columns_of(rows: Iterable[Row]) -> dict[type[Row], list[Column]]:
    """Return rows by family as columns, in the order of their fields; one row for each key.

    Args:
        rows: In the order in which they came: where two have one key, the family's `merge` decides.

    Raises:
        TypeError: A value is of another type than its field.
    """
    found: dict[type[Row], list[Row]] = {}
    for row in rows:
        found.setdefault(type(row), []).append(row)
    return {family: _columns(family, some) for family, some in found.items()}


def _columns(family: type[Row], rows: list[Row]) -> list[Column]:
    plain = zip(*map(msgspec.structs.astuple, rows), strict=True)
    kept = [storable(column, plan) for column, plan in zip(plain, _PLANS[family], strict=True)]
    keys = list(zip(*kept[: len(family.key_fields)], strict=True))
    chosen = dict(zip(keys, range(len(keys)), strict=True))  # the last one of each key
    if len(chosen) == len(keys):
        return kept
    if family.merge is not Merge.LAST:
        chosen = _choose(family.merge, keys, kept[-1])
    return [[column[index] for index in chosen.values()] for column in kept]


def _choose(merge: Merge, keys: list[tuple[Value, ...]], data: Column) -> dict[tuple[Value, ...], int]:
    """Return which row of each key stays."""
    chosen: dict[tuple[Value, ...], int] = {}
    for index, key in enumerate(keys):
        there = chosen.setdefault(key, index)
        if merge is Merge.LONGEST and len(cast("bytes", data[index])) > len(cast("bytes", data[there])):
            chosen[key] = index
    return chosen


def storable(column: tuple[Any, ...], plan: _Plan) -> Column:
    """Return the values of one field as databases can keep them; raises TypeError."""
    kinds = set(map(type, column))
    if kinds == {plan.kind}:
        if plan.kind is str:
            joined = "".join(column)
            fits = plan.cut == INTEGER_MAX or max(map(len, column)) <= plan.cut
            if fits and joined.isascii() and "\0" not in joined:
                return column
        elif plan.kind is int:
            if min(column) >= -INTEGER_MAX and max(column) <= INTEGER_MAX:
                return column
        elif plan.kind is float:
            # A sum tells what is no number: comparisons do not.
            if min(column) >= -FLOAT_MAX and max(column) <= FLOAT_MAX and not math.isnan(sum(column)):
                return column if min(column) > 0.0 else [value + 0.0 for value in column]  # see _finite
        else:
            return column
    elif plan.optional and kinds == {type(None)}:
        return column
    return [_storable(value, plan) for value in column]


def _storable(value: Any, plan: _Plan) -> Value:
    if value is None and plan.optional:
        return None
    match value:
        case str() if plan.kind is str:
            return value[: plan.cut] if value.isascii() and "\0" not in value else _clean(value)[: plan.cut]
        case int() if plan.kind is int:
            return max(-INTEGER_MAX, min(int(value), INTEGER_MAX))
        case float() | int() if plan.kind is float:
            return _finite(value)
        case bytes() if plan.kind is bytes:
            return value
    raise TypeError(f"a row of {plan.family} cannot hold {type(value).__name__} as {plan.kind.__name__}")


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _finite(value: float) -> float:
    if math.isnan(value):
        return 0.0
    return max(-FLOAT_MAX, min(float(value), FLOAT_MAX)) + 0.0  # there is no -0.0: it would sort apart


def _plan(family: type[Row]) -> tuple[_Plan, ...]:
    hints = typing.get_type_hints(family)
    plan = []
    for name in columns(family):
        kinds = typing.get_args(hints[name]) or (hints[name],)
        kind = int if kinds[0] is bool else kinds[0]
        cut = _CUT.get((family, name), INTEGER_MAX)
        plan.append(_Plan(family.family, kind, type(None) in kinds, cut))
    return tuple(plan)


_PLANS: Final = {family: _plan(family) for family in FAMILIES}
#: Of each field, in their order.
