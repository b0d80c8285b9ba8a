"""The user's vector: what is to be optimised for a task, its time or the resources that it takes.

Two weights with the sum 1. It decides how fast a worker is chosen, whether tasks are packed onto few workers
or spread over many, how long they rather wait than wake one, and whether a straggler may be run twice. What a
policy makes of it is ``alb_broker/policies/optimize.py``.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

OPTIMIZE: Final = "optimize"
#: The policy that places by a vector.
HALF: Final = 0.5
#: From this weight on time counts more than resources.
PATIENCE_S: Final = 30.0
#: So long a task for which resources alone count waits for room where something runs already: about what a
#: machine takes to wake.
TOLERANCE: Final = 1e-6
#: By which the sum of two weights may differ from 1: they are written in decimals.
USAGE: Final = "write time, resources, or both with weights: time=0.7,resources=0.3"


class Vector(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How much a task's time counts, and how much what it takes."""

    time: float
    resources: float


def weighed(time: float, resources: float) -> Vector:
    """Return the vector of two weights, whatever their sum is.

    Raises:
        ValueError: They are no weights; the sentence says why.
    """
    weights = (time, resources)
    if min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ValueError("the weights of time and resources are not negative, nor both of them 0")
    share = round(time / (time + resources), 6)
    return Vector(time=share, resources=round(1.0 - share, 6))


def parse_vector(text: str) -> Vector:
    """Return what people write: ``time``, ``resources``, or both with weights.

    Weights of any sum are brought to the sum 1; where there is one, of 0 to 1, the other is the rest.

    Raises:
        ValueError: It is something else; the sentence says what to write.
    """
    weights: dict[str, float] = {}
    for word in text.split(","):
        name, equals, number = (part.strip() for part in word.partition("="))
        if name not in Vector.__struct_fields__:
            raise ValueError(f"{name[:40]!r} is nothing to optimise: {USAGE}")
        if name in weights:
            raise ValueError(f"{name} is given twice: {USAGE}")
        try:
            weights[name] = float(number) if equals else 1.0
        except ValueError:
            raise ValueError(f"{number[:40]!r} is no weight of {name}: {USAGE}") from None
    if len(weights) == 1 and 0 <= (alone := next(iter(weights.values()))) <= 1:
        weights |= {name: 1.0 - alone for name in Vector.__struct_fields__ if name not in weights}
    return weighed(weights.get("time", 0.0), weights.get("resources", 0.0))


def vector_words(vector: Vector) -> str:
    """Return a vector as people write it."""
    if vector.resources == 0 or vector.time == 0:
        return "time" if vector.resources == 0 else "resources"
    return f"time={vector.time:g},resources={vector.resources:g}"


def check_vector(vector: Vector) -> str | None:
    """Return what is wrong with a vector, as a sentence, or None."""
    weights = (vector.time, vector.resources)
    if min(weights) >= 0 and abs(sum(weights) - 1.0) <= TOLERANCE:
        return None
    return f"{weights[0]:g} for time and {weights[1]:g} for resources are no weights: 0 to 1, and 1 together"


def hurries(vector: Vector) -> bool:
    """Tell whether time counts at least as much as resources."""
    return vector.time >= HALF


def patience_s(vector: Vector) -> float:
    """Return how long a task rather waits than wake a worker: the more, the more resources outweigh time."""
    return PATIENCE_S * max(0.0, vector.resources - vector.time)


def may_copy(vector: Vector | None) -> bool:
    """Tell whether a straggler may be run a second time: it costs resources to win time.

    Args:
        vector: Of the task, else of the cluster; None: nobody said what to optimise, so nothing forbids it.
    """
    return vector is None or hurries(vector)
