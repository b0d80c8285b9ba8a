"""What users do in a seed: they submit, cancel, detach, attach, use an id twice, and ask."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from tests.simulation.commands import MENDS, SIMULATED, Script

from alb_core import codec, ids
from alb_core.files import FileRef
from alb_core.messages import QueryTask
from alb_core.resources import Request, counts_of
from alb_core.spec import After, Dependency, OnLost, Retry, Start, TaskSpec
from alb_core.vectors import weighed

if TYPE_CHECKING:
    from tests.simulation.clients import ClientHost
    from tests.simulation.cluster import Cluster
    from tests.simulation.mixes import Habits

FILES: Final = tuple(FileRef(name=f"file {n}", sha256=f"{n:064x}", size_bytes=n) for n in range(2))
#: That tasks take along.
LIMIT_S: Final = 60.0
#: Of tasks that would have none beside endless commands: longer than any runs.
COUNTS: Final[tuple[dict[str, int], ...]] = ({}, {}, {}, {"gpus": 1}, {"gpus": 2}, {"licence": 1})
#: That one task asks for, of what every worker has.
VECTORS: Final = (None, None, None, weighed(1, 0), weighed(0, 1), weighed(0.5, 0.5))
#: What counts for one task, by its number.
LATEST: Final = 0.9
#: Part of the safety phase within which users act.
LONGEST_S: Final = 12.0
TRIED_AGAIN_S: Final = 2.0
#: So long a command runs at most, and one that may be tried again: a seed waits until everything is over.
NEVER: Final = Retry()
LONGEST_SEED_S: Final = 300.0
LAGGING_S: Final = 1.0
#: So long what may run twice takes at most: some of it lags.
LEAVING_ASKED: Final = 0.5
#: Part of the tasks that leave the results store of which somebody wants to know just then.


class UserTask(msgspec.Struct, frozen=True, eq=False):
    """One task as its user made it."""

    id: str
    spec: TaskSpec
    wire: bytes
    #: The specification as it is sent.
    user: str
    live: bool
    #: Output is read while the command runs.
    twin: bool = False
    #: The same id with another specification: must be refused.


def draw_retry(draws: random.Random) -> Retry:
    """Draw when a task is tried again."""
    times = draws.choice((0, 0, 1, 3))
    if not times:
        return NEVER
    return Retry(
        times=times,
        exit_codes=draws.choice(((), (), (MENDS, 127))),
        delay_s=draws.choice((0.0, 0.5, 2.0)),
        delay_s_max=4.0,
        memory_factor=draws.choice((1.0, 2.0)),
    )


def draw_start(draws: random.Random, earlier: Sequence[str]) -> Start:
    """Draw what a task waits for, among it perhaps some of these tasks."""
    what = draws.random()
    if what < 0.25 and earlier:
        chosen = draws.sample(earlier, min(len(earlier), draws.choice((1, 1, 2))))
        return Start(dependencies=tuple(Dependency(draws.choice(tuple(After)), each) for each in chosen))
    if what < 0.32:
        return Start(singleton=True)
    return Start(hold=what > 0.97, delay_s=draws.choice((2.0, 8.0)) if 0.9 < what < 0.95 else 0.0)


def draw_task(  # noqa: PLR0917 (what a task is made of)
    draws: random.Random,
    number: int,
    user: str,
    habits: Habits,
    earlier: Sequence[str] = (),
    cpus: float | None = None,
) -> UserTask:
    """Draw a task, which may wait for some before it. Every worker could run it, or it wants `cpus`."""
    retry, start = draw_retry(draws), draw_start(draws, earlier)
    longest_s = LONGEST_S if retry == NEVER else TRIED_AGAIN_S
    script = Script(
        duration_s=round(min(draws.expovariate(1 / draws.choice((0.2, 1.0, 4.0))), longest_s), 3),
        exit_code=draws.choice((0, 0, 0, 1, MENDS)),
        stdout_bytes=draws.choice((0, 10, 300, 4096, 4097, 12_000)),
        stderr_bytes=draws.choice((0, 0, 50)),
        obedient=draws.random() < 0.8,
        increments=draws.choice((0, 0, 0, 1, 7)),
        memory_bytes=500 if draws.random() < 0.1 else 0,
    )
    spec = TaskSpec(
        command=script.words(),
        time_limit_s=draws.choice(habits.time_limits),
        grace_s=draws.choice((0.5, 3.0)),
        request=Request(
            cpus=draws.choice((0.5, 1.0, 1.0)) if cpus is None else cpus,
            memory_bytes=draws.choice((0, 300, 1000)),
            counts=counts_of(draws.choice(COUNTS)),
            optimize=VECTORS[number % len(VECTORS)],
        ),
        priority=draws.choice(habits.priorities),
        on_lost=draws.choice((OnLost.RERUN, OnLost.RERUN, OnLost.RERUN, OnLost.FAIL)),
        name="nightly" if start.singleton else f"task {number}",
        retry=retry,
        start=start,
        files=tuple(FILES[n] for n in range(draws.choice((0, 0, 0, 1, 2)))),
    )
    task_id = ids.uuid7(1_700_000_000_000 + number, draws.randbytes(10))
    return UserTask(task_id, spec, codec.encode_spec(spec), user, live=draws.random() < 0.3)


class Workload:
    """The users of one seed.

    Args:
        cluster: Where they work.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._draws = random.Random(f"{cluster.seed}/workload")
        self._agreements = random.Random(f"{cluster.seed}/preemptible")
        self._habits = random.Random(f"{cluster.seed}/habits")
        self._commands: dict[str, list[tuple[str, ...]]] = {}  #: Of each user, what there was.
        self.tasks: dict[str, UserTask] = {}

    def plan(self) -> None:
        """Plan what everybody will do and when."""
        draws, knobs, habits = self._draws, self._cluster.knobs, self._cluster.habits
        end = knobs.safety_s * LATEST
        burst = draws.random() < 0.3
        earlier: dict[str, list[str]] = {client.name: [] for client in self._cluster.clients}
        moments = sorted(draws.uniform(0.0, 2.0 if burst else end) for _ in range(knobs.tasks))
        for number, when in enumerate(moments):
            client = draws.choice(self._cluster.clients)
            large = max(worker.capacity.cpus for worker in self._cluster.workers)
            large = max(1.0, large - 0.5 * (number % 2))  # half of them leave room for others
            cpus = large if number % knobs.large_every == knobs.large_every - 1 else None
            task = draw_task(draws, number, client.user, habits, earlier[client.name], cpus)
            if knobs.loops and task.spec.time_limit_s is None:
                task = _changed(task, time_limit_s=LIMIT_S)
            if task.spec.on_lost is OnLost.RERUN and self._agreements.random() < habits.preemptible:
                task = _changed(task, preemptible=True)
            task = self._vary(task)
            if self._habits.random() < habits.measured:
                task = _changed(task, request=msgspec.structs.replace(task.spec.request, measured=True))
            self.tasks[task.id] = task
            earlier[client.name].append(task.id)
            self._later(when, client.submit, task)
            self._plan_more(task, client, when, end)

    def _vary(self, task: UserTask) -> UserTask:
        """Let a task be of another program, do the same as one before it, or be one that may run twice."""
        habits, draws = self._cluster.habits, self._habits
        if habits.programs == (SIMULATED,) and not (habits.repeated or habits.speculative):
            return task
        known = self._commands.setdefault(task.user, [])
        words = (
            draws.choice(known) if known and draws.random() < habits.repeated else tuple(task.spec.command)
        )
        twice = task.spec.on_lost is OnLost.RERUN and draws.random() < habits.speculative
        program = draws.choice(habits.programs) if words not in known else words[0]
        duration_s = min(float(words[1]), LAGGING_S if twice else LONGEST_S)
        words = (program, f"{duration_s:.3f}", *words[2:])
        known.append(words)
        return _changed(task, command=words, speculative=True if twice else None)

    def _plan_more(self, task: UserTask, owner: ClientHost, begin: float, end: float) -> None:
        draws, clients = self._draws, self._cluster.clients
        when = draws.uniform(begin, end)
        act = draws.random()
        cancelled = self._cluster.habits.cancelled
        if act < cancelled:
            moment = draws.choice((begin, begin + 0.05, when))
            if self._cluster.habits.cancelled_soon:
                moment = begin + self._habits.expovariate(1.0)
            self._later(moment, draws.choice(clients).cancel, task)
        elif act < 0.22:
            self._later(when, self._detach, owner, task)
        elif act < 0.30:
            self._later(when, self._attach, draws.choice(clients) if self.keeps_long else owner, task)
        elif act < 0.36:
            self._later(when, self._submit_conflict, draws.choice(clients), task)
        elif act < 0.42:
            self._later(draws.choice((begin, when)), self._submit_again, draws.choice(clients), task)
        elif act < 0.60:
            self._later(when, draws.choice(clients).ask, task)

    def on_leaving(self, task_id: str) -> None:
        """The results store begins to remove a task: somebody asks for it before all of it is gone."""
        living = [client for client in self._cluster.clients if client.working]
        if living and self._draws.random() < LEAVING_ASKED:
            query = QueryTask(seq=0, id=task_id)
            self._draws.choice(living).query(query)

    def _later(self, when: float, call: object, *arguments: object) -> None:
        self._cluster.timeline.at(when, call, *arguments)  # type: ignore[arg-type]

    def _accepted(self, task: UserTask) -> bool:
        return task.id in self._cluster.invariants.speech.accepted

    @property
    def keeps_long(self) -> bool:
        """Whether the table surely still knows an id that comes again after its result was acknowledged."""
        knobs = self._cluster.knobs
        return knobs.holding_s > LONGEST_SEED_S and knobs.done_kept_s > 1000 and knobs.done_kept > 1000

    def _detach(self, client: ClientHost, task: UserTask) -> None:
        if self._accepted(task):
            client.detach(task)
            self._cluster.timeline.after(self._draws.uniform(0.1, 15.0), self._attach, client, task)

    def _attach(self, client: ClientHost, task: UserTask) -> None:
        if self._accepted(task):
            client.attach(task)

    def _submit_again(self, client: ClientHost, task: UserTask) -> None:
        """Another client of the same user submits the same task."""
        if self.keeps_long and client.user == task.user:
            client.submit(rewritten(task))

    def _submit_conflict(self, client: ClientHost, task: UserTask) -> None:
        if self.keeps_long and self._accepted(task):
            client.submit(msgspec.structs.replace(_changed(task, name="another"), twin=True))


def rewritten(task: UserTask) -> UserTask:
    """Return a task as another program writes it, with whole numbers where those do."""
    request = task.spec.request
    if int(request.cpus) != request.cpus:
        return task
    return _changed(task, request=msgspec.structs.replace(request, cpus=int(request.cpus)))


def _changed(task: UserTask, **fields: object) -> UserTask:
    """Return a task with another specification."""
    spec = msgspec.structs.replace(task.spec, **fields)
    return msgspec.structs.replace(task, spec=spec, wire=codec.encode_spec(spec))
