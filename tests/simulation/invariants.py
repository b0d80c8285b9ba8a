"""The invariants, and the one place that every event passes on its way to their checkers.

The checkers see what no broker can: the committed table, every message at the moment it leaves, every process
that starts or ends. They share no code with the cores that they judge.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tests.simulation.array_checks import ArrayChecks
from tests.simulation.batch_checks import BatchChecks
from tests.simulation.client_checks import ClientChecks
from tests.simulation.execution_checks import ExecutionChecks
from tests.simulation.policy_checks import PolicyChecks
from tests.simulation.queue_checks import QueueChecks
from tests.simulation.speech_checks import SpeechChecks
from tests.simulation.table_checks import TableChecks
from tests.simulation.turn_checks import TurnChecks
from tests.simulation.violations import demand

from alb_broker.core.actions import SendToClient, SendToWorker
from alb_broker.core.events import ClientSaid
from alb_core import limits, messages, zk, znodes
from alb_worker.core import events as worker_events
from alb_worker.core.actions import SendToLeader

if TYPE_CHECKING:
    from tests.simulation.brokers import BrokerHost
    from tests.simulation.cluster import Cluster
    from tests.simulation.workers import WorkerHost

    from alb_broker.core.reservations import Reservations
    from alb_broker.core.state import State
    from alb_broker.core.worker import Worker

EPSILON: Final = 1e-6
GAP_S: Final = 4.0
#: Silences that are shorter have no consequences.
COMMIT_S: Final = 30.0
#: From a leader's decision to its commit, at most.
CLOCKS_AGREE: Final = 0.99
#: A broker's clock may be so slow.
PER_TASK_MAX: Final = 40
#: Entries that a leader may keep for each task that users made, in all its books together.

COUNTERS: Final = {
    "attempts_adopted": "adoptions",
    "commits_unknown": "unknown commits",
    "tasks_placed_ahead": "placed ahead",
    "attempts_given_back": "given back",
    "attempts_revoked": "asked back",
    "attempts_given_up": "given up unstarted",
    "attempts_evicted": "evicted",
    "attempts_demoted": "demoted",
    "attempts_preempted": "preempted",
    "tasks_archived": "archived",
    "increments_stored": "increments",
    "output_bytes_stored": "bytes stored",
    "tasks_recalled": "recalled",
    "tasks_retried": "retried",
    "workers_quarantined": "quarantined",
    "copies_made": "copies",
    "attempts_outrun": "outrun",
}
#: Of a reign: what a leader calls them, and what the report does.

OBEYED: Final = (worker_events.LeaderSaid, zk.NodesRead)
#: From what a worker learns of an epoch.
ORDERS: Final = (messages.Run, messages.Kill, messages.Revoke, messages.AttemptAck, messages.Registered)


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a broker heard nothing of a worker."""

    length_s: float
    until: float
    #: True time.
    session: bool
    #: Whether the worker's node was there at its end, and not only again: a new session has no node yet while
    #: the worker's loop is frozen, and the leader may have found none.


