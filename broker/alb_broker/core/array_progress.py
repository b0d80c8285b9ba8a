"""How far an array is: its record, how its positions ended, and the changes that both can take.

The leader has it twice (``array.py``): as it is now, and as ZooKeeper has it. Both go through the same
changes in the same order, the second one batch by batch.
"""

from __future__ import annotations

from array import array as numbers
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import msgspec

from alb_core import limits
from alb_core.arrays import ArrayRecord, Stretch, Stride
from alb_core.tasks import NO_TIME, TaskState

_STATES: Final = tuple(TaskState)
_CODES: Final = {state: (number + 1) << 8 for number, state in enumerate(_STATES)}
#: A position's end as a number: its state and its exit status; 0: it has not ended.
UNRUN_STATUS: Final = 125
#: The exit status of what never ran.


class Ends:
    """How the positions of one chunk ended."""

    __slots__ = ("_codes", "ended")

    def __init__(self, codes: Iterable[int] = (), ended: int = 0) -> None:
        self._codes = numbers("H", codes or bytes(2 * limits.ARRAY_CHUNK))
        self.ended = ended  #: How many did.

    def copy(self) -> Ends:
        """Return another one that is alike."""
        return Ends(self._codes, self.ended)

    @property
    def whole(self) -> bool:
        """Whether all positions ended: nothing changes any more."""
        return self.ended == limits.ARRAY_CHUNK

    def has(self, place: int) -> bool:
        """Tell whether a position ended, by its place in the chunk."""
        return self._codes[place] != 0

    def state(self, place: int) -> TaskState | None:
        """Return how a position ended; None: it has not."""
        code = self._codes[place]
        return _STATES[(code >> 8) - 1] if code else None

    def mark(self, place: int, state: TaskState, exit_status: int) -> None:
        """A position ended."""
        if not self._codes[place]:
            self.ended += 1
        self._codes[place] = _CODES[state] | (exit_status & 0xFF)

    def unmark(self, place: int) -> None:
        """A position has not ended after all: its end could not be written."""
        if self._codes[place]:
            self.ended -= 1
            self._codes[place] = 0

    def take(self, stretches: Iterable[Stretch], chunk: int) -> None:
        """Know what the chunk's node says."""
        for stretch in stretches:
            first = stretch.first - chunk * limits.ARRAY_CHUNK
            for place in range(max(0, first), min(first + stretch.count, limits.ARRAY_CHUNK)):
                self.mark(place, stretch.state, stretch.exit_status)

    def stretches(self, chunk: int, begin: int = 0) -> Iterator[Stretch]:
        """Yield the positions that ended, neighbours that ended alike together.

        Args:
            chunk: Which chunk it is.
            begin: From this place on.
        """
        place = begin
        for code, run in groupby(self._codes[begin:]):
            count = len(list(run))
            if code:
                first = chunk * limits.ARRAY_CHUNK + place
                yield Stretch(first, count, _STATES[(code >> 8) - 1], code & 0xFF)
            place += count


class Change(msgspec.Struct, frozen=True, gc=False):
    """The base of what may happen to an array."""


class Grown(Change, frozen=True):
    """More inputs are there."""

    total: int
    whole: bool
    why: str = ""
    #: Why there are no more, where that needs a reason.


class Expanded(Change, frozen=True):
    """Positions up to the cursor were made tasks, but for those that had been cancelled."""

    cursor: int
    skipped: tuple[int, ...] = ()


class Ended(Change, frozen=True):
    """One of its tasks ended."""

    position: int
    state: TaskState
    exit_status: int


class Stopped(Change, frozen=True):
    """No more tasks are made: what was none yet is cancelled."""

    why: str


class Skipped(Change, frozen=True):
    """These indexes are cancelled; some of them were not made a task yet."""

    skips: tuple[Stride, ...]


class Held(Change, frozen=True):
    """Somebody holds what was not made yet, or, where it is empty, released it."""

    by: str


class Kept(Change, frozen=True):
    """Some of what its start waits for came true, or all of it."""

    met: tuple[int, ...]
    kept: bool
    #: Something keeps it still; else its tasks may be made.


class Over(Change, frozen=True):
    """All of its tasks ended."""

    at: float
    #: Cluster time.


