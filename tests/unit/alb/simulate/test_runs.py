"""Replays of installed policies: what cannot be used is said, and one that hangs ends its replay."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial

import pytest

from alb.simulate import runs
from alb.simulate.core.trace import Trace, pool
from alb_broker.policies import Candidate, Context, least_loaded
from alb_broker.shell.plugins import Installed
from alb_broker.shell.replay_guard import ReplayGuard
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


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> runs.Policies:
    """The default, one that hangs, and one that cannot be used."""
    note = Note("policy_unusable", {"policy": "absent", "why": "it cannot be loaded: no licence"})
    installed = Installed({"least-loaded": least_loaded.choose, "endless": endless}, {}, [note])
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
    assert policies.chosen("all") == ["least-loaded", "endless"]
