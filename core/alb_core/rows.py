"""The rows of the results store: what is kept, under which key, and which of two rows with one key stays.

A family is a kind of row. Its key fields come first, and rows sort by them: numbers by value, texts by code
point. Task ids sort by the time at which they were made. The id of the cluster's table is part of every key;
the store adds it.
"""

from __future__ import annotations

import enum
import math
import typing
from collections.abc import Iterable
from typing import ClassVar, Final, TypeAlias

import msgspec

KeyPart: TypeAlias = str | int | float
Key: TypeAlias = tuple[KeyPart, ...]
#: The values of a row's key fields, or of the first few of them.

Value: TypeAlias = str | int | float | bytes | None

USER_LENGTH_MAX: Final = 255
#: Users are part of an index, whose entries are bounded.
ROW_BYTES: Final = 200
#: About what a row takes beyond its texts and data.


class Merge(enum.Enum):
    """Which of two rows with the same key stays."""

    FIRST = "first"  #: What is there stays: once acknowledged it never changes.
    LAST = "last"  #: What comes later stays: a later leader knows better.
    LONGEST = "longest"  #: The longer `data` stays: a piece of a stream only ever grows.


class Row(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The base of all rows."""

    family: ClassVar[str]
    #: Its name in every store.
    key_fields: ClassVar[tuple[str, ...]]
    #: The first fields, in this order.
    merge: ClassVar[Merge]


class Span(msgspec.Struct, frozen=True, gc=False):
    """Some rows of a family, by their keys. Without any bound: all."""

    prefix: Key = ()
    #: The first key fields have these values.
    after: Key = ()
    #: The key, cut to this length, sorts after it: ``(task,)`` skips all rows of the task.
    before: Key = ()
    #: The key, cut to this length, sorts before it.


AnyRow = typing.TypeVar("AnyRow", bound=Row)


class Output(Row, frozen=True, gc=False, kw_only=True):
    """A piece of what an attempt wrote. Pieces may overlap: where they do, they say the same."""

    family = "output"
    key_fields = ("task", "attempt", "stream", "offset")
    merge = Merge.LONGEST

    task: str
    attempt: int
    stream: str
    #: ``stdout`` or ``stderr``.
    offset: int
    #: Of the first byte, in the whole stream.
    data: bytes
    #: At most ``limits.CHUNK_BYTES_MAX``.


class Increment(Row, frozen=True, gc=False, kw_only=True):
    """What a command reported while it ran."""

    family = "increments"
    key_fields = ("task", "seq")
    merge = Merge.FIRST

    task: str
    seq: int
    attempt: int
    #: That reported it.
    key: str
    value: str
    #: JSON.
    time: float
    #: Cluster time.


class FinishedTask(Row, frozen=True, gc=False, kw_only=True):
    """A task that has its result."""

    family = "tasks"
    key_fields = ("task",)
    merge = Merge.LAST

    task: str
    user: str
    name: str
    command: str
    #: As a shell would read it.
    state: str
    exit_code: int | None
    signal: int | None
    why: str
    worker: str
    attempt: int
    #: That delivered; 0: none did.
    crashes: int
    submitted: float
    #: Cluster time, as is `finished`.
    finished: float
    wall_s: float
    cpu_s: float
    memory_bytes: int
    stdout_bytes: int
    stderr_bytes: int
    cpus: float
    #: Asked for, as are the next three.
    request_memory_bytes: int
    request_net_bps: int
    labels: str
    #: Separated by commas.
    spec: str
    #: JSON.
    digest: str
    more: str = ""
    #: What else the result says, as JSON; mostly nothing.


class PastAttempt(Row, frozen=True, gc=False, kw_only=True):
    """An attempt that is over, and the decision that placed it."""

    family = "attempts"
    key_fields = ("task", "n")
    merge = Merge.LAST

    task: str
    n: int
    worker: str
    incarnation: str
    epoch: int
    #: Of the leader that placed it.
    placed: float
    #: Cluster time, as is `ended`.
    ended: float
    cause: str
    exit_code: int | None
    signal: int | None
    wall_s: float
    cpu_s: float
    memory_bytes: int
    policy: str
    #: That chose the worker.
    waited_s: float
    #: In the queue.
    candidates: int
    #: How many workers were looked at.
    ahead: bool
    #: Given to the worker before it had room.


class LoadSample(Row, frozen=True, gc=False, kw_only=True):
    """How loaded a worker's machine was."""

    family = "loads"
    key_fields = ("worker", "time")
    merge = Merge.LAST

    worker: str
    time: float
    #: Cluster time.
    cpu: float
    #: A fraction of what the worker offers, as are the next two.
    memory: float
    net: float
    running: int
    #: Attempts whose processes live.
    reserved_cpus: float
    capacity_cpus: float
    capacity_memory_bytes: int


class Work(Row, frozen=True, gc=False, kw_only=True):
    """The newest task that did a work well. The task may have been removed since: who reads this, looks."""

    family = "works"
    key_fields = ("work",)
    merge = Merge.LAST

    work: str
    #: See ``alb_core.works``.
    task: str


FAMILIES: Final[tuple[type[Row], ...]] = (Output, Increment, FinishedTask, PastAttempt, LoadSample, Work)

_CUT: Final[dict[tuple[type[Row], str], int]] = {(FinishedTask, "user"): USER_LENGTH_MAX}
_INTEGER_MAX: Final = 2**63 - 1
_FLOAT_MAX: Final = 1.7976931348623157e308


def key_of(row: Row) -> Key:
    """Return the values of a row's key fields."""
    key: Key = msgspec.structs.astuple(row)[: len(row.key_fields)]
    return key


def columns(family: type[Row]) -> tuple[str, ...]:
    """Return the names of a family's fields, those of the key first."""
    return family.__struct_fields__


def make(family: type[Row], values: Iterable[Value]) -> Row:
    """Return the row of these values, in the order of its fields; the last ones may have defaults."""
    fields = dict(zip(columns(family), values, strict=False))
    for name in _FLAGS[family]:
        fields[name] = bool(fields[name])
    return family(**fields)


def storable(row: Row) -> tuple[Value, ...]:
    """Return a row's values as every database can keep them.

    One value that a database refuses would hold up everything behind it. So NUL and lone surrogates in texts
    become the replacement character, numbers beyond 64 bits the nearest one within, and what is no number 0.

    Raises:
        TypeError: A value is of another type than its field.
    """
    kept = []
    for value, (kind, optional, cut) in zip(msgspec.structs.astuple(row), _PLANS[type(row)], strict=True):
        if kind is str and type(value) is str:
            if not value.isascii() or "\0" in value or len(value) > cut:
                value = _clean(value)[:cut]  # noqa: PLW2901 (the cleaned one takes its place)
        elif kind is int and isinstance(value, int):
            if type(value) is not int or not -_INTEGER_MAX <= value <= _INTEGER_MAX:
                value = max(-_INTEGER_MAX, min(int(value), _INTEGER_MAX))  # noqa: PLW2901
        elif kind is float and isinstance(value, float | int):
            if type(value) is not float or not 0.0 < value <= _FLOAT_MAX:
                value = _finite(value)  # noqa: PLW2901
        elif not (kind is bytes and isinstance(value, bytes)) and not (optional and value is None):
            raise TypeError(f"a row of {row.family} cannot hold {type(value).__name__} as {kind.__name__}")
        kept.append(value)
    return tuple(kept)


def merged(rows: Iterable[Row]) -> dict[type[Row], list[tuple[Value, ...]]]:
    """Return the values of rows by family, one row for each key.

    Args:
        rows: In the order in which they came.
    """
    found: dict[type[Row], dict[tuple[Value, ...], tuple[Value, ...]]] = {}
    for row in rows:
        family = type(row)
        values = storable(row)
        kept = found.setdefault(family, {})
        key = values[: len(family.key_fields)]
        there = kept.get(key)
        if there is None or _replaces(family.merge, there, values):
            kept[key] = values
    return {family: list(kept.values()) for family, kept in found.items()}


def weight(row: Row) -> int:
    """Return about how many bytes a row takes in memory and on its way."""
    if isinstance(row, Output):
        return ROW_BYTES + len(row.data)
    return ROW_BYTES + sum(len(value) for value in msgspec.structs.astuple(row) if isinstance(value, str))


def _replaces(merge: Merge, there: tuple[Value, ...], new: tuple[Value, ...]) -> bool:
    match merge:
        case Merge.FIRST:
            return False
        case Merge.LAST:
            return True
        case Merge.LONGEST:
            return len(typing.cast("bytes", new[-1])) > len(typing.cast("bytes", there[-1]))


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _finite(value: float) -> float:
    if math.isnan(value):
        return 0.0
    return max(-_FLOAT_MAX, min(float(value), _FLOAT_MAX)) + 0.0  # there is no -0.0: it would sort apart


def _plan(family: type[Row]) -> tuple[tuple[type, bool, int], ...]:
    hints = typing.get_type_hints(family)
    plan = []
    for name in columns(family):
        kinds = typing.get_args(hints[name]) or (hints[name],)
        kind = int if kinds[0] is bool else kinds[0]
        plan.append((kind, type(None) in kinds, _CUT.get((family, name), _INTEGER_MAX)))
    return tuple(plan)


_FLAGS: Final = {
    family: tuple(name for name, kind in typing.get_type_hints(family).items() if kind is bool)
    for family in FAMILIES
}
#: Fields that databases keep as 0 or 1.
_PLANS: Final = {family: _plan(family) for family in FAMILIES}
#: Of each field: its type, whether it may be None, and its greatest length.
