"""The guard of policies in a replay: one that hangs ends it, and says which, where, and after how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from alb_broker.policies import Candidate, Context, Policy, check_parameters, summary, wishes, wishes_of
from alb_broker.shell.replay_guard import PolicyHung, ReplayGuard
from alb_core.choices import Parameter
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec

TASK = TaskSpec(command="x", name="nightly")
EACH = [Candidate(f"w{n}", Capacity(cpus=1, memory_bytes=1), 1.0, 1, 0, Load()) for n in range(2)]
CONTEXT = Context(0.0, Draws(1))
QUICK_S, PATIENT_S = 0.02, 60.0

pytestmark = [
    pytest.mark.timeout(120, method="thread"),  # pytest's own alarm is the timer that is tested here
    pytest.mark.usefixtures("own_alarm"),
]


def spin_then_choose(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate:
    """Swallow the interruption, and choose all the same."""
    with suppress(Exception):
        while True:
            pass
    return candidates[0]


def spin(_parameters: Mapping[str, Parameter]) -> str | None:
    """Never come to an end."""
    while True:
        pass


@wishes(candidates=2, parameters={"n": 1.0}, check=spin)
def first(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate:
    """Be quick.

    But for the check of parameters.
    """
    return candidates[0]


def guarded(policy: Policy, call_s: float) -> Policy:
    """Return the policy in the guard of a replay."""
    return ReplayGuard(call_s).guard({"mine": policy})["mine"]


def test_a_call_that_hangs_ends_the_replay() -> None:
    """No `except Exception` on the way keeps it; the sentence names the policy, the call and the limit."""
    policy = guarded(spin_then_choose, QUICK_S)
    assert not issubclass(PolicyHung, Exception)
    with pytest.raises(
        PolicyHung, match=r"mine hangs: its call 1, to choose among 2 .* 'nightly', took .* 0\.02 s;"
    ):
        policy(TASK, EACH, CONTEXT)


def test_a_check_that_hangs_ends_it_as_well() -> None:
    """Though checks that raise are told as what is wrong with the parameters."""
    with pytest.raises(PolicyHung, match=r"the check of its parameters took more than 0\.02 s"):
        check_parameters(guarded(first, QUICK_S), {"n": 2.0})


def test_a_quick_one_is_itself() -> None:
    """With its answer, its exceptions, what it says of itself, and its wishes."""
    policy = guarded(first, PATIENT_S)
    assert policy(TASK, EACH, CONTEXT) is EACH[0]
    assert (summary(policy), wishes_of(policy).candidates) == ("Be quick.", 2)
    with pytest.raises(IndexError):
        policy(TASK, [], CONTEXT)
