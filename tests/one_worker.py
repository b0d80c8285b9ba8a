"""The desks of a leader with one worker that answers its orders, and two users who want it."""

from __future__ import annotations

from typing import Any, Final

from tests.broker_parts import C1, W1, Desks, submit, to_worker

from alb_core.messages import AttemptStarted, Beat, Run
from alb_core.resources import Load
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

QUANTUM_S: Final = 5.0


class OneWorker(Desks):
    """A worker ``w1``, and two users, ``ann`` and ``bob``.

    Args:
        cpus: Of the worker.
        settings: Of the broker.
    """

    def __init__(self, cpus: float, **settings: Any) -> None:
        super().__init__(quantum_s=QUANTUM_S, **settings)
        self.greet("ann", "bob")
        self.join("w1", cpus=cpus)
        self.workers.nodes_known = True
        self.w1 = self.state.workers.by_name["w1"]

    def submit(self, number: int, spec: TaskSpec, peer: bytes = C1) -> list[Any]:
        """Let a task come."""
        return self.started(self.client(submit(number, spec), peer=peer) + self.turn())

    def pass_time(self, at: float) -> list[Any]:
        """Tick once, place and commit."""
        self.at(at).worker(Beat(load=Load()))
        return self.started(self.tick(at) + self.turn())

    def started(self, actions: list[Any]) -> list[Any]:
        """The worker answers its orders to run."""
        orders = [message.attempt for message in to_worker(W1, actions) if isinstance(message, Run)]
        self.worker(*(AttemptStarted(attempt=each) for each in orders))
        return actions

    def runs(self, number: int) -> bool:
        """Tell whether a task runs."""
        return self.task(number).state is TaskState.RUNNING
