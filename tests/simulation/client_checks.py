"""Invariants of what users see: results, failures, output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.commands import output_bytes
from tests.simulation.violations import demand

from alb.core.actions import DeliverOutput, Settle
from alb_core.messages import AttemptId, StreamName, WorksPage
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from tests.simulation.clients import ClientHost
    from tests.simulation.cluster import Cluster
    from tests.simulation.workload import UserTask


class ClientChecks:
    """Looks over the users' shoulders.

    Args:
        cluster: The witness of everything else.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.acknowledged: set[str] = set()  #: Tasks whose result some client acknowledged.
        self._reached: dict[tuple[str, str, int, int], int] = {}
        #: Bytes delivered, by life of the client, task, attempt, stream.

    def on_acknowledged(self, task_id: str) -> None:
        """A client sent Ack."""
        self.acknowledged.add(task_id)

    def on_wanted(self, client: ClientHost, task: UserTask) -> None:
        """A user asks anew: output is delivered from its first byte."""
        self.on_restarted(client, task.id)

    def on_restarted(self, client: ClientHost, task_id: str) -> None:
        """A user was told that what was delivered is void: another attempt writes the output."""
        for key in [key for key in self._reached if key[:2] == (client.incarnation, task_id)]:
            del self._reached[key]

    def on_settled(self, client: ClientHost, task: UserTask, action: Settle) -> None:
        """A user got a result."""
        self._cluster.invariants.step(task.id)
        recorded = self._cluster.invariants.table.results.get(task.id)
        name = f"{client.name} got {action.result} of {task.id}"
        demand(recorded == action.result, "every_reader_gets_the_same_result", f"{name}, recorded {recorded}")
        demand(not task.twin, "one_id_is_one_specification", name)
        missing = {note.stream for note in action.missing}
        result = action.result
        for stream, record in zip(StreamName, (result.stdout, result.stderr), strict=True):
            reached = self._reached.get((client.incarnation, task.id, result.attempt, int(stream)), 0)
            whole = reached >= record.size_bytes or (not reached and record.complete)
            demand(
                whole or stream in missing,
                "output_is_whole_or_said_to_be_missing",
                f"{name}: {stream.name} has {record.size_bytes} bytes, {reached} were delivered",
            )

    def on_output(self, client: ClientHost, action: DeliverOutput) -> None:
        """A user got a piece of output."""
        key = (client.incarnation, action.id, action.attempt, int(action.stream))
        reached = self._reached.get(key, 0)
        attempt = AttemptId(action.id, action.attempt)
        name = f"{client.name} got {len(action.data)} bytes of {attempt} at {action.offset}"
        demand(action.offset == reached, "output_comes_without_gaps", f"{name}, had {reached}")
        written = output_bytes(attempt, action.stream, action.offset, len(action.data))
        demand(action.data == written, "output_is_what_was_written", name)
        self._reached[key] = reached + len(action.data)

    def on_failed(self, client: ClientHost, task: UserTask, code: str, why: str) -> None:
        """A user was told that there is no result."""
        table, speech = self._cluster.invariants.table, self._cluster.invariants.speech
        name = f"{client.name} was told {code!r} of {task.id}: {why}"
        match code:
            case "conflict":
                demand(task.twin, "one_id_is_one_specification", name)
            case "gone":
                gone = task.id in table.removed_at or task.id not in speech.accepted
                demand(gone, "no_accepted_task_is_called_gone", name)
            case "cancelled":
                demand(task.id in self._cluster.cancels, "nothing_is_cancelled_unasked", name)
            case "unknown":
                pass
            case "error":
                away = self._cluster.knobs.store and "the results store does not answer" in why
                demand(away, "failures_have_a_reason", name)
            case _:
                demand(False, "failures_have_a_reason", name)

    def on_answer(self, client: ClientHost, message: Any) -> None:
        """A user got an answer to a question: a task in it must be as the table had it."""
        if isinstance(message, WorksPage):
            self._check_works(client, message)
        record = getattr(message, "task", None)
        if record is None:
            return
        recorded = self._cluster.invariants.table.results.get(record.id)
        demand(
            record.result in (None, recorded),
            "every_reader_gets_the_same_result",
            f"{client.name} was shown {record}, recorded {recorded}",
        )

    def _check_works(self, client: ClientHost, page: WorksPage) -> None:
        """What is not run again must have its good result, or still be able to get it."""
        for line in page.tasks.values():
            recorded = self._cluster.invariants.table.results.get(line.id)
            good = recorded is None or recorded.state is TaskState.SUCCEEDED
            demand(
                good or line.state is not TaskState.SUCCEEDED,
                "only_good_results_are_reused",
                f"{client.name} was told {line}, recorded {recorded}",
            )
            own = line.user == client.user
            demand(own, "only_good_results_are_reused", f"{client.name} was given {line} of {line.user}")
