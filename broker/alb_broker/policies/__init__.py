"""Policies: pure rules that choose a worker for a task.

One file each; found through the entry point group ``alb.policies``; chosen at run time through
``/config/policy``. A policy is a callable ``choose(task, candidates, context) -> Candidate | None``. It sees
only values, keeps nothing between calls, and must be quick: when it raises, answers with something that is
no candidate, or is slow, the default policy places the task instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec


class Candidate(msgspec.Struct, frozen=True):
    """A worker that has room for the task now."""

    worker: str
    capacity: Capacity
    cpus: float
    #: Free.
    memory_bytes: int
    #: Free.
    net_bps: int
    #: Free.
    load: Load
    #: As last reported.
    preferred: int = 0
    #: How many of the labels that the task prefers it carries. All candidates carry as many: those with more
    #: have no room.


class Context(msgspec.Struct, frozen=True):
    """What a policy may use besides the task and the candidates."""

    at: float
    #: Cluster time.
    draws: Draws
    #: Random numbers, reproducible in simulation.


class Policy(Protocol):
    """The interface of a policy."""

    def __call__(self, task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
        """Choose one of the candidates (two or more: a sole one is taken without asking), or None to wait."""
