"""What a leader has in its hands during one epoch: the parts, the clock, and the envelope of what it sends.

The desks (``client_desk``, ``worker_desk``, …) act on it; it decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from alb_broker.core.actions import Action, SendToClient, SendToWorker
from alb_broker.core.arrays import Arrays
from alb_broker.core.clients import Clients
from alb_broker.core.decisions import Decisions
from alb_broker.core.declines import DECLINES_S
from alb_broker.core.groups import key_of
from alb_broker.core.holds import MICROSECOND, Holds
from alb_broker.core.ledger import Ledger
from alb_broker.core.members import Members
from alb_broker.core.placement import Admission, Placer
from alb_broker.core.policy_figures import PolicyFigures
from alb_broker.core.queue import Queue
from alb_broker.core.reservations import FOREVER
from alb_broker.core.shares import Shares
from alb_broker.core.store_desk import StoreDesk
from alb_broker.core.stragglers import Stragglers
from alb_broker.core.table import Table
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_broker.policies import Policy
from alb_core import zk, znodes
from alb_core.bounds import NO_LIMITS
from alb_core.choices import DEFAULT_POLICY
from alb_core.config import BrokerConfig
from alb_core.messages import AttemptId, ToClient, ToWorker
from alb_core.notes import Level, Note
from alb_core.resources import fits
from alb_core.tasks import TaskRecord, TaskState
from alb_core.vectors import patience_s, vector_words
from alb_core.znodes import BrokerNode


class Tokens:
    """Numbers for requests, so that late answers to old questions are recognised."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a number that was not used before."""
        self._last += 1
        return self._last


