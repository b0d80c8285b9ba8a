"""Users of arrays: they submit, feed inputs in pieces, follow, cancel, go away and come back.

The protocol is spoken here message by message, with no more memory than a user's program has: what it sent is
sent again until it is answered, and after a change of leaders it asks what it missed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tests.simulation.commands import Script
from tests.simulation.ensemble import ZK
from tests.simulation.hosts import Host, Make, Source
from tests.simulation.network import Link
from tests.simulation.workload import LIMIT_S

from alb_core import codec, ids, messages, znodes
from alb_core.arrays import ArraySpec, Stride, child_id, index_at, total_of
from alb_core.resources import Request
from alb_core.spec import After, Dependency, Retry, Start, TaskSpec, digest
from alb_core.tasks import Result, TaskState
from alb_core.znodes import LeaderNode

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

TICK_S: Final = 0.5
SILENT_S: Final = 4.0
#: Without a word the link is given up.
FOLLOW_AGAIN_S: Final = 8.0
#: Of an array of which the leader said nothing for so long it may not know that somebody follows it: what it
#: says of an end may be lost, and is said once.
LATEST: Final = 0.8
#: Part of the safety phase within which users act.
TASKS_AHEAD: Final = 3
#: Tasks among those that an array may wait for, of its user's others and of each array before it.
SPECULATIVE_EVERY: Final = 2
#: One array of so many may be copied where it lags.
ATTACHED_MAX: Final = 5
#: Tasks asked for at once.


class ArrayJob(msgspec.Struct, eq=False):
    """One array as its user knows it."""

    id: str
    spec: ArraySpec
    wire: bytes
    inputs: tuple[str, ...]
    #: Empty: it has none.
    results: bool
    #: The user wants each task's result.
    wanted: bool = False
    accepted: bool = False
    heard_at: float = 0.0
    #: True time of the last word on the whole of it, or of the last wish to hear one.
    kept: int = 0
    #: Inputs that were kept.
    cancel: tuple[Stride, ...] | None = None
    #: What is to be cancelled: some indexes, or, if empty, all; None: nothing.
    cancel_noted: bool = False
    over: TaskState | None = None
    #: How it ended, as the user was told.
    failed: str = ""
    #: Code of its refusal.
    got: dict[str, Result] = {}
    #: Results of its tasks.
    lacking: dict[str, None] = {}
    #: Tasks that ended and whose results did not come.
    asked_from: int = 0
    #: Position from which the user asks how its tasks ended.

    @property
    def whole(self) -> bool:
        """Whether all inputs were kept."""
        return self.kept >= len(self.inputs)


def draw_array_start(draws: random.Random, ahead: Sequence[str]) -> Start:
    """Draw what an array waits for, among it perhaps some of these tasks, arrays, and tasks of arrays."""
    what = draws.random()
    if what < 0.35 and ahead:
        chosen = draws.sample(ahead, min(len(ahead), draws.choice((1, 1, 2))))
        return Start(dependencies=tuple(Dependency(draws.choice(tuple(After)), each) for each in chosen))
    delay_s = draws.choice((2.0, 8.0)) if what > 0.9 else 0.0
    return Start(singleton=0.4 < what < 0.6, hold=0.6 < what < 0.65, delay_s=delay_s)


def draw_array(
    draws: random.Random, number: int, ahead: Sequence[str] = (), *, beside_loops: bool = False
) -> ArrayJob:
    """Draw an array, which may wait for what is before it. Every worker could run its tasks."""
    start = draw_array_start(draws, ahead)
    from_inputs = draws.random() < 0.5
    count = draws.randint(1, 14)
    codes = tuple(draws.choice(("0", "0", "1")) for _ in range(count)) if from_inputs else ()
    words = Script(
        duration_s=draws.choice((0.05, 0.2, 0.8)),
        exit_code=draws.choice((0, 0, 1)),
        stdout_bytes=draws.choice((0, 10)),
        stderr_bytes=0,
        obedient=True,
        increments=2 * (number % SPECULATIVE_EVERY == 0 and count % 2 == 0),
    ).words()
    if from_inputs:
        words = (*words[:2], "{}", *words[3:])
    task = TaskSpec(
        command=words,
        name="nightly" if start.singleton else f"array {number}",
        request=Request(cpus=draws.choice((0.5, 1.0))),
        grace_s=0.5,
        time_limit_s=LIMIT_S if beside_loops else None,
        speculative=number % SPECULATIVE_EVERY == 0,
        retry=Retry(times=draws.choice((0, 0, 1)), delay_s=draws.choice((0.0, 0.5))),
        start=start,
    )
    strides = () if from_inputs and draws.random() < 0.5 else (Stride(5, 4 + 2 * count, 2),)
    if strides:
        strides = (Stride(5, 5 + 2 * (count - 1), 2),)
    spec = ArraySpec(
        task=task,
        strides=strides,
        at_once=draws.choice((0, 0, 1, 3)),
        max_fails=draws.choice((None, None, None, 0, 2)),
    )
    array_id = ids.uuid7(1_700_000_100_000 + number, draws.randbytes(10))
    cancel = draws.choice((None, None, None, None, (), (Stride(7, 13, 2),)))
    return ArrayJob(
        id=array_id,
        spec=spec,
        wire=codec.encode_array(spec),
        inputs=codes,
        results=draws.random() < 0.7,
        cancel=cancel,
        got={},
        lacking={},
    )


class ArrayUser(Host):
    """One user's program."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster, name, TICK_S)
        self.jobs: dict[str, ArrayJob] = {}
        self._piece = cluster.habits.piece
        self._link: Link | None = None
        self._links = 0
        self._heard = 0.0
        self._greeted = False
        self._seq = 0

    def plan(self) -> None:
        """Plan what the user does and when."""
        draws, end = self.draws, self.cluster.knobs.safety_s * LATEST
        ahead = list(self.cluster.workload.tasks)[:TASKS_AHEAD]
        for number in range(self.cluster.knobs.arrays):
            job = draw_array(draws, number, ahead, beside_loops=self.cluster.knobs.loops > 0)
            self.jobs[job.id] = job
            ahead += (job.id, *self.children(job)[:TASKS_AHEAD])
            begin = draws.uniform(0.5, end)
            self.cluster.timeline.at(begin, self._want, job)
        if draws.random() < 0.5:
            self.cluster.timeline.at(draws.uniform(1.0, end), self._go_away)

    def _want(self, job: ArrayJob) -> None:
        job.wanted = True

    def _go_away(self) -> None:
        self.kill()
        self.cluster.timeline.after(self.draws.choice((0.5, 5.0)), self.start)

    # --- life -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the program: of what it was told it remembers everything."""
        self._link = None
        self._greeted = False
        self._heard = float("-inf")

    def end(self) -> None:
        """The process is gone."""
        self._link = None

    def take(self, _source: Source, make: Make) -> None:
        """Handle an event."""
        make(at=self.clock())

    def tick(self) -> None:
        """Keep a link to the leader; send again what was not answered."""
        now = self.cluster.timeline.now
        if self._link is None or now - self._heard > SILENT_S:
            self._look_up()
        elif self._greeted:
            for job in self.jobs.values():
                self._go_on(job)

    def _look_up(self) -> None:
        network, now = self.cluster.network, self.cluster.timeline.now
        if self._link is not None:
            network.close(self._link)
            self._link = None
        if not (network.passes(self.name, ZK) and network.passes(ZK, self.name)):
            return
        found = self.cluster.ensemble.read_leader(0.0)
        if found is None:
            return
        leader = znodes.decode(LeaderNode, znodes.LEADER, found.data)
        self._greeted, self._heard = False, now
        self._links += 1
        peer = f"{self.incarnation}.{self._links}".encode()
        self._link = network.connect(self, self, leader.clients, peer)

    def on_opened(self, link: Link) -> None:
        """The link is up."""
        if link is self._link:
            self._send(messages.Hello(user="ann"))

    def on_closed(self, link: Link, *, refused: bool) -> None:  # noqa: ARG002 (other owners care)
        """The link broke, or nobody listens."""
        if link is self._link:
            self._heard = float("-inf")

    def on_message(self, link: Link, message: Any) -> None:
        """A broker said something."""
        if link is self._link:
            self.post(Source.SELF, lambda at: self._on_said(link, message[2]))  # noqa: ARG005 (an event)

    def _send(self, message: Any) -> None:
        if self._link is not None:
            self.cluster.invariants.on_client_sent(message)
            self.cluster.network.send(self._link, message)

    # --- what is said ---------------------------------------------------------------------------------------

    def _go_on(self, job: ArrayJob) -> None:
        if not job.wanted or job.failed:
            return
        if not job.accepted:
            first = job.inputs[: self._piece]
            self._send(
                messages.SubmitArray(
                    id=job.id,
                    spec=msgspec.Raw(job.wire),
                    inputs=first,
                    whole=len(first) == len(job.inputs),
                    results=job.results,
                )
            )
            return
        if not job.whole and job.over is None:
            self._feed(job)
        if job.cancel is not None and not job.cancel_noted:
            self.cluster.cancels.update((job.id, *self.children(job)))
            self._send(messages.Cancel(id=job.id, strides=job.cancel))
        if job.over is None and self.cluster.timeline.now - job.heard_at > FOLLOW_AGAIN_S:
            self._follow(job)
        for task_id in list(job.lacking)[:ATTACHED_MAX]:
            self._send(messages.Attach(id=task_id))
        if job.over is None or job.asked_from >= 0:
            self._seq += 1
            self._send(messages.QueryArray(seq=self._seq, id=job.id, after=max(0, job.asked_from)))

    def _follow(self, job: ArrayJob) -> None:
        job.heard_at = self.cluster.timeline.now
        self._send(messages.AttachArray(id=job.id, results=job.results))

    def _feed(self, job: ArrayJob) -> None:
        lines = job.inputs[job.kept : job.kept + self._piece]
        whole = job.kept + len(lines) == len(job.inputs)
        self._send(messages.ArrayInputs(id=job.id, first=job.kept, lines=lines, whole=whole))

    def _on_said(self, link: Link, message: Any) -> None:  # noqa: C901, PLR0912 (a flat table)
        if link is not self._link:
            return
        self._heard = self.cluster.timeline.now
        match message:
            case messages.NotLeader() | messages.Error(code="hello"):  # it may lead anew, and know nobody
                self._heard = float("-inf")
            case messages.Welcome():
                self._greeted = True
                for job in self.jobs.values():
                    if job.accepted:
                        self._follow(job)
                        job.asked_from = 0
            case messages.Accepted(id=name):
                self._on_accepted(self.jobs[name])
            case messages.InputsKept(id=name, count=count):
                self.jobs[name].kept = max(count, self.jobs[name].kept)
            case messages.CancelNoted(id=name):
                if name in self.jobs:
                    self.jobs[name].cancel_noted = True
            case messages.Finished():
                self._on_finished(message)
            case messages.ArrayMoved(array=line):
                self._on_moved(line)
            case messages.ArrayPage():
                self._on_page(message)
            case messages.Rejected():
                self._on_rejected(message)
            case _:
                pass

    def _on_finished(self, message: messages.Finished) -> None:
        job = self.jobs[ids.array_of(message.id)]
        self.cluster.invariants.arrays.on_told(self, job, message)
        job.got[message.id] = message.result
        job.lacking.pop(message.id, None)
        self._send(messages.Ack(id=message.id))

    def _on_accepted(self, job: ArrayJob) -> None:
        job.accepted, job.kept = True, max(job.kept, min(self._piece, len(job.inputs)))
        job.heard_at = self.cluster.timeline.now

    def _on_moved(self, line: Any) -> None:
        job = self.jobs[line.id]
        self._on_accepted(job)  # whoever acknowledges an array must not submit it again, Accepted or not
        if line.finished:
            self.cluster.invariants.arrays.on_told_over(self, job, line)
            job.over = line.state
            job.asked_from = max(job.asked_from, 0) if self._owed(job) else -1
            if not self._owed(job):
                self._send(messages.Ack(id=line.id))

    def _owed(self, job: ArrayJob) -> bool:
        """Tell whether results may still come."""
        return job.results and bool(job.lacking)

    def _on_page(self, page: messages.ArrayPage) -> None:
        job = self.jobs[page.array.id]
        self.cluster.invariants.arrays.on_page(self, job, page)
        for stretch in page.stretches if job.results else ():
            if stretch.state is TaskState.CANCELLED:
                continue
            for position in range(stretch.first, stretch.first + stretch.count):
                task_id = child_id(job.id, index_at(job.spec.strides, position))
                if task_id not in job.got:
                    job.lacking[task_id] = None
        job.asked_from = page.until if page.until < page.array.total else 0
        if job.over is not None and not job.lacking and job.asked_from == 0:
            job.asked_from = -1

    def _on_rejected(self, message: messages.Rejected) -> None:
        array_id = ids.array_of(message.id)
        if array_id:
            job = self.jobs[array_id]
            job.lacking.pop(message.id, None)
            job.got.setdefault(message.id, Result(state=TaskState.LOST, why="gone"))
            return
        job = self.jobs[message.id]
        self.cluster.invariants.arrays.on_rejected(self, job, message)
        if message.code == "gone" or not job.accepted:
            job.failed = message.code
        elif job.cancel is not None and not job.cancel_noted:
            job.cancel = None
        else:
            job.kept = len(job.inputs)  # no more are taken

    def children(self, job: ArrayJob) -> list[str]:
        """Return the ids of all tasks that an array may have."""
        total = total_of(job.spec.strides) or len(job.inputs)
        return [child_id(job.id, index_at(job.spec.strides, position)) for position in range(total)]

    @property
    def waits_for(self) -> str:
        """Return an array whose end the user was not told; empty: none."""
        for job in self.jobs.values():
            kept = self.cluster.invariants.table.starts.may_wait(job.id)
            if job.wanted and job.over is None and not job.failed and not kept:
                return job.id
        return ""


def digest_of(job: ArrayJob) -> str:
    """Return the digest that the table must have."""
    return digest(job.wire)
