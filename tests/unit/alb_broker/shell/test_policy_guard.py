"""The guard of policies: a slow one is interrupted, a quick one costs nothing to speak of."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import pytest
from tests.broker_parts import POLICIES, make_task, make_worker

from alb_broker.core.placement import Placer
from alb_broker.core.queue import Queue
from alb_broker.core.shares import Shares
from alb_broker.core.workers import Workers
from alb_broker.policies import Candidate, Context, Policy, check_parameters, summary, wishes, wishes_of
from alb_broker.shell.plugins import PolicyBroke
from alb_broker.shell.policy_guard import PolicyGuard, PolicyTooSlow
from alb_core.choices import DEFAULT_POLICY, Choice
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec

TASK = TaskSpec(command="x")
EACH = [Candidate(f"w{n}", Capacity(cpus=1, memory_bytes=1), 1.0, 1, 0, Load()) for n in range(2)]
PASS_S = 0.2
#: Of this a busy machine takes some from a policy that is quick.
ENDS_S = 20.0

pytestmark = [
    pytest.mark.timeout(60, method="thread"),  # pytest's own alarm is the timer that is tested here
    pytest.mark.usefixtures("own_alarm"),
]


def spin(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Never come to an end."""
    while True:
        pass


def swallow(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Overlook the first interruption."""
    with suppress(Exception):
        while True:
            pass
    while True:
        candidates[0]


def first(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Be quick."""
    return candidates[0]


def guarded(policy: Policy) -> Policy:
    """Return the policy under a guard that allows it little time."""
    return PolicyGuard(PASS_S).guard({"mine": policy})["mine"]


def context() -> Context:
    """Return the context of a new pass."""
    return Context(0.0, Draws(1))


@pytest.mark.parametrize("policy", [spin, swallow])
def test_an_endless_policy_is_interrupted(policy: Policy) -> None:
    """Even one that overlooks the first interruption."""
    began = time.monotonic()
    with pytest.raises(PolicyTooSlow, match="in one pass"):
        guarded(policy)(TASK, EACH, context())
    assert time.monotonic() - began < ENDS_S


def test_the_calls_of_a_pass_share_its_time() -> None:
    """A policy that is a little slow a thousand times is slow; the next pass begins anew."""

    def doze(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        until = time.monotonic() + PASS_S / 4
        while time.monotonic() < until:
            pass
        return candidates[0]

    policy, one_pass = guarded(doze), context()
    answered = 0
    with suppress(PolicyTooSlow):
        for _ in range(50):
            policy(TASK, EACH, one_pass)
            answered += 1
    assert answered <= 4
    with pytest.raises(PolicyTooSlow):
        policy(TASK, EACH, one_pass)
    assert policy(TASK, EACH, context()) is EACH[0]


def test_a_quick_policy_is_left_alone() -> None:
    """Its answer comes through, and its errors do."""
    assert guarded(first)(TASK, EACH, context()) is EACH[0]
    with pytest.raises(IndexError):
        guarded(first)(TASK, [], context())


def test_a_policy_cannot_feign_an_interruption() -> None:
    """A broker takes SIGINT for itself: what looks like it in a policy is a failure of the policy."""

    def interrupt(*_: object) -> Candidate | None:
        raise KeyboardInterrupt

    with pytest.raises(PolicyBroke):
        guarded(interrupt)(TASK, EACH, context())


def test_the_check_of_parameters_is_bounded_too() -> None:
    """It runs in the leader when somebody chooses the policy: one that hangs refuses, and holds nobody up."""

    def hang(_parameters: object) -> str | None:
        while True:
            pass

    for check, told in (
        (hang, "PolicyTooSlow"),
        (lambda _: "too much", "^too much$"),
        (lambda _: None, "^$"),
    ):
        policy = guarded(wishes(parameters={"n": 1.0}, check=check)(lambda *_: None))
        assert re.search(told, check_parameters(policy, {"n": 2.0}) or "")


def test_a_late_alarm_harms_nobody() -> None:
    """Where no policy runs, the alarm finds nobody to interrupt."""
    guarded(first)(TASK, EACH, context())
    signal.raise_signal(signal.SIGALRM)


def test_the_default_policy_is_not_guarded() -> None:
    """Nobody could stand in for it."""

    def doze(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        until = time.monotonic() + 2 * PASS_S
        while time.monotonic() < until:
            pass
        return candidates[0]

    assert PolicyGuard(PASS_S).guard({DEFAULT_POLICY: doze})[DEFAULT_POLICY](TASK, EACH, context()) is EACH[0]


def test_the_time_of_all_is_measured() -> None:
    """Of the default too, and of calls that failed; what a policy wants and says of itself stays with it."""
    guard = PolicyGuard(PASS_S)
    policies = guard.guard({**POLICIES, "mine": spin})
    assert guard.spent() == {}
    with suppress(PolicyTooSlow):
        policies["mine"](TASK, EACH, context())
    for _ in range(2):
        policies[DEFAULT_POLICY](TASK, EACH, context())
    spent = guard.spent()
    assert (spent["mine"][0], spent[DEFAULT_POLICY][0], "uniform" in spent) == (1, 2, False)
    assert spent["mine"][1] > PASS_S / 2 > spent[DEFAULT_POLICY][1] > 0
    assert wishes_of(policies["weighted"]).parameters == wishes_of(POLICIES["weighted"]).parameters
    assert summary(policies["mine"]) == "Never come to an end."


def test_tasks_are_placed_although_the_policy_hangs() -> None:
    """The core lets the default place what an interrupted policy did not, in the same pass."""
    placer = Placer(PolicyGuard(PASS_S).guard({**POLICIES, "mine": spin}), seed=1)
    placer.use(Choice(policy="mine"))
    queue, workers = Queue(), Workers()
    for number in range(3):
        worker = make_worker(f"w{number}", cpus=8)
        workers.add(worker)
        workers.grew(worker)
        queue.add(make_task(number))
    placed: list[str] = []
    assert placer.run(queue, workers, Shares(), lambda _, worker, _how: placed.append(worker.name), 0.0) == 3
    assert len(placed) == 3
    assert placer.failures == 1
    assert "PolicyTooSlow" in placer.notes[0].fields["error"]
