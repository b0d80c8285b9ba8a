"""The muster of a new leader: who is expected back, until each has registered again or was given up.

Right after a takeover most room is unknown: it is on workers that have not registered yet. Who takes from
others for want of room (`Demotions`, `Preemptions`) waits until all are back that are in the table or have a
node. Each of them registers, most within a second, or is given up as lost, as the worker desk decides: so the
wait is bounded by ``LOST_WITH_SESSION_S``. Who comes later is no part of it, nor is the
next incarnation of one that starts again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from alb_broker.core.state import State

if TYPE_CHECKING:
    from alb_broker.core.worker import Worker
    from alb_broker.core.worker_desk import WorkerDesk


class _Ticking(Protocol):
    def tick(self) -> None: ...


class Muster:
    """Lets others act once the workers are back.

    Args:
        state: The reign's parts.
        desk: Knows when the workers' nodes have been read.
        parts: What waits for it, in the order of each tick.
    """

    def __init__(self, state: State, desk: WorkerDesk, *parts: _Ticking) -> None:
        self._state: Final = state
        self._desk: Final = desk
        self._parts: Final = parts
        self._awaited: list[Worker] | None = None  #: None: not all nodes have been read yet.

    def tick(self) -> None:
        """Pass the tick on, unless somebody is still expected."""
        if self._awaited is None or self._awaited:
            self._awaited = self._missing()  # the room of the last one is offered before the next tick
        else:
            for part in self._parts:
                part.tick()

    def _missing(self) -> list[Worker] | None:
        if self._awaited is None and not self._desk.nodes_known:
            return None
        expected = self._state.workers if self._awaited is None else self._awaited
        return [worker for worker in expected if worker.known and not worker.peer]
