"""Workers in virtual time: they start what they are told as soon as there is room, and end it in time.

They count room by the leader's rules, in the order in which attempts came, and give back what waited too
long, as ``alb_worker`` does. What they run takes its job's run time divided by their speed, never fails, and
uses what it reserved: nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from alb_core import limits
from alb_core.messages import AttemptEnded, AttemptId, AttemptStarted, Kill, Revoke, Run, WorkerMessage
from alb_core.resources import Request, Room
from alb_core.tasks import Cause, Outcome
from alb_core.traces import Machine

KILLED: Final = Outcome(cause=Cause.KILLED)
GOES_ON: Final = {
    "evicted": Outcome(cause=Cause.EVICTED),
    "preempted": Outcome(cause=Cause.PREEMPTED),
}
GIVEN_BACK: Final = Outcome(cause=Cause.GIVEN_BACK, why="there was no room for it in time")

REVOKED: Final = Outcome(cause=Cause.GIVEN_BACK, why="it was asked back before it was started")


class Alarm(NamedTuple):
    """Something that a machine wants to be told when its time has come."""

    machine: ReplayedMachine
    attempt: AttemptId
    ends: bool
    #: Else it is to be given back, if it still waits.


class Running(NamedTuple):
    """An attempt that runs."""

    request: Request
    began: float
    run_s: float


class ReplayedMachine:
    """One worker.

    Args:
        machine: What it is.
        index: Its place among the machines.
        request_of: Returns what a task reserves.
        run_s_of: Returns how long a task runs on a machine of speed 1.
        say: Takes what it says to the leader.
        wake: Takes a time and the alarm that is due then.
        note_run: Takes a task whose command has ended by itself, when it had begun, and when it ended.
        sharing: By how much a full machine slows each of its runs down: 0.2 is a fifth.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (its place in the replay)
        self,
        machine: Machine,
        index: int,
        request_of: Callable[[str], Request],
        run_s_of: Callable[[str], float],
        say: Callable[[bytes, WorkerMessage], None],
        wake: Callable[[float, Alarm], None],
        note_run: Callable[[str, float, float], None],
        sharing: float = 0.0,
    ) -> None:
        self.machine: Final = machine
        self.index: Final = index
        self.peer: Final = machine.name.encode()
        self.running: dict[AttemptId, Running] = {}
        self.waiting: dict[AttemptId, Request] = {}  #: Given ahead of their room, in their order.
        self.wasted_s = 0.0  #: Run time of attempts that were ended from outside.
        self._request_of: Final = request_of
        self._run_s_of: Final = run_s_of
        self._say: Final = say
        self._wake: Final = wake
        self._note_run: Final = note_run
        self._sharing: Final = sharing
        self._room: Final = Room(machine.capacity)

    def hear(self, message: object, at: float) -> None:
        """Take what the leader says; only orders matter."""
        if isinstance(message, Run):
            self._take(message.attempt, at)
        elif isinstance(message, Kill):
            self._kill(message.attempt, GOES_ON.get(message.why, KILLED), at)
        elif isinstance(message, Revoke):
            for attempt in message.attempts:
                self._revoke(attempt, at)

    def _take(self, attempt: AttemptId, at: float) -> None:
        if attempt in self.running or attempt in self.waiting:
            return
        self._say(self.peer, AttemptStarted(attempt=attempt))
        self.waiting[attempt] = self._request_of(attempt.task)
        self._advance(at)
        if attempt in self.waiting:
            self._wake(at + limits.AHEAD_KEPT_S, Alarm(self, attempt, ends=False))

    def _advance(self, at: float) -> None:
        """Start what waits, in order, as far as there is room."""
        while self.waiting:
            attempt, request = next(iter(self.waiting.items()))
            if not self._room.holds(request):
                return
            del self.waiting[attempt]
            self._room.take(request)
            run_s = self._run_s_of(attempt.task) / self.machine.speed * self._disturbance(request)
            self.running[attempt] = Running(request, at, run_s)
            self._wake(at + run_s, Alarm(self, attempt, ends=True))

    def _disturbance(self, request: Request) -> float:
        """Return by what factor a run takes longer for its neighbours, as they are when it begins."""
        if not self._sharing:
            return 1.0
        cpus = self.machine.capacity.cpus
        return 1.0 + self._sharing * max(0.0, cpus - self._room.cpus - request.cpus) / cpus

    def _kill(self, attempt: AttemptId, how: Outcome, at: float) -> None:
        running = self.running.get(attempt)
        if running is not None:
            self.wasted_s += at - running.began
            self._end(attempt, how, at)
        elif self.waiting.pop(attempt, None) is not None:
            self._report(attempt, GIVEN_BACK)
            self._advance(at)
        else:
            self._report(attempt, how)  # it ended a moment ago; the leader takes the first report

    def _revoke(self, attempt: AttemptId, at: float) -> None:
        if self.waiting.pop(attempt, None) is not None:
            self._report(attempt, REVOKED)
            self._advance(at)
        elif attempt in self.running:
            self._say(self.peer, AttemptStarted(attempt=attempt, began=True))

    def on_alarm(self, alarm: Alarm, at: float) -> None:
        """An attempt's run is over, or it waited too long; one that was ended before is passed over."""
        attempt = alarm.attempt
        if alarm.ends:
            running = self.running.get(attempt)
            if running is not None:
                self._note_run(attempt.task, running.began, at)
                self._end(attempt, Outcome(cause=Cause.EXITED, exit_code=0, wall_s=running.run_s), at)
        elif self.waiting.pop(attempt, None) is not None:
            self._report(attempt, GIVEN_BACK)
            self._advance(at)

    def _end(self, attempt: AttemptId, how: Outcome, at: float) -> None:
        self._room.give_back(self.running.pop(attempt).request)
        self._report(attempt, how)
        self._advance(at)

    def _report(self, attempt: AttemptId, how: Outcome) -> None:
        self._say(self.peer, AttemptEnded(attempt=attempt, outcome=how))