class Invariants:
    """All checkers.

    Args:
        cluster: What they watch.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.table = TableChecks(cluster)
        self.execution = ExecutionChecks(cluster)
        self.speech = SpeechChecks(cluster)
        self.clients = ClientChecks(cluster)
        self.arrays = ArrayChecks(cluster)
        self.queue = QueueChecks()
        self.turns = TurnChecks()
        self.batches = BatchChecks()
        self.policies = PolicyChecks()
        self.steps = 0  #: Times that something began or ended that is waited for.
        self.endless_steps = 0  #: Times that an endless command did.
        self._heard: dict[tuple[str, str], float] = {}
        #: When a life of a broker last heard an incarnation of a worker, in true time.
        self._gaps: dict[tuple[str, str], list[Silence]] = defaultdict(list)  #: The long ones that are over.
        self._reigns: dict[str, float] = {}  #: When a life of a broker began to lead last.
        self._nodes: set[str] = set()  #: Incarnations of workers that ever had a node.
        self._returned: dict[str, float] = {}  #: When one had a node again, in true time.
        self._leader = ""  #: The life that claimed last.
        self._obeyed: dict[str, int] = {}  #: The highest epoch that an incarnation of a worker obeyed.
        self._counters: dict[tuple[str, int], Mapping[str, int]] = {}  #: Of each reign, its own.
        self._booked: dict[tuple[str, int], Reservations] = {}  #: Likewise.
        self._checked: dict[tuple[str, int], dict[str, tuple[float, int, int]]] = defaultdict(dict)
        #: Likewise, what the books said of each worker when they were checked: few turns change them.

    def step(self, task_id: str) -> None:
        """Something of a task began or ended; endless commands are mostly nobody's progress."""
        if task_id in self._cluster.loops.tasks:
            self.endless_steps += 1
        else:
            self.steps += 1

    # --- ZooKeeper ------------------------------------------------------------------------------------------

    def on_applied(self, client: str, operations: tuple[zk.Operation, ...]) -> None:
        """A transaction was applied."""
        self.table.on_applied(client, operations)
        self.policies.on_applied(client, operations)
        if any(
            operation.path == znodes.EPOCH and not isinstance(operation, zk.Check) for operation in operations
        ):
            if any(isinstance(each, zk.Delete) and each.path == znodes.LEADER for each in operations):
                self._check_deposition(client)
            self._reigns[client] = self._cluster.timeline.now
            self._leader = client
        for operation in operations:
            if isinstance(operation, zk.Create) and operation.path.startswith(znodes.WORKERS + "/"):
                if client in self._nodes:
                    self._returned[client] = self._cluster.timeline.now
                self._nodes.add(client)

    def _check_deposition(self, by: str) -> None:
        """A claim went over somebody's leadership: only what is dead is deposed so young."""
        leader = self._leader
        host = self._cluster.host(leader.partition("-")[0]) if leader else None
        if host is None or leader == by or host.incarnation != leader or not host.alive:
            return
        age_s = self._cluster.timeline.now - self._reigns[leader]
        young = age_s < CLOCKS_AGREE * limits.DEPOSE_LEADER_AGE_S
        demand(not young, "no_young_leader_that_lives_is_deposed", f"{leader} after {age_s:.1f} s, by {by}")

    # --- brokers --------------------------------------------------------------------------------------------

    def before_broker_event(self, broker: BrokerHost, event: Any) -> None:
        """A broker is about to handle an event."""
        self.speech.on_broker_event(broker, event)
        self.policies.on_broker_event(broker, event)
        reign = broker.core.reign if broker.core is not None else None
        if isinstance(event, ClientSaid) and isinstance(event.message, messages.UndrainWorkers) and reign:
            state = reign.state
            self.table.on_undrain(state.epoch, event.message.workers, state.clock.time(event.at))

    def on_broker_said(self, broker: BrokerHost, action: SendToClient) -> None:
        """A broker sends a message to a client."""
        self.speech.on_said(broker, action)

    def on_broker_ordered(self, broker: BrokerHost, action: SendToWorker) -> None:
        """A broker sends a message to a worker."""
        self.speech.on_ordered(broker, action)

    def on_worker_heard(self, broker: str, peer: bytes) -> None:
        """A worker's message reached a broker's machine."""
        life, worker = self._cluster.host(broker).incarnation, peer.decode()
        gap = self.silence_of(life, worker)
        if gap.length_s >= GAP_S:
            self._gaps[life, worker].append(gap)
        self._heard[life, worker] = self._cluster.timeline.now

    def silence_of(self, broker: str, worker: str) -> Silence:
        """Return since when a life of a broker has not heard a worker's incarnation, as long as it leads."""
        now = self._cluster.timeline.now
        since = max(self._heard.get((broker, worker), 0.0), self._reigns.get(broker, 0.0))
        path = znodes.worker_path(self._cluster.life_of(worker).worker)
        found = self._cluster.ensemble.read(path)
        held = found is not None and znodes.decode(znodes.WorkerNode, path, found.data).incarnation == worker
        again = now - self._returned.get(worker, -COMMIT_S) < COMMIT_S
        return Silence(length_s=now - since, until=now, session=held and not again)

    def silences(self, broker: str, worker: str) -> list[Silence]:
        """Return the present silence, and the last long ones, whose consequences may still be under way."""
        since = self._cluster.timeline.now - COMMIT_S
        recent = [gap for gap in self._gaps.get((broker, worker), ()) if gap.until > since]
        return [self.silence_of(broker, worker), *recent]

    def after_turn(self, broker: BrokerHost) -> None:
        """A broker's turn is over: look into its books."""
        core = broker.core
        if core is None or core.reign is None:
            return
        self.batches.after_turn(broker.incarnation, core.reign)
        state = core.reign.state
        self._counters[broker.incarnation, state.epoch] = state.counters
        self._booked[broker.incarnation, state.epoch] = state.placer.reservations
        self.queue.after_turn(broker.name, state)
        self.turns.after_turn(broker.name, state)
        checked = self._checked[broker.incarnation, state.epoch]
        entries = state.ledger.pending
        for client in state.clients:
            entries += len(client.unacknowledged)
        for worker in state.workers:
            entries += len(worker.unconfirmed) + len(worker.killing) + len(worker.revoked)
            books = (worker.room.cpus, worker.room.memory_bytes, len(worker.reserved))
            if checked.get(worker.incarnation) != books:
                checked[worker.incarnation] = books
                _check_room(broker.name, worker)
                self._check_ends(state, worker)
        demand(
            entries <= PER_TASK_MAX * self._cluster.tasks,
            "everything_is_bounded",
            "{} keeps {} entries for {} tasks",
            broker.name,
            entries,
            self._cluster.tasks,
        )

    def _check_ends(self, state: State, worker: Worker) -> None:
        """What runs without a limit is counted on to end by nobody."""
        host = self._cluster.life_of(worker.incarnation)
        if host.incarnation != worker.incarnation:
            return
        for attempt_id in worker.reserved:
            process = host.runner.processes.get(attempt_id)
            if process is not None and process.limit_s is None and attempt_id not in worker.burden:
                reserved = state.shares._reserved.get(attempt_id)
                endless = reserved is not None and reserved.endless
                demand(endless, "no_end_is_expected_that_nothing_brings", "{}", attempt_id)

    @property
    def counted(self) -> Counter[str]:
        """What all reigns counted of what the report tells."""
        counts: Counter[str] = Counter()
        for counters in self._counters.values():
            counts.update({told: counters[counter] for counter, told in COUNTERS.items()})
        for booked in self._booked.values():
            counts.update({"reservations": booked.made, "backfilled": booked.backfilled})
        return counts

    # --- workers and clients --------------------------------------------------------------------------------

    def after_worker_event(self, worker: WorkerHost, event: Any, actions: list[Any]) -> None:
        """A worker handled an event."""
        core = worker.core
        for action in actions:
            if isinstance(action, SendToLeader) and isinstance(action.message, messages.AttemptEnded):
                self.execution.on_reported(action.message.attempt, action.message.outcome)
        if core is None or not isinstance(event, OBEYED):
            return
        life, fence = worker.incarnation, core.link.fence.epoch
        highest = self._obeyed.get(life, 0)
        demand(fence >= highest, "no_older_epoch_is_obeyed", f"{life} went from epoch {highest} to {fence}")
        said = event.messages if isinstance(event, worker_events.LeaderSaid) else ()
        if isinstance(event, worker_events.LeaderSaid) and any(isinstance(each, ORDERS) for each in said):
            acted = [type(action).__name__ for action in actions if type(action).__name__ != "Note"]
            demand(
                event.epoch >= highest or not acted,
                "no_older_epoch_is_obeyed",
                f"{life} obeyed {event} of epoch {event.epoch} after epoch {highest}: {acted}",
            )
        self._obeyed[life] = fence
        for message in said:
            if isinstance(message, messages.Demote):
                self.execution.on_demoted(message.attempts)

    def on_client_sent(self, message: Any) -> None:
        """A client sends a message."""
        if isinstance(message, messages.Ack):
            self.clients.on_acknowledged(message.id)

    # --- the end --------------------------------------------------------------------------------------------

    def missing(self) -> str:
        """Return what is still to come before everybody who lives has what was promised, or nothing."""
        for client in self._cluster.clients:
            wanted = [job.task.id for job in client.jobs.values() if job.state.value == "wanted"]
            waiting = [task_id for task_id in wanted if not self._may_wait(task_id)]
            if client.alive and waiting:
                return f"{client.name} waits for {len(waiting)} tasks, among them {waiting[0]}"
        for record in self.table.live.values():
            if self._may_wait(record.id):
                continue
            return f"{record.id} is {record.state.value} with {record.attempts}"
        return self.arrays.missing()

    def _may_wait(self, task_id: str) -> bool:
        return task_id in self._cluster.loops.tasks or self.table.starts.may_wait(task_id)

    def check_rest(self) -> None:
        """When all is done and quiet: everything was given back."""
        self.arrays.check_rest()
        for broker in self._cluster.brokers:
            core = broker.core
            if (
                core is None
                or core.reign is None
                or core.reign.state.epoch != self.table.epoch
                or not broker.working
            ):
                continue
            for worker in core.reign.state.workers:
                demand(
                    not worker.link
                    or (not worker.attempts() and abs(worker.room.cpus - worker.capacity.cpus) < EPSILON),
                    "all_capacity_is_free_at_rest",
                    f"{worker.incarnation}: {worker.room.cpus} of {worker.capacity.cpus} cpus free, "
                    f"{worker.attempts()}",
                )
                left = self.execution.running[worker.incarnation] if worker.link else {}
                demand(not left, "nothing_runs_at_rest", "{}: {}", worker.incarnation, left)
        if self._cluster.knobs.store:
            store = self._cluster.store
            missing = self.table.results.keys() - store.tasks - store.cleared
            demand(not missing, "all_results_are_archived_at_rest", f"{sorted(missing)} are not archived")
        overdue = self._cluster.timeline.now - 20.0
        for client in self._cluster.clients:
            late = [token for token, asked in client.open_requests.items() if asked < overdue]
            demand(
                not client.alive or not late,
                "every_question_is_answered",
                f"{client.name} has no answer to {len(late)} requests",
            )


