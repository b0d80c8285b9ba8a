"""The worker's core: hands each event to the part that owns it, and returns what is to be done.

Owns nothing itself but the parts: the registration in ZooKeeper, the link to the leader, the attempts, their
streams, and the departure. Time comes in with events; two cores that hear the same say the same.
"""

# ruff: noqa: S101 (asserts narrow types, and state what cannot be otherwise)
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from alb_core import zk, znodes
from alb_core.draws import Draws
from alb_core.messages import (
    AttemptAck,
    AttemptEnded,
    AttemptExited,
    Beat,
    Demote,
    Error,
    Goodbye,
    Heartbeat,
    Kill,
    Leaving,
    NotLeader,
    Register,
    Registered,
    Revoke,
    Run,
    Stored,
)
from alb_core.notes import Level, Note
from alb_core.resources import Load
from alb_core.tasks import Cause
from alb_worker.core.actions import Exit, SendToLeader, UseDepots, WorkerAction
from alb_worker.core.attempts import STOP_GRACE_S, Actions, Attempts, ends_as
from alb_worker.core.departure import (
    EXIT_REPLACED,
    EXIT_STOPPED,
    EXIT_STOPPED_TWICE,
    EXIT_TABLE_WENT_BACK,
    Departure,
    Stage,
)
from alb_worker.core.events import (
    AttemptLaunched,
    Granted,
    LeaderSaid,
    LinkClosed,
    LinkOpened,
    LoadMeasured,
    OutputGrew,
    Reported,
    RunnerDemoted,
    RunnerEnded,
    RunnerLost,
    SpoolDropped,
    StopRequested,
    Tick,
    UsesMeasured,
    WorkerEvent,
)
from alb_worker.core.keeping import Keeping
from alb_worker.core.link import LeaderLink
from alb_worker.core.progress import Progress
from alb_worker.core.record import ENDED, LIVE, UNENDED
from alb_worker.core.registration import Registration, Standing
from alb_worker.core.stimuli import WorkerStops
from alb_worker.core.streams import Kept, Streams
from alb_worker.core.uses import Uses

REMIND_S: Final = 5.0
_GIVEN_BACK: Final = Cause.GIVEN_BACK
#: As `ENDED` is.

_REPLACED: Final = Exit(
    code=EXIT_REPLACED, why="another process registered under this worker's name; it is the newer one"
)


