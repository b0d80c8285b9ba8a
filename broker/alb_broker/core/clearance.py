"""The clearance: what the results store need not keep any more goes, the oldest first, in small steps.

A task may go when it ended more than ``store_keep_s`` ago, or while the store takes more than
``store_bytes``; never while the table holds it. What belongs to it goes first (output, increments, attempts)
and its own row last: whoever begins anew after a failover finds the rest by that row. Load samples go by
their age, or with the tasks of their time. A step is bounded, and is followed by a rest as long as it took,
so that the store has at least half of its time for writes.

A round: measure, walk over the tasks, walk over the samples, rest. An error ends it; the next begins anew.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

import msgspec

from alb_broker.core.actions import ClearStore, MeasureStore, ScanStore
from alb_broker.core.state import State
from alb_broker.store import events
from alb_broker.store.interface import Span
from alb_core import ids
from alb_core.notes import Level
from alb_core.rows import ROW_BYTES, FinishedTask, Increment, LoadSample, Output, PastAttempt, Row, weight

REST_S: Final = 60.0
#: Between rounds: measuring costs a database some reads, and nobody sees a minute more.
AGAIN_S: Final = 10.0
#: The rest after a round that made room, until it is seen whether that was enough.
LOW_WATER: Final = 0.95
#: Of the bound: room is made down to here, so that not every round has something to do.
FIRST_S: Final = 5.0
#: After a takeover, which has enough to do.
TASKS_AT_ONCE: Final = 200
#: Looked at by one scan, each with its specification.
STEP_BYTES: Final = 32 * 1024 * 1024
#: About what one step removes: well within the time of a transaction.
PART_ROWS: Final = 1_000
#: Of one family and task in one step: the largest pieces of output are 250 MiB then.
SAMPLES_AT_ONCE: Final = 5_000
PARTS: Final = (Output, Increment, PastAttempt)
#: What belongs to a task besides its own row.
SAMPLES_ALONE_S: Final = 86_400.0
#: Where no task is left to go and the store is still too large, samples older than this go.


class Stage(enum.Enum):
    """What a round waits for."""

    RESTING = "resting"  #: For its time.
    MEASURING = "measuring"  #: For the size of the store.
    FINDING = "finding"  #: For a page of tasks.
    PARTING = "parting"  #: For the removal of what belongs to a step's tasks.
    ENDING = "ending"  #: For the removal of their own rows.
    SAMPLING = "sampling"  #: For the oldest sample of the next worker.
    TRIMMING = "trimming"  #: For the removal of that worker's old samples.
    PAUSING = "pausing"  #: For the end of a pause between two steps.


class _Step(msgspec.Struct, frozen=True):
    """Some tasks that go together."""

    spans: tuple[Span, ...]
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
        self.enabled: Final = bool(config.store) and (self._keep_s > 0 or self._bound_bytes > 0)
        self.size_bytes = 0  #: As measured last; 0: not measured.
        self._stage = Stage.RESTING
        self._due = state.at + FIRST_S  #: Own clock: the next round, or the end of a pause.
        self._asked_at = 0.0  #: Own clock, when what is under way was asked.
        self._tokens: set[int] = set()  #: Of what is under way.
        self._repeat = False  #: The step has parts left.
        self._share = 1.0  #: Of a full step: halved by every error, doubled by every success.
        self._steps: deque[_Step] = deque()
        self._cursor = ""  #: The last task that was looked at, or the last worker.
        self._more = False  #: There may be tasks beyond it.
        self._cutoff = 0.0  #: Tasks that ended before go by their age.
        self._wanted_bytes = 0  #: How much should go because of the store's size.
        self._freed_bytes = 0  #: About how much went; an overestimate, so that never too much goes.
        self._horizon = 0.0  #: Samples before it go.
        self._gone_tasks = 0
        self._gone_samples = 0

    # --- the course of a round ------------------------------------------------------------------------------

    def tick(self, *, away: bool) -> None:
        """Begin a round or go on after a pause.

        Args:
            away: The store takes nothing now.
        """
        if not self.enabled or away or self._state.at < self._due:
            return
        if self._stage is Stage.RESTING:
            self._begin()
        elif self._stage is Stage.PAUSING:
            self._go_on()

    def _begin(self) -> None:
        self._cutoff = self._state.now() - self._keep_s if self._keep_s > 0 else 0.0
        self._horizon = self._cutoff
        self._wanted_bytes = self._freed_bytes = 0
        self._gone_tasks = self._gone_samples = 0
        self._cursor = ""
        if self._bound_bytes:
            self._ask(Stage.MEASURING, MeasureStore(self._token(), self._state.epoch))
        else:
            self._find()

    def on_measured(self, event: events.StoreMeasured) -> None:
        """The size is known: make room if it is too large."""
        if not self._answered(event.token):
            return
        if event.error is not None:
            self._fail(event.error)
            return
        self.size_bytes = event.size_bytes
        if event.size_bytes > self._bound_bytes:
            self._wanted_bytes = event.size_bytes - int(LOW_WATER * self._bound_bytes)
        self._find()

    def _find(self) -> None:
        """Look at the next tasks: all of them while room is wanted, else those that are old enough."""
        bound: tuple[str, ...] = ()
        if not self._wants_room:
            if self._keep_s <= 0:
                self._sample("")
                return
            bound = (ids.first_of(self._cutoff),)
        self._scan(Stage.FINDING, FinishedTask, bound, TASKS_AT_ONCE)

    def on_scanned(self, event: events.StoreScanned) -> None:
        """Tasks, or a sample, were found."""
        if not self._answered(event.token):
            return
        if event.error is not None:
            self._fail(event.error)
        elif self._stage is Stage.FINDING:
            self._choose([row for row in event.rows if isinstance(row, FinishedTask)])
        else:
            self._trim([row for row in event.rows if isinstance(row, LoadSample)])

    def _choose(self, found: list[FinishedTask]) -> None:
        """Part those that may go into steps."""
        self._more = len(found) == TASKS_AT_ONCE
        chosen: list[FinishedTask] = []
        size_bytes = 0
        for row in found:
            self._cursor = row.task
            if self._is_held(row) or not (self._wants_room or row.finished < self._cutoff):
                continue
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
        """Whether more must go because of the store's size."""
        return self._freed_bytes < self._wanted_bytes

    def _is_held(self, row: FinishedTask) -> bool:
        """Tell whether the table has the task (again: ids may come back)."""
        table = self._state.table
        return row.task in table.live or row.task in table.done

    def _go_on(self) -> None:
        if self._steps:
            # It leaves when all that was written before is in the table, and this leader still leads: the
            # table may yet hold what this memory has let go.
            self._part(commit_first=True)
        elif self._more:
            self._find()
        else:
            self._sample("")

    def _part(self, *, commit_first: bool) -> None:
        """Remove what belongs to the tasks of the first step."""
        self._repeat = False
        removals = [self._removal(family, self._steps[0].spans, PART_ROWS) for family in PARTS]
        self._stage, self._asked_at = Stage.PARTING, self._state.at
        self._tokens = {removal.token for removal in removals}
        if commit_first:
            self._state.ledger.say(*removals)
        else:
            self._state.out.extend(removals)

    def on_removed(self, event: events.StoreRemoved) -> None:
        """Rows went."""
        if not self._answered(event.token):
            return
        if event.error is not None:
            self._share = max(self._share / 2, 1 / TASKS_AT_ONCE)
            self._fail(event.error)
            return
        match self._stage:
            case Stage.PARTING:
                self._repeat = self._repeat or event.count >= PART_ROWS
                if self._tokens:
                    return
                if self._repeat:
                    self._part(commit_first=False)
                else:
                    self._ask(Stage.ENDING, self._removal(FinishedTask, self._steps[0].spans, 1))
            case Stage.ENDING:
                step = self._steps.popleft()
                self._share = min(2 * self._share, 1.0)
                self._gone_tasks += event.count
                if self._wanted_bytes:
                    self._horizon = max(self._horizon, step.newest)
                self._state.counters["store_tasks_cleared"] += event.count
                self._pause()
            case _:
                self._gone_samples += event.count
                self._state.counters["store_samples_cleared"] += event.count
                if event.count >= SAMPLES_AT_ONCE:
                    self._trim_on()
                else:
                    self._sample(self._cursor)

    # --- samples --------------------------------------------------------------------------------------------

    def _sample(self, after: str) -> None:
        """Find the oldest sample of the next worker."""
        if self._wanted_bytes and not self._gone_tasks:
            self._horizon = max(self._horizon, self._state.now() - SAMPLES_ALONE_S)
        self._cursor = after
        if self._horizon > 0:
            self._scan(Stage.SAMPLING, LoadSample, (), 1)
        else:
            self._end()

    def _trim(self, found: list[LoadSample]) -> None:
        if not found:
            self._end()
            return
        self._cursor = found[0].worker
        if found[0].time < self._horizon:
            self._trim_on()
        else:
            self._sample(self._cursor)

    def _trim_on(self) -> None:
        span = Span(prefix=(self._cursor,), before=(self._cursor, self._horizon))
        self._ask(Stage.TRIMMING, self._removal(LoadSample, (span,), SAMPLES_AT_ONCE))

    # --- its end --------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        """Let the store do other things for as long as the step took."""
        at = self._state.at
        self._stage, self._due = Stage.PAUSING, at + (at - self._asked_at)

    def _end(self) -> None:
        gone = bool(self._gone_tasks or self._gone_samples)
        if gone:
            self._state.note("store_cleared", tasks=self._gone_tasks, samples=self._gone_samples)
        elif self._wanted_bytes:
            self._state.note(
                "store_too_large", Level.WARNING, size_bytes=self.size_bytes, bound_bytes=self._bound_bytes
            )
        self._rest(AGAIN_S if gone and self._wanted_bytes else REST_S)

    def _fail(self, why: str) -> None:
        self._state.note("clearance_failed", Level.WARNING, why=why, stage=self._stage.value)
        self._rest(REST_S)

    def _rest(self, seconds: float) -> None:
        self._stage, self._due = Stage.RESTING, self._state.at + seconds
        self._tokens = set()
        self._steps.clear()
        self._more = False

    # --- asking ---------------------------------------------------------------------------------------------

    def _token(self) -> int:
        return self._state.tokens.next()

    def _removal(self, family: type[Row], spans: tuple[Span, ...], limit: int) -> ClearStore:
        return ClearStore(self._token(), self._state.epoch, family, spans, limit)

    def _scan(self, stage: Stage, family: type[Row], bound: tuple[str, ...], limit: int) -> None:
        after = (self._cursor,) if self._cursor else ()
        request = ScanStore(self._token(), self._state.epoch, family, after, bound, limit, newest_first=False)
        self._ask(stage, request)

    def _ask(self, stage: Stage, request: MeasureStore | ScanStore | ClearStore) -> None:
        self._stage = stage
        if stage is not Stage.ENDING:  # it is part of the step that it ends
            self._asked_at = self._state.at
        self._tokens = {request.token}
        self._state.out.append(request)

    def _answered(self, token: int) -> bool:
        """Tell whether this answers what is under way."""
        if token not in self._tokens:
            return False
        self._tokens.discard(token)
        return True


def _step(rows: list[FinishedTask]) -> _Step:
    spans = tuple(Span(prefix=(row.task,)) for row in rows)
    return _Step(spans, max(row.submitted for row in rows))


def _room(row: FinishedTask) -> int:
    """Return about what a task takes with all that belongs to it; rather too much than too little."""
    attempts = max(row.attempt, row.crashes + 1)
    return weight(row) + 2 * ROW_BYTES * (attempts + 1) + row.stdout_bytes + row.stderr_bytes