class ClusterClock:
    """Cluster time: ZooKeeper's time of the claim plus this broker's monotonic time since.

    Args:
        claimed_s: The claim's ``mtime``, in seconds since 1970.
        at: Own clock when the claim's answer came.
        floor_s: The time in ``/commit`` before the claim: cluster time never falls.
    """

    def __init__(self, claimed_s: float, at: float, floor_s: float) -> None:
        self.claimed: Final = max(claimed_s, floor_s)
        self._at: Final = at
        self.newest = (at, round(self.claimed, 6))  #: The moment that was asked last, and its time.
        self._stamp = 0.0  #: The newest.

    def time(self, at: float) -> float:
        """Return cluster time at a moment of the own clock."""
        moment, time = self.newest
        if moment != at:  # all events of a turn have the same
            time = round(self.claimed + max(0.0, at - self._at), 6)
            self.newest = (at, time)
        return time

    def stamp(self, at: float) -> float:
        """Return cluster time for what comes at a moment: later than any stamp before.

        So what is submitted at one moment stays in the order in which it came, under whichever leader.
        """
        self._stamp = max(self.time(at), round(self._stamp + MICROSECOND, 6))
        return self._stamp


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that ZooKeeper granted."""

    epoch: int
    table: str
    fence: int
    #: Version of ``/epoch``.
    chain: int
    #: Version of ``/commit``.
    mtime_s: float
    floor_s: float
    #: Cluster time of the last commit before.
    hung: bool = False
    #: The leader before was deposed, for its commits stood still.


class State:
    """The parts of one reign.

    They are read sixty times a placement, so there are no more of them than CPython keeps beside an object.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (it is the place where the parts come together)
        self,
        config: BrokerConfig,
        node: BrokerNode,
        claim: Claim,
        policies: Mapping[str, Policy],
        tokens: Tokens,
        at: float,
    ) -> None:
        self.config: Final = config
        self.node: Final = node
        self.claim: Final = claim
        self.epoch: Final = claim.epoch
        self.tokens: Final = tokens
        self.clock: Final = ClusterClock(claim.mtime_s, at, claim.floor_s)
        self.ledger: Final = Ledger(epoch=claim.epoch, fence=claim.fence, chain=claim.chain)
        self.table: Final = Table(
            pending_max=config.pending_max,
            pending_bytes_max=config.pending_bytes_max,
            done_kept_max=config.done_kept_max,
            archives=bool(config.store),
        )
        self.arrays: Final = Arrays(self)
        self.store: Final = StoreDesk(self, enabled=bool(config.store))
        self.queue: Final = Queue(self.store.holds_back)
        self.shares: Final = Shares()
        self.decisions: Final = Decisions()
        self.stragglers: Final = Stragglers()
        self.holds: Final = Holds()
        self.workers: Final = Workers()
        self.clients: Final = Clients()
        self.placer: Final = Placer(policies, seed=claim.epoch * 0x9E3779B9 ^ int(claim.mtime_s * 1000))
        self.figures: Final = PolicyFigures(DEFAULT_POLICY, self.clock.claimed)
        self.counters: defaultdict[str, int] = defaultdict(int)
        #: What happened in this reign. A `Counter` counts at two and a half times the cost.
        self.members = Members()  #: What is known of all brokers.
        self.recollected = False  #: The records of finished tasks were read after the takeover.
        self.limits = NO_LIMITS  #: Of tasks that name none.
        self.limited_since = float("inf")  #: Cluster time, since when a time limit is among them.
        self.placed_at = 0.0  #: Cluster time of the newest placement.
        self.out: list[Action] = []  #: Actions that wait for no commit.
        self.session_timeout_s = config.session_timeout_s  #: As the server granted it.
        self.at = at  #: Own clock of the event that is handled now.
        self.trace = config.log_level == "debug"  #: Whether every transition is noted.

    def now(self) -> float:
        """Return the cluster time of the event that is handled now."""
        moment, time = self.clock.newest
        return time if moment == self.at else self.clock.time(self.at)  # nearly always it is known already

    def stamp(self) -> float:
        """Return the time by which what comes now is known to have come; see `ClusterClock.stamp`."""
        return self.clock.stamp(self.at)

    def client(self, peer: bytes, message: ToClient) -> SendToClient:
        """Put a message to a client under this epoch."""
        return SendToClient(peer, self.epoch, message)

    def worker(self, peer: bytes, message: ToWorker) -> SendToWorker:
        """Put a message to a worker under this epoch."""
        return SendToWorker(peer, self.epoch, message)

    def tell(self, peer: bytes, message: ToClient) -> None:
        """Say something to a client that writes nothing: it follows the newest commit."""
        self.ledger.say(self.client(peer, message))

    def request(self, request: zk.Request) -> None:
        """Ask ZooKeeper."""
        self.out.append(request)

    def note(self, event: str, level: Level = Level.INFO, **fields: Any) -> None:
        """Have a line logged."""
        self.out.append(Note(event, fields, level))

    def drop(self, trigger: str, **fields: Any) -> None:
        """Note that a message was dropped, and why."""
        self.counters["messages_dropped"] += 1
        self.note("message_dropped", Level.DEBUG, trigger=trigger, **fields)

    def set_aside(self, path: str, why: str) -> None:
        """Keep a node that cannot be read out of the way, and tell the operator."""
        self.table.set_aside[path] = why
        self.note("node_set_aside", Level.ERROR, path=self.whole(path), why=why)

    def whole(self, path: str) -> str:
        """Return the path of a node as people need it in zkCli: with the chroot."""
        return self.config.zk_chroot() + path

    def why_aside(self, name: str) -> str:
        """Return why nothing can be said of a task or an array whose node was set aside; else nothing."""
        set_aside = self.table.set_aside
        if not set_aside:
            return ""
        for path in (znodes.task_path(name), znodes.done_path(name), znodes.array_path(name)):
            why = set_aside.get(path)
            if why is not None:
                return (
                    f"its node {self.whole(path)} cannot be read: {why}; an operator has to repair or "
                    "delete it with zkCli.sh, and to hand over then (docs/operations.md, A poison znode)"
                )
        return ""

    def read_task(self, node: zk.NodeRead | None) -> TaskRecord | None:
        """Return the task that a node holds; None where there is no node, or it was set aside."""
        if node is None:
            return None
        try:
            return znodes.decode_task(node.path, node.data)
        except znodes.UnreadableNode as error:
            self.set_aside(error.path, error.why)
            return None

    def is_endless(self, task: Task) -> bool:
        """Tell whether nothing limits the time of a task: it may run for ever."""
        return task.spec.time_limit_s is None and self.limits.time_limit_s is None

    def runs_endless(self, task: Task, placed: float) -> bool:
        """Tell whether nothing limits the time of an attempt: it keeps the default that it started with.

        Args:
            task: Whose attempt it is.
            placed: Cluster time of its placement.
        """
        if task.spec.time_limit_s is not None:
            return False
        return self.limits.time_limit_s is None or placed <= self.limited_since

    def admits(self, task: Task, worker: Worker) -> bool:
        """Tell whether a task may go to a worker: what may run for ever, where it could give way later."""
        return not self.is_endless(task) or worker.admits(task.user, task.request, self.config.max_demoted)

    def runs_since(self, worker: Worker, attempt: AttemptId, placed: float) -> float:
        """Return since when a command has run, in cluster time, as far as is known; infinite: not yet.

        Args:
            worker: Where it is.
            attempt: Its attempt.
            placed: Cluster time of the placement.
        """
        if attempt in worker.launching:
            return FOREVER
        begun = worker.begun.get(attempt) if worker.begun else None
        return placed if begun is None else self.clock.time(begun)

    @property
    def gate(self) -> Admission | None:
        """What tells which workers admit a task; None: all admit all, for nothing is demoted anywhere."""
        return self.admits if self.workers.crowded else None

    def would_admit(self, task: Task, worker: Worker) -> bool:
        """Tell whether a worker that has no room for a task yet will admit it once it has."""
        per_cpu = self.config.max_demoted
        return not self.is_endless(task) or worker.admits(task.user, task.request, per_cpu, has_room=False)

    def why_barred(self, task: Task) -> str:
        """Return why a task is let in nowhere although it waits for room only; empty: it is let in."""
        if not self.workers.crowded or not self.is_endless(task):  # nearly always: asked of each submission
            return ""
        fitting = False
        for worker in self.workers:  # mostly the first that fits admits it
            if fits(task.request, worker.capacity):
                if self.admits(task, worker):
                    return ""
                fitting = True
        if not fitting:
            return ""
        return (
            "it has no time limit, and where it fits as many such commands run as can be made to give way; "
            "one of them must end, or it must have a limit: alb submit --time-limit, or alb limits set"
        )

    def why_declined(self, task: Task) -> str:
        """Return that a task waits though there is room: it saves, or the policy wants it to. Empty: no."""
        vector = task.request.optimize or self.placer.vector
        most_s = 0.0 if vector is None else patience_s(vector)
        group = self.queue.group(key_of(task)) if most_s or self.placer.declines else None
        if group is None or not group.declined:
            return ""
        if vector is not None and most_s:
            return (
                f"it saves ({vector_words(vector)}): up to {most_s:g} s it waits for room where "
                "something runs already, rather than wake a worker"
            )
        what = "it" if group.head() is task else "the first of its likes"
        return (
            f"there is room, and policy {self.placer.name} wants {what} to wait; it is asked again in each "
            f"pass, and after {DECLINES_S:.0f} s {DEFAULT_POLICY} places it"
        )

    def line_up(self, task: Task, *, first: bool = False) -> None:
        """Let a task wait where it belongs: among the held ones, for its time, or in the queue.

        Args:
            task: HELD or QUEUED.
            first: In the queue, before its likes.
        """
        if not self._waits_elsewhere(task):
            self.queue.add(task, first=first)

    def line_up_all(self, tasks: Iterable[Task]) -> None:
        """Let many tasks wait where they belong, the oldest first."""
        self.queue.fill(task for task in tasks if not self._waits_elsewhere(task))

    def _waits_elsewhere(self, task: Task) -> bool:
        """Let a task wait among the held ones, or for its time, if it belongs there."""
        if task.state is TaskState.HELD:
            self.holds.watch(task)
            return True
        task.postponed = task.not_before > 0 and task.not_before > self.now()
        if task.postponed:
            self.holds.alarms.set(task.id, task.not_before)
        return task.postponed

    def take_out(self) -> list[Action]:
        """Return, and forget, the actions that wait for no commit."""
        out, self.out = self.out, []
        return out
