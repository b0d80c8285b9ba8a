"""What workers tell the leader, and who of them is alive: registrations, reports, loss and return.

The rules of loss are ``workers.py``'s numbers; what becomes of the attempts is the book's. Here is decided
which worker a message speaks for, and which reports still count.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from itertools import islice
from typing import Any, Final

from alb_broker.core.book import Book, deliverable
from alb_broker.core.inflow import Inflow
from alb_broker.core.resumption import Resumption
from alb_broker.core.revocations import Revocations
from alb_broker.core.shares import NOTHING
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import BEGUN, Worker
from alb_core import ids, limits, zk, znodes
from alb_core.messages import (
    AttemptAck,
    AttemptDemoted,
    AttemptEnded,
    AttemptExited,
    AttemptId,
    AttemptStarted,
    Beat,
    Demote,
    Error,
    Goodbye,
    Increments,
    Kill,
    Leaving,
    Register,
    Registered,
    WorkerMessage,
)
from alb_core.notes import Level
from alb_core.resources import Load, check_capacity
from alb_core.tasks import Attempt, AttemptState, TaskState, bounded
from alb_core.znodes import WorkerNode

RESEND_MAX: Final = 200
#: Orders sent again to one worker in one tick.
LIST_EVERY_S: Final = 0.2
#: ``/workers`` is listed at most so often.
LIST_ANYWAY_S: Final = 5.0
#: … and at least so often, should a watch have been lost.


class WorkerDesk:
    """Handles the messages and the nodes of workers.

    Args:
        state: The reign's parts.
        book: Carries out what becomes of attempts.
        resumption: What attempts are given of those before them.
        inflow: Where their increments go.
    """

    def __init__(self, state: State, book: Book, resumption: Resumption, inflow: Inflow) -> None:
        self._state: Final = state
        self._book: Final = book
        self._resumption: Final = resumption
        self._inflow: Final = inflow
        self.revocations: Final = Revocations(state, book)
        self._list_token = 0  #: Of the listing under way; 0: none.
        self._listed_at = float("-inf")  #: Own clock of the newest listing.
        self._paced_at = state.at  #: Own clock, when the workers' paces were taken.
        self._list_wanted = True
        self._reads: dict[int, tuple[str, ...]] = {}  #: Node reads under way: token to worker names.
        self._unread: set[str] = set()  #: Workers whose node must be read.
        self._nodes: dict[str, WorkerNode] = {}  #: What was read last, of the nodes that exist.
        self._watched: set[str] = set()  #: Workers whose node has an unspent watch.
        self.nodes_known = False  #: All nodes were read since the session was last interrupted.
        self._strangers: dict[tuple[str, str], tuple[bytes, Register]] = {}
        #: Registrations that wait until their node has been read.
        self._handlers: Final[Mapping[type[WorkerMessage], Callable[[Worker, Any], None]]] = {
            AttemptStarted: self._on_started,
            AttemptEnded: self._on_ended,
            AttemptExited: self._on_exited,
            AttemptDemoted: self._on_demoted,
            Beat: self._on_beat,
            Increments: inflow.on_increments,
            Leaving: self._on_leaving,
            Goodbye: self._on_goodbye,
        }  #: What a worker that registered may say.

    # --- messages -------------------------------------------------------------------------------------------

    def receive(self, peer: bytes, message: WorkerMessage) -> None:
        """Handle one message of one worker."""
        handler = self._handlers.get(type(message))
        if handler is None:
            assert isinstance(message, Register)  # noqa: S101 (all others have one)
            self._on_register(peer, message)
            return
        state = self._state
        worker = state.workers.by_peer.get(peer)
        if worker is None:
            refusal = Error(code="register", why="register first on each new link")
            state.ledger.say(state.worker(peer, refusal))
            return
        worker.heard = state.at
        if not worker.placeable and not worker.link:  # the first is asked faster, and nearly always so
            worker.link = True
            state.workers.grew(worker)
        handler(worker, message)

    def refuse_garbled(self, peer: bytes, why: str) -> None:
        """Answer a frame that could not be understood."""
        self._state.counters["frames_garbled"] += 1
        self._state.ledger.say(self._state.worker(peer, Error(code="protocol", why=why[:500])))

    def _on_started(self, worker: Worker, message: AttemptStarted) -> None:
        worker.unconfirmed.pop(message.attempt, None)
        if worker.launching and message.began and not message.launching:
            worker.begin(message.attempt, self._state.at)
        if message.began and (worker.revoked or worker.ahead):
            self.revocations.on_began(worker, message.attempt)

    def _on_ended(self, worker: Worker, message: AttemptEnded) -> None:
        attempt_id = message.attempt
        task = self._state.table.live.get(attempt_id.task)
        attempt = deliverable(task, attempt_id.n, worker.incarnation) if task is not None else None
        if task is None or attempt is None:
            self._refuse(worker, attempt_id)
        else:
            self._book.end(task, attempt, attempt_id, bounded(message.outcome), worker)

    def _on_exited(self, worker: Worker, message: AttemptExited) -> None:
        attempt_id = message.attempt
        task = self._state.table.live.get(attempt_id.task)
        if task is not None and deliverable(task, attempt_id.n, worker.incarnation) is not None:
            self._book.exit(worker, attempt_id)
        else:
            self._refuse(worker, attempt_id)

    def _on_demoted(self, worker: Worker, message: AttemptDemoted) -> None:
        worker.demoting.pop(message.attempt, None)

    def _on_beat(self, worker: Worker, beat: Beat) -> None:
        self._state.workers.loaded(worker, self._measured(worker, beat.load))
        worker.note_uses(beat.uses)
        self._state.stragglers.note_progress(beat.progress, self._state.now())

    def _measured(self, worker: Worker, load: Load) -> Load:
        """Return what a worker says of its load; what was known before, where that can be nobody's."""
        if load.countable:
            return load
        self._state.drop("garbled_load", worker=worker.name)
        known: Load = worker.load
        return known

    def _on_leaving(self, worker: Worker, _message: Leaving) -> None:
        worker.leaving = True
        self._state.note("worker_leaving", worker=worker.name)

    def _on_goodbye(self, worker: Worker, _message: Goodbye) -> None:
        worker.link = False
        worker.silent_since = self._state.at

    def _refuse(self, worker: Worker, attempt_id: AttemptId) -> None:
        """What an attempt reports does not count any more; whatever it had is free."""
        self._state.drop("stale_attempt", task=attempt_id.task, attempt=attempt_id.n, worker=worker.name)
        self._book.release(worker, attempt_id)  # its processes are gone
        self._state.ledger.say(self._state.worker(worker.peer, AttemptAck(attempt=attempt_id)))

    # --- registration ---------------------------------------------------------------------------------------

    def _on_register(self, peer: bytes, message: Register) -> None:
        state = self._state
        refusal = _refusal(message)
        if refusal is not None:
            state.ledger.say(state.worker(peer, refusal))
            return
        node = self._nodes.get(message.worker)
        if node is not None and node.incarnation == message.incarnation:
            self._admit(peer, message)
            return
        known = state.workers.find(message.worker, message.incarnation)
        if known is not None and node is None:
            self._admit(peer, message)  # link only: its attempts stay its own, nothing is placed
            return
        self._strangers[message.worker, message.incarnation] = (peer, message)
        self._read((message.worker,))

    def _admit(self, peer: bytes, message: Register) -> None:
        """Take a worker in, with what it holds."""
        state = self._state
        worker = self._incarnation(message.worker, message.incarnation)
        fresh = not worker.link or worker.peer != peer
        state.workers.linked(worker, peer, state.at)
        state.shares.resize(worker.capacity, message.capacity)
        worker.offer(message.capacity)
        worker.load = self._measured(worker, message.load)
        worker.leaving = False
        node = self._nodes.get(worker.name)
        worker.session = node is not None and node.incarnation == worker.incarnation
        if not worker.session:
            worker.silent_since = state.at
        held = dict.fromkeys(message.held)  # no set: what is said of them follows one order
        for attempt_id in held:
            self._meet(worker, attempt_id)
        worker.launching = {attempt_id for attempt_id in message.launching if worker.holds(attempt_id)}
        self._claim_unclaimed(worker, held)
        state.workers.grew(worker)
        registered = Registered(
            broker=state.node.broker,
            output=state.node.worker_output,
            stores=state.store.enabled,
            depots=state.members.depots,
        )
        state.ledger.say(state.worker(peer, registered))
        if fresh:
            state.counters["workers_registered"] += 1
            state.note(
                "worker_registered",
                worker=worker.name,
                incarnation=worker.incarnation,
                held=len(held),
                session=worker.session,
            )

    def _incarnation(self, name: str, incarnation: str) -> Worker:
        """Return the worker of this incarnation; one that it replaces is lost at once."""
        state = self._state
        worker = state.workers.find(name, incarnation)
        if worker is not None:
            return worker
        earlier = state.workers.by_name.get(name)
        if earlier is not None:
            self._lose(earlier, "a new incarnation took its name")
        worker = Worker(name, incarnation, state.at)
        state.workers.add(worker)
        return worker

    def _meet(self, worker: Worker, attempt_id: AttemptId) -> None:
        """A worker holds an attempt: it keeps it, gets it back, or must end it."""
        task = self._state.table.live.get(attempt_id.task)
        attempt = deliverable(task, attempt_id.n, worker.incarnation) if task is not None else None
        if task is not None and attempt is not None:
            self._keep(worker, task, attempt, attempt_id)
            return
        if not worker.holds(attempt_id):
            worker.bar(attempt_id)
        worker.order_end(attempt_id)

    def _keep(self, worker: Worker, task: Task, attempt: Attempt, attempt_id: AttemptId) -> None:
        worker.unconfirmed.pop(attempt_id, None)
        if attempt.state is AttemptState.LOST:
            if task.state is TaskState.QUEUED:
                worker.reclaim(attempt_id)
                self._book.readopt(task, attempt.n, worker, self._state.at)
        else:
            self._book.reserve(task, worker, attempt_id)
            self._state.counters["attempts_adopted"] += 1
        if task.cancel:
            worker.order_end(attempt_id)

    def _claim_unclaimed(self, worker: Worker, held: Container[AttemptId]) -> None:
        """What the table gives to this incarnation and it does not hold is sent to it again."""
        for attempt_id in worker.attempts():
            if attempt_id in held:
                continue
            task = self._state.table.live.get(attempt_id.task)
            wanted = task is not None and deliverable(task, attempt_id.n, worker.incarnation) is not None
            if wanted and task is not None and not task.cancel:
                worker.unconfirmed[attempt_id] = float("-inf")
            else:
                worker.order_end(attempt_id)

    # --- orders sent again ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Send unanswered orders again, judge who is lost, keep the list of workers fresh."""
        state = self._state
        if state.at > self._paced_at:
            state.workers.take_paces(state.at - self._paced_at)
            self._paced_at = state.at
        for worker in state.workers.mark_silent(state.at):
            state.note("worker_silent", Level.WARNING, worker=worker.name, session=worker.session)
        for worker in state.workers.overdue(state.at) if self.nodes_known else ():
            why = "its session lives but its link is gone" if worker.session else "neither session nor link"
            self._lose(worker, why)
        for worker in [each for each in state.workers if each.unconfirmed or each.killing or each.demoting]:
            if worker.link:
                self.repeat_orders(worker)
        self.revocations.tick()
        self._look()

    def repeat_orders(self, worker: Worker) -> None:
        """Send Run and Kill again where the worker did not answer in time."""
        state = self._state
        due = state.at - limits.RESEND_S
        for attempt_id in [a for a, sent in worker.unconfirmed.items() if sent <= due][:RESEND_MAX]:
            task = state.table.live.get(attempt_id.task)
            if task is None or deliverable(task, attempt_id.n, worker.incarnation) is None:
                worker.unconfirmed.pop(attempt_id)
                continue
            worker.unconfirmed[attempt_id] = state.at
            run = self._book.order_again(task, attempt_id)
            if run is None:
                self._resumption.want(attempt_id)
            else:
                state.ledger.say(state.worker(worker.peer, run))
        for attempt_id in [a for a, sent in worker.killing.items() if sent <= due][:RESEND_MAX]:
            worker.killing[attempt_id] = state.at
            state.ledger.say(state.worker(worker.peer, self._kill_message(worker, attempt_id)))

        late = tuple(islice((a for a, sent in worker.demoting.items() if sent <= due), RESEND_MAX))
        if late:
            worker.demoting.update(dict.fromkeys(late, state.at))
            state.ledger.say(state.worker(worker.peer, Demote(attempts=late)))

    def send_resumed(self) -> None:
        """Send the orders to run that waited for what earlier attempts reported."""
        for attempt_id in self._resumption.take_read():
            task = self._state.table.live.get(attempt_id.task)
            attempt = task.attempt(attempt_id.n) if task is not None else None
            if task is None or attempt is None:
                continue
            worker = self._state.workers.find(attempt.worker, attempt.incarnation)
            if worker is not None and worker.link and attempt_id in worker.unconfirmed:
                run = self._book.order_again(task, attempt_id)
                if run is not None:
                    worker.unconfirmed[attempt_id] = self._state.at
                    self._state.ledger.say(self._state.worker(worker.peer, run))

    def _kill_message(self, worker: Worker, attempt_id: AttemptId) -> Kill:
        task = self._state.table.live.get(attempt_id.task)
        if task is None or deliverable(task, attempt_id.n, worker.incarnation) is None:
            return Kill(attempt=attempt_id, why="superseded")
        if task.cancel:
            return Kill(attempt=attempt_id, why="cancelled")
        return Kill(attempt=attempt_id, why="preempted" if attempt_id in worker.preempted else "evicted")

    # --- loss -----------------------------------------------------------------------------------------------

    def _lose(self, worker: Worker, why: str) -> None:
        """Give a worker up; what it ran is queued again, or ends."""
        state = self._state
        given, waited = worker.attempts(), set(worker.ahead)
        state.workers.remove(worker.name)
        state.shares.resize(worker.capacity, NOTHING)
        state.counters["workers_lost"] += 1
        state.note(
            "worker_lost",
            Level.WARNING,
            worker=worker.name,
            incarnation=worker.incarnation,
            why=why,
            attempts=len(given),
        )
        for attempt_id in given:
            task = state.table.live.get(attempt_id.task)
            if task is None:
                state.shares.give_back(attempt_id)
                continue
            # Of a worker that never registered here nobody knows what it ran.
            begun = attempt_id not in waited or worker.revoked.get(attempt_id) == BEGUN
            ahead = not begun and worker.capacity.cpus > 0
            self._book.release(worker, attempt_id)
            attempt = task.attempt(attempt_id.n)
            if attempt is not None and attempt.state is AttemptState.LIVE:
                self._book.lose(task, attempt.n, worker, state.at, ahead=ahead)

    def adopt_table(self) -> None:
        """After a takeover: every live attempt belongs to its worker's incarnation until that is lost.

        Of two incarnations of one name the one that was given attempts later is the newer.
        """
        state = self._state
        running = [task for task in state.table.live.values() if task.state is TaskState.RUNNING]
        found = [(attempt, task) for task in running for attempt in task.live()]
        for attempt, task in sorted(found, key=lambda pair: pair[0].placed):
            worker = self._incarnation(attempt.worker, attempt.incarnation)
            attempt_id = AttemptId(task.id, attempt.n)
            self._book.reserve(task, worker, attempt_id)
            worker.unconfirmed[attempt_id] = float("-inf")
            state.stragglers.watch(task)

    # --- nodes ----------------------------------------------------------------------------------------------

    def on_reconnected(self) -> None:
        """The session is usable again: its watches are gone."""
        self._list_token = 0
        self.nodes_known = False
        self._reads.clear()
        self._watched.clear()
        self._unread |= {*self._nodes, *(name for name, _ in self._strangers)}
        self._list_wanted = True
        self._listed_at = float("-inf")

    def on_children_changed(self, path: str) -> None:
        """The list of workers changed."""
        if path == znodes.WORKERS:
            self._list_wanted = True

    def on_node_changed(self, path: str) -> None:
        """A worker's node changed or went."""
        parent, _, name = path.rpartition("/")
        if parent == znodes.WORKERS:
            self._watched.discard(name)
            self._unread.add(name)

    def _look(self) -> None:
        state = self._state
        age = state.at - self._listed_at
        if not self._list_token and ((self._list_wanted and age >= LIST_EVERY_S) or age >= LIST_ANYWAY_S):
            self._list_token = state.tokens.next()
            self._listed_at = state.at
            self._list_wanted = False
            state.request(zk.ListChildren(token=self._list_token, path=znodes.WORKERS, watch=True))
        if self._unread:
            names = tuple(sorted(self._unread))
            self._unread.clear()
            self._read(names)

    def _read(self, names: tuple[str, ...]) -> None:
        token = self._state.tokens.next()
        self._reads[token] = names
        paths = tuple(znodes.worker_path(name) for name in names)
        self._state.request(zk.ReadNodes(token=token, paths=paths, watch=True, sync=True))

    def on_children(self, event: zk.ChildrenListed) -> bool:
        """Take the list of workers; returns whether it was this desk's question."""
        if event.token != self._list_token:
            return False
        self._list_token = 0
        if event.names is None:
            self._list_wanted = True
            return True
        for name in set(self._nodes) - set(event.names):
            self._unread.add(name)
        self._unread |= {name for name in event.names if name not in self._watched}
        self.nodes_known = self.nodes_known or not self._unread
        return True

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take workers' nodes; returns whether they were this desk's question."""
        names = self._reads.pop(event.token, None)
        if names is None:
            return False
        if event.nodes is None:
            self._unread |= set(names)
            return True
        for name, node in zip(names, event.nodes, strict=True):
            self._watched.add(name)
            self._take_node(name, node)
        self.nodes_known = self.nodes_known or not (self._list_wanted or self._list_token or self._reads)
        return True

    def _take_node(self, name: str, node: zk.NodeRead | None) -> None:
        if node is None:
            self._watched.discard(name)
            self._nodes.pop(name, None)
            self._state.table.set_aside.pop(znodes.worker_path(name), None)
            self._session_over(name)
        else:
            self._session_seen(name, node)
        self._meet_strangers(name)

    def _session_over(self, name: str) -> None:
        worker = self._state.workers.by_name.get(name)
        if worker is not None and worker.session:
            worker.session = False
            worker.silent_since = self._state.at
            self._state.note("worker_session_over", Level.WARNING, worker=name, link=worker.link)

    def _session_seen(self, name: str, read: zk.NodeRead) -> None:
        state = self._state
        try:
            node = znodes.decode(WorkerNode, read.path, read.data)
        except znodes.UnreadableNode as error:
            if state.table.set_aside.get(error.path) != error.why:  # it is read again and again
                state.set_aside(error.path, error.why)
            return
        state.table.set_aside.pop(read.path, None)
        self._nodes[name] = node
        worker = state.workers.by_name.get(name)
        if worker is not None and worker.incarnation != node.incarnation:
            self._lose(worker, "a new incarnation took its name")
            worker = None
        if worker is None:
            worker = Worker(name, node.incarnation, state.at)
            state.workers.add(worker)
        if not worker.session:
            worker.session = True
            state.workers.grew(worker)

    def _meet_strangers(self, name: str) -> None:
        """Decide the registrations that waited for this node."""
        node = self._nodes.get(name)
        for stranger, incarnation in [key for key in self._strangers if key[0] == name]:
            peer, message = self._strangers.pop((stranger, incarnation))
            if node is None and name in self._state.workers.by_name:
                # Neither proves to be the newer. It asks again; by then one has a node, or the other is lost.
                self._state.drop("name_in_doubt", worker=name, incarnation=incarnation)
            elif node is None or node.incarnation == incarnation:
                self._admit(peer, message)
            else:
                why = f"worker name {name} belongs to another incarnation; give each worker its own name"
                self._state.ledger.say(self._state.worker(peer, Error(code="name", why=why)))


def _refusal(message: Register) -> Error | None:
    """Return what is wrong with a registration, if anything."""
    if message.protocol != limits.PROTOCOL_VERSION:
        why = (
            f"worker {message.worker[:64]} speaks protocol {message.protocol}, the broker "
            f"{limits.PROTOCOL_VERSION}; install the same version of alb"
        )
        return Error(code="version", why=why)
    if not ids.is_name(message.worker):
        return Error(code="name", why=f"the worker name {message.worker[:64]!r} is not usable")
    wrong = check_capacity(message.capacity)
    return None if wrong is None else Error(code="protocol", why=wrong)