class WorkerCore:
    """One incarnation of a worker.

    Args:
        node: What it registers: its name, incarnation and capacity.
        seed: Spreads what many workers would otherwise do at once.
        kept: What the spool has from an earlier life, the oldest first.
    """

    def __init__(self, node: znodes.WorkerNode, seed: int = 0, kept: Sequence[Kept] = ()) -> None:
        tokens = itertools.count(1)
        self._node = node
        self._load = Load()
        self._uses = Uses()
        self._progress = Progress()
        self._departure = Departure()
        self._remind_at: float | None = None
        #: When to log what the worker waits for.
        self.registration = Registration(node, tokens)
        self.link = LeaderLink(self._greet, tokens, Draws(seed))
        self.attempts = Attempts(node.capacity)
        self.keeping = Keeping()
        self.streams = Streams(self.attempts.newest, self.keeping.owes, kept)
        self._handlers: dict[type, Callable[[Any], Actions]] = {
            LeaderSaid: self._on_leader_said,
            AttemptLaunched: self._on_runner,
            RunnerDemoted: self._on_runner,
            RunnerEnded: self._on_runner_ended,
            OutputGrew: self._on_grew,
            Reported: self._on_reported,
            Granted: self._on_granted,
            Tick: self._on_tick,
            LoadMeasured: self._on_load_measured,
            UsesMeasured: self._on_uses_measured,
            SpoolDropped: self._on_spool_dropped,
            RunnerLost: self._on_runner_lost,
            StopRequested: self._on_stop_requested,
            LinkOpened: self.link.on_opened,
            LinkClosed: self.link.on_closed,
            zk.SessionConnected: self._on_session_connected,
            zk.SessionSuspended: self._on_session_disconnected,
            zk.SessionExpired: self._on_session_disconnected,
            zk.NodesRead: self._on_nodes_read,
            zk.MultiEnded: self._on_multi_ended,
            zk.NodeChanged: self._on_node_changed,
        }
        self._orders: dict[type, Callable[[LeaderSaid, Any], Actions]] = {
            Run: self._on_run,
            Kill: self._on_kill,
            Demote: self._on_demote,
            Revoke: self._on_revoke,
            AttemptAck: self._on_ack,
            Stored: self._on_stored,
            Registered: self._on_registered,
            Heartbeat: self._on_heartbeat,
            Error: self._on_error,
        }

    def handle(self, event: WorkerEvent) -> list[WorkerAction]:
        """Take one event.

        Returns:
            What is to be done, in this order. After an Exit there is nothing more.

        Raises:
            InvalidTransition: The runner broke its contract; the state is as before.
        """
        leaves = self._departure.stopping
        if leaves and self._departure.stage is Stage.GONE:
            return []
        handler = self._handlers.get(type(event))
        actions = [] if handler is None else handler(event)
        if leaves or self._departure.stopping:
            actions += self._depart(event.at)
        return actions

    # --- ZooKeeper ----------------------------------------------------------------------------------------

    def _on_session_connected(self, event: zk.SessionConnected) -> Actions:
        return self.registration.on_connected(event) + self.link.on_session_connected(event.at)

    def _on_session_disconnected(self, event: zk.SessionSuspended | zk.SessionExpired) -> Actions:
        self.registration.on_disconnected()
        self.link.on_session_disconnected()
        return [Note("session_unusable", {"change": type(event).__name__}, Level.WARNING)]

    def _on_nodes_read(self, event: zk.NodesRead) -> Actions:
        if self.registration.expects(event.token):
            actions = self.registration.on_nodes_read(event)
            return actions + self._yield_if_replaced(event.at)
        if not self.link.expects(event.token):
            return []
        table = self.link.fence.table
        actions = self.link.on_nodes_read(event)
        if self.link.fence.table != table:
            self.attempts.on_new_table()
        if self.link.went_back and not self._departure.stopping:
            # The runner kills what runs when we are gone: to the table that is there now, it was never begun.
            self._departure.enter(event.at, Stage.GONE)
            actions.append(Exit(code=EXIT_TABLE_WENT_BACK, why=self.link.went_back))
        return actions

    def _on_multi_ended(self, event: zk.MultiEnded) -> Actions:
        return self.registration.on_multi_ended(event) if self.registration.expects(event.token) else []

    def _on_node_changed(self, event: zk.NodeChanged) -> Actions:
        return self.registration.on_node_changed(event) + self.link.on_node_changed(event)

    # --- the leader ---------------------------------------------------------------------------------------

    def _on_leader_said(self, event: LeaderSaid) -> Actions:
        """Refuse what is stale, once for all orders; a NotLeader is a hint, whoever sends it."""
        actions: Actions = []
        if self._departure.silent:
            return actions
        admitted: bool | None = None  # of the whole frame, asked with its first order
        for message in event.messages:
            if type(message) is NotLeader:  # an isinstance of a Struct that says no costs 800 instructions
                actions += self.link.on_not_leader(event.at, message)
                continue
            if admitted is None:
                refusal = self.link.admit(event)
                admitted = refusal is None
                if refusal is not None:
                    actions.append(refusal)
            if admitted:
                if type(message) is not Registered:
                    actions += self.link.on_another_term(event)
                actions += self._orders[type(message)](event, message)
        return actions

    def _on_registered(self, event: LeaderSaid, message: Registered) -> Actions:
        another, actions = self.link.on_registered(event, message)
        if another:
            self.streams.forget_readers()
            self._progress.tell_again()
        if self._departure.stopping:
            actions.append(SendToLeader(message=Leaving()))
        if message.depots:
            actions.append(UseDepots(depots=message.depots))
        actions += self.keeping.on_registered(event.at, stores=message.stores)
        return actions + self._hold(self.attempts.report_all(event.at))

    def _on_run(self, event: LeaderSaid, message: Run) -> Actions:
        fresh = message.attempt not in self.attempts.records
        actions = self.attempts.on_run(event.at, message)
        record = self.attempts.records.get(message.attempt)
        if record is not None and record.phase is not ENDED:
            if fresh and (dropped := self._expect(message)):
                actions = dropped + actions
            if message.readers:
                actions += self.streams.on_readers(message.attempt, message.readers)
        return self._settle(actions)

    def _expect(self, message: Run) -> Actions:
        """Expect the output and the increments of an attempt that is new here."""
        self.keeping.expect(message.attempt, message.resume.seq if message.resume is not None else 0)
        return self.streams.expect(message.attempt)

    def _on_kill(self, event: LeaderSaid, message: Kill) -> Actions:
        """End an attempt; where its report only waits for the store, and nobody wants it, it need not."""
        if self.attempts.ended(message.attempt) and ends_as(message) is Cause.KILLED:
            self.keeping.waive(message.attempt)
        return self._settle(self.attempts.on_kill(event.at, message))

    def _on_demote(self, event: LeaderSaid, message: Demote) -> Actions:
        return self._settle(self.attempts.on_demote(event.at, message))

    def _on_revoke(self, event: LeaderSaid, message: Revoke) -> Actions:
        return self._settle(self.attempts.on_revoke(event.at, message))

    def _on_stored(self, event: LeaderSaid, message: Stored) -> Actions:
        owed = self.keeping.owes(message.attempt)
        actions = self.keeping.on_stored(event.at, message)
        if owed and not self.keeping.owes(message.attempt):
            actions += self.attempts.report(event.at, message.attempt)
        return self._settle(actions)

    def _on_ack(self, event: LeaderSaid, message: AttemptAck) -> Actions:
        self.keeping.forget(message.attempt)
        self._progress.forget(message.attempt)
        return self.attempts.on_ack(event.at, message)

    def _on_heartbeat(self, _event: LeaderSaid, _message: Heartbeat) -> Actions:
        return []

    def _on_error(self, _event: LeaderSaid, message: Error) -> Actions:
        return [Note("leader_refused", {"code": message.code, "why": message.why}, Level.ERROR)]

    def _greet(self) -> Register:
        return Register(
            worker=self._node.worker,
            incarnation=self._node.incarnation,
            capacity=self._node.capacity,
            held=self.attempts.held(),
            load=self._current_load(),
            launching=self.attempts.launching(),
        )

    def _current_load(self) -> Load:
        # Of a part of a machine, what else idles there is not offered: what attempts use fills the offer.
        offered, used = self._node.capacity.cpus, self._uses.cpus(self.attempts.runs)
        cpu = max(self._load.cpu, round(used / offered, 4)) if used and offered else self._load.cpu
        return msgspec.structs.replace(self._load, cpu=cpu, running=self.attempts.live)

    def _settle(self, actions: Actions) -> Actions:
        """Close the streams of what ended, and leave out what is for a leader that does not listen.

        Nothing is lost by that: reports are given again once one listens.
        """
        settled: Actions = []
        listens = self.link.registered
        for action in actions:
            if type(action) is SendToLeader:
                if type(action.message) is AttemptEnded:
                    settled += self._close_streams(action.message)
                if not listens:
                    continue
            settled.append(action)
        return self._hold(settled)

    def _hold(self, actions: Actions) -> Actions:
        """Say only that its room is free where the store must have more of an attempt before its report."""
        if self.keeping.empty:
            return actions
        for place, action in enumerate(actions):
            if type(action) is SendToLeader and type(action.message) is AttemptEnded:
                attempt = action.message.attempt
                if self.keeping.owes(attempt):
                    actions[place] = SendToLeader(message=AttemptExited(attempt=attempt))
        return actions

    def _close_streams(self, report: AttemptEnded) -> Actions:
        """Close the streams of what ended; what never began has none, and takes no finished one's place."""
        if report.outcome.cause is _GIVEN_BACK:
            self.streams.on_dropped(report.attempt)
            return []
        return self.streams.on_over(report.attempt)

    # --- the runner, the spool, and the readers -----------------------------------------------------------

    def _on_runner(self, event: AttemptLaunched | RunnerDemoted) -> Actions:
        return self._settle(self.attempts.on_runner(event))

    def _on_runner_ended(self, event: RunnerEnded) -> Actions:
        reports = self.attempts.on_runner(event)
        sizes = (event.stdout_bytes, event.stderr_bytes)
        sent = self.keeping.on_ended(event.at, event.attempt, sizes)
        return self.streams.on_ended(event) + self._settle(sent + reports)

    def _on_grew(self, event: OutputGrew) -> Actions:
        sent = self.keeping.on_grew(event.at, event.attempt, event.stream, event.size_bytes)
        return self.streams.on_grew(event) + self._settle(sent)

    def _on_reported(self, event: Reported) -> Actions:
        self._progress.note(event.attempt, event.lines)
        return self._settle(self.keeping.on_reported(event.at, event.attempt, event.lines))

    def _on_runner_lost(self, event: RunnerLost) -> Actions:
        note = Note("runner_lost", {"interrupted": self.attempts.live}, Level.ERROR)
        running = [attempt for attempt, record in self.attempts.records.items() if record.phase in LIVE]
        sent = [action for attempt in running for action in self.keeping.on_over(event.at, attempt)]
        return [note, *self._settle(sent + self.attempts.on_all(event.at, event, LIVE))]

    def _on_granted(self, event: Granted) -> Actions:
        return self.streams.on_granted(event.grant)

    def _on_spool_dropped(self, event: SpoolDropped) -> Actions:
        """Tell readers that it is gone when they ask; where the store was to have it, report without."""
        self.streams.on_dropped(event.attempt)
        if not self.keeping.owes(event.attempt):
            return []
        actions = self.keeping.give_up_output(event.at, event.attempt)
        if not self.keeping.owes(event.attempt):
            actions += self.attempts.report(event.at, event.attempt)
        return self._settle(actions)

    # --- the machine and the clock ------------------------------------------------------------------------

    def _on_load_measured(self, event: LoadMeasured) -> Actions:
        self._load = event.load
        return []

    def _on_uses_measured(self, event: UsesMeasured) -> Actions:
        self._uses.see(event.uses)
        if self.link.registered:
            self._uses.note(event.uses)
        else:
            self._uses.forget()
        return []

    def _on_tick(self, event: Tick) -> Actions:
        actions = self.registration.on_tick(event.at)
        if self._departure.silent:
            return actions
        actions += self.link.on_tick(event.at)
        if self.link.beat_due(event.at):
            beat = Beat(load=self._current_load(), uses=self._uses.take(), progress=self._progress.take())
            actions.append(SendToLeader(message=beat))
        actions += self._settle(self.attempts.give_back_overdue(event.at))
        if self.link.registered:
            actions += self.keeping.tick(event.at)
            actions += self._hold(self.attempts.report_due(event.at))
        return actions + self._remind(event.at)

    def _remind(self, at: float) -> Actions:
        """Say now and then what the worker waits for, so that it never hangs without a word."""
        awaited = "a leader" if self.registration.connected else "ZooKeeper"
        if self.link.registered or self._remind_at is None:
            self._remind_at = at + REMIND_S
        elif at >= self._remind_at:
            self._remind_at = at + REMIND_S
            return [Note("worker_waiting", {"for": awaited}, Level.WARNING)]
        return []

    # --- leaving ------------------------------------------------------------------------------------------

    def _on_stop_requested(self, event: StopRequested) -> Actions:
        """Stop in order; asked again, leave at once: the runner kills what runs when we are gone."""
        if self._departure.stopping:
            replaced = self._departure.stage is Stage.REPLACED
            self._departure.enter(event.at, Stage.GONE)
            return [_REPLACED if replaced else Exit(code=EXIT_STOPPED_TWICE, why="asked twice to stop")]
        self._departure.enter(event.at, Stage.KILLING, saves=self.attempts.saves)
        stop = WorkerStops(at=event.at, grace_s=STOP_GRACE_S)
        note = Note("worker_stopping", {"running": self.attempts.live})
        leaving = SendToLeader(message=Leaving())
        return [note, *self._settle([leaving, *self.attempts.on_all(event.at, stop, UNENDED)])]

    def _yield_if_replaced(self, at: float) -> Actions:
        """Kill everything and say nothing more: a newer incarnation owns our name, so ours counts as dead."""
        if self.registration.standing is not Standing.REPLACED or self._departure.silent:
            return []
        self._departure.enter(at, Stage.REPLACED)
        closing = self.link.close()
        stop = WorkerStops(at=at, grace_s=0.0)
        return closing + self._settle(self.attempts.on_all(at, stop, UNENDED))

    def _depart(self, at: float) -> Actions:
        """Go through the stages of leaving as far as they are over."""
        actions: Actions = []
        while True:
            replaced = self._departure.stage is Stage.REPLACED
            following = self._departure.due(
                at, live=self.attempts.live, idle=self.attempts.idle, deleting=self.registration.leaving
            )
            if following is None:
                return actions
            self._departure.enter(at, following)
            if following is Stage.DELETING:
                actions += self.registration.leave()
            elif following is Stage.GONE and replaced:
                return [*actions, _REPLACED]
            elif following is Stage.GONE:
                actions += self._settle([SendToLeader(message=Goodbye())])
                return [*actions, Exit(code=EXIT_STOPPED, why="asked to stop")]

    def check_invariants(self) -> None:
        """Raise AssertionError where the parts disagree; tests call it after every event."""
        self.attempts.check_invariants()
        self.streams.check_invariants()
        self.keeping.check_invariants()
        for attempt, record in self.attempts.records.items():
            if record.phase is not ENDED:
                assert self.streams.open(attempt)
