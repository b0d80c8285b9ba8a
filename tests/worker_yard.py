"""A worker's attempts for unit tests: driven by what comes, and held to their invariants after every step."""

from __future__ import annotations

from tests.worker_parts import attempt, ended, run

from alb_core.messages import AttemptAck, AttemptId, Demote, Kill, Revoke, Run
from alb_core.resources import GPUS, Capacity, Request, counts_of
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause
from alb_worker.core.actions import WorkerAction
from alb_worker.core.attempts import STOP_GRACE_S, Attempts
from alb_worker.core.events import AttemptLaunched, RunnerDemoted, RunnerEnded, RunnerLost
from alb_worker.core.record import LIVE, UNENDED, Phase
from alb_worker.core.stimuli import WorkerStops as Stops

A1 = attempt(1, 1)
A2 = attempt(1, 2)


def kill(of: AttemptId, why: str = "cancelled") -> Kill:
    """Return the order to end an attempt."""
    return Kill(attempt=of, why=why)


class Yard:
    """Attempts with their invariants checked after every step."""

    def __init__(self, cpus: float = 2.0, gpus: int = 0) -> None:
        counts = counts_of({GPUS: gpus} if gpus else {})
        self.attempts = Attempts(Capacity(cpus=cpus, memory_bytes=1000, counts=counts))

    def _checked(self, actions: list[WorkerAction]) -> list[WorkerAction]:
        self.attempts.check_invariants()
        return actions

    def run(self, message: Run, at: float = 0.0) -> list[WorkerAction]:
        """The leader orders an attempt to run."""
        return self._checked(self.attempts.on_run(at, message))

    def give_back(self, at: float) -> list[WorkerAction]:
        """What waited too long for room is given back."""
        return self._checked(self.attempts.give_back_overdue(at))

    def kill(self, of: AttemptId, at: float = 0.0, why: str = "cancelled") -> list[WorkerAction]:
        """The leader orders its end."""
        return self._checked(self.attempts.on_kill(at, kill(of, why)))

    def evict(self, of: AttemptId) -> list[WorkerAction]:
        """The leader wants it to run elsewhere."""
        return self._checked(self.attempts.on_kill(0.0, kill(of, "evicted")))

    def revoke(self, *of: AttemptId) -> list[WorkerAction]:
        """The leader asks for what has not begun."""
        return self._checked(self.attempts.on_revoke(0.0, Revoke(attempts=of)))

    def cause(self, of: AttemptId) -> Cause | None:
        """Return how it ended; None: it has not."""
        outcome = self.attempts.records[of].outcome
        return None if outcome is None else outcome.cause

    def demote(self, of: AttemptId) -> list[WorkerAction]:
        """The leader gives its processors to others."""
        return self._checked(self.attempts.on_demote(0.0, Demote(attempts=(of,))))

    def demoted(self, of: AttemptId) -> list[WorkerAction]:
        """The runner has given it the lowest weight."""
        return self._checked(self.attempts.on_runner(RunnerDemoted(at=0.0, attempt=of, mechanism="nice")))

    def ack(self, of: AttemptId) -> list[WorkerAction]:
        """The leader has heard its report."""
        return self._checked(self.attempts.on_ack(0.0, AttemptAck(attempt=of)))

    def launched(self, of: AttemptId) -> list[WorkerAction]:
        """Its process runs."""
        return self._checked(self.attempts.on_runner(AttemptLaunched(at=0.0, attempt=of, pid=7)))

    def ended(self, event: RunnerEnded) -> list[WorkerAction]:
        """Its process is gone."""
        return self._checked(self.attempts.on_runner(event))

    def stop(self, grace_s: float = STOP_GRACE_S) -> list[WorkerAction]:
        """The worker stops."""
        return self._checked(self.attempts.on_all(0.0, Stops(at=0.0, grace_s=grace_s), UNENDED))

    def runner_lost(self) -> list[WorkerAction]:
        """The runner died, and all that ran with it."""
        return self._checked(self.attempts.on_all(0.0, RunnerLost(at=0.0), LIVE))

    def phase(self, of: AttemptId) -> Phase | None:
        """Return where it stands; None: it is forgotten."""
        record = self.attempts.records.get(of)
        return None if record is None else record.phase

    # --- ways into each phase -----------------------------------------------------------------------------

    def waiting(self) -> AttemptId:
        """Walk to an attempt that waits for an older one of its task."""
        self.run(run(A1))
        self.run(run(A2))
        return A2

    def crowded(self) -> AttemptId:
        """Walk to one that waits for room."""
        self.run(run(attempt(2), TaskSpec(command="x", request=Request(cpus=2.0))))
        self.run(run(A1))
        return A1

    def launching(self) -> AttemptId:
        """Walk to one that was given to the runner."""
        self.run(run(A1))
        return A1

    def running(self) -> AttemptId:
        """Walk to one that runs."""
        self.launched(self.launching())
        return A1

    def over(self) -> AttemptId:
        """Walk to one that has ended."""
        self.running()
        self.ended(ended(A1))
        return A1
