"""What clients ask of the leader: submissions, attachments, cancellations, acknowledgements.

Every answer goes through the ledger, so nobody hears of a state that can vanish. Lists and dumps are
answered by ``answers.py``, output by ``relay.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from alb_broker.core.answers import Answers
from alb_broker.core.array_desk import ArrayDesk
from alb_broker.core.book import Book
from alb_broker.core.clients import Client
from alb_broker.core.past import Past
from alb_broker.core.relay import Relay
from alb_broker.core.shares_desk import why_full
from alb_broker.core.spec_forms import read_submitted
from alb_broker.core.start_desk import StartDesk
from alb_broker.core.state import State
from alb_broker.core.table import BUSY_DELAY_S, DoneTask
from alb_broker.core.task import Task, Watcher
from alb_core import ids, limits, zk, znodes
from alb_core.errors import RemoteProtocolError
from alb_core.messages import (
    Accepted,
    Ack,
    Attach,
    Busy,
    Cancel,
    CancelNoted,
    Error,
    Finished,
    Follow,
    Goodbye,
    Hello,
    Message,
    Ping,
    Pong,
    Pulse,
    QueryTask,
    Rejected,
    Submit,
    Suspect,
    TaskMoved,
    Welcome,
)
from alb_core.notes import Level
from alb_core.spec import TaskSpec, digest, too_large
from alb_core.tasks import TaskRecord, TaskState

FINISHED_RESEND_S: Final = 2.0
FINISHED_RESEND_MAX: Final = 200
#: Results sent again to one client in one tick.
FULL_S: Final = 10.0
#: After a submission was told to come again, which it does after a second, so long at least.
RECORD_BYTES: Final = 256
#: Of a task's record, about so many besides its specification.
_NO_STORE: Final = (
    "the cluster has no results store, and checkpoints are found again through it; "
    "leave --checkpoint out, or start the brokers with --store"
)


Handlers: TypeAlias = Mapping[type[Message], Callable[[Client, Any], None]]


class Handling(Protocol):
    """A desk that takes certain messages of clients."""

    def handlers(self) -> Handlers:
        """Return which message is handled by what."""


class ClientDesk:
    """Handles the messages of clients.

    Args:
        state: The reign's parts.
        book: Carries out what they ask.
        relay: Where their grants go.
        answers: Their questions.
        past: Tasks that the table does not hold any more.
        starts: Decides when tasks are queued.
        arrays: What they ask of arrays.
        others: Take messages of their own, which are no concern of this desk's.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the desks behind this one)
        self,
        state: State,
        book: Book,
        relay: Relay,
        answers: Answers,
        past: Past,
        starts: StartDesk,
        arrays: ArrayDesk,
        *others: Handling,
    ) -> None:
        self._state: Final = state
        self._book: Final = book
        self._relay: Final = relay
        self._answers: Final = answers
        self._past: Final = past
        self._starts: Final = starts
        self._full_at = float("-inf")  #: Own clock, when a submission was turned away for want of room.
        self._arrays: Final = arrays
        self._recalls: dict[int, str] = {}  #: Reads of finished tasks under way: token to id.
        self._unread: list[str] = []  #: Reads that got no answer.
        self._recalled: dict[str, list[tuple[bytes, Message]]] = {}
        #: Messages that wait for the record of a finished task.
        self._handlers: Final[dict[type[Message], Callable[[Client, Any], None]]] = {
            Submit: self._on_submit,
            Attach: self._on_attach,
            Ack: self._on_ack,
            Cancel: self._on_cancel,
            Ping: self._on_ping,
            Suspect: self._on_suspect,
            QueryTask: self._on_query_task,
        }
        desks: tuple[Handling, ...] = (answers, starts, arrays, *others)
        for desk in desks:
            self._handlers.update(desk.handlers())

    def receive(self, peer: bytes, message: Message) -> None:
        """Handle one message of one client."""
        state = self._state
        handler = self._handlers.get(type(message))
        if handler is None:
            self._on_greeting(peer, message)
            return
        client = state.clients.get(peer)
        if client is None:
            state.tell(peer, Error(code="hello", why="say Hello first on each new link"))
            return
        client.heard = state.at
        handler(client, message)

    def _on_greeting(self, peer: bytes, message: Message) -> None:
        """A client or a standby comes, or a client goes."""
        match message:
            case Hello():
                self._on_hello(peer, message)
            case Follow():
                self._state.clients.add(Client(peer, "", self._state.at, follower=message.broker))
            case Goodbye():
                self._forget(peer)

    def refuse_garbled(self, peer: bytes, why: str) -> None:
        """Answer a frame that could not be understood."""
        self._state.counters["frames_garbled"] += 1
        self._state.tell(peer, Error(code="protocol", why=why[:500]))

    def tick(self) -> None:
        """Send results again that were not acknowledged, and forget clients that are gone."""
        state = self._state
        unread, self._unread = self._unread, []
        for task_id in unread:
            self._read(task_id)
        for peer in state.clients.silent(state.at):
            self._forget(peer)
        self._arrays.tick()
        for client in state.clients:
            if client.unacknowledged:
                self._resend(client)

    def _forget(self, peer: bytes) -> None:
        client = self._state.clients.remove(peer)
        if client is not None:
            self._arrays.on_gone(client)

    def _resend(self, client: Client) -> None:
        state = self._state
        due: list[str] = []
        for task_id, sent in client.unacknowledged.items():  # the longest unsent first
            if state.at - sent < FINISHED_RESEND_S or len(due) == FINISHED_RESEND_MAX:
                break
            due.append(task_id)
        for task_id in due:
            del client.unacknowledged[task_id]
            done = state.table.done.get(task_id)
            if done is not None and done.record is not None:
                self._send_result(client, done.record)

    def _send_result(self, client: Client, record: TaskRecord) -> None:
        assert record.result is not None  # noqa: S101 (only finished tasks come here)
        client.unacknowledged[record.id] = self._state.at
        self._state.table.owe(record.id, client.peer)
        self._state.tell(client.peer, Finished(id=record.id, result=record.result))

    # --- greetings ------------------------------------------------------------------------------------------

    def _on_hello(self, peer: bytes, message: Hello) -> None:
        state = self._state
        if message.protocol != limits.PROTOCOL_VERSION:
            why = (
                f"the client speaks protocol {message.protocol}, broker {state.node.broker} speaks "
                f"{limits.PROTOCOL_VERSION}; install the same version of alb"
            )
            state.tell(peer, Error(code="version", why=why))
            return
        if not message.user or len(message.user) > limits.USER_LENGTH_MAX or not message.user.isprintable():
            state.tell(peer, Error(code="protocol", why="the user name is empty, too long or not printable"))
            return
        state.clients.add(Client(peer, message.user, state.at))
        state.tell(
            peer,
            Welcome(
                broker=state.node.broker, output=state.node.client_output, brokers=state.members.endpoints
            ),
        )

    def _on_suspect(self, _client: Client, message: Suspect) -> None:
        """Somebody took the leader for a standby; it may think about its own progress, and does anyway."""
        self._state.note("suspicion_ignored", Level.DEBUG, why=message.why)

    # --- submissions ----------------------------------------------------------------------------------------

    def _on_submit(self, client: Client, message: Submit) -> None:
        state = self._state
        task = state.table.live.get(message.id)
        if task is not None:
            self._meet_again(client, message, task)
            return
        if message.id in state.table.done:
            self._with_record(client, message, self._submit_again_done)
            return
        if self._is_aside(client, message):
            return
        why = self._admit(client, message)
        if why is not None:
            self._state.counters["tasks_rejected"] += 1
            state.tell(client.peer, Rejected(id=message.id[:80], code="invalid", why=why))

    def _admit(self, client: Client, message: Submit) -> str | None:  # noqa: PLR0911 (one return a rule)
        """Accept a new task, or return what is wrong with it."""
        state = self._state
        wire = bytes(message.spec)
        if not ids.is_task_id(message.id):
            return "a task id has 32 lower-case hex digits (a UUIDv7)"
        if ids.array_of(message.id):
            return "an id with a dot belongs to a task of an array; submit the array"
        if state.arrays.get(message.id) is not None:
            return "this id belongs to an array; a new task needs a new id"
        if len(wire) > limits.SPEC_BYTES_MAX:
            return too_large(len(wire))
        try:
            read = read_submitted(wire)
        except RemoteProtocolError as error:
            return str(error)
        spec, why = read.spec, read.why
        if why is None and spec.checkpoints and not state.store.enabled:
            why = _NO_STORE
        if why is not None:
            return why
        too_many = why_full(state, client.user)
        if too_many or not self._has_room(client, spec, len(wire)):
            state.counters["submissions_busy"] += 1
            state.tell(client.peer, Busy(id=message.id, delay_s=BUSY_DELAY_S, why=too_many))
            return None
        record = TaskRecord(
            id=message.id,
            state=TaskState.QUEUED,
            user=client.user,
            digest=read.digest,
            spec=spec,
            submitted=state.holds.moment(client.user, spec.name, state.stamp()),
        )
        begun = self._starts.begin(record)
        if isinstance(begun, str):
            return begun
        task = Task(begun, len(wire) + RECORD_BYTES, read.forms)
        task.submitter = client.peer
        state.clients.watch(client, task, Watcher(moves=message.moves, window=message.window))
        # Why it waits is told with its moves only, and costs a fifth of all that is done here.
        self._book.accept(task, client.peer, self._starts.why(task) if message.moves else "")
        return None

    def _has_room(self, client: Client, spec: TaskSpec, size_bytes: int) -> bool:
        """Tell whether a new task is taken: where there is room, but not before others that it waits for.

        Those may have been told to come again: it would take their room, and wait for them in vain.
        """
        state = self._state
        if not state.table.admits(client.user, size_bytes):
            self._full_at = state.at
            return False
        full = state.at - self._full_at < FULL_S
        return not (full and self._starts.awaits_unknown(spec.start))

    def _meet_again(self, client: Client, message: Submit, task: Task) -> None:
        """The same id again: the same task, or a conflict."""
        state = self._state
        if task.user != client.user or task.digest != digest(bytes(message.spec)):
            self._reject_conflict(client, message.id)
            return
        if task.submitter != client.peer:
            task.submitter = b""
        state.clients.watch(client, task, Watcher(moves=message.moves, window=message.window))
        n, worker = task.assignment()
        state.tell(client.peer, Accepted(id=task.id, state=task.state, attempt=n, worker=worker))

    def _submit_again_done(self, client: Client, message: Submit, record: TaskRecord) -> None:
        if record.user != client.user or record.digest != digest(bytes(message.spec)):
            self._reject_conflict(client, message.id)
            return
        done = self._state.table.done.get(message.id)
        if done is not None and done.submitter != client.peer:
            done.submitter = b""
        self._send_result(client, record)

    def _reject_conflict(self, client: Client, task_id: str) -> None:
        why = "this id belongs to another specification or another user; a new task needs a new id"
        self._state.tell(client.peer, Rejected(id=task_id, code="conflict", why=why))

    # --- after acceptance -----------------------------------------------------------------------------------

    def _on_attach(self, client: Client, message: Attach) -> None:
        state = self._state
        task = state.table.live.get(message.id)
        if task is None:
            if message.id in state.table.done:
                self._with_record(client, message, lambda c, _, record: self._send_result(c, record))
            elif not self._is_aside(client, message) and not self._arrays.on_attach_child(client, message):
                self._past.recall(client, message, self._tell_past_result)
            return
        watcher = Watcher(message.moves, message.window, message.stdout, message.stderr)
        state.clients.watch(client, task, watcher)
        n, worker = task.assignment()
        why = self._starts.why(task)
        state.tell(client.peer, TaskMoved(id=task.id, state=task.state, attempt=n, worker=worker, why=why))
        if message.window:
            self._relay.grant_both(client.peer, task, watcher)

    def _tell_past_result(self, client: Client, message: Attach, record: TaskRecord) -> None:
        """It left the table. Nothing waits for an Ack: a client that missed this attaches again."""
        assert record.result is not None  # noqa: S101 (only finished tasks are in the store)
        self._state.tell(client.peer, Finished(id=message.id, result=record.result))

    def _on_ack(self, client: Client, message: Ack) -> None:
        """The client has a result that it waited for; what it merely heard of is not its to acknowledge."""
        client.watching.pop(message.id, None)
        if client.unacknowledged.pop(message.id, None) is not None:
            self._state.table.acknowledge(message.id, client.peer)
        if client.following:
            self._arrays.on_ack(client, message)

    def _on_cancel(self, client: Client, message: Cancel) -> None:
        state = self._state
        task = state.table.live.get(message.id)
        if task is not None:
            self._book.cancel(task, client.peer, state.at)
        elif message.id in state.table.done:
            self._with_record(client, message, self._cancel_done)
        elif not self._is_aside(client, message) and not self._arrays.on_cancel(client, message):
            self._reject_gone(client, message.id)

    def _cancel_done(self, client: Client, message: Cancel, record: TaskRecord) -> None:
        """It ended before: tell how. Whoever cancels does not wait for the result and owes no Ack."""
        assert record.result is not None  # noqa: S101 (only finished tasks come here)
        self._state.tell(client.peer, CancelNoted(id=message.id))
        self._state.tell(client.peer, Finished(id=message.id, result=record.result))

    def _on_query_task(self, client: Client, query: QueryTask) -> None:
        task = self._state.table.live.get(query.id)
        if task is not None:
            self._answers.tell_task(client, query, task.record(), self._starts.why(task))
        elif query.id in self._state.table.done:
            self._with_record(client, query, self._answers.tell_task)
        elif not self._is_aside(client, query):
            self._past.recall(client, query, self._answers.tell_past_task)

    def _is_aside(self, client: Client, message: Submit | Attach | Cancel | QueryTask) -> bool:
        """Refuse a message about a task whose node was set aside; returns whether it was."""
        known = self._state.arrays.get(message.id) is not None  # one that is given up can still be cancelled
        why = "" if known else self._state.why_aside(message.id)
        if why and isinstance(message, QueryTask):
            self._state.tell(client.peer, Error(code="error", why=why, seq=message.seq))
        elif why:
            self._state.tell(client.peer, Rejected(id=message.id[:80], code="error", why=why))
        return bool(why)

    def _reject_gone(self, client: Client, task_id: str) -> None:
        why = "the table does not, or no longer, hold this task; it is not run again"
        self._state.tell(client.peer, Rejected(id=task_id[:80], code="gone", why=why))

    def _on_ping(self, client: Client, message: Ping) -> None:
        pulses = tuple(self._pulse(task_id) for task_id in message.tasks[:256])
        pong = self._state.client(client.peer, Pong(seq=message.seq, tasks=pulses))
        self._state.ledger.say(pong, hurry=False)

    def _pulse(self, task_id: str) -> Pulse:
        state = self._state
        task = state.table.live.get(task_id)
        if task is None:
            done = state.table.done.get(task_id)
            array = state.arrays.get(task_id)
            if array is not None:
                return Pulse(id=task_id, state=array.state)
            known = done.record.state if done is not None and done.record is not None else None
            return Pulse(id=task_id[:80], state=known)
        shown = task.shown()
        if task.state is not TaskState.RUNNING or shown is None:
            return Pulse(id=task_id, state=task.state)
        worker = state.workers.find(shown.worker, shown.incarnation)
        silent = state.at - worker.heard if worker is not None else 0.0
        return Pulse(id=task_id, state=task.state, worker=shown.worker, silent_s=round(silent, 3))

    # --- finished tasks whose record is not in memory -------------------------------------------------------

    def _with_record(
        self, client: Client, message: Any, use: Callable[[Client, Any, TaskRecord], None]
    ) -> None:
        """Use the record of a finished task now, or read it and let the message come again."""
        record = self._state.table.done[message.id].record
        if record is not None:
            use(client, message, record)
            return
        waiting = self._recalled.get(message.id)
        if waiting is not None:
            waiting.append((client.peer, message))
            return
        self._recalled[message.id] = [(client.peer, message)]
        self._read(message.id)

    def _read(self, task_id: str) -> None:
        token = self._state.tokens.next()
        self._recalls[token] = task_id
        self._state.request(zk.ReadNodes(token=token, paths=(znodes.done_path(task_id),)))

    def on_nodes(self, event: zk.NodesRead) -> bool:
        """Take a record that was read; returns whether the read was this desk's."""
        task_id = self._recalls.pop(event.token, None)
        if task_id is None:
            return False
        done = self._state.table.done.get(task_id)
        if event.nodes is None and done is not None:
            self._unread.append(task_id)  # the connection is gone: the next tick asks again
            return True
        node = event.nodes[0] if event.nodes else None
        if done is not None and not self._remember(done, node):
            self._state.table.done.pop(task_id, None)
        for peer, message in self._recalled.pop(task_id, ()):
            self.receive(peer, message)
        return True

    def _remember(self, done: DoneTask, node: zk.NodeRead | None) -> bool:
        record = self._state.read_task(node)
        if node is None or record is None:
            return False
        if record.result is None:
            self._state.set_aside(node.path, "a finished task without a result")
            return False
        done.know(record, record.result)
        self._state.table.files.finish(record.id, record.result.returned)
        return True
