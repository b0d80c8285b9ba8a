"""The clearance: what the results store need not keep any more goes, the oldest first, in small steps.

A task may go when it ended more than ``store_keep_s`` ago, or while the store takes more than
``store_bytes``; never while the table holds it. What belongs to it goes first (output, increments, attempts)
and its own row last: whoever begins anew after a failover finds the rest by that row. Before, that row is
marked, lest somebody takes what is left of a task for all of it. With it goes what names it as the task that
did its work. Load samples go by their age, or with the tasks of their time. A step is
bounded, and is followed by a rest as long as it took, so that the store has at least half of its time for
writes.

A round: measure, walk over the tasks, walk over the samples, rest. An error ends it; the next begins anew.

What a task takes nobody knows beforehand: its row tells nothing of its increments, nor of the output of
earlier attempts. So where the store is too large, one task goes first, then the store is measured again, and
so on with up to twice as many, but never with more than seem to be needed by what went before.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec

import msgspec

from alb_broker.core.past import is_going, marked_as_going
from alb_broker.core.state import State
from alb_core import ids
from alb_core.notes import Level
from alb_core.rows import (
    ROW_BYTES,
    FinishedTask,
    Increment,
    LoadSample,
    Output,
    PastAttempt,
    Row,
    Span,
    Work,
    weight,
)
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState
from alb_core.works import work_of

REST_S: Final = 60.0
#: Between rounds: measuring costs a database some reads, and nobody sees a minute more.
AGAIN_S: Final = 10.0
#: The rest after a round that made room, until it is seen whether that was enough.
LOW_WATER: Final = 0.95
#: Of the bound: room is made down to here, so that not every round has something to do.
FIRST_S: Final = 5.0
#: After a takeover, which has enough to do.
TASKS_AT_ONCE: Final = 200
#: Looked at by one scan, each with its specification; at most so many go between two measurements.
ROUND_TASKS: Final = 10_000
#: As many go in a round because of the store's size: what is measured may lag behind, or be others' data.
STEP_BYTES: Final = 32 * 1024 * 1024
#: What one step removes, by the tasks' rows, or a single task: well within the time of a transaction.
#: Increments and earlier attempts come on top; `PART_ROWS` bounds what a call takes of them.
PART_ROWS: Final = 1_000
#: Of one family and task in one step: the largest pieces of output are 250 MiB then.
SAMPLES_AT_ONCE: Final = 5_000
PARTS: Final = (Output, Increment, PastAttempt)
#: What belongs to a task besides its own row.
SAMPLES_ALONE_S: Final = 86_400.0
#: Where no task is left to go and the store is still too large, samples older than this go.


P = ParamSpec("P")


class Stage(enum.Enum):
    """What a round waits for."""

    RESTING = "resting"  #: For its time.
    MEASURING = "measuring"  #: For the size of the store.
    FINDING = "finding"  #: For a page of tasks.
    MARKING = "marking"  #: For the marks of a step's tasks.
    PARTING = "parting"  #: For the removal of what belongs to a step's tasks.
    ENDING = "ending"  #: For the removal of their own rows.
    SAMPLING = "sampling"  #: For the oldest sample of the next worker.
    TRIMMING = "trimming"  #: For the removal of that worker's old samples.
    PAUSING = "pausing"  #: For the end of a pause between two steps.


class _Step(msgspec.Struct, frozen=True):
    """Some tasks that go together."""

    rows: tuple[FinishedTask, ...]
    tasks: frozenset[str]
    spans: tuple[Span, ...]
    works: tuple[str, ...]
    #: That they may be named to have done.
    newest: float
    #: When the latest of them was submitted.


class Clearance:
    """Decides what leaves the results store.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        config = state.config
        self._keep_s: Final = config.store_keep_s
        self._bound_bytes: Final = config.store_bytes
        self.enabled: Final = state.store.enabled and (self._keep_s > 0 or self._bound_bytes > 0)
        self.size_bytes = 0  #: As measured last; 0: not measured.
        self._stage = Stage.RESTING
        self._due = state.at + FIRST_S  #: Own clock: the next round, or the end of a pause.
        self._step_began = 0.0  #: Own clock.
        self._round = 0  #: Rises with every round's end: answers to an earlier one are nobody's.
        self._open = 0  #: How many answers the stage waits for.
        self._looked = False  #: For what an earlier leader began to remove.
        self._repeat = False  #: The step has parts left.
        self._done_works: tuple[Span, ...] = ()  #: Rows that name a task of the step.
        self._share = 1.0  #: Of a full step: halved by every error, doubled by every success.
        self._steps: deque[_Step] = deque()
        self._cursor = ""  #: The last task that was looked at, or the last worker.
        self._more = False  #: There may be tasks beyond it.
        self._cutoff = 0.0  #: Tasks that ended before go by their age.
        self._wanted_bytes = 0  #: How much should go because of the store's size.
        self._freed_bytes = 0  #: How much went at least, by the tasks' rows.
        self._quota = 1  #: Tasks that may go until the store is measured again.
        self._unmeasured = False  #: Some went because of the store's size since that was measured.
        self._horizon = 0.0  #: Samples before it go.
        self._gone_tasks = 0
        self._gone_samples = 0

    # --- the course of a round ------------------------------------------------------------------------------

    def tick(self) -> None:
        """Begin a round or go on after a pause; not while the store is away."""
        state = self._state
        if not self.enabled or state.store.away or state.at < self._due:
            return
        if self._stage is Stage.RESTING:
            self._begin()
        elif self._stage is Stage.PAUSING:
            self._go_on()

    def _begin(self) -> None:
        self._cutoff = self._state.now() - self._keep_s if self._keep_s > 0 else 0.0
        self._horizon = self._cutoff
        self._wanted_bytes = self._freed_bytes = 0
        self._quota, self._unmeasured = 1, False
        self._gone_tasks = self._gone_samples = 0
        self._cursor = ""
        if self._bound_bytes:
            self._measure(self._on_measured)
        else:
            self._find()

    def _measure(self, then: Callable[[int, str], None]) -> None:
        self._wait_for(Stage.MEASURING)
        self._state.store.measure(self._then(then))

    def _on_measured(self, size_bytes: int, why: str) -> None:
        """The size is known: make room if it is too large."""
        if why:
            self._fail(why)
            return
        self.size_bytes = size_bytes
        if size_bytes > self._bound_bytes:
            self._wanted_bytes = size_bytes - self._low_bytes
        self._find()

    def _on_measured_again(self, size_bytes: int, why: str) -> None:
        """Some tasks went: end there, or let as many go as seem to be needed."""
        if why:
            self._fail(why)
            return
        self._unmeasured = False
        before = self._low_bytes + self._wanted_bytes
        self.size_bytes = size_bytes
        lacking, fell = size_bytes - self._low_bytes, before - size_bytes
        if lacking <= 0 or self._gone_tasks >= ROUND_TASKS:
            self._freed_bytes = max(self._freed_bytes, self._wanted_bytes)
        self._quota = min(2 * self._quota, TASKS_AT_ONCE)
        if lacking > 0 and fell > 0:  # else others wrote as much meanwhile, or what is measured lags behind
            self._quota = min(self._quota, math.ceil(lacking * self._gone_tasks / fell) or 1)
        self._go_on()

    @property
    def _low_bytes(self) -> int:
        return int(LOW_WATER * self._bound_bytes)

    def _find(self) -> None:
        """Look at the next tasks: all of them while room is wanted, else those that are old enough."""
        before: tuple[str, ...] = ()
        if not self._wants_room:
            if self._keep_s > 0:
                before = (ids.first_of(self._cutoff),)
            elif self._looked:
                self._sample("")
                return
        self._looked = True
        after = (self._cursor,) if self._cursor else ()
        self._wait_for(Stage.FINDING)
        span = Span(after=after, before=before)
        self._state.store.scan(FinishedTask, span, TASKS_AT_ONCE, self._then(self._on_found))

    def _on_found(self, rows: Sequence[Row], why: str) -> None:
        """Part those that may go into steps."""
        if why:
            self._fail(why)
            return
        self._more = len(rows) == TASKS_AT_ONCE
        chosen: list[FinishedTask] = []
        size_bytes = count = 0
        for row in rows:
            if self._wants_room and count >= self._quota:
                self._more = True  # they are looked at again when the store was measured
                break
            assert isinstance(row, FinishedTask)  # noqa: S101 (what was asked for)
            self._cursor = row.task
            due = self._wants_room or row.finished < self._cutoff or is_going(row)
            if self._is_held(row) or not due:
                continue
            count += 1
            self._unmeasured = self._unmeasured or self._wants_room
            room = _room(row)
            if chosen and (
                size_bytes + room > STEP_BYTES * self._share or len(chosen) >= TASKS_AT_ONCE * self._share
            ):
                self._steps.append(_step(chosen))
                chosen, size_bytes = [], 0
            chosen.append(row)
            size_bytes += room
            self._freed_bytes += room
        if chosen:
            self._steps.append(_step(chosen))
        self._go_on()

    @property
    def _wants_room(self) -> bool:
        """Whether more must go because of the store's size, as far as is known without measuring."""
        return self._freed_bytes < self._wanted_bytes

    def _is_held(self, row: FinishedTask) -> bool:
        """Tell whether the table has the task (again: ids may come back)."""
        table = self._state.table
        return row.task in table.live or row.task in table.done

    def _go_on(self) -> None:
        if self._steps:
            self._step_began = self._state.at
            self._done_works = ()
            marked = tuple(marked_as_going(row) for row in self._steps[0].rows if not is_going(row))
            self._wait_for(Stage.MARKING)
            self._state.store.keep(marked, self._then(self._on_marked))
        elif self._unmeasured and self._wants_room:
            self._measure(self._on_measured_again)
        elif self._more:
            self._find()
        else:
            self._sample("")

    def _on_marked(self) -> None:
        """Nobody takes what is left of these tasks for all of them any more: remove it.

        It leaves when all that was written before is in the table, and this leader still leads: the table may
        yet hold what this memory has let go.
        """
        self._part(after_commit=True)

    def _part(self, *, after_commit: bool) -> None:
        """Remove what belongs to the tasks of the first step."""
        step, store = self._steps[0], self._state.store
        self._repeat = False
        reads = bool(step.works) and after_commit
        self._wait_for(Stage.PARTING, len(PARTS) + reads)
        for family in PARTS:
            then = self._then(self._on_parted)
            store.remove(family, step.spans, PART_ROWS, then, after_commit=after_commit)
        if reads:
            store.get(Work, [(work,) for work in step.works], self._then(self._on_works))

    def _on_works(self, rows: Sequence[Row], why: str) -> None:
        """Which works are told to have been done by tasks that go now."""
        going = self._steps[0].tasks
        named = (row.work for row in rows if isinstance(row, Work) and row.task in going)
        self._done_works = tuple(Span(prefix=(work,)) for work in named)
        self._on_parted(0, why)

    def _on_parted(self, count: int, why: str) -> None:
        if why:
            self._give_way(why)
            return
        self._repeat = self._repeat or count >= PART_ROWS
        if self._open:
            return
        if self._repeat:
            self._part(after_commit=False)
            return
        self._wait_for(Stage.ENDING, 1 + bool(self._done_works))
        store = self._state.store
        if self._done_works:
            store.remove(Work, self._done_works, 1, self._then(self._on_unnamed))
        store.remove(FinishedTask, self._steps[0].spans, 1, self._then(self._on_ended))

    def _on_unnamed(self, _count: int, why: str) -> None:
        if why:
            self._give_way(why)

    def _on_ended(self, count: int, why: str) -> None:
        """The tasks of a step are gone, for the store does one thing after the other."""
        if why:
            self._give_way(why)
            return
        step = self._steps.popleft()
        self._share = min(2 * self._share, 1.0)
        self._gone_tasks += count
        self._state.counters["store_tasks_cleared"] += count
        if self._wanted_bytes:
            self._horizon = max(self._horizon, step.newest)
        # Let the store do other things for as long as the step took.
        at = self._state.at
        self._stage, self._due = Stage.PAUSING, at + (at - self._step_began)

    # --- samples --------------------------------------------------------------------------------------------

    def _sample(self, after: str) -> None:
        """Find the oldest sample of the next worker."""
        if self._wanted_bytes and not self._gone_tasks:
            self._horizon = max(self._horizon, self._state.now() - SAMPLES_ALONE_S)
        if self._horizon <= 0:
            self._end()
            return
        self._wait_for(Stage.SAMPLING)
        span = Span(after=(after,) if after else ())
        self._state.store.scan(LoadSample, span, 1, self._then(self._on_sample))

    def _on_sample(self, rows: Sequence[Row], why: str) -> None:
        if why:
            self._fail(why)
            return
        if not rows:
            self._end()
            return
        oldest = rows[0]
        assert isinstance(oldest, LoadSample)  # noqa: S101 (what was asked for)
        self._cursor = oldest.worker
        if oldest.time < self._horizon:
            self._trim()
        else:
            self._sample(oldest.worker)

    def _trim(self) -> None:
        self._wait_for(Stage.TRIMMING)
        span = Span(prefix=(self._cursor,), before=(self._cursor, self._horizon))
        self._state.store.remove(LoadSample, (span,), SAMPLES_AT_ONCE, self._then(self._on_trimmed))

    def _on_trimmed(self, count: int, why: str) -> None:
        if why:
            self._give_way(why)
            return
        self._gone_samples += count
        self._state.counters["store_samples_cleared"] += count
        if count >= SAMPLES_AT_ONCE:
            self._trim()
        else:
            self._sample(self._cursor)

    # --- its end --------------------------------------------------------------------------------------------

    def _end(self) -> None:
        gone = bool(self._gone_tasks or self._gone_samples)
        if gone:
            self._state.note("store_cleared", tasks=self._gone_tasks, samples=self._gone_samples)
        elif self._wanted_bytes:
            self._state.note(
                "store_too_large", Level.WARNING, size_bytes=self.size_bytes, bound_bytes=self._bound_bytes
            )
        self._rest(AGAIN_S if gone and self._wanted_bytes else REST_S)

    def _give_way(self, why: str) -> None:
        """A removal failed: perhaps it was too much at once."""
        self._share = max(self._share / 2, 1 / TASKS_AT_ONCE)
        self._fail(why)

    def _fail(self, why: str) -> None:
        self._state.note("clearance_failed", Level.WARNING, why=why, stage=self._stage.value)
        self._rest(REST_S)

    def _rest(self, seconds: float) -> None:
        self._stage, self._due = Stage.RESTING, self._state.at + seconds
        self._round += 1
        self._steps.clear()
        self._more = False

    # --- answers --------------------------------------------------------------------------------------------

    def _wait_for(self, stage: Stage, answers: int = 1) -> None:
        self._stage, self._open = stage, answers

    def _then(self, do: Callable[P, None]) -> Callable[P, None]:
        """Return what takes an answer, if the round that asked still goes on then."""
        asked_in = self._round

        def take(*told: P.args, **named: P.kwargs) -> None:
            if self._round == asked_in:
                self._open -= 1
                do(*told, **named)

        return take


def _step(rows: list[FinishedTask]) -> _Step:
    return _Step(
        rows=tuple(rows),
        tasks=frozenset(row.task for row in rows),
        spans=tuple(Span(prefix=(row.task,)) for row in rows),
        works=tuple(dict.fromkeys(work for row in rows if (work := _work(row)))),
        newest=max(row.submitted for row in rows),
    )


def _work(row: FinishedTask) -> str:
    """Return the work that a task did well; empty: none."""
    if row.state != TaskState.SUCCEEDED.value:
        return ""
    try:
        return work_of(row.user, msgspec.json.decode(row.spec, type=TaskSpec))
    except msgspec.DecodeError:  # a later version's: its name stays, and whoever reads it looks
        return ""


def _room(row: FinishedTask) -> int:
    """Return what a task takes at least: its rows, and the output of the attempt that counts.

    Its increments, and the output of other attempts, are not known from its row.
    """
    attempts = max(row.attempt, row.crashes + 1)
    return weight(row) + 2 * ROW_BYTES * (attempts + 1) + row.stdout_bytes + row.stderr_bytes
