"""``least-loaded`` (the default): the worker whose scarcest resource is least used, for how fast it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from alb_broker.policies import Candidate, Context
from alb_broker.policies.measures import least, ordered
from alb_core.spec import TaskSpec
from alb_core.speeds import graded

OF_MOST: Final = 0.6
OF_SECOND: Final = 0.25
OF_THIRD: Final = 0.15
#: Weights of the most, the second and the least used of CPU, memory and network.


def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """The worker whose scarcest resource is least used, for its speed: reserved or measured, what is more."""
    return least(candidates, context, partial(pressure_for_speed, task))


def pressure_for_speed(task: TaskSpec, candidate: Candidate) -> float:
    """Return how used the worker would be for how fast it is: one of twice the speed bears twice as much."""
    return pressure(task, candidate) / graded(candidate.speed)


def pressure(task: TaskSpec, candidate: Candidate) -> float:
    """Return how used the worker would be, 0 (idle) to 1 (full), or above where it is overloaded."""
    third, second, most = ordered(task, candidate)
    return OF_MOST * most + OF_SECOND * second + OF_THIRD * third
