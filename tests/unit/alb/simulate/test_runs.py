"""Replays of installed policies: what cannot be used is said, and one that hangs ends its replay."""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from functools import partial

import pytest

from alb.simulate import runs
from alb.simulate.core.figures import Failure, Figures
from alb.simulate.core.trace import Trace, pool
from alb_broker.policies import Candidate, Context, least_loaded, weighted
from alb_broker.shell.plugins import Installed
from alb_broker.shell.replay_guard import ReplayGuard
from alb_core.choices import Choice
from alb_core.errors import ConfigError, ReplayBroken
from alb_core.notes import Note
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.traces import Job

TRACE = Trace(source="", jobs=[Job(user="ann", submitted=0.0, run_s=5.0, request=Request(cpus=1))])
MACHINES = pool(1, 2.0, 1 << 30, (1.0,))

pytestmark = pytest.mark.timeout(120, method="thread")  # pytest's own alarm is the timer that is used here


def endless(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Never come to an end."""
    while True:
        pass


def leave(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Raise what a person's Ctrl-C raises."""
    raise KeyboardInterrupt


def stop(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Run while a person presses Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
    return candidates[0]


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> runs.Policies:
    """The default, one with parameters, some that will not do, and one that cannot be used."""
    note = Note("policy_unusable", {"policy": "absent", "why": "it cannot be loaded: no licence"})
    found = {"least-loaded": least_loaded.choose, "endless": endless, "leave": leave, "stop": stop}
    installed = Installed({**found, "weighted": weighted.choose}, {}, [note])
    monkeypatch.setattr(runs, "find_policies", lambda: installed)
    monkeypatch.setattr(runs, "ReplayGuard", partial(ReplayGuard, 0.02))
    return runs.Policies()


def test_a_policy_that_hangs_ends_its_replay(policies: runs.Policies) -> None:
    """With a sentence; the others are replayed as ever, and the collector is as it was."""
    before = gc.get_threshold()
    with pytest.raises(ReplayBroken, match="the policy endless hangs: its call 1, to choose among 1 workers"):
        policies.run(TRACE, MACHINES, "endless")
    assert gc.get_threshold() == before
    assert policies.run(TRACE, MACHINES, "least-loaded").attempts == 1


def test_one_that_cannot_be_used_is_told_from_one_that_is_not_there(policies: runs.Policies) -> None:
    """Who asks for it by name learns why; who asks for all gets the others."""
    with pytest.raises(ConfigError, match="absent cannot be used: it cannot be loaded: no licence"):
        policies.chosen("least-loaded,absent")
    with pytest.raises(ConfigError, match="'nobodys' is not installed here"):
        policies.chosen("nobodys")
    names = ["least-loaded", "endless", "leave", "stop", "weighted"]
    assert policies.chosen("all") == [Choice(policy=name) for name in names]
    assert policies.chosen("") == [Choice()]
    several = policies.chosen("weighted:cpu=0.1, all")
    assert [choice.words() for choice in several] == ["weighted cpu=0.1", *names]


def test_each_policy_has_a_verdict_of_its_own(policies: runs.Policies) -> None:
    """One that hangs takes nothing from the others; one that leaves is replaced, as in a live broker."""
    found = list(policies.verdicts(TRACE, MACHINES, policies.chosen("least-loaded,endless,leave")))
    first, hung, left = found
    assert isinstance(first, Figures)
    assert isinstance(left, Figures)
    assert (first.policy_failures, left.policy_failures) == (0, 1)
    assert isinstance(hung, Failure)
    assert (hung.policy, "hangs" in hung.why) == ("endless", True)


def test_a_person_may_interrupt_a_replay(policies: runs.Policies) -> None:
    """Also while a policy chooses; and afterwards Ctrl-C does what it did before."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        policies.run(TRACE, MACHINES, "stop")
    assert signal.getsignal(signal.SIGINT) is before


def test_parameters_are_chosen_with_a_name(policies: runs.Policies) -> None:
    """As they are set in a cluster, and its figures are named so; what the policy refuses is said first."""
    (choice,) = policies.chosen("weighted:cpu=0.1:memory=0.9")
    assert choice == Choice(policy="weighted", parameters={"cpu": 0.1, "memory": 0.9})
    (found,) = policies.verdicts(TRACE, MACHINES, [choice])
    assert (found.policy, isinstance(found, Figures)) == ("weighted cpu=0.1 memory=0.9", True)
    for words, why in (("weighted:size=1", "no parameter 'size'"), ("weighted:cpu", "write NAME=VALUE")):
        with pytest.raises(ConfigError, match=why):
            policies.chosen(words)
