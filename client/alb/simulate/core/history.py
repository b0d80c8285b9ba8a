"""Jobs from history: what the results store tells of tasks that ended, and of the workers that ran them."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import msgspec

from alb.analysis.core.commands import form_of
from alb.analysis.core.words import count
from alb.simulate.core.trace import RUN_S_MAX, Requests, Trace, ordered, user_name
from alb_core.copies import CHOOSER
from alb_core.errors import ConfigError
from alb_core.resources import Capacity
from alb_core.rows import FinishedTask, LoadSample, PastAttempt, Row
from alb_core.traces import Job, Machine


class _Known(msgspec.Struct):
    """What is read of a specification."""

    priority: int = 0
    time_limit_s: float | None = None


_SPECS: Final = msgspec.json.Decoder(_Known)


class History:
    """Gathers rows.

    Args:
        most: Jobs that are kept, the newest; None: all.
        since: Tasks that ended before do not count.
    """

    def __init__(self, most: int | None = None, since: float = 0.0) -> None:
        self._since: Final = since
        self._requests: Final = Requests()
        self._jobs: deque[Job] = deque(maxlen=most)
        self._machines: dict[str, LoadSample] = {}
        self._policy = (0.0, "")  #: Of the newest decision: when, and by which.
        self._counts: Counter[str] = Counter()
        self._ran = 0

    def add(self, row: Row) -> None:
        """Take a row, in the order of keys; those of other families are passed over."""
        if isinstance(row, FinishedTask):
            self._add_task(row)
        elif isinstance(row, LoadSample):
            self._machines[row.worker] = row
        elif isinstance(row, PastAttempt) and row.policy and row.policy != CHOOSER:
            self._policy = max(self._policy, (row.placed, row.policy))

    def _add_task(self, row: FinishedTask) -> None:
        if row.finished < self._since:
            return
        if row.wall_s <= 0 or not row.attempt:
            self._counts["never ran"] += 1
            return
        self._ran += 1
        self._counts["labels"] += bool(row.labels)
        known = _known(row.spec)
        self._jobs.append(
            Job(
                submitted=row.submitted,
                run_s=min(row.wall_s, RUN_S_MAX),
                user=user_name(row.user),
                request=self._requests.make(max(row.cpus, 1e-3), max(row.request_memory_bytes, 0)),
                priority=known.priority,
                time_limit_s=known.time_limit_s,
                name=form_of(row.command)[1] or "job",
            )
        )

    def trace(self, source: str) -> Trace:
        """Return what was gathered.

        Args:
            source: Where the rows came from, for people.

        Raises:
            ConfigError: No task ran.
        """
        if not self._jobs:
            raise ConfigError(f"{source} tells of no task that ran")
        remarks = []
        if self._ran > len(self._jobs):
            remarks.append(f"only the newest {len(self._jobs):,} of {count(self._ran, 'task')}")
        if self._counts["never ran"]:
            remarks.append(f"{count(self._counts['never ran'], 'task')} left out that never ran")
        if self._counts["labels"]:
            remarks.append(
                f"{count(self._counts['labels'], 'task')} asked for labels, which history does not tell of "
                "workers: here they may run anywhere"
            )
        machines = [
            Machine(
                name=worker,
                capacity=Capacity(cpus=sample.capacity_cpus, memory_bytes=sample.capacity_memory_bytes),
            )
            for worker, sample in sorted(self._machines.items())
            if sample.capacity_cpus > 0
        ]
        return Trace(
            source=source,
            jobs=ordered(self._jobs),
            machines=machines,
            policy=self._policy[1],
            remarks=remarks,
        )


def _known(spec: str) -> _Known:
    try:
        return _SPECS.decode(spec)
    except msgspec.DecodeError:  # of another version: the replay needs neither
        return _Known()
