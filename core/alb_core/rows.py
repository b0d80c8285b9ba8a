"""The rows of the results store: what is kept, under which key, and which of two rows with one key stays.

A family is a kind of row. Its key fields come first, and rows sort by them: numbers by value, texts by code
point. Task ids sort by the time at which they were made. The id of the cluster's table is part of every key;
the store adds it.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, ClassVar, Final, TypeAlias

import msgspec

KeyPart: TypeAlias = str | int | float
Key: TypeAlias = tuple[KeyPart, ...]
#: The values of a row's key fields, or of the first few of them.

Value: TypeAlias = str | int | float | bytes | None

USER_LENGTH_MAX: Final = 255
#: Users are part of an index, whose entries are bounded.
ROW_BYTES: Final = 200
#: About what a row takes beyond its long texts and data.


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
    copy_of: int = 0
    #: Number of the attempt that lagged, which this one was a copy of; 0: it was none.


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


def weight(row: Row) -> int:
    """Return about how many bytes a row takes in memory and on its way."""
    long_fields = _LONG[type(row)]
    return ROW_BYTES + (sum(map(len, long_fields(row))) if long_fields is not None else 0)


_FLAGS: Final = {
    family: tuple(name for name, kind in typing.get_type_hints(family).items() if kind is bool)
    for family in FAMILIES
}
#: Fields that databases keep as 0 or 1.


_LONG: Final[dict[type[Row], Callable[[Row], tuple[Any, ...]] | None]] = {
    Output: attrgetter("data", "stream"),
    Increment: attrgetter("key", "value"),
    FinishedTask: attrgetter("command", "spec", "why", "more", "labels", "name"),
    PastAttempt: None,
    LoadSample: None,
    Work: None,
}
#: What takes the fields of any length from a row; the others are part of `ROW_BYTES`.
