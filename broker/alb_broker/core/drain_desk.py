"""Drains: what operators ask, what ``/config/drained`` says, and what is taken from drained workers.

A drained worker is given nothing. What runs on it ends there; or, where the drain has a deadline, is evicted
then and runs elsewhere, except for tasks that must not run twice. A drain is in force from the moment that
the leader hears of it; it is answered when it is in the table, where every later leader reads it before it
places anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from alb_broker.core.actions import Action
from alb_broker.core.clients import Client
from alb_broker.core.setting import Setting
from alb_broker.core.state import State
from alb_broker.core.task import Task
from alb_broker.core.worker import Worker
from alb_broker.core.worker_desk import WorkerDesk
from alb_core import drains, zk, znodes
from alb_core.drains import Drain
from alb_core.messages import Done, DrainWorkers, Error, Kill, Message, UndrainWorkers
from alb_core.notes import Level
from alb_core.spec import OnLost
from alb_core.tasks import TaskState
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
        self._setting: Final = Setting(state, znodes.DRAINED)
        self._emptied: set[str] = set()  #: Drained workers that were noted to be empty.

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {DrainWorkers: self._on_drain, UndrainWorkers: self._on_undrain}

    # --- what operators ask ---------------------------------------------------------------------------------

    def _on_drain(self, client: Client, request: DrainWorkers) -> None:
        state = self._state
        wish = Drain(by=client.user, reason=request.reason, since=state.now(), deadline_s=request.deadline_s)
        wrong = drains.check_names(request.workers) or drains.check_drain(wish)
        if wrong:
            self._refuse(client, request.seq, wrong)
            return
        if self._knows_all(client, request):
            before = state.workers.drains
            joined = {name: before[name].joined(wish) if name in before else wish for name in request.workers}
            self._write(client, request.seq, before | joined)

    def _on_undrain(self, client: Client, request: UndrainWorkers) -> None:
        wrong = drains.check_names(request.workers)
        if wrong:
            self._refuse(client, request.seq, wrong)
            return
        if self._knows_all(client, request):
            before = self._state.workers.drains
            self._write(client, request.seq, {n: d for n, d in before.items() if n not in request.workers})

    def _knows_all(self, client: Client, request: DrainWorkers | UndrainWorkers) -> bool:
        """Tell whether every worker of a request is known, or drained; the client is told otherwise."""
        workers = self._state.workers
        unknown = [n for n in request.workers if n not in workers.by_name and n not in workers.drains]
        if not unknown:
            return True
        if self._worker_desk.nodes_known:
            known = drains.named(workers.by_name, 10) or "none"
            self._refuse(client, request.seq, f"no worker {unknown[0]} is known; known: {known}")
        else:
            self._state.drop("workers_unread", worker=unknown[0])  # asked again, they will be known
        return False

    def _refuse(self, client: Client, seq: int, why: str) -> None:
        self._state.tell(client.peer, Error(code="invalid", why=why, seq=seq))

    def _write(self, client: Client, seq: int, after: dict[str, Drain]) -> None:
        state = self._state
        if len(znodes.encode(DrainedNode(workers=after))) > NODE_BYTES_MAX:
            path = state.whole(znodes.DRAINED)
            why = f"{len(after)} drains do not fit into {path}; undrain some, or give no reasons"
            self._refuse(client, seq, why)
            return
        done = state.client(client.peer, Done(seq=seq))
        if after == state.workers.drains:  # said again
            state.ledger.say(done)
            return
        self._adopt(after)
        self._save(done)

    def _save(self, *releases: Action) -> None:
        """Write what is in force."""
        self._setting.write(DrainedNode(workers=self._state.workers.drains), releases)

    # --- what the table says --------------------------------------------------------------------------------

    def on_node(self, node: zk.NodeRead | None) -> bool:
        """Take what ``/config/drained`` holds; without the node nobody is drained.

        What cannot be read is replaced by what is in force, lest the next leader finds it and knows no
        better; a leader that knows no better itself leaves it to the operator, and says so.

        Returns:
            Whether it was taken; while own changes are on their way to the node, it is not.
        """
        state = self._state
        if not self._setting.meets(node):
            return False
        try:
            found = {} if node is None else _read(node)
        except znodes.UnreadableNode as error:
            kept = drains.named(state.workers.drains) or "none"
            state.note("drains_unreadable", Level.ERROR, why=error.why, keeps=kept)
            if self._setting.known:
                self._save()
            else:
                self._setting.not_understood(f"{error.why}; nobody is drained until it is written again")
            return True
        self._setting.understood()
        now = state.now()
        dated = {
            name: drain if 0 < drain.since <= now else msgspec.structs.replace(drain, since=now)
            for name, drain in found.items()
        }
        self._adopt(dated)
        if dated != found:  # written by hand: their deadlines count from now on, under the next leader too
            self._save()
        return True

    def _adopt(self, after: dict[str, Drain]) -> None:
        state = self._state
        before = state.workers.drains
        for name, drain in sorted(after.items()):
            if drain != before.get(name):
                fields: dict[str, Any] = {"by": drain.by or "zkCli", "reason": drain.reason or "-"}
                if drain.deadline_s is not None:
                    fields["deadline_s"] = drain.deadline_s
                state.note("worker_draining", worker=name, **fields)
        for name in sorted(before.keys() - after.keys()):
            state.note("worker_undrained", worker=name)
        self._emptied &= after.keys()
        state.workers.drain(after)
        for worker in state.workers:
            if worker.drain is not None and worker.name not in before:
                self._worker_desk.revocations.take_back(worker)

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
            if not (worker.attempts() or worker.foreign or name in self._emptied):
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
            worker.order_end(attempt, state.at)
            state.counters["evictions_ordered"] += 1
            if worker.link:
                state.ledger.say(state.worker(worker.peer, Kill(attempt=attempt, why="evicted")))


def _read(node: zk.NodeRead) -> dict[str, Drain]:
    """Return the drains that a node holds; raises UnreadableNode for what makes no sense."""
    found = znodes.decode(DrainedNode, node.path, node.data).workers
    for name, drain in found.items():
        wrong = drains.check_names((name,)) or drains.check_drain(drain)
        if wrong:
            raise znodes.UnreadableNode(node.path, wrong)
    return found


def evictable(task: Task) -> bool:
    """Tell whether a running task may be taken from its worker: it runs again, and nobody loses anything."""
    return task.state is TaskState.RUNNING and task.spec.on_lost is OnLost.RERUN
