"""A results store in virtual time: fenced by terms, away now and then; and each broker's thread for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from tests.simulation.hosts import Source
from tests.simulation.violations import demand

from alb_broker.core import actions as acts
from alb_broker.store import events
from alb_core.rows import FinishedTask, Key, Row, key_of

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
        self._rows: dict[tuple[type[Row], Key], Row] = {}

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
            self._rows[type(row), key_of(row)] = row

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

    def read(self, action: acts.ScanStore | acts.GetRows) -> tuple[Row, ...]:
        """Return the rows of some keys, or a span of rows, the greatest keys first."""
        if isinstance(action, acts.GetRows):
            keys = [(action.family, key) for key in action.keys]
            return tuple(self._rows[key] for key in keys if key in self._rows)
        found = sorted(key for family, key in self._rows if family is action.family)
        chosen = [
            key
            for key in reversed(found)
            if key[: len(action.prefix)] == action.prefix
            and (not action.after or key > action.after)
            and (not action.before or key < action.before)
        ]
        return tuple(self._rows[action.family, key] for key in chosen[: action.limit])


class StoreThread:
    """One broker's access to the store.

    Args:
        host: The broker.
    """

    def __init__(self, host: BrokerHost) -> None:
        self._host = host
        self._store = host.cluster.store
        self._epoch = 0
        self._waiting: deque[acts.StoreRows] = deque()
        self._busy = False
        self._away_since: float | None = None

    def begin(self, epoch: int) -> None:
        """A term of this broker begins: what an earlier one wanted is dropped."""
        self._epoch = epoch
        self._waiting = deque([acts.StoreRows(0, epoch, ())])
        self._away_since = None
        self._plan()

    def write(self, action: acts.StoreRows) -> None:
        """Take rows."""
        if action.epoch == self._epoch:
            self._waiting.append(action)
            self._plan()

    def read(self, action: acts.ScanStore | acts.GetRows) -> None:
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
            if self._away_since is None:
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
        self._store.write(tuple(row for action in taken for row in action.rows))
        tokens = tuple(action.token for action in taken if action.token)
        if tokens:
            host.post(Source.SELF, lambda at: events.StoreWritten(at=at, epoch=epoch, tokens=tokens))
        self._plan()

    def _read(self, life: int, action: acts.ScanStore | acts.GetRows) -> None:
        if life != self._host.life:
            return
        away = self._store.away
        rows = () if away else self._store.read(action)
        error = "it is away" if away else None
        self._host.post(
            Source.SELF,
            lambda at: events.StoreScanned(
                at=at, epoch=action.epoch, token=action.token, rows=rows, error=error
            ),
        )
