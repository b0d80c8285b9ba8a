"""The client's core: the retry loop that brings every task to one result, whichever broker leads.

Events go in, actions come out (``alb.core.events``, ``alb.core.actions``). The session owns the nouns of a
client (the leader's link, the books of tasks and of arrays, the requests, liveness) and refuses stale frames
before any of them sees one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from alb.core import actions, events, notices
from alb.core.actions import ClientAction
from alb.core.arrays import ArrayBook
from alb.core.events import ClientEvent
from alb.core.leader import LeaderLink
from alb.core.liveness import Liveness
from alb.core.requests import Requests
from alb.core.tasks import TaskBook
from alb_core import messages
from alb_core.config import ClientConfig

Actions = list[ClientAction]

_PAGES: Final = (
    messages.TasksPage,
    messages.TaskPage,
    messages.WorkersPage,
    messages.ClusterPage,
    messages.SharesPage,
    messages.CopiesPage,
    messages.DumpPage,
    messages.HistoryPage,
    messages.RowsPage,
    messages.IncrementsPage,
    messages.OutputPage,
    messages.WorksPage,
    messages.PoliciesPage,
    messages.ArraysPage,
    messages.IdsPage,
    messages.Done,
)


class ClientCore:
    """One client's state machine.

    Args:
        config: Whose tasks these are, and the bounds of patience.
        client: ``host:pid``, for people.
        seed: Any number; spreads the pauses between attempts to find a leader.
    """

    def __init__(self, config: ClientConfig, *, client: str = "", seed: int = 0) -> None:
        self.leader = LeaderLink(config.user, client, seed, config.zk)
        self.book = TaskBook(unanswered_max=config.unanswered_max, holding_s=config.holding_s)
        self._requests = Requests()
        self.arrays = ArrayBook(self.book, self._requests.next_seq, holding_s=config.holding_s)
        self._liveness = Liveness(config.progress_timeout_s)
        self._waits = ""
        #: What the leader said that it waits for.
        self._closed = False
        self._steps: dict[type, Callable[[Any, Actions], None]] = {
            events.BrokerSaid: self._on_broker_said,
            events.OutputSaid: self._on_output_said,
            events.SubmitRequested: self._on_submit,
            events.Tick: self._on_tick,
            events.LeaderFound: self._on_leader_found,
            events.LookUpFailed: self._on_look_up_failed,
            events.LinkOpened: self._on_opened,
            events.LinkClosed: self._on_gone,
            events.LinkRefused: self._on_gone,
            events.AttachRequested: self._on_attach,
            events.TaskAbandoned: self._on_abandoned,
            events.OutputTaken: self._on_taken,
            events.ArrayRequested: self._on_array,
            events.ArrayAttachRequested: self._on_array_attach,
            events.InputsGiven: self._on_inputs,
            events.ResultsTaken: self._on_results_taken,
            events.ResultsDropped: self._on_results_dropped,
            events.CancelRequested: self._on_cancel,
            events.QueryRequested: self._on_query,
            events.RequestAbandoned: self._on_request_abandoned,
            events.CloseRequested: self._on_close,
        }
        self._answers: dict[type, Callable[[float, Any, Actions], None]] = {
            messages.Accepted: self._on_accepted,
            messages.Finished: self._on_finished,
            messages.TaskMoved: self._on_moved,
            messages.Heartbeat: self._on_heartbeat,
            messages.Pong: self._on_pong,
            messages.Busy: self._on_busy,
            messages.Rejected: self._on_rejected,
            messages.CancelNoted: self._on_cancel_noted,
            messages.InputsKept: self._on_inputs_kept,
            messages.ArrayMoved: self._on_array_moved,
            messages.ArrayPage: self._on_array_page,
            **dict.fromkeys(_PAGES, self._on_page),
        }

    @property
    def _link(self) -> int:
        """The link to a leader that welcomed us, else 0."""
        return self.leader.link if self.leader.welcomed else 0

    def handle(self, event: ClientEvent) -> list[ClientAction]:
        """Take one event.

        Args:
            event: What happened.

        Returns:
            What is to be done, in this order.
        """
        out: Actions = []
        if not self._closed:
            self._steps[type(event)](event, out)
        return out

    # --- the search ---------------------------------------------------------------------------------------

    def _on_leader_found(self, event: events.LeaderFound, out: Actions) -> None:
        self.leader.on_leader_found(event.at, event.leader, event.brokers, out)
        self._note_loss()

    def _on_look_up_failed(self, event: events.LookUpFailed, out: Actions) -> None:
        self.leader.on_look_up_failed(event.at, event.why, out)

    def _on_opened(self, event: events.LinkOpened, out: Actions) -> None:
        if event.link == self.leader.link:
            self.leader.on_opened(event.at, out)
        elif event.link == self.leader.output_link:
            self.book.on_output_opened(event.at, out)

    def _on_gone(self, event: events.LinkClosed | events.LinkRefused, out: Actions) -> None:
        # An output link comes back by itself; if its broker is gone, the link of requests tells.
        if event.link == self.leader.link:
            refused = isinstance(event, events.LinkRefused)
            why = event.why or ("refused the connection" if refused else "closed the connection")
            self.leader.on_gone(event.at, why, out)
            self._note_loss()

    def _note_loss(self) -> None:
        if not self.leader.welcomed:
            self.book.on_leader_lost()
            self._waits = ""

    # --- what brokers say ---------------------------------------------------------------------------------

    def _on_broker_said(self, event: events.BrokerSaid, out: Actions) -> None:
        """Take a frame. Nearly all that is said are answers of the leader that we know."""
        leader, at, epoch, table = self.leader, event.at, event.epoch, event.table
        for message in event.messages:
            if event.link != leader.link:
                return  # what the frame said before that made us leave
            answer = self._answers.get(type(message))
            if answer is not None and leader.welcomed and epoch == leader.epoch and table == leader.table:
                leader.on_heard(at)
                answer(at, message, out)
            else:
                self._on_leading(event, message, out)

    def _on_leading(self, event: events.BrokerSaid, message: messages.ToClient, out: Actions) -> None:
        """Take what says who leads, or comes from somebody else than the leader that we know."""
        leader, at = self.leader, event.at
        if type(message) is messages.NotLeader:  # isinstance of a Struct costs 800 instructions
            leader.on_not_leader(at, message.where, out)
            self._note_loss()
            return
        if event.epoch == 0:
            if type(message) is messages.Error:
                self._on_error(at, message, out)
            return
        if leader.is_stale(event.epoch, event.table):
            return
        leader.on_heard(at)
        if type(message) is messages.Welcome:
            self._on_welcome(event, message, out)
        elif type(message) is messages.Error:
            self._on_error(at, message, out)
        elif leader.welcomed:
            # The broker was deposed and leads again, and we missed both: greet it anew.
            leader.lose(at, "it leads another term", out, first=leader.endpoint)
            self._note_loss()

    def _on_welcome(self, event: events.BrokerSaid, message: messages.Welcome, out: Actions) -> None:
        if not self.leader.on_welcome(event.at, event.epoch, event.table, message, out):
            return
        self._liveness.on_welcome(event.at)
        self.book.on_welcome(event.at, self._link, self.leader.output_link, out)
        self.arrays.on_welcome(event.at, self._link, out)
        self._requests.on_welcome(event.at, self._link, out)

    def _on_error(self, at: float, message: messages.Error, out: Actions) -> None:
        if message.seq:
            if not self.arrays.on_refused(at, message.seq, message.code, message.why, out):
                self._requests.on_answer(message.seq, message, out)
            return
        if message.code == "hello":
            self.leader.on_forgotten(at, out)
            return
        out.append(actions.Tell(notices.BrokerRefused(code=message.code, why=message.why)))
        if not self.leader.welcomed:
            self.leader.on_gone(at, message.why, out)

    def _on_accepted(self, at: float, message: messages.Accepted, out: Actions) -> None:
        self.arrays.on_accepted(at, message.id, self._link, out)
        self.book.on_accepted(at, message, out)
        self.book.fill_window(at, self._link, out)

    def _on_finished(self, at: float, message: messages.Finished, out: Actions) -> None:
        self._requests.on_cancelled(message.id, None, out)
        if message.id not in self.book.tasks and self.arrays.on_finished(at, message, self._link, out):
            return
        self.book.on_finished(at, self._link, message, out)
        self.book.fill_window(at, self._link, out)

    def _on_moved(self, at: float, message: messages.TaskMoved, out: Actions) -> None:
        self.book.on_moved(at, message, out)

    def _on_array_moved(self, at: float, message: messages.ArrayMoved, out: Actions) -> None:
        self.arrays.on_moved(at, message.array, self._link, out)

    def _on_inputs_kept(self, at: float, message: messages.InputsKept, out: Actions) -> None:
        self.arrays.on_kept(at, message, self._link, out)

    def _on_busy(self, at: float, message: messages.Busy, out: Actions) -> None:
        if not self.arrays.on_busy(at, message, out):
            self.book.on_busy(at, message, out)

    def _on_cancel_noted(self, at: float, message: messages.CancelNoted, out: Actions) -> None:
        self._requests.on_cancelled(message.id, message, out)
        self.arrays.on_cancel_noted(at, message.id, self._link, out)
        tracked = self.book.tasks.get(message.id)
        if tracked is not None and self.book.is_unanswered(message.id):
            self.book.note_accepted(at, tracked)
            self.book.attach_again(at, tracked, self._link, out)

    def _on_rejected(self, at: float, message: messages.Rejected, out: Actions) -> None:
        """Find out what was rejected: a cancellation, a submission, or an attachment."""
        task_id = message.id
        tracked = self.book.tasks.get(task_id)
        cancelling = self._requests.is_cancelling(task_id)
        if message.code == "gone" and self.arrays.is_withdrawn(task_id):
            self._requests.on_cancelled(task_id, None, out)
            cancelling = False
        if tracked is None and self.arrays.on_rejected(at, message, self._link, out, cancelling=cancelling):
            return
        if tracked is None:
            self._requests.on_cancelled(task_id, message, out)
        elif cancelling and tracked.withdrawn and message.code == "gone":
            self._requests.on_cancelled(task_id, None, out)
            self.book.fail(tracked, "cancelled", "it was cancelled before it was accepted", out)
        elif (
            cancelling
            and message.code != "gone"
            and not self.book.is_unanswered(task_id)
            and not self.book.is_attaching(task_id)
        ):
            self._requests.on_cancelled(task_id, message, out)
        else:
            self._requests.on_cancelled(task_id, message, out)
            self.book.on_rejected(tracked, message, out)
        self.book.fill_window(at, self._link, out)

    def _on_heartbeat(self, _at: float, message: messages.Heartbeat, out: Actions) -> None:
        if message.waiting != self._waits:
            self._waits = message.waiting
            out.append(actions.Tell(notices.LeaderWaits(broker=self.leader.broker, what=message.waiting)))

    def _on_pong(self, at: float, message: messages.Pong, out: Actions) -> None:
        self._liveness.on_pong(at, message, self._link, self.book, out)

    def _on_page(
        self,
        _at: float,
        message: messages.TasksPage
        | messages.TaskPage
        | messages.WorkersPage
        | messages.ClusterPage
        | messages.SharesPage
        | messages.CopiesPage
        | messages.DumpPage
        | messages.HistoryPage
        | messages.RowsPage
        | messages.IncrementsPage
        | messages.OutputPage
        | messages.WorksPage
        | messages.PoliciesPage
        | messages.ArraysPage
        | messages.IdsPage
        | messages.Done,
        out: Actions,
    ) -> None:
        self._requests.on_answer(message.seq, message, out)

    def _on_array_page(self, at: float, message: messages.ArrayPage, out: Actions) -> None:
        if not self.arrays.on_page(at, message, self._link, out):
            self._requests.on_answer(message.seq, message, out)

    def _on_output_said(self, event: events.OutputSaid, out: Actions) -> None:
        if event.link == self.leader.output_link:
            self.book.on_chunk(event.at, self._link, event.chunk, out)

    # --- the user -----------------------------------------------------------------------------------------

    def _on_submit(self, event: events.SubmitRequested, out: Actions) -> None:
        self.book.submit(event, self._link, out)

    def _on_attach(self, event: events.AttachRequested, out: Actions) -> None:
        self.book.attach(event, self._link, out)

    def _on_abandoned(self, event: events.TaskAbandoned, _out: Actions) -> None:
        self.book.abandon(event.id)
        self.arrays.abandon(event.id)

    def _on_array(self, event: events.ArrayRequested, out: Actions) -> None:
        self.arrays.submit(event, self._link, out)

    def _on_array_attach(self, event: events.ArrayAttachRequested, out: Actions) -> None:
        self.arrays.attach(event, self._link, out)

    def _on_inputs(self, event: events.InputsGiven, out: Actions) -> None:
        self.arrays.give(event, self._link, out)

    def _on_results_taken(self, event: events.ResultsTaken, out: Actions) -> None:
        self.arrays.on_taken(event, self._link, out)

    def _on_results_dropped(self, event: events.ResultsDropped, out: Actions) -> None:
        self.arrays.drop_results(event.at, event.id, self._link, out)

    def _on_taken(self, event: events.OutputTaken, out: Actions) -> None:
        self.book.on_taken(event, out)

    def _on_cancel(self, event: events.CancelRequested, out: Actions) -> None:
        settled = self.book.withdraw(event.id, out)
        if not event.strides:
            settled = self.arrays.withdraw(event.id, out) or settled
        if settled:
            out.append(actions.AnswerQuery(event.token, messages.CancelNoted(id=event.id)))
        else:
            self._requests.cancel(event.at, event.token, event.id, event.strides, self._link, out)

    def _on_query(self, event: events.QueryRequested, out: Actions) -> None:
        self._requests.ask(event.at, event.token, event.message, self._link, out)

    def _on_request_abandoned(self, event: events.RequestAbandoned, _out: Actions) -> None:
        self._requests.abandon(event.token)

    def _on_close(self, _event: events.CloseRequested, out: Actions) -> None:
        self._closed = True
        self.leader.close(out)

    # --- time ---------------------------------------------------------------------------------------------

    def _on_tick(self, event: events.Tick, out: Actions) -> None:
        at = event.at
        self.leader.on_tick(at, out)
        self._note_loss()
        self.book.on_tick(at, self._link, out)
        self.arrays.on_tick(at, self._link, out)
        self._requests.on_tick(at, self._link, out)
        if self._link:
            busy = self.book.unsettled or bool(self.arrays.arrays)
            seq = self._requests.next_seq()
            why = self._liveness.on_tick(at, seq, self._link, self.book, out, busy=busy)
            if why:
                self.leader.suspect(at, why, out)
