"""Workers in virtual time: room, order, speed, and what is broken off."""

from __future__ import annotations

import msgspec
import pytest

from alb_broker.replay.machines import Alarm, ReplayedMachine
from alb_core.limits import AHEAD_KEPT_S
from alb_core.messages import AttemptEnded, AttemptId, AttemptStarted, Kill, Revoke, Run, WorkerMessage
from alb_core.resources import Capacity, Request
from alb_core.tasks import Cause
from alb_core.traces import Machine

A, B, C = (AttemptId(f"{number:032x}", 1) for number in range(3))
REQUESTS = {A.task: Request(2.0, 100), B.task: Request(1.0, 950), C.task: Request(1.0, 100)}
RUN_S = {A.task: 10.0, B.task: 4.0, C.task: 6.0}


class Stand:
    """A machine of speed 2, two processors and 1,000 bytes; what it says, and the alarms that it set."""

    def __init__(self, sharing: float = 0.0) -> None:
        self.said: list[WorkerMessage] = []
        self.alarms: list[tuple[float, Alarm]] = []
        self.runs: list[tuple[str, float, float]] = []
        self.machine = ReplayedMachine(
            Machine(name="w1", capacity=Capacity(cpus=2.0, memory_bytes=1000, speed=2.0)),
            0,
            REQUESTS.__getitem__,
            RUN_S.__getitem__,
            lambda _peer, message: self.said.append(message),
            lambda at, alarm: self.alarms.append((at, alarm)),
            lambda task, began, ended: self.runs.append((task, began, ended)),
            sharing,
        )

    def run(self, attempt: AttemptId, at: float = 0.0) -> None:
        """Order an attempt."""
        self.machine.hear(Run(attempt=attempt, spec=msgspec.Raw(b"")), at)

    def ring(self, number: int) -> None:
        """Let an alarm ring when it is due."""
        at, alarm = self.alarms[number]
        self.machine.on_alarm(alarm, at)

    def ends(self) -> dict[AttemptId, Cause]:
        """Return how attempts were reported to have ended."""
        return {each.attempt: each.outcome.cause for each in self.said if isinstance(each, AttemptEnded)}


def test_a_fast_machine_takes_less_time() -> None:
    """Ten seconds on a machine of speed 1 are five on one of speed 2; it is said at once that it started."""
    stand = Stand()
    stand.run(A, at=1.0)
    assert stand.said == [AttemptStarted(attempt=A)]
    assert [at for at, _ in stand.alarms] == [6.0]
    stand.ring(0)
    assert stand.ends() == {A: Cause.EXITED}
    assert stand.runs == [(A.task, 1.0, 6.0)]


def test_neighbours_slow_a_run_down_where_that_is_wanted() -> None:
    """By the part of the machine that they have when it begins; alone it takes what it always does."""
    stand = Stand(sharing=0.5)
    stand.run(C)
    stand.run(AttemptId(C.task, 2))
    assert [at for at, _ in stand.alarms] == [3.0, 3.0 * 1.25]


def test_what_waits_starts_in_order_when_there_is_room() -> None:
    """C would fit beside A's end, but B came before it."""
    stand = Stand()
    for attempt in (A, B, C):
        stand.run(attempt)
    assert list(stand.machine.running) == [A]
    stand.ring(0)
    assert list(stand.machine.running) == [B]
    assert list(stand.machine.waiting) == [C]


def test_what_waits_too_long_is_given_back() -> None:
    """And no run is counted for it; the alarm of one that started meanwhile means nothing."""
    stand = Stand()
    stand.run(A)
    stand.run(B)
    at, alarm = stand.alarms[1]
    assert at == AHEAD_KEPT_S
    stand.machine.on_alarm(alarm, at)
    assert stand.ends() == {B: Cause.GIVEN_BACK}
    assert stand.runs == []


def test_what_is_asked_back_goes_unless_it_has_begun() -> None:
    """The one is given back, the other goes on, and what ended a moment ago has been reported."""
    stand = Stand()
    for attempt in (A, B):
        stand.run(attempt)
    stand.machine.hear(Revoke(attempts=(A, B, C)), 1.0)
    assert stand.said[2] == AttemptStarted(attempt=A, began=True)
    assert stand.ends() == {B: Cause.GIVEN_BACK}
    assert list(stand.machine.running) == [A]
    assert not stand.machine.waiting


@pytest.mark.parametrize(
    ("why", "cause"),
    [("cancelled", Cause.KILLED), ("evicted", Cause.EVICTED), ("preempted", Cause.PREEMPTED)],
)
def test_what_is_killed_makes_room_and_is_waste(why: str, cause: Cause) -> None:
    """Its own end, which was due later, means nothing any more."""
    stand = Stand()
    stand.run(A)
    stand.machine.hear(Kill(attempt=A, why=why), 3.0)
    assert stand.ends() == {A: cause}
    assert stand.machine.wasted_s == 3.0
    stand.run(B, at=3.0)
    stand.ring(0)
    assert list(stand.machine.running) == [B]
    assert stand.runs == []


def test_an_order_that_comes_twice_is_taken_once() -> None:
    """As every worker does."""
    stand = Stand()
    stand.run(A)
    stand.run(A)
    assert (len(stand.alarms), stand.said) == (1, [AttemptStarted(attempt=A)])
