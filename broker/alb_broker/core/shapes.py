"""All shapes of the waiting tasks: what fits nowhere shuts whatever asks for as much, or for more.

Shapes stand in rows, of which each has one number of processors and one bound of memory: what asks for as
much as that is shut. So a failure lowers the bounds of some rows, and room that grew raises them: neither
looks at any shape, of which there are as many as tasks where each asks for an amount of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from alb_broker.core.groups import NEVER, Doors, Row, Shape
from alb_broker.core.task import Task
from alb_core.resources import Request

ROWS_MAX: Final = 64
#: Of different numbers of processors. Where there are more, and where processors and memory do not decide
#: alone, a shape has a row to itself, is shut by its own failure, and looked at whenever room grew.


class Shapes:
    """The shapes of all waiting groups, by request."""

    def __init__(self) -> None:
        self._by_request: Final[dict[Request, Shape]] = {}
        self._rows: Final[dict[float, Row]] = {}  #: By processors.
        self._alone: Final[dict[Request, Row]] = {}  #: Of one shape each.
        self.doors: Final = Doors()

    def of(self, request: Request) -> Shape:
        """Return the shape of a request."""
        shape = self._by_request.get(request)
        if shape is None:
            shape = self._by_request[request] = Shape(request, self._row(request))
            shape.row.add(shape.memory_bytes)
        return shape

    def _row(self, request: Request) -> Row:
        if request.plain:
            row = self._rows.get(request.cpus)
            if row is None and len(self._rows) < ROWS_MAX:
                row = self._rows[request.cpus] = Row(self.doors)
            if row is not None:
                return row
        row = self._alone[request] = Row(self.doors)
        return row

    def remove(self, shape: Shape) -> None:
        """Forget one without groups."""
        request, row = shape.request, shape.row
        del self._by_request[request]
        row.remove(shape.memory_bytes)
        if self._alone.get(request) is row:
            del self._alone[request]
        elif not row.amounts:
            del self._rows[request.cpus]

    def open_up(
        self,
        reach: Callable[[float], int],
        could_fit: Callable[[Request], bool],
        lets_in: Callable[[Task], bool] | None = None,
    ) -> None:
        """Room grew: open what could fit there.

        Args:
            reach: Tells of a number of processors beside how much memory it could; negative: nowhere.
            could_fit: Tells of a request whether it could.
            lets_in: Tells of the head of a group that is told apart; None: all heads of a shape are alike.
        """
        for cpus, row in self._rows.items():
            if row.bound != NEVER:
                row.open_to(reach(cpus))
            if row.apart:
                row.let_in(could_fit, lets_in)
        for request, row in self._alone.items():
            if (row.bound != NEVER or row.apart) and could_fit(request):
                row.open_to(NEVER)
                row.let_in(could_fit, lets_in)

    def shut_down(self, row: Row, failed: Request, at: float) -> None:
        """A request fits nowhere, or not once more: nor does what asks for as much or more of everything.

        Args:
            row: In which the shape of its group stands.
            failed: The request: of more than its likes, should its task have run out of memory in the queue.
            at: Cluster time.
        """
        if self._rows.get(failed.cpus) is row:
            for cpus, each in self._rows.items():
                if cpus >= failed.cpus:
                    each.shut_from(failed.memory_bytes, at)
        else:
            row.shut_from(failed.memory_bytes, at)
