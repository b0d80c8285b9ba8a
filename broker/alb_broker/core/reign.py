"""One broker's time as the leader, from a granted claim until it steps down.

The reign hands each event to the desk that owns its matter, places tasks and commits once a turn, and
knows the few states of being a leader::

    LOADING --table in memory--> LEADING --stop requested--> LEAVING --last commit--> over
    any of them --fence failed, session lost, suspended too long, stuck--> over
"""

from __future__ import annotations

import enum
from typing import Final, Protocol

from alb_broker.core import events
from alb_broker.core.actions import (
    Action,
    ArrayOpened,
    IncrementsMarked,
    PolicyMarked,
    ResumeWanted,
    SendToClient,
    SendToWorker,
    TaskKept,
    TaskSettled,
    TellDepots,
    WriteDump,
)
from alb_broker.core.answers import Answers
from alb_broker.core.archive import Archive
from alb_broker.core.array_office import ArrayOffice
from alb_broker.core.book import Book
from alb_broker.core.clearance import Clearance
from alb_broker.core.client_desk import ClientDesk
from alb_broker.core.copies import Copies
from alb_broker.core.copies_desk import CopiesDesk
from alb_broker.core.demotions import Demotions
from alb_broker.core.drain_desk import DrainDesk
from alb_broker.core.dump import dump
from alb_broker.core.election import is_led
from alb_broker.core.events import BrokerEvent, WorkerSaid
from alb_broker.core.fates import Fates
from alb_broker.core.file_desk import FileDesk
from alb_broker.core.inflow import Inflow
from alb_broker.core.ledger import GOOD_BATCH, Failure, Flight, Lane
from alb_broker.core.limits_desk import LimitsDesk
from alb_broker.core.muster import Muster
from alb_broker.core.past import Past
from alb_broker.core.policy_desk import PolicyDesk
from alb_broker.core.preemptions import Preemptions
from alb_broker.core.relay import Relay
from alb_broker.core.repair import Repair
from alb_broker.core.resumption import Resumption
from alb_broker.core.retention import Retention
from alb_broker.core.shares_desk import SharesDesk
from alb_broker.core.standstill import Standstill
from alb_broker.core.start_desk import StartDesk
from alb_broker.core.state import State
from alb_broker.core.stored_answers import StoredAnswers
from alb_broker.core.takeover import Takeover
from alb_broker.core.worker_desk import WorkerDesk
from alb_broker.core.works import Works
from alb_broker.store import events as store_events
from alb_core import limits, zk, znodes
from alb_core.messages import Done, Error, Follow, Heartbeat, Hello, NotLeader, Register, Rejected, Run
from alb_core.notes import Level

PENDING_GROUPS_MAX: Final = 4 * limits.BATCH_OPERATIONS_MAX
#: Beyond, the shell reads no more submissions until batches have left.
ASK_AGAIN_S: Final = 0.5
LEAVING_S: Final = 2.0
#: A leader that stops waits at most so long for its last commits.


class Phase(enum.Enum):
    """What a leader is doing."""

    LOADING = "loading"  #: Reads the table; greets nobody yet.
    LEADING = "leading"  #: Serves.
    LEAVING = "leaving"  #: Writes what it has, then gives the leadership up.
    OVER = "over"  #: No longer leads; ``Reign.why`` says why.


LEADING: Final = Phase.LEADING
OVER: Final = Phase.OVER
#: Asked with every event: looked up in their class they cost thirty times as much.


class Ticking(Protocol):
    """Does something now and then."""

    def tick(self) -> None:
        """The clock ticked."""


