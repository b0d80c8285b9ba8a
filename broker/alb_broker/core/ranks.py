"""In which order a search looks at the workers that have room for a request.

The policy in force may want the fastest first; a vector, a task's own or the cluster's, wants them where time
counts, and else the workers that run something already, so that others stay empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alb_broker.core.openings import UNORDERED, Order
from alb_core.resources import Request
from alb_core.speeds import Strain, grade
from alb_core.vectors import Vector, hurries

if TYPE_CHECKING:
    from alb_broker.core.worker import Worker

BUSY: Final = 1000.0
#: More than any class of speed: whoever runs something stands before all who do not.


class Ranks:
    """Orders workers for each request, under one choice of policy.

    Args:
        fastest_first: The policy wants the fastest workers.
        vector: Of tasks that have none; None: the policy chooses for them.
    """

    def __init__(self, *, fastest_first: bool = False, vector: Vector | None = None) -> None:
        self._fastest_first: Final = fastest_first
        self._vector: Final = vector

    def __call__(self, request: Request) -> Order:
        """Return the order for a request."""
        vector = request.optimize or self._vector
        if vector is None:
            return _fastest(request.strain) if self._fastest_first else UNORDERED
        return _fastest(request.strain) if hurries(vector) else _busy(request.strain)


def _fastest(strain: Strain | None) -> Order:
    return Order(lambda worker: grade(worker.speed_in(strain)))


def _busy(strain: Strain | None) -> Order:
    def rank(worker: Worker) -> float:
        busy = BUSY if worker.reserved or worker.ahead else 0.0
        return busy + grade(worker.speed_in(strain))

    return Order(rank, steady=True)