class Progress:
    """An array's record, and its chunks that may change yet.

    Args:
        record: The record.
        ends: By chunk; chunks that are whole need not be there.
    """

    __slots__ = ("_ended", "_record", "ends")

    def __init__(self, record: ArrayRecord, ends: dict[int, Ends] | None = None) -> None:
        self._record = record
        self._ended: list[TaskState] = []  #: How tasks ended that the record does not count yet.
        self.ends: dict[int, Ends] = ends if ends is not None else {}

    @property
    def record(self) -> ArrayRecord:
        """The record, made anew where tasks have ended since it was asked for."""
        if self._ended:
            counts = self._record.counts
            for state, count in Counter(self._ended).items():
                counts = counts.plus(state, count)
            self._ended.clear()
            self._record = msgspec.structs.replace(self._record, counts=counts)
        return self._record

    @record.setter
    def record(self, record: ArrayRecord) -> None:
        self._record = record
        self._ended.clear()

    @property
    def total(self) -> int:
        """How many positions are known."""
        return self._record.total

    @property
    def is_over(self) -> bool:
        """Whether nothing of the array is left to end."""
        record = self._record
        return record.whole and not record.kept and record.counts.over + len(self._ended) >= record.total

    @property
    def fails_too_often(self) -> bool:
        """Whether more of its tasks failed than may."""
        most = self._record.spec.max_fails
        return most is not None and self.record.counts.failed > most

    def apply(self, change: Change) -> None:
        """Let a change happen."""
        if type(change) is Ended:  # nearly all are
            position, state = change.position, change.state
            self._chunk(position).mark(position % limits.ARRAY_CHUNK, state, change.exit_status)
            self._ended.append(state)
            return
        record = self.record
        match change:
            case Expanded(cursor=cursor, skipped=skipped):
                for position in skipped:
                    place = position % limits.ARRAY_CHUNK
                    self._chunk(position).mark(place, TaskState.CANCELLED, UNRUN_STATUS)
                self._set(cursor=cursor, counts=record.counts.plus(TaskState.CANCELLED, len(skipped)))
            case Grown(total=total, whole=whole, why=why):
                self._set(total=total, whole=whole, why=why or record.why)
            case Stopped(why=why):
                left = record.total - record.cursor
                counts = record.counts.plus(TaskState.CANCELLED, left)
                self._set(cancel=True, whole=True, kept=False, why=why, counts=counts)
            case Skipped(skips=skips):
                self._set(skips=skips)
            case Held(by=by):
                self._set(held_by=by, released=record.released or not by)
            case Kept(met=met, kept=kept):
                self._set(met=met, kept=kept)
            case Over(at=at):
                self._set(finished=at)

    def undo(self, change: Change) -> None:
        """Take back an end that could not be written; nothing else is ever taken back."""
        if isinstance(change, Over):
            self._set(finished=NO_TIME)
        if not isinstance(change, Ended):
            return
        chunk = self._chunk(change.position)
        if chunk.has(change.position % limits.ARRAY_CHUNK):
            chunk.unmark(change.position % limits.ARRAY_CHUNK)
            self._set(counts=self.record.counts.plus(change.state, -1))

    def state(self, position: int) -> TaskState | None:
        """Return how a position ended, where its chunk is here; None: it has not, or nobody knows here."""
        chunk = self.ends.get(position // limits.ARRAY_CHUNK)
        return chunk.state(position % limits.ARRAY_CHUNK) if chunk is not None else None

    def _set(self, **fields: object) -> None:
        self.record = msgspec.structs.replace(self.record, **fields)

    def _chunk(self, position: int) -> Ends:
        number = position // limits.ARRAY_CHUNK
        chunk = self.ends.get(number)
        if chunk is None:
            chunk = self.ends[number] = Ends()
        return chunk


class Draft(Progress):
    """What becomes of a progress: it is left as it is until somebody decides.

    Args:
        base: What it was.
    """

    __slots__ = ("_base", "touched")

    def __init__(self, base: Progress) -> None:
        super().__init__(base.record)
        self._base: Final = base
        self.touched: Final = self.ends  #: Only the chunks that changed.

    def _chunk(self, position: int) -> Ends:
        number = position // limits.ARRAY_CHUNK
        chunk = self.ends.get(number)
        if chunk is None:
            known = self._base.ends.get(number)
            chunk = self.ends[number] = known.copy() if known is not None else Ends()
        return chunk

    def settle(self) -> list[int]:
        """Let it be so; returns the chunks that are whole, which the base does not keep."""
        base = self._base
        base.record = self.record
        base.ends.update(self.touched)
        whole = [number for number, chunk in self.touched.items() if chunk.whole]
        for number in whole:
            del base.ends[number]
        return whole