class Reign:
    """The leader's part of a broker.

    Args:
        state: Its parts, fresh.
    """

    def __init__(self, state: State) -> None:
        self.state: Final = state
        self.phase = Phase.LOADING
        self.why = ""  #: Why the reign is over.
        self.rests = False  #: It ended because it was stuck: others are to try before this broker does.
        self._resumption: Final = Resumption(state)
        self._book: Final = Book(state, self._resumption)
        self._inflow: Final = Inflow(state, self._book)
        self._stored: Final = StoredAnswers(state)
        self._relay: Final = Relay(state, self._stored)
        self._archive: Final = Archive(state)
        self._clearance: Final = Clearance(state)
        self._answers: Final = Answers(state, self._archive, self._stored, self._clearance)
        self._workers: Final = WorkerDesk(state, self._book, self._resumption, self._inflow)
        self._drains: Final = DrainDesk(state, self._workers)
        self._limits: Final = LimitsDesk(state)
        self._policies: Final = PolicyDesk(state)
        self._shares: Final = SharesDesk(state)
        self._copies: Final = Copies(state, self._book)
        self._copies_desk: Final = CopiesDesk(state, self._copies)
        self._works: Final = Works(state)
        self._starts: Final = StartDesk(state, self._book, Fates(state))
        self._arrays: Final = ArrayOffice(state, self._book, self._starts)
        self._clients: Final = ClientDesk(
            state,
            self._book,
            self._relay,
            self._answers,
            Past(state),
            self._starts,
            self._arrays.desk,
            self._drains,
            self._limits,
            self._policies,
            self._shares,
            self._copies_desk,
            self._works,
        )
        self._standstill: Final = Standstill(state)
        self._takeover: Final = Takeover(state)
        self._retention: Final = Retention(state)
        self._repair: Final = Repair(state, self._book)
        self._files: Final = FileDesk(state)
        self._parts: Final[tuple[Ticking, ...]] = (
            *(self._arrays, self._clients, self._answers, self._works, self._starts),
            *(self._book.ward, self._book.speeds, self._workers),
            Muster(state, self._workers, Preemptions(state), Demotions(state, self._book)),
            *(self._retention, self._repair, self._drains, self._policies, self._shares),
            *(self._archive, self._inflow, self._resumption, self._files, self._clearance),
        )
        #: What each tick of the clock is for, in this order.
        self._lobby: dict[bytes, events.ClientSaid | WorkerSaid] = {}
        #: Greetings that came while the table was loading, the newest of each peer.
        self._suspended_at: float | None = None  #: Own clock, since when the session is suspended.
        self._heartbeat_at = float("-inf")
        self._committed_at = state.at  #: Own clock, when the newest batch left.
        self._commit_read = 0  #: Token of the read that decides a doubtful batch.
        self._asked_at = float("-inf")
        self._config_read = 0
        self._config_stale = True
        self._config_known = False  #: Nothing is placed before.
        self._leaving_at = 0.0

    # --- the life of a reign --------------------------------------------------------------------------------

    def begin(self) -> list[Action]:
        """Start to load the table, and what the first placements must know: policy, limits, drains."""
        self._read_config()
        self.state.store.begin()
        self._takeover.start()
        self._arrays.load()
        return self.state.take_out()

    def handle(self, event: BrokerEvent) -> list[Action]:
        """Take one event."""
        state = self.state
        state.at = event.at
        if type(event) is WorkerSaid and self.phase is LEADING:  # by far the most of what happens
            self._workers.receive(event.peer, event.message)
        else:
            self._dispatch(event)
        out, state.out = state.out, []
        return out

    def _dispatch(self, event: BrokerEvent) -> None:  # noqa: C901, PLR0912 (a flat table of who owns what)
        match event:
            case WorkerSaid():  # first what comes most: each case before it costs 800 instructions
                self._on_worker(event)
            case events.ClientSaid():
                self._on_client(event)
            case events.TurnEnded():
                self._end_turn(more=event.more)
            case zk.MultiEnded():
                self._on_verdict(event)
            case events.ClientGranted():
                # Before it leads, nobody can say that a task is gone; readers ask again.
                if self.phase is LEADING:
                    self._relay.grant(event.peer, event.grant)
            case events.ChunkArrived():
                if event.chunk.reader:
                    self._relay.chunk(event.chunk)
                elif self.phase is LEADING:
                    self._inflow.on_chunk(event.chunk)
            case events.Tick():
                self._tick()
            case events.ClientGarbled():
                self._clients.refuse_garbled(event.peer, event.why)
            case events.WorkerGarbled():
                self._workers.refuse_garbled(event.peer, event.why)
            case events.PoliciesTimed(spent=spent):
                self._policies.times = spent
            case events.StopRequested():
                self._leave()
            case zk.NodesRead():
                self._on_nodes(event)
            case zk.ChildrenListed():
                for desk in (self._takeover, self._arrays, self._workers):
                    if desk.on_children(event):
                        break  # it was this one that asked
                self._open_if_loaded()
            case zk.NodeChanged():
                self._workers.on_node_changed(event.path)
                self._config_stale = self._config_stale or event.path in znodes.WATCHED
            case zk.ChildrenChanged():
                self._workers.on_children_changed(event.path)
            case zk.SessionSuspended():
                self._suspended_at = self._suspended_at or event.at
            case zk.SessionConnected():
                self._on_reconnected()
            case zk.SessionExpired():
                self._end("its ZooKeeper session is over")
            case store_events.StoreEvent():
                if not self.state.store.on_event(event):
                    self._end("a later leader has begun its term in the results store")
                self._workers.send_resumed()
            case _:
                pass

    def _end(self, why: str) -> None:
        if self.phase is not OVER:
            self.phase = Phase.OVER
            self.why = why

    def farewell(self) -> list[Action]:
        """Return what the broker says to everybody when its reign is over."""
        state = self.state
        told: list[Action] = [state.client(client.peer, NotLeader()) for client in state.clients]
        told += [state.worker(worker.peer, NotLeader()) for worker in state.workers if worker.peer]
        if state.members.depots:
            told.append(TellDepots(None))
        return told

    def dump(self, why: str) -> bytes:
        """Return the whole state as JSON."""
        return dump(self.state, why)

    def _leave(self) -> None:
        """Hand over: dump, write what waits, then delete ``/leader`` as the last batch."""
        if self.phase in (Phase.LEAVING, Phase.OVER):
            return
        state = self.state
        state.out.append(WriteDump(dump(state, "hand-over"), "hand-over"))
        self.phase = Phase.LEAVING
        self._leaving_at = state.at
        self._policies.leave()
        state.ledger.write(Lane.RETENTION, znodes.LEADER, (zk.Delete(znodes.LEADER),))
        state.note("leader_leaving", epoch=state.epoch, pending=state.ledger.pending)

    # --- peers ----------------------------------------------------------------------------------------------

    def _on_client(self, event: events.ClientSaid) -> None:
        standby = isinstance(event.message, Follow)  # needs heartbeats while the table is loading, too
        if self.phase is LEADING or (self.phase is Phase.LOADING and standby):
            self._clients.receive(event.peer, event.message)
        elif self.phase is Phase.LOADING and isinstance(event.message, Hello):
            self._lobby[event.peer] = event
        else:
            self.state.drop(self.phase.value, message=type(event.message).__name__)

    def _on_worker(self, event: WorkerSaid) -> None:
        if self.phase is LEADING:
            self._workers.receive(event.peer, event.message)
        elif self.phase is Phase.LOADING and isinstance(event.message, Register):
            self._lobby[event.peer] = event
        else:
            self.state.drop(self.phase.value, message=type(event.message).__name__)

    def _open_if_loaded(self) -> None:
        if self.phase is not Phase.LOADING or not (self._takeover.complete and self._arrays.loaded):
            return
        self.phase = Phase.LEADING
        self._arrays.open()
        self._workers.adopt_table()
        seconds = round(self.state.now() - self.state.clock.claimed, 3)
        self.state.note("leader_ready", epoch=self.state.epoch, seconds=seconds)
        lobby, self._lobby = self._lobby, {}
        for greeting in lobby.values():
            self._dispatch(greeting)

    # --- turns and ticks ------------------------------------------------------------------------------------

    @property
    def backlogged(self) -> bool:
        """Whether the shell should leave submissions in the socket for now."""
        return self.state.ledger.urgent > PENDING_GROUPS_MAX or self._suspended_at is not None

    @property
    def batch_waits(self) -> bool:
        """Whether a good batch may leave now: ZooKeeper should not idle while more is gathered."""
        ledger = self.state.ledger
        return ledger.pending >= GOOD_BATCH and ledger.may_commit and self._suspended_at is None

    def _end_turn(self, *, more: bool) -> None:
        if self.phase is LEADING:
            self._starts.end_turn()
        if self.phase is LEADING and self._config_known:
            self._arrays.make_tasks()
            if self.state.queue:
                self._place()
            self._workers.revocations.end_turn()
        self._arrays.desk.end_turn()
        self._archive.end_turn()
        self._inflow.end_turn()
        if self.phase is not OVER and self._suspended_at is None and self.state.ledger.ripens(more=more):
            self._commit()

    def _place(self) -> None:
        state = self.state
        state.placer.run(
            state.queue,
            state.workers,
            state.shares,
            self._book.place,
            state.now(),
            state.limits.time_limit_s,
            admits=state.gate,
        )
        self._policies.end_pass()
        if state.placer.notes:
            state.out.extend(state.placer.notes)
            state.placer.notes.clear()

    def _commit(self) -> None:
        state = self.state
        self._committed_at = state.at
        state.request(state.ledger.next_batch(state.tokens.next(), state.now()))

    def _tick(self) -> None:
        state = self.state
        self._watch_own_session()
        if self.phase is OVER:
            return
        self._heartbeat()
        self._ask_for_doubtful()
        if self.phase is Phase.LOADING:
            self._takeover.tick()
            self._arrays.tick_loading()
        elif self.phase is LEADING:
            self._takeover.tick()
            self._takeover.recollect()
            for part in self._parts:
                part.tick()
            if self._config_known:
                self._copies.tick()
            self._read_config()
            self._watch_progress()
        elif state.at - self._leaving_at > LEAVING_S:
            self._end("it was stopped before its last batch was answered")
        due = state.at - self._committed_at >= limits.HEARTBEAT_S
        if due and self._suspended_at is None and state.ledger.may_commit:
            self._commit()

    def _heartbeat(self) -> None:
        state = self.state
        if state.at - self._heartbeat_at < limits.HEARTBEAT_S:
            return
        self._heartbeat_at = state.at
        beat = Heartbeat(
            waiting="ZooKeeper" if self._suspended_at is not None else "",
            commit=state.ledger.committed,
            placement=state.placed_at,
        )
        state.out.extend(state.client(client.peer, beat) for client in state.clients)
        state.out.extend(state.worker(worker.peer, beat) for worker in state.workers if worker.link)

    def _watch_progress(self) -> None:
        """Resign where a task that would fit stays unplaced: something is wrong that others may not share."""
        state, stood_s = self.state, self._standstill.lasts_s()
        if stood_s > state.config.stuck_s:
            state.out.append(WriteDump(dump(state, "stuck"), "stuck"))
            state.note("leader_stuck", Level.ERROR, seconds=stood_s)
            self.rests = True
            self._leave()

    # --- ZooKeeper ------------------------------------------------------------------------------------------

    def _on_verdict(self, event: zk.MultiEnded) -> None:
        released, failures = self.state.ledger.on_verdict(event.token, event.verdict)
        self._after_commit(released)
        for failure in failures:
            self._on_failure(failure)

    def _after_commit(self, released: list[Action]) -> None:
        ledger = self.state.ledger
        out = self.state.out
        for action in released:
            if type(action) is SendToWorker:
                message = action.message
                if type(message) is not Run or not self._book.is_overtaken(message.attempt):
                    out.append(action)
            elif type(action) is SendToClient:
                out.append(action)
            else:
                self._carry_out(action)
        if ledger.deposed:
            self._end(ledger.deposed)
        elif self.phase is Phase.LEAVING and ledger.flight is Flight.NONE and not ledger.pending:
            self._end("it was stopped")

    def _carry_out(self, action: Action) -> None:
        """Do what a commit releases in this broker itself."""
        match action:
            case TaskKept():
                self.state.table.on_kept(action.task)
            case TaskSettled():
                self._starts.on_settled(action.task)
            case ArrayOpened():
                self.state.arrays.on_opened(action.array)
            case IncrementsMarked():
                self._inflow.on_marked(action)
            case PolicyMarked():
                self._policies.on_marked(action)
            case ResumeWanted():
                self._resumption.want(action.attempt)
            case _:
                self.state.out.append(action)

    def _on_failure(self, failure: Failure) -> None:
        """Somebody else changed nodes of ours: read them again, and tell who asked."""
        group = failure.group
        self.state.note("write_refused", Level.ERROR, key=group.key, error=failure.error)
        if group.key == znodes.LEADER:
            self._end("its /leader node was deleted by somebody else")
            return
        self._repair.read_again(group.key)
        self.state.arrays.on_failure(group)
        self._config_stale = self._config_stale or group.key in znodes.SETTINGS
        for action in group.releases:
            self._tell_refused(action, group.key, failure.error)

    def _tell_refused(self, action: Action, key: str, error: str) -> None:
        if isinstance(action, SendToClient) and self.state.clients.get(action.peer) is not None:
            why = f"somebody else changed its nodes in ZooKeeper ({error}); see alb status {key}"
            if key in znodes.SETTINGS:
                why = (
                    f"{self.state.whole(key)} cannot be written ({error}): a broker that starts makes it anew"
                )
            asked = action.message
            if isinstance(asked, Done):
                self.state.tell(action.peer, Error(code="error", why=why, seq=asked.seq))
            else:
                name = key.removeprefix(f"{znodes.ARRAYS}/")
                self.state.tell(action.peer, Rejected(id=name, code="error", why=why))

    def _on_nodes(self, event: zk.NodesRead) -> None:
        if event.token == self._commit_read:
            self._on_commit_read(event)
        elif event.token == self._config_read:
            self._on_config_read(event)
        elif self._takeover.on_nodes(event) or self._arrays.on_nodes(event):
            self._open_if_loaded()
        else:
            for desk in (self._workers, self._clients, self._repair):
                if desk.on_nodes(event):
                    break

    def _on_reconnected(self) -> None:
        self._suspended_at = None
        self._commit_read = self._config_read = 0
        self._config_stale = True
        self._asked_at = float("-inf")
        self._workers.on_reconnected()
        self._ask_for_doubtful()

    def _ask_for_doubtful(self) -> None:
        """Find out what became of a batch whose answer was lost."""
        state = self.state
        if self._commit_read or self._suspended_at is not None or state.at - self._asked_at < ASK_AGAIN_S:
            return
        request = state.ledger.on_reconnected(state.tokens.next())
        if request is not None:
            self._commit_read = request.token
            self._asked_at = state.at
            state.counters["commits_unknown"] += 1
            state.request(request)

    def _on_commit_read(self, event: zk.NodesRead) -> None:
        self._commit_read = 0
        if event.nodes is None:
            return  # the tick asks again
        released, again = self.state.ledger.on_commit_read(event.nodes[0])
        if again is not None:
            self.state.request(again)
        self._after_commit(released)

    def _watch_own_session(self) -> None:
        """A leader that is cut off stops being one by its own clock, long before anybody can tell it."""
        suspended = self._suspended_at
        if suspended is not None and self.state.at - suspended >= self.state.session_timeout_s:
            self._end("ZooKeeper has not been heard for a session's time")

    def _read_config(self) -> None:
        if self._config_stale and not self._config_read and self._suspended_at is None:
            self._config_stale = False
            self._config_read = self.state.tokens.next()
            self.state.request(
                zk.ReadNodes(token=self._config_read, paths=znodes.WATCHED, watch=True, sync=True)
            )

    def _on_config_read(self, event: zk.NodesRead) -> None:
        self._config_read = 0
        if event.nodes is None:
            self._config_stale = True
            return
        policy, history, use, drained, default_limits, shares, copies, leader = event.nodes
        if self.phase is not Phase.LEAVING and not is_led(leader, self.state.epoch):
            self._end("its /leader node was deleted, or overwritten, by somebody else")
            return
        taken = (
            self._policies.on_nodes(policy, history, use),
            self._drains.on_node(drained),
            self._limits.on_node(default_limits),
            self._shares.on_node(shares),
            self._copies_desk.on_node(copies),
        )
        self._config_stale = not all(taken) or self._config_stale
        self._config_known = True
