"""Arrays: many tasks of one specification, which differ by their index or their input.

The *positions* of an array count its tasks from 0, in the order in which they are made; each has an *index*,
which is part of its id (``<array>.<index>``) and what its command sees. An array is expanded in a window: the
*cursor* is the first position that was never made a task. Values only: who expands is the broker.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from alb_core import limits
from alb_core.spec import Start, TaskSpec, check_spec
from alb_core.tasks import NO_TIME, TaskState

INDEX_MAX: Final = 999_999_999
#: An index has at most nine digits.
PLACE_OF_INPUT: Final = "{}"
PLACE_OF_INDEX: Final = "{#}"
INPUT_VARIABLE: Final = "ALB_INPUT"
#: Of a task's environment: its input, where the array has some.
ENDED_BADLY: Final = frozenset(
    {TaskState.FAILED, TaskState.TIMEOUT, TaskState.OOM, TaskState.LIMIT, TaskState.LOST}
)

Command: TypeAlias = str | tuple[str, ...]
_STRIDE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?\Z")


class Stride(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Some indexes: from the first to the last one, every `step`."""

    first: int
    last: int
    step: int = 1

    def __len__(self) -> int:
        return (self.last - self.first) // self.step + 1 if self.last >= self.first else 0

    def __str__(self) -> str:
        if self.first == self.last:
            return str(self.first)
        return f"{self.first}-{self.last}" + (f":{self.step}" if self.step != 1 else "")


