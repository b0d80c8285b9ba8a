"""People who hold tasks and release them; at the end everything is released."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.simulation.hosts import Source
from tests.simulation.violations import demand

from alb.core import events
from alb_core.arrays import state_of
from alb_core.messages import Done, HoldTasks, Message, ReleaseTasks
from alb_core.tasks import TaskState

if TYPE_CHECKING:
    from tests.simulation.clients import ClientHost
    from tests.simulation.cluster import Cluster

LATEST: Final = 0.9
#: Part of the safety phase within which they act.
HOLDS: Final = 0.12
#: Part of the tasks.
TIDY_AFTER_S: Final = 5.0
#: In the liveness phase: by then no request of before is on its way any more.
AGAIN_S: Final = 5.0


class Holders:
    """Holds tasks and releases them.

    Args:
        cluster: Where.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._draws = random.Random(f"{cluster.seed}/holders")
        self._asked: dict[tuple[str, int], HoldTasks | ReleaseTasks] = {}
        #: Requests without an answer, by life of the client and token.
        self._released: set[str] = set()  #: Tasks that somebody wanted released.

    def plan(self) -> None:
        """Plan what is held when, and for how long."""
        draws, end = self._draws, self._cluster.knobs.safety_s * LATEST
        starts = {task.id: task.spec.start for task in self._cluster.workload.tasks.values()}
        for user in self._cluster.array_users:
            starts |= {job.id: job.spec.task.start for job in user.jobs.values()}
        for name, start in starts.items():
            if draws.random() < HOLDS or start.hold:
                begin = draws.uniform(0.0, end)
                self._cluster.timeline.at(begin, self._ask, HoldTasks(seq=0, ids=(name,)))
                release = ReleaseTasks(seq=0, ids=(name,))
                self._cluster.timeline.at(begin + draws.uniform(0.5, 10.0), self._ask, release)

    def _ask(self, query: HoldTasks | ReleaseTasks) -> None:
        living = [client for client in self._cluster.clients if client.working]
        if living and not self._cluster.faults.lasting:
            self._send(self._draws.choice(living), query)

    def _send(self, client: ClientHost, query: HoldTasks | ReleaseTasks) -> None:
        if isinstance(query, ReleaseTasks):
            self._released.update(query.ids)
        self._asked[client.incarnation, client.query(query)] = query

    def on_answer(self, client: ClientHost, token: int, message: Message) -> None:
        """A person was told that it is done: then the table says so, too."""
        query = self._asked.pop((client.incarnation, token), None)
        if not isinstance(query, HoldTasks) or not isinstance(message, Done):
            return
        table, arrays = self._cluster.invariants.table, self._cluster.invariants.arrays
        for task_id in query.ids:
            array, record = arrays.known(task_id), table.known(task_id)
            held = record is None or record.state.terminal or bool(record.held_by)
            if array is not None:
                record = array.record
                held = bool(record.finished or record.held_by)
            demand(
                held or task_id in self._released,
                "a_hold_is_told_when_it_is_in_the_table",
                f"{client.name} was told that {task_id} is held: {record}",
            )

    def tidy_up(self) -> None:
        """Release everything: who asked before has stopped waiting."""
        for client in self._cluster.clients:
            for life, token in list(self._asked):
                if client.working and client.incarnation == life and client.open_requests.pop(token, None):
                    del self._asked[life, token]
                    client.post(
                        Source.SELF, lambda at, token=token: events.RequestAbandoned(at=at, token=token)
                    )
        self._cluster.timeline.after(TIDY_AFTER_S, self._release_all)

    def _release_all(self) -> None:
        """What is accepted later is released in a later round."""
        living = [client for client in self._cluster.clients if client.working]
        for record in list(self._cluster.invariants.table.live.values()):
            if living and record.state is TaskState.HELD:
                self._send(self._draws.choice(living), ReleaseTasks(seq=0, ids=(record.id,)))
        for array_id, seen in self._cluster.invariants.arrays.seen.items():
            if living and state_of(seen.record) is TaskState.HELD:
                self._send(self._draws.choice(living), ReleaseTasks(seq=0, ids=(array_id,)))
        self._cluster.timeline.after(AGAIN_S, self._release_all)
