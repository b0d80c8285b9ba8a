"""A day of a cluster that never was: what it leaves in the results store, made in seconds from a seed.

Eight workers serve five users in a queue, so that waits and loads follow from what arrives. What an analysis
should find in it is listed in `FEATURES`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from alb_broker.store.interface import Store
from alb_core.ids import uuid7
from alb_core.rows import FinishedTask, LoadSample, PastAttempt, Row

BEGIN: Final = 1_795_305_600.0
#: Midnight.
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
DAY_TASKS: Final = 100_000
#: With so many, runs are as long as `KINDS` says; with fewer they are longer, so that the cluster is as full.
CPUS: Final = 16.0
GIB: Final = 1 << 30
MIB: Final = 1 << 20
SAMPLE_S: Final = 10.0
WORKERS: Final = tuple(f"w{number}" for number in range(1, 9))
DEAD: Final = ("w5", 11.5 * HOUR_S, 12.5 * HOUR_S)
#: This worker is lost, and comes back.
OVERLOAD: Final = (14 * HOUR_S, 16 * HOUR_S)
RATES: Final = (*(0.35,) * 7, 0.6, 0.9, 1.2, 1.3, 1.3, 1.0, 1.1, 2.9, 2.9, *(0.7,) * 4, *(0.45,) * 4)
#: Arrivals by hour, relative.
BATCH: Final = 5_000

FEATURES: Final = {
    "overload": "from 14 to 16 h more arrives than can be served, and all processors are reserved",
    "over-asking": "bob reserves four processors and 8 GiB, and uses 0.9 and 0.5 GiB",
    "failing": "two fifths of dora's imports end with exit 3",
    "out of memory": "eve's joins ask for 1 GiB; some need more and are killed",
    "dead worker": "w5 is lost at 11.5 h with what ran there",
    "bad worker": "on w7 a tenth of everything ends with exit 1",
}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of task."""

    user: str
    share: float
    #: Of all tasks.
    command: str
    #: ``{n}`` stands for a number.
    run_s: float
    #: Median, with `DAY_TASKS`.
    spread: float
    #: Of the logarithm of the run time: 1 is wide, 2 a heavy tail.
    cpus: float = 1.0
    used_cpus: float = 0.95
    memory_bytes: int = 0
    #: Asked for.
    used_bytes: int = 100 * MIB
    failing: float = 0.005
    exit_code: int = 1
    limit_s: float | None = None


KINDS: Final = (
    Kind(user="ann", share=0.55, command="gzip -9 /data/in/part-{n}.csv", run_s=6.0, spread=0.6),
    Kind(
        user="bob",
        share=0.18,
        command="render --frame {n} --out /scratch/frame{n}.png",
        run_s=14.0,
        spread=0.5,
        cpus=4.0,
        used_cpus=0.9,
        memory_bytes=8 * GIB,
        used_bytes=500 * MIB,
    ),
    Kind(
        user="cid",
        share=0.05,
        command="python3 train.py --seed {n}",
        run_s=90.0,
        spread=1.2,
        cpus=2.0,
        used_cpus=1.9,
        memory_bytes=4 * GIB,
        used_bytes=3 * GIB,
        limit_s=200_000.0,
    ),
    Kind(
        user="dora",
        share=0.14,
        command="sh -c 'cd /srv && ./import --batch {n} /data/new/{n}.xml'",
        run_s=5.0,
        spread=0.7,
        failing=0.4,
        exit_code=3,
    ),
    Kind(
        user="eve",
        share=0.08,
        command="join-tables /data/left-{n} /data/right-{n}",
        run_s=12.0,
        spread=0.6,
        memory_bytes=1 * GIB,
        used_bytes=900 * MIB,
    ),
)


