"""How fast a worker's machine is, by what tasks strain, against a documented reference.

A speed is relative: on a machine of speed 2 the same work takes half the time. 1 is one processor of the
machine that ``docs/optimize.md`` names. Machines differ in more than one number: what computes with integers,
what moves memory, and what computes with floating point may each be fast elsewhere.
"""

from __future__ import annotations

import enum
import math
from functools import lru_cache
from typing import Final

import msgspec

from alb_core import limits

GRADES_A_DOUBLING: Final = 8
#: Classes of speed, each 9 % above the one below: two measurements of one machine do not agree more exactly,
#: and so few rows a search for fast workers looks at. Their borders are hard: two speeds that differ by less
#: may stand on both sides of one, which costs a policy as little as a wrong measurement does.
SPEEDS_KEPT: Final = 4096
#: Whose classes are remembered: each candidate of each placement is asked for its own.


class Strain(enum.Enum):
    """What a task mostly strains of a machine."""

    INTEGER = "integer"  #: Compilers, compression, text, most of what is interpreted.
    MEMORY = "memory"  #: What moves more than caches hold.
    FLOAT = "float"  #: Numerical work.


class Speeds(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a calibration measured."""

    integer: float
    memory: float
    floating: float = msgspec.field(name="float")

    def of(self, strain: Strain) -> float:
        """Return the speed in one kind of work."""
        match strain:
            case Strain.INTEGER:
                return self.integer
            case Strain.MEMORY:
                return self.memory
            case Strain.FLOAT:
                return self.floating

    def mean(self) -> float:
        """Return their geometric mean: twice as fast in one and half as fast in another is as fast."""
        return math.cbrt(self.integer * self.memory * self.floating)


@lru_cache(maxsize=SPEEDS_KEPT)
def grade(speed: float) -> int:
    """Return in which of the classes of speed a machine is."""
    return round(GRADES_A_DOUBLING * math.log2(speed))


@lru_cache(maxsize=SPEEDS_KEPT)
def graded(speed: float) -> float:
    """Return the speed of a machine's class: two measurements of one machine never agree quite."""
    return float(2.0 ** (grade(speed) / GRADES_A_DOUBLING))


def check_speed(speed: float) -> str | None:
    """Return what is wrong with a speed, as a sentence, or None."""
    if not 0 < speed <= limits.SPEED_MAX:
        return f"the worker's speed of {speed} is not between 0 and {limits.SPEED_MAX:g}"
    return None


def check_speeds(speeds: Speeds | None) -> str | None:
    """Return what is wrong with measured speeds, as a sentence, or None."""
    if speeds is None:
        return None
    return check_speed(speeds.integer) or check_speed(speeds.memory) or check_speed(speeds.floating)
