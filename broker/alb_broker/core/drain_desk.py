"""Drains: what operators ask, what ``/config/drained`` says, and what is taken from drained workers.

A drained worker is given nothing. What runs on it ends there; or, where the drain has a deadline, is evicted
then and runs elsewhere, except for tasks that must not run twice. A drain is in force from the moment that
the leader hears of it; it is answered when it is in the table, where every later leader reads it before it
places anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from alb_broker.core.clients import Client
from alb_broker.core.ledger import Lane
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker_desk import WorkerDesk
from alb_broker.core.workers import Worker
from alb_core import drains, zk, znodes
from alb_core.drains import Drain
from alb_core.messages import Done, DrainWorkers, Error, Kill, Message, UndrainWorkers
from alb_core.notes import Level
from alb_core.tasks import OnLost, TaskState
from alb_core.znodes import DrainedNode

NODE_BYTES_MAX: Final = 256 * 1024
#: Of ``/config/drained``: a batch has to hold it.
EVICTED_AT_ONCE: Final = 200
#: Attempts of one worker in one tick.


class DrainDesk:
    """Handles drains.

    Args:
        state: The reign's parts.
        worker_desk: Knows whether all workers are known.
    """

    def __init__(self, state: State, worker_desk: WorkerDesk) -> None:
        self._state: Final = state
        self._worker_desk: Final = worker_desk
        self._emptied: set[str] = set()  #: Drained workers that were noted to be empty.

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {DrainWorkers: self._on_drain, UndrainWorkers: self._on_undrain}

    # --- what operators ask ---------------------------------------------------------------------------------

    def _on_drain(self, client: Client, request: DrainWorkers) -> None:
        state = self._state
        wish = Drain(by=client.user, reason=request.reason, since=state.now(), deadline_s=request.deadline_s)
        wrong = drains.check_names(request.workers) or drains.check_wish(wish)
        if wrong:
            self._refuse(client, request.seq, wrong)
            return
        before = state.workers.drains
        unknown = [name for name in request.workers if name not in state.workers.by_name | before]
        if unknown and not self._worker_desk.nodes_known:
            state.drop("workers_unread", worker=unknown[0])  # it is asked again; by then they are known
            return
        if unknown:
            known = drains.named(state.workers.by_name, 10) or "none"
            why = f"no worker {unknown[0]} is known; known: {known}"
            self._refuse(client, request.seq, why)
            return
        fresh = [name for name in request.workers if name not in before or not wish.same_wish(before[name])]
        self._write(client, request.seq, {**before, **dict.fromkeys(fresh, wish)})

    def _on_undrain(self, client: Client, request: UndrainWorkers) -> None:
        wrong = drains.check_names(request.workers)
        before = self._state.workers.drains
        if wrong:
            self._refuse(client, request.seq, wrong)
            return
        self._write(client, request.seq, {n: d for n, d in before.items() if n not in request.workers})

    def _refuse(self, client: Client, seq: int, why: str) -> None:
        self._state.tell(client.peer, Error(code="invalid", why=why, seq=seq))

    def _write(self, client: Client, seq: int, after: dict[str, Drain]) -> None:
        state = self._state
        data = znodes.encode(DrainedNode(workers=after))
        if len(data) > NODE_BYTES_MAX:
            why = f"{len(after)} drains do not fit into {znodes.DRAINED}; undrain some, or give no reasons"
            self._refuse(client, seq, why)
            return
        if after == state.workers.drains:  # said again, or there was nothing to undrain
            state.tell(client.peer, Done(seq=seq))
            return
        self._adopt(after)
        releases = (state.client(client.peer, Done(seq=seq)),)
        state.ledger.write(Lane.RESULTS, znodes.DRAINED, (zk.SetData(znodes.DRAINED, data),), releases)

    # --- what the table says --------------------------------------------------------------------------------

    def on_node(self, node: zk.NodeRead | None) -> bool:
        """Take what ``/config/drained`` holds; without the node nobody is drained.

        Returns:
            Whether it was taken; while own changes are on their way to the node, it is not.
        """
        state = self._state
        if state.ledger.holds(znodes.DRAINED):
            return False
        try:
            found = {} if node is None else znodes.decode(DrainedNode, node.path, node.data).workers
        except znodes.UnreadableNode as error:
            kept = drains.named(state.workers.drains) or "none"
            state.note("drains_unreadable", Level.ERROR, why=error.why, keeps=kept)
            return True
        self._adopt(found)
        return True

    def _adopt(self, after: dict[str, Drain]) -> None:
        state = self._state
        before = state.workers.drains
        for name in sorted(after.keys() - before.keys()):
            drain = after[name]
            state.note("worker_draining", worker=name, by=drain.by or "zkCli", reason=drain.reason or "-")
        for name in sorted(before.keys() - after.keys()):
            state.note("worker_undrained", worker=name)
        self._emptied &= after.keys()
        state.workers.drain(after)

    # --- what runs on drained workers -----------------------------------------------------------------------

    def tick(self) -> None:
        """Evict what is due, and note which drained workers are empty."""
        now = self._state.now()
        for name, drain in self._state.workers.drains.items():
            worker = self._state.workers.by_name.get(name)
            if worker is None:
                continue
            if now >= drain.evicts_at():
                self._evict(worker)
            if not worker.attempts() and name not in self._emptied:
                self._emptied.add(name)
                self._state.note("worker_drained", worker=name)

    def _evict(self, worker: Worker) -> None:
        """Order an end to what may run again elsewhere; the order is repeated like any other."""
        state = self._state
        due = [attempt for attempt in worker.attempts() if attempt not in worker.killing]
        for attempt in due[:EVICTED_AT_ONCE]:
            task = state.table.live.get(attempt.task)
            if task is None or not evictable(task):
                continue
            worker.unconfirmed.pop(attempt, None)
            worker.killing[attempt] = state.at
            state.counters["evictions_ordered"] += 1
            if worker.link:
                state.ledger.say(state.worker(worker.peer, Kill(attempt=attempt, why="evicted")))


def evictable(task: Task) -> bool:
    """Tell whether a running task may be taken from its worker: it runs again, and nobody loses anything."""
    return task.state is TaskState.RUNNING and task.spec.on_lost is OnLost.RERUN