class _Task:
    """One task on its way."""

    __slots__ = ("crashes", "id", "kind", "number", "past", "placed", "run_s", "submitted", "waits_since")

    def __init__(self, task_id: str, number: int, kind: Kind, submitted: float, run_s: float) -> None:
        self.id = task_id
        self.number = number
        self.kind = kind
        self.submitted = self.waits_since = submitted
        self.run_s = run_s
        self.crashes = 0
        self.placed = 0.0
        self.past: list[PastAttempt] = []


class _Worker:
    """One worker and what runs on it."""

    __slots__ = ("alive", "free", "name", "running", "used", "used_bytes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.free = CPUS
        self.used = 0.0
        self.used_bytes = 0
        self.running: dict[str, _Task] = {}


class Day:
    """A day of rows.

    Args:
        seed: The same seed, the same rows.
        tasks: How many.
    """

    def __init__(self, seed: int = 1, tasks: int = DAY_TASKS) -> None:
        self._draws: Final = random.Random(seed)
        self._tasks: Final = tasks
        self._stretch: Final = DAY_TASKS / tasks
        self._workers: Final = [_Worker(name) for name in WORKERS]
        self._queue: Final[deque[_Task]] = deque()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._events_made = 0
        self._rows: list[Row] = []

    def rows(self) -> Iterator[Row]:
        """Make the rows, as they would be written."""
        for number, (at, kind) in enumerate(sorted(self._arrivals(), key=lambda arrival: arrival[0])):
            run_s = kind.run_s * self._stretch * math.exp(self._draws.gauss(0.0, kind.spread))
            task_id = uuid7(int((BEGIN + at) * 1000), self._draws.randbytes(10))
            self._at(at, self._arrive, _Task(task_id, number, kind, BEGIN + at, run_s))
        _, dies, returns = DEAD
        self._at(dies, self._die)
        self._at(returns, self._return)
        for number in range(int(DAY_S / SAMPLE_S)):
            self._at(number * SAMPLE_S, self._sample)
        while self._events:
            now, _, do, arguments = heapq.heappop(self._events)
            do(BEGIN + now, *arguments)
            yield from self._rows
            self._rows.clear()

    def write(self, store: Store, epoch: int = 1) -> int:
        """Write all rows into an open store; returns how many."""
        written, rows = 0, self.rows()
        while batch := list(islice(rows, BATCH)):
            store.write(epoch, batch)
            written += len(batch)
        return written

    def _arrivals(self) -> Iterator[tuple[float, Kind]]:
        hours = self._draws.choices(range(24), RATES, k=self._tasks)
        kinds = self._draws.choices(KINDS, [kind.share for kind in KINDS], k=self._tasks)
        for hour, kind in zip(hours, kinds, strict=True):
            yield (hour + self._draws.random()) * HOUR_S, kind

    def _at(self, at: float, do: Callable[..., None], *arguments: Any) -> None:
        self._events_made += 1
        heapq.heappush(self._events, (at, self._events_made, do, arguments))

    # --- what happens ---------------------------------------------------------------------------------------

    def _arrive(self, now: float, task: _Task) -> None:
        self._queue.append(task)
        self._place(now)

    def _place(self, now: float) -> None:
        """Give the head of the queue to the worker with most room, as long as it fits anywhere."""
        while self._queue:
            cpus = self._queue[0].kind.cpus
            able = [worker for worker in self._workers if worker.alive and worker.free >= cpus]
            if not able:
                return
            task = self._queue.popleft()
            worker = max(able, key=lambda each: each.free)
            worker.free -= cpus
            worker.used += task.kind.used_cpus
            worker.used_bytes += task.kind.used_bytes
            worker.running[task.id] = task
            task.placed = now
            attempt = (len(able), len(task.past) + 1)
            self._at(now + task.run_s - BEGIN, self._end, worker, task, attempt)

    def _release(self, worker: _Worker, task: _Task) -> None:
        del worker.running[task.id]
        worker.free += task.kind.cpus
        worker.used -= task.kind.used_cpus
        worker.used_bytes -= task.kind.used_bytes

    def _end(self, now: float, worker: _Worker, task: _Task, attempt: tuple[int, int]) -> None:
        candidates, n = attempt
        if task.id not in worker.running or n != len(task.past) + 1:
            return  # its worker was lost meanwhile
        self._release(worker, task)
        self._record(now, worker, task, candidates)
        self._place(now)

    def _die(self, now: float) -> None:
        worker = self._workers[WORKERS.index(DEAD[0])]
        worker.alive = False
        for task in list(worker.running.values()):
            self._release(worker, task)
            task.past.append(self._attempt(task, worker, now, "lost", 0, None))
            task.crashes += 1
            task.waits_since = now
            self._queue.appendleft(task)
        self._place(now)

    def _return(self, now: float) -> None:
        self._workers[WORKERS.index(DEAD[0])].alive = True
        self._place(now)

    def _sample(self, now: float) -> None:
        for worker in self._workers:
            if worker.alive:
                self._rows.append(
                    LoadSample(
                        worker=worker.name,
                        time=now,
                        cpu=max(0.0, worker.used / CPUS),
                        memory=worker.used_bytes / (64 * GIB),
                        net=0.01,
                        running=len(worker.running),
                        reserved_cpus=CPUS - worker.free,
                        capacity_cpus=CPUS,
                        capacity_memory_bytes=64 * GIB,
                    )
                )

    # --- what is recorded -----------------------------------------------------------------------------------

    def _record(self, now: float, worker: _Worker, task: _Task, candidates: int) -> None:
        kind = task.kind
        memory_bytes = int(kind.used_bytes * math.exp(self._draws.gauss(0.0, 0.08)))
        killed = bool(kind.memory_bytes) and memory_bytes > kind.memory_bytes
        chance = self._draws.random()
        failed = chance < kind.failing or (worker.name == "w7" and chance > 0.9)
        exit_code = 0
        if failed:
            exit_code = kind.exit_code if chance < kind.failing else 1
        state = "OOM" if killed else "FAILED" if failed else "SUCCEEDED"
        last = self._attempt(
            task,
            worker,
            now,
            "out_of_memory" if killed else "exited",
            candidates,
            None if killed else exit_code,
        )
        spec = {"command": kind.command} | ({"time_limit_s": kind.limit_s} if kind.limit_s else {})
        self._rows.append(
            FinishedTask(
                task=task.id,
                user=kind.user,
                name="",
                command=kind.command.replace("{n}", str(task.number)),
                state=state,
                exit_code=None if killed else exit_code,
                signal=9 if killed else None,
                why="",
                worker=worker.name,
                attempt=last.n,
                crashes=task.crashes,
                submitted=task.submitted,
                finished=now,
                wall_s=task.run_s,
                cpu_s=task.run_s * kind.used_cpus,
                memory_bytes=memory_bytes,
                stdout_bytes=200,
                stderr_bytes=0,
                cpus=kind.cpus,
                request_memory_bytes=kind.memory_bytes,
                request_net_bps=0,
                labels="",
                spec=msgspec.json.encode(spec).decode(),
                digest="d",
            )
        )
        self._rows += [*task.past, last]

    def _attempt(  # noqa: PLR0917 (what differs from attempt to attempt)
        self, task: _Task, worker: _Worker, now: float, cause: str, candidates: int, exit_code: int | None
    ) -> PastAttempt:
        delivered = cause != "lost"
        return PastAttempt(
            task=task.id,
            n=len(task.past) + 1,
            worker=worker.name,
            incarnation="i",
            epoch=1,
            placed=task.placed,
            ended=now,
            cause=cause,
            exit_code=exit_code,
            signal=None,
            wall_s=task.run_s if delivered else 0.0,
            cpu_s=0.0,
            memory_bytes=0,
            policy="least-loaded",
            waited_s=task.placed - task.waits_since,
            candidates=candidates or 1,
            ahead=False,
        )