class ArraySpec(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an array runs."""

    task: TaskSpec
    #: Of every task. In its command ``{}`` stands for the input and ``{#}`` for the index.
    strides: tuple[Stride, ...] = ()
    #: The indexes in their order; empty: 1, 2, 3 … as many as there are inputs.
    at_once: int = 0
    #: Tasks that may run at once; 0: any number.
    max_fails: int | None = None
    #: When more than so many have failed, what is left is cancelled; None: never.


class Counts(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How many tasks of an array ended how; the rest waits, runs, or was never made."""

    succeeded: int = 0
    failed: int = 0
    #: FAILED, TIMEOUT, OOM, LIMIT, LOST.
    cancelled: int = 0

    @property
    def over(self) -> int:
        """How many ended, in whatever way."""
        return self.succeeded + self.failed + self.cancelled

    def plus(self, state: TaskState, count: int = 1) -> Counts:
        """Return the counts after more tasks ended in a state."""
        if state is TaskState.SUCCEEDED:
            return Counts(succeeded=self.succeeded + count, failed=self.failed, cancelled=self.cancelled)
        if state is TaskState.CANCELLED:
            return Counts(succeeded=self.succeeded, failed=self.failed, cancelled=self.cancelled + count)
        return Counts(succeeded=self.succeeded, failed=self.failed + count, cancelled=self.cancelled)


class Stretch(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Some neighbouring positions that ended alike."""

    first: int
    #: Position.
    count: int
    state: TaskState
    exit_status: int = 0
    #: As a shell would say it.


class ArrayRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One array as its node ``/arrays/<id>`` holds it."""

    id: str
    user: str
    digest: str
    #: Of the specification as it was sent: tells a resubmission from a conflict.
    spec: ArraySpec
    submitted: float
    #: Cluster time.
    total: int
    #: Positions that are known: all of them where `whole`.
    whole: bool = True
    #: No more inputs follow.
    cursor: int = 0
    counts: Counts = Counts()
    cancel: bool = False
    #: Somebody cancelled it, or too many of it failed: no more tasks are made.
    why: str = ""
    #: The reason of that.
    finished: float = NO_TIME
    #: Cluster time at which the last task ended; 0: it goes on.
    held_by: str = ""
    #: Who holds what is left of it; empty: nobody.
    kept: bool = False
    #: Something of its `Start` keeps it back: none of its tasks was made yet.
    met: tuple[int, ...] = ()
    #: Places of the dependencies that came true.
    released: bool = False
    #: The hold of its `Start` was lifted.
    not_before: float = NO_TIME
    #: Cluster time of its beginning.
    skips: tuple[Stride, ...] = ()
    #: Indexes that were cancelled before they were made a task.


class ArrayLine(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One array in a list, and in what its followers are told."""

    id: str
    user: str
    state: TaskState
    #: HELD, QUEUED before its first task was placed, RUNNING, then SUCCEEDED, FAILED or CANCELLED.
    total: int
    whole: bool = True
    cursor: int = 0
    counts: Counts = Counts()
    running: int = 0
    #: Tasks that are placed.
    name: str = ""
    command: str = ""
    #: Shortened for display.
    submitted: float = 0.0
    finished: float = 0.0
    why: str = ""


def state_of(record: ArrayRecord, running: int = 0) -> TaskState:
    """Return where an array stands.

    Args:
        record: The array.
        running: How many of its tasks are placed.
    """
    counts, spec = record.counts, record.spec
    if not record.finished:
        if record.held_by or record.kept:
            return TaskState.HELD
        return TaskState.RUNNING if running or counts.over else TaskState.QUEUED
    if spec.max_fails is not None and counts.failed > spec.max_fails:
        return TaskState.FAILED
    if record.cancel:
        return TaskState.CANCELLED
    if counts.failed or record.why:
        return TaskState.FAILED
    return TaskState.CANCELLED if counts.cancelled else TaskState.SUCCEEDED


def child_id(array: str, index: int) -> str:
    """Return the id of a task of an array."""
    return f"{array}.{index}"


def command_for(command: Command, index: int, text: str | None) -> Command:
    """Return what an index and an input make of a command.

    Args:
        command: A string for a shell, or words. ``{}`` becomes the input, which comes last where there is no
            such place; ``{#}`` becomes the index. A shell gets the input quoted.
        index: The index.
        text: The input; None: the array has none, and ``{}`` stays as it is.
    """
    if isinstance(command, str):
        return _placed(command, index, text, shlex.quote(text) if text is not None else "")
    if text is not None and not any(PLACE_OF_INPUT in word for word in command):
        command = (*command, PLACE_OF_INPUT)
    return tuple(_filled(word, index, text) for word in command)


def _placed(command: str, index: int, text: str | None, quoted: str) -> str:
    if text is None:
        return _filled(command, index, None)
    if PLACE_OF_INPUT not in command:
        command = f"{command} {PLACE_OF_INPUT}"
    return _filled(command, index, quoted)


def _filled(word: str, index: int, text: str | None) -> str:
    """Fill the places of a word; what is filled in is not looked at again."""
    if text is None or PLACE_OF_INPUT not in word:
        return word.replace(PLACE_OF_INDEX, str(index))
    return text.join(part.replace(PLACE_OF_INDEX, str(index)) for part in word.split(PLACE_OF_INPUT))


def child_spec(spec: TaskSpec, index: int, text: str | None) -> TaskSpec:
    """Return the specification of one task of an array; the array's own where nothing is filled in."""
    spec = without_start(spec)
    command = command_for(spec.command, index, text)
    if text is None:
        return spec if command == spec.command else msgspec.structs.replace(spec, command=command)
    env = {**spec.env, INPUT_VARIABLE: text}
    return msgspec.structs.replace(spec, command=command, env=env)


def without_start(spec: TaskSpec) -> TaskSpec:
    """Return a specification that nothing keeps back: that is its array's matter, or long gone."""
    return spec if spec.start == _NO_START else msgspec.structs.replace(spec, start=_NO_START)


_NO_START: Final = Start()


def child_bytes_max(spec: TaskSpec, encoded_bytes: int, text: str) -> int:
    """Return how many bytes the specification of the task with this input has at most.

    Args:
        spec: The array's.
        encoded_bytes: Its size on the wire.
        text: The input.
    """
    words = (spec.command,) if isinstance(spec.command, str) else spec.command
    places = max(1, sum(word.count(PLACE_OF_INPUT) for word in words))
    indexes = sum(word.count(PLACE_OF_INDEX) for word in words)
    plain = len(text.encode())
    placed = len(shlex.quote(text).encode()) if isinstance(spec.command, str) else plain
    return encoded_bytes + places * placed + plain + 16 * (indexes + 2)


def check_input(spec: TaskSpec, encoded_bytes: int, text: str) -> str | None:
    """Find what is wrong with one input of an array; a sentence, or None."""
    if len(text) > limits.ARRAY_INPUT_BYTES_MAX or len(text.encode()) > limits.ARRAY_INPUT_BYTES_MAX:
        return f"an input is longer than {limits.ARRAY_INPUT_BYTES_MAX} bytes: put it into a file"
    if "\0" in text:
        return f"the input {text[:40]!r} contains a NUL character, which no UNIX program can receive"
    if child_bytes_max(spec, encoded_bytes, text) > limits.SPEC_BYTES_MAX:
        return (
            f"the command with the input {text[:40]!r} would have more than {limits.SPEC_BYTES_MAX} bytes: "
            "use {} in fewer places, or shorter inputs"
        )
    return None


def parse_indexes(text: str) -> tuple[tuple[Stride, ...], int]:
    """Read how people write an array: ``1-100000:2%50``, ``1,5,8-10``.

    Returns:
        The indexes, and how many tasks may run at once (0: any number).

    Raises:
        ValueError: The text is no such thing; the error says what is wrong.
    """
    ranges, percent, bound = text.partition("%")
    if percent and not (bound.isdigit() and 0 < int(bound) <= limits.ARRAY_TASKS_MAX):
        raise ValueError(f"{bound!r} after % is no number of tasks that may run at once")
    strides = tuple(_stride(part.strip()) for part in ranges.split(","))
    return strides, int(bound or 0)


def _stride(part: str) -> Stride:
    match = _STRIDE.match(part)
    if match is None:
        raise ValueError(f"{part[:40]!r} is no index and no range of them: write 7, 1-100 or 1-100:2")
    first = int(match[1])
    stride = Stride(first, int(match[2] or first), int(match[3] or 1))
    if stride.step < 1 or stride.last < stride.first:
        raise ValueError(f"the range {part!r} is empty: it goes from the smaller to the larger, by 1 or more")
    last = stride.first + (len(stride) - 1) * stride.step
    return Stride(stride.first, last, stride.step)


def total_of(strides: Iterable[Stride]) -> int:
    """Return how many indexes there are."""
    return sum(len(stride) for stride in strides)


def index_at(strides: tuple[Stride, ...], position: int) -> int:
    """Return the index at a position; without strides positions are counted from 1."""
    if not strides:
        return position + 1
    left = position
    for stride in strides:
        if left < len(stride):
            return stride.first + left * stride.step
        left -= len(stride)
    raise IndexError(position)


def position_of(strides: tuple[Stride, ...], index: int) -> int | None:
    """Return the position of an index; None: the array has no such index."""
    if not strides:
        return index - 1 if index > 0 else None
    before = 0
    for stride in strides:
        if stride.first <= index <= stride.last and (index - stride.first) % stride.step == 0:
            return before + (index - stride.first) // stride.step
        before += len(stride)
    return None


def indexes(strides: Iterable[Stride]) -> Iterator[int]:
    """Yield all indexes in their order."""
    for stride in strides:
        yield from range(stride.first, stride.last + 1, stride.step)


def check_array(spec: ArraySpec, encoded_bytes: int) -> str | None:
    """Find what is wrong with the specification of an array; a sentence, or None."""
    if len(spec.strides) > limits.ARRAY_STRIDES_MAX:
        return f"there are {len(spec.strides)} ranges of indexes, more than {limits.ARRAY_STRIDES_MAX}"
    why = check_strides(spec.strides)
    if why is not None:
        return why
    if total_of(spec.strides) > limits.ARRAY_TASKS_MAX:
        return f"the array has {total_of(spec.strides)} tasks, more than {limits.ARRAY_TASKS_MAX}"
    if _overlap(spec.strides):
        return "an index is named twice; each task of an array has its own"
    if spec.at_once < 0 or (spec.max_fails is not None and spec.max_fails < 0):
        return "the numbers of tasks at once, and of failures, cannot be negative"
    return check_spec(spec.task, encoded_bytes)


def check_strides(strides: Iterable[Stride]) -> str | None:
    """Find a range of indexes that is none; a sentence, or None."""
    for stride in strides:
        if stride.step < 1 or not 0 <= stride.first <= stride.last <= INDEX_MAX:
            return f"the range {stride} of indexes is empty, or beyond {INDEX_MAX}"
    return None


def _overlap(strides: tuple[Stride, ...]) -> bool:
    """Tell whether an index is in two of the ranges."""
    ordered = sorted(strides, key=lambda stride: stride.first)
    for place, stride in enumerate(ordered):
        for later in ordered[place + 1 :]:
            if later.first > stride.last:
                break
            if _share(stride, later):
                return True
    return False


def _share(one: Stride, other: Stride) -> bool:
    """Tell whether two ranges have an index in common: whether the first one that both meet lies in both."""
    common = math.gcd(one.step, other.step)
    distance = other.first - one.first
    if distance % common:
        return False
    cycle = other.step // common
    steps = distance // common * pow(one.step // common, -1, cycle) % cycle if cycle > 1 else 0
    period = one.step * cycle
    met = one.first + steps * one.step  # the smallest from `one.first` on that is in both sequences
    beyond = max(one.first, other.first)
    met += max(0, -(-(beyond - met) // period)) * period
    return met <= min(one.last, other.last)
