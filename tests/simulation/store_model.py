"""A results store in virtual time: fenced by terms, away now and then; and each broker's thread for it."""

from __future__ import annotations

from collections import defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.simulation.commands import output_bytes
from tests.simulation.hosts import Source
from tests.simulation.violations import demand

from alb_broker.core import actions as acts
from alb_broker.store import events
from alb_core.messages import AttemptId, StreamName
from alb_core.rows import FinishedTask, Increment, Key, Output, PastAttempt, Row, Span, key_of, weight

if TYPE_CHECKING:
    from tests.simulation.brokers import BrokerHost
    from tests.simulation.cluster import Cluster

URL: Final = "model://"
WRITE_S: Final = (0.001, 0.3)
RETRY_S: Final = 0.5
AT_ONCE: Final = 3
#: Requests that one transaction takes.


class StoreModel:
    """What is kept.

    Args:
        cluster: Its invariants.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.term = 0
        self.away = False
        self.rows: defaultdict[type[Row], dict[Key, Row]] = defaultdict(dict)
        self.cleared: set[str] = set()

    def begin(self, epoch: int) -> bool:
        """Begin a term; returns whether it is the newest."""
        self.term = max(self.term, epoch)
        return epoch == self.term

    def write(self, rows: tuple[Row, ...]) -> None:
        """Keep rows."""
        for row in rows:
            family = self.rows[type(row)]
            key = key_of(row)
            there = family.get(key)
            if isinstance(row, FinishedTask):
                self._check_task(row)
            elif isinstance(row, Output):
                self._check_output(row)
                if isinstance(there, Output) and len(there.data) > len(row.data):
                    continue
            elif isinstance(row, Increment):
                self._check_increment(row)
                if isinstance(there, Increment):
                    again = f"{row} came after {there}"
                    demand(there.attempt == row.attempt, "every_increment_is_reported_once", again)
                    continue
            family[key] = row

    @property
    def tasks(self) -> set[str]:
        """The finished tasks that are kept."""
        return {str(key[0]) for key in self.rows[FinishedTask]}

    def _check_task(self, row: FinishedTask) -> None:
        result = self._cluster.invariants.table.results.get(row.task)
        told = (row.state, row.attempt, row.worker, row.exit_code)
        same = result is not None and told == (
            result.state.value,
            result.attempt,
            result.worker,
            result.exit_code,
        )
        demand(same, "history_says_what_the_table_says", f"{row} is archived, recorded is {result}")

    @staticmethod
    def _check_output(row: Output) -> None:
        attempt, stream = AttemptId(row.task, row.attempt), StreamName[row.stream.upper()]
        written = output_bytes(attempt, stream, row.offset, len(row.data))
        demand(row.data == written, "stored_output_is_what_was_written", f"{row}")

    def _check_increment(self, row: Increment) -> None:
        """Commands count: so number and value are the same, whoever reported them, unless one was twice."""
        before = (row.task, row.seq - 1)
        there = row.seq == 1 or before in self.rows[Increment]
        demand(row.value == str(row.seq), "every_increment_is_stored_exactly_once", f"{row}")
        demand(there, "increments_have_no_gaps", f"{row} came before its predecessor")

    def increments(self, task: str) -> int:
        """Return how many increments of a task are kept."""
        return sum(key[0] == task for key in self.rows[Increment])

    def has_output(self, attempt: AttemptId, stream: StreamName, size: int) -> bool:
        """Tell whether all of a stream is kept."""
        prefix = (attempt.task, attempt.n, stream.name.lower())
        reached = 0
        for key in sorted(key for key in self.rows[Output] if key[:3] == prefix):
            row = self.rows[Output][key]
            if isinstance(row, Output) and row.offset <= reached:
                reached = max(reached, row.offset + len(row.data))
        return reached >= size

    def read(self, action: acts.ScanStore | acts.GetRows) -> tuple[Row, ...]:
        """Return the rows of some keys, or a span of rows in the order of their keys."""
        family = self.rows[action.family]
        if isinstance(action, acts.GetRows):
            return tuple(family[key] for key in action.keys if key in family)
        keys = self._keys(action.family, action.span)
        if action.newest_first:
            keys.reverse()
        return tuple(family[key] for key in keys[: action.limit])

    def remove(self, action: acts.ClearStore) -> int:
        """Remove rows: those with the smallest keys of each span, up to the limit."""
        gone = 0
        for span in action.spans:
            if action.family is Output:
                self._cluster.workload.on_leaving(str(span.prefix[0]))
            keys = self._keys(action.family, span)[: action.limit]
            gone += len(keys)
            for key in keys:
                if action.family is FinishedTask:
                    self._check_clearing(str(key[0]))
                del self.rows[action.family][key]
        return gone

    def size_bytes(self) -> int:
        """Return what the rows weigh."""
        return sum(weight(row) for family in self.rows.values() for row in family.values())

    def _keys(self, family: type[Row], span: Span) -> list[Key]:
        """Return the keys of a span, sorted."""
        return [
            key
            for key in sorted(self.rows[family])
            if key[: len(span.prefix)] == span.prefix
            and (not span.after or key[: len(span.after)] > span.after)
            and (not span.before or key[: len(span.before)] < span.before)
        ]

    def _check_clearing(self, task: str) -> None:
        """A task leaves whole, and not before it has left the table."""
        table = self._cluster.invariants.table
        left = [key for part in (PastAttempt, Output, Increment) for key in self.rows[part] if key[0] == task]
        demand(not left, "what_leaves_the_store_leaves_it_whole", f"{task} leaves behind {left}")
        held = table.known(task) is not None
        demand(not held, "the_store_keeps_what_the_table_holds", f"{task} is in the table")
        self.cleared.add(task)
        table.counts["cleared"] += 1


class StoreThread:
    """One broker's access to the store.

    Args:
        host: The broker.
    """

    def __init__(self, host: BrokerHost) -> None:
        self._host = host
        self._store = host.cluster.store
        self._epoch = 0
        self._waiting: deque[acts.StoreRows | acts.ClearStore] = deque()
        self._busy = False
        self._away_since: float | None = None

    def begin(self, epoch: int) -> None:
        """A term of this broker begins: what an earlier one wanted is dropped."""
        self._epoch = epoch
        self._waiting = deque([acts.StoreRows(0, epoch, ())])
        self._away_since = None
        self._plan()

    def write(self, action: acts.StoreRows | acts.ClearStore) -> None:
        """Take rows, or what is to be removed."""
        if action.epoch == self._epoch:
            self._waiting.append(action)
            self._plan()

    def read(self, action: acts.ScanStore | acts.GetRows | acts.MeasureStore) -> None:
        """Read."""
        self._host.cluster.timeline.after(
            self._host.draws.uniform(*WRITE_S), self._read, self._host.life, action
        )

    def _plan(self, delay_s: float | None = None) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            delay_s = self._host.draws.uniform(*WRITE_S) if delay_s is None else delay_s
            self._host.cluster.timeline.after(delay_s, self._work, self._host.life)

    def _work(self, life: int) -> None:
        if life != self._host.life:
            return
        self._busy = False
        epoch, host, now = self._epoch, self._host, self._host.cluster.timeline.now
        if self._store.away:
            self._give_up_removals()
            if self._away_since is None and self._waiting:
                self._away_since = now
                host.post(Source.SELF, lambda at: events.StoreAway(at=at, epoch=epoch, why="it is away"))
            self._plan(RETRY_S)
            return
        if self._away_since is not None:
            seconds, self._away_since = now - self._away_since, None
            host.post(Source.SELF, lambda at: events.StoreBack(at=at, epoch=epoch, seconds=seconds))
        taken = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        if not self._store.begin(epoch):
            self._waiting.clear()
            host.post(Source.SELF, lambda at: events.StoreFenced(at=at, epoch=epoch))
            return
        for action in taken:
            self._carry_out(action)
        self._plan()

    def _carry_out(self, action: acts.StoreRows | acts.ClearStore) -> None:
        epoch, token = action.epoch, action.token
        if isinstance(action, acts.ClearStore):
            count = self._store.remove(action)
            self._host.post(
                Source.SELF, lambda at: events.StoreRemoved(at=at, epoch=epoch, token=token, count=count)
            )
            return
        self._store.write(action.rows)
        if token:
            self._host.post(Source.SELF, lambda at: events.StoreWritten(at=at, epoch=epoch, tokens=(token,)))

    def _give_up_removals(self) -> None:
        """Removals at the head are answered, not repeated."""
        while self._waiting and isinstance(self._waiting[0], acts.ClearStore):
            removal = self._waiting.popleft()
            self._host.post(Source.SELF, partial(_not_removed, removal))

    def _read(self, life: int, action: acts.ScanStore | acts.GetRows | acts.MeasureStore) -> None:
        if life != self._host.life:
            return
        error = "it is away" if self._store.away else None
        epoch, token = action.epoch, action.token
        if isinstance(action, acts.MeasureStore):
            size_bytes = 0 if error else self._store.size_bytes()
            self._host.post(
                Source.SELF,
                lambda at: events.StoreMeasured(
                    at=at, epoch=epoch, token=token, size_bytes=size_bytes, error=error
                ),
            )
            return
        rows = () if error else self._store.read(action)
        self._host.post(
            Source.SELF,
            lambda at: events.StoreScanned(at=at, epoch=epoch, token=token, rows=rows, error=error),
        )


def _not_removed(removal: acts.ClearStore, at: float) -> events.StoreRemoved:
    return events.StoreRemoved(at=at, epoch=removal.epoch, token=removal.token, count=0, error="it is away")
