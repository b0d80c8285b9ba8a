"""All shapes of the waiting tasks: what fits nowhere shuts whatever asks for as much, or for more.

The open ones stand in rows, of which each has one number of processors, the least memory first. So those that
a failure shuts, too, are the ends of some rows, and each is looked at once for each time that it was opened.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Final

from alb_broker.core.groups import Shape
from alb_core.resources import Request

ROWS_MAX: Final = 64
#: Of different numbers of processors. Where there are more, each shape is shut by itself.


class Shapes:
    """The shapes of all waiting groups, by request."""

    def __init__(self) -> None:
        self._by_request: Final[dict[Request, Shape]] = {}
        self._rows: Final[dict[float, list[tuple[int, int, Shape]]]] = {}
        #: Those that are open, by processors, each with its memory and its number.
        self._next = 0  #: Number of the next new one.

    def of(self, request: Request) -> Shape:
        """Return the shape of a request; a new one is open."""
        shape = self._by_request.get(request)
        if shape is None:
            shape = self._by_request[request] = Shape(request, self._next)
            self._next += 1
            self._stand(shape)
        return shape

    def remove(self, shape: Shape) -> None:
        """Forget one without groups."""
        del self._by_request[shape.request]
        if not shape.shut:
            self._leave(shape)

    def open_up(self, could_fit: Callable[[Request], bool]) -> None:
        """Room grew: open those that could fit there."""
        for request, shape in self._by_request.items():
            if (shape.shut or shape.apart) and could_fit(request):
                if shape.shut:
                    self._stand(shape)
                shape.open_up()

    def shut_down(self, shape: Shape, failed: Request, at: float) -> None:
        """A head fits nowhere: nor do its likes, and what asks for as much or more of everything.

        Args:
            shape: That of its group.
            failed: What it asks for: more than the shape, should it have run out of memory while it waited.
            at: Cluster time.
        """
        if not shape.shut:
            self._leave(shape)
        shape.shut_down(at)
        if not failed.plain or len(self._rows) > ROWS_MAX:
            return
        for cpus in [cpus for cpus in self._rows if cpus >= failed.cpus]:
            row = self._rows[cpus]
            while row and row[-1][0] >= failed.memory_bytes:
                row.pop()[2].shut_down(at)
            if not row:
                del self._rows[cpus]

    def _stand(self, shape: Shape) -> None:
        insort(self._rows.setdefault(shape.request.cpus, []), _standing(shape))

    def _leave(self, shape: Shape) -> None:
        cpus = shape.request.cpus
        row = self._rows[cpus]
        del row[bisect_left(row, _standing(shape))]
        if not row:
            del self._rows[cpus]


def _standing(shape: Shape) -> tuple[int, int, Shape]:
    return shape.request.memory_bytes, shape.number, shape
