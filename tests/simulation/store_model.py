"""A results store in virtual time: fenced by terms, away now and then; and each broker's thread for it."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.simulation.hosts import Source
from tests.simulation.violations import demand

from alb_broker.core import actions as acts
from alb_broker.store import events
from alb_broker.store.interface import Span
from alb_core.rows import FinishedTask, Key, LoadSample, PastAttempt, Row, key_of, weight

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
        self.tasks: dict[str, FinishedTask] = {}
        self.others: dict[type[Row], dict[Key, Row]] = {PastAttempt: {}, LoadSample: {}}
        self.cleared: set[str] = set()

    def begin(self, epoch: int) -> bool:
        """Begin a term; returns whether it is the newest."""
        self.term = max(self.term, epoch)
        return epoch == self.term

    def write(self, rows: tuple[Row, ...]) -> None:
        """Keep rows."""
        for row in rows:
            if isinstance(row, FinishedTask):
                self._check(row)
                self.tasks[row.task] = row
            elif type(row) in self.others:
                self.others[type(row)][key_of(row)] = row

    def remove(self, action: acts.ClearStore) -> int:
        """Remove rows: those with the smallest keys of each span, up to the limit."""
        gone = 0
        for span in action.spans:
            keys = [key for key in self._keys(action.family) if _is_within(key, span)][: action.limit]
            gone += len(keys)
            for key in keys:
                if action.family is FinishedTask:
                    self._check_clearing(str(key[0]))
                    del self.tasks[str(key[0])]
                    self.cleared.add(str(key[0]))
                    self._cluster.invariants.table.counts["cleared"] += 1
                else:
                    del self.others[action.family][key]
        return gone

    def size_bytes(self) -> int:
        """Return what the rows weigh."""
        rows = [row for each in self.others.values() for row in each.values()]
        return sum(map(weight, [*self.tasks.values(), *rows]))

    def _keys(self, family: type[Row]) -> list[Key]:
        """Return the keys of a family, sorted."""
        found: list[Key] = [(task,) for task in self.tasks]
        return sorted(found if family is FinishedTask else self.others.get(family, {}))

    def _check_clearing(self, task: str) -> None:
        left = [key for key in self.others[PastAttempt] if key[0] == task]
        demand(not left, "what_leaves_the_store_leaves_it_whole", f"{task} leaves behind {left}")
        held = task in self._cluster.invariants.table.live or task in self._cluster.invariants.table.done
        demand(not held, "the_store_keeps_what_the_table_holds", f"{task} is in the table")

    def _check(self, row: FinishedTask) -> None:
        result = self._cluster.invariants.table.results.get(row.task)
        told = (row.state, row.attempt, row.worker, row.exit_code)
        same = result is not None and told == (
            result.state.value,
            result.attempt,
            result.worker,
            result.exit_code,
        )
        demand(same, "history_says_what_the_table_says", f"{row} is archived, recorded is {result}")

    def scan(self, action: acts.ScanStore) -> tuple[Row, ...]:
        """Return rows in the order of their keys."""
        span = Span(after=action.after, before=action.before)
        keys = [key for key in self._keys(action.family) if _is_within(key, span)]
        if action.newest_first:
            keys.reverse()
        if action.family is FinishedTask:
            return tuple(self.tasks[str(key[0])] for key in keys[: action.limit])
        return tuple(self.others[action.family][key] for key in keys[: action.limit])


def _is_within(key: Key, span: Span) -> bool:
    return (
        key[: len(span.prefix)] == span.prefix
        and (not span.after or key[: len(span.after)] > span.after)
        and (not span.before or key[: len(span.before)] < span.before)
    )


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

    def read(self, action: acts.ScanStore | acts.MeasureStore) -> None:
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

    def _read(self, life: int, action: acts.ScanStore | acts.MeasureStore) -> None:
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
        rows = () if error else self._store.scan(action)
        self._host.post(
            Source.SELF,
            lambda at: events.StoreScanned(at=at, epoch=epoch, token=token, rows=rows, error=error),
        )


def _not_removed(removal: acts.ClearStore, at: float) -> events.StoreRemoved:
    return events.StoreRemoved(at=at, epoch=removal.epoch, token=removal.token, count=0, error="it is away")
