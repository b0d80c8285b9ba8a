"""Invariants of what brokers say: checked when a message leaves, against what is committed at that moment."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.violations import Told, demand

from alb_broker.core import events
from alb_broker.core.actions import SendToClient, SendToWorker
from alb_core import limits
from alb_core import messages as said
from alb_core.spec import OnLost
from alb_core.tasks import AttemptState, TaskRecord

if TYPE_CHECKING:
    from tests.simulation.brokers import BrokerHost
    from tests.simulation.cluster import Cluster

UNBOUND: Final = (said.Heartbeat, said.NotLeader)
#: Messages that prove nothing: they need no commit.

Question = tuple[str, bytes, str, object]
#: Broker's life, peer, kind of the question, and what it is about.

ANSWERED_BY: Final[dict[type, str]] = {
    said.Welcome: "hello",
    said.Pong: "seq",
    said.TasksPage: "seq",
    said.ArrayPage: "seq",
    said.TaskPage: "seq",
    said.WorkersPage: "seq",
    said.Busy: "submit",
    said.Accepted: "submit",
    said.CancelNoted: "cancel",
}
#: Which kind of question a message answers.


class SpeechChecks:
    """Listens to every broker.

    Args:
        cluster: The witness of everything else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.accepted: set[str] = set()  #: Tasks that somebody was told are accepted.
        self._asked: dict[Question, deque[float]] = defaultdict(deque)
        #: True times at which questions were handled that have no answer yet.

    # --- questions ------------------------------------------------------------------------------------------

    def on_broker_event(self, broker: BrokerHost, event: Any) -> None:
        """A broker's core is about to handle an event."""
        if not isinstance(event, events.ClientSaid):
            return
        message, kind = event.message, ""
        about: object = None
        match message:
            case said.Hello():
                kind = "hello"
            case said.Submit() | said.SubmitArray():
                kind, about = "submit", message.id
            case said.Cancel():
                kind, about = "cancel", message.id
            case said.Ping() | said.QueryArray() | said.QueryTask() | said.QueryTasks() | said.QueryWorkers():
                kind, about = "seq", message.seq
            case _:
                return
        self._asked[broker.incarnation, event.peer, kind, about].append(self._cluster.timeline.now)

    def _asked_at(self, broker: BrokerHost, peer: bytes, message: Any) -> float | None:
        """Return when the question was handled that a message answers, as far as it can be known."""
        kind = ANSWERED_BY.get(type(message), "")
        about = None
        if isinstance(message, said.Error) and message.seq:
            kind = "seq"
        if kind == "seq":
            about = message.seq
        elif kind in ("submit", "cancel"):
            about = message.id
        if not kind:
            return None
        waiting = self._asked.get((broker.incarnation, peer, kind, about))
        return waiting.popleft() if waiting else None

    # --- to clients -----------------------------------------------------------------------------------------

    def on_said(self, broker: BrokerHost, action: SendToClient) -> None:
        """A broker says something to a client."""
        message, epoch = action.message, action.epoch
        if epoch == 0 or isinstance(message, UNBOUND):
            return
        table = self._cluster.invariants.table
        asked_at = self._asked_at(broker, action.peer, message)
        name = Told("{} (epoch {}, now {}) said {}", broker.incarnation, epoch, table.epoch, message)
        if asked_at is not None:
            demand(
                table.applied_at.get(epoch, -1.0) >= asked_at,
                "nobody_speaks_without_a_commit",
                "{}: asked at {:.4f}, the newest commit was at {}",
                name,
                asked_at,
                table.applied_at.get(epoch),
            )
        self._cluster.invariants.arrays.on_said(message, name)
        match message:
            case said.Accepted():
                self.accepted.add(message.id)
                known = message.id in table.created_at or self._cluster.invariants.arrays.known(message.id)
                demand(known, "accepted_means_committed", "{}", name)
            case said.Finished():
                recorded = table.results.get(message.id)
                demand(
                    recorded == message.result,
                    "a_result_is_said_as_committed",
                    "{}, recorded {}",
                    name,
                    recorded,
                )
            case said.CancelNoted():
                noted = message.id in table.cancelled or message.id in table.results
                noted = noted or self._cluster.invariants.arrays.has_noted(message.id)
                demand(noted, "a_noted_cancel_is_committed", "{}", name)
            case said.Rejected(code="gone"):
                self._check_gone(message.id, name, epoch)
            case _:
                pass

    def _check_gone(self, task_id: str, name: Told, epoch: int) -> None:
        """An accepted task is known to every later leader until it was removed.

        The one that made it may have been asked before it did, and answers late: with its last commit,
        when the next has claimed perhaps.
        """
        table = self._cluster.invariants.table
        present = table.known(task_id) is not None and task_id in self.accepted
        known = present and table.created_in.get(task_id) != epoch
        demand(not known, "no_accepted_task_is_called_gone", "{}", name)

    # --- to workers -----------------------------------------------------------------------------------------

    def on_ordered(self, broker: BrokerHost, action: SendToWorker) -> None:
        """A broker says something to a worker."""
        message, epoch = action.message, action.epoch
        table = self._cluster.invariants.table
        name = Told(
            "{} (epoch {}, now {}) ordered {} from {}",
            broker.incarnation,
            epoch,
            table.epoch,
            message,
            action.peer,
        )
        match message:
            case said.Run():
                attempt = table.assigned.get((message.attempt.task, message.attempt.n))
                known = (
                    attempt is not None
                    and attempt.incarnation.encode() == action.peer
                    and attempt.epoch <= epoch
                )
                demand(known, "no_order_runs_ahead_of_the_table", "{}; the table says {}", name, attempt)
                if epoch == table.epoch:
                    demand(self._is_live(message.attempt), "no_order_for_a_dead_attempt", "{}", name)
            case said.Kill(attempt=attempt_id, why="preempted"):
                record = table.live.get(attempt_id.task)
                demand(
                    record is None or _agreed(record) or _is_copy(record, attempt_id.n),
                    "only_who_agreed_is_preempted",
                    "{} of {}",
                    name,
                    record,
                )
            case said.Kill(attempt=attempt_id, why="cancelled" | "superseded" as why):
                self._check_kill(attempt_id, why, name, epoch)
            case said.Revoke():
                given = [table.assigned.get((wanted.task, wanted.n)) for wanted in message.attempts]
                demand(
                    all(each is not None and each.incarnation.encode() == action.peer for each in given),
                    "no_order_runs_ahead_of_the_table",
                    "{}; the table says {}",
                    name,
                    given,
                )
            case said.AttemptAck():
                demand(
                    not self._may_deliver(message.attempt),
                    "no_report_is_acknowledged_before_its_commit",
                    "{}",
                    name,
                )
            case _:
                pass

    def _check_kill(self, attempt_id: said.AttemptId, why: str, name: Told, epoch: int) -> None:
        """What lives is killed for a cancellation that is in the table; superseded is what does not live."""
        table = self._cluster.invariants.table
        if epoch == table.epoch and self._is_live(attempt_id):
            asked = why == "cancelled" and table.live[attempt_id.task].cancel
            demand(asked, "nobody_is_killed_unasked", "{} of {}", name, table.live[attempt_id.task])

    def _is_live(self, attempt_id: said.AttemptId) -> bool:
        record = self._cluster.invariants.table.live.get(attempt_id.task)
        attempts = record.attempts if record is not None else ()
        return any(attempt.n == attempt_id.n and attempt.state is AttemptState.LIVE for attempt in attempts)

    def _may_deliver(self, attempt_id: said.AttemptId) -> bool:
        """Tell whether the table still waits for an attempt's report."""
        record = self._cluster.invariants.table.live.get(attempt_id.task)
        attempts = record.attempts if record is not None else ()
        return any(
            attempt.n == attempt_id.n and attempt.state is not AttemptState.OVER for attempt in attempts
        )


def _agreed(record: TaskRecord) -> bool:
    """Tell whether a task may be ended for others: it said so, it may run again, and was not too often."""
    spec = record.spec
    often = record.preemptions >= limits.PREEMPTIONS_MAX
    return spec.preemptible and spec.on_lost is OnLost.RERUN and not often


def _is_copy(record: TaskRecord, n: int) -> bool:
    """Tell whether an attempt was begun only because another one lagged."""
    return any(attempt.n == n and attempt.copy_of for attempt in record.attempts)
