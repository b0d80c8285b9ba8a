"""What holds for every policy that alb brings, and for the interface."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy_parts import GIB, TASK

from alb_broker.policies import (
    PLAIN,
    Candidate,
    Context,
    Wishes,
    check_parameters,
    check_policy,
    summary,
    wishes,
    wishes_of,
)
from alb_broker.shell.plugins import load_policies
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load

POLICIES = load_policies()
candidates = st.lists(
    st.builds(
        Candidate,
        worker=st.sampled_from(["w1", "w2", "w3"]),
        capacity=st.builds(
            Capacity,
            cpus=st.sampled_from([0.0, 0.5, 4.0]),
            memory_bytes=st.sampled_from([0, GIB]),
            net_bps=st.sampled_from([0, 10**9]),
            speed=st.sampled_from([0.5, 1.0, 4.0]),
        ),
        cpus=st.sampled_from([-1.0, 0.0, 0.5, 4.0]),
        memory_bytes=st.sampled_from([-1, 0, GIB]),
        net_bps=st.sampled_from([0, 10**9]),
        load=st.builds(Load, cpu=st.floats(0, 2), memory=st.floats(0, 2), net=st.floats(0, 2)),
        attempts=st.integers(0, 5),
        turn=st.integers(0, 5),
        speed=st.sampled_from([0.5, 1.0, 4.0]),
    ),
    min_size=1,
    max_size=16,
)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(candidates, st.integers(0, 1000))
def test_one_of_the_candidates_is_chosen(name: str, each: list[Candidate], seed: int) -> None:
    """Or none of them; whatever they look like, and the same one again with the same draws."""
    policy = POLICIES[name]
    parameters = wishes_of(policy).parameters
    first, second = (policy(TASK, each, Context(0.0, Draws(seed), parameters)) for _ in range(2))
    assert first is second
    assert first is None or any(first is candidate for candidate in each)


def test_a_policy_says_what_it_wants_and_what_it_is() -> None:
    """Who says nothing gets the usual; a class whose instances are called will do as well."""

    @wishes(candidates=7, parameters={"a": 1.0})
    def choose(*_: Any) -> None:
        """The best one.

        Because.
        """

    assert wishes_of(choose) == Wishes(candidates=7, parameters={"a": 1.0})
    assert summary(choose) == "The best one."
    assert wishes_of(lambda *_: None) is PLAIN

    class Own:
        wishes = Wishes(candidates=2)

        def __call__(self, *_: Any) -> None:
            """Choose nobody."""

    assert wishes_of(Own()).candidates == 2


@pytest.mark.parametrize(
    ("policy", "part"),
    [
        ("least-loaded", "cannot be called"),
        (wishes(candidates=0)(lambda *_: None), "wants 0 candidates"),
        (wishes(parameters={f"p{n}": 1.0 for n in range(17)})(lambda *_: None), "17 parameters"),
    ],
)
def test_what_cannot_be_a_policy_is_told_so(policy: object, part: str) -> None:
    """In a sentence; a function is one."""
    assert part in (check_policy(policy) or "")
    assert check_policy(lambda *_: None) is None


def test_a_check_that_fails_refuses() -> None:
    """A policy is foreign code: its mistake is nobody's crash."""

    def check(_parameters: object) -> str | None:
        raise KeyError("x")

    policy = wishes(parameters={"a": 1.0}, check=check)(lambda *_: None)
    assert "KeyError('x')" in (check_parameters(policy, {}) or "")