def _check_room(broker: str, worker: Worker) -> None:
    """What is free on a worker and what is reserved there are all that it has."""
    room, capacity = worker.room, worker.capacity
    cpus, memory = room.cpus, room.memory_bytes
    for request in worker.reserved.values():
        cpus += request.cpus
        memory += request.memory_bytes
    exact = abs(cpus - capacity.cpus) < EPSILON and memory == capacity.memory_bytes
    registered = capacity.cpus > 0
    within = not registered or (room.cpus >= -EPSILON and room.memory_bytes >= 0)
    if capacity.counts:
        exact = exact and _counts_add_up(worker)
        within = within and (not registered or all(free >= 0 for free in room.counts.values()))
    demand(
        exact and within,
        "reserved_capacity_returns_exactly_once",
        "{}: {} of {} cpus free on {}, with what is reserved there are {}",
        broker,
        room.cpus,
        capacity.cpus,
        worker.incarnation,
        cpus,
    )


def _counts_add_up(worker: Worker) -> bool:
    """Tell whether what is free and what is reserved of every named count are all there is of it."""
    counts = Counter(worker.room.counts)
    for request in worker.reserved.values():
        counts.update({count.name: count.amount for count in request.counts})
    return all(counts[each.name] == each.amount for each in worker.capacity.counts)
