"""Live output of a task: an iterator that sets the pace. What is not taken is not asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from alb.api.future import Bring, TaskFuture
from alb.core import events
from alb_core.io.clock import monotonic
from alb_core.messages import StreamName

if TYPE_CHECKING:
    from alb.core.actions import DeliverOutput

REPORT_BYTES: Final = 256 * 1024
#: The consumer's progress is reported at least so often, and whenever it has taken everything.


class Piece(NamedTuple):
    """Some output, in order."""

    stream: StreamName
    data: bytes


class TaskStream(TaskFuture):
    """A task whose output is read while it runs: iterate to get pieces of both streams as they come.

    Iteration ends when the task has ended and all its output was taken; `result` then returns at once. If the
    task had to start again elsewhere, its output starts again too and `attempt` has risen. A reader that
    stops iterating holds the task's output back, not the task.

    Args:
        task_id: The task.
        cancel: Asks the cluster to end it.
        post: Reports progress to the client's thread.
        bring: Fetches the files of a result.
    """

    def __init__(
        self,
        task_id: str,
        cancel: Callable[[str], None],
        post: Callable[[events.ClientEvent], None],
        bring: Bring,
    ) -> None:
        super().__init__(task_id, cancel, 0, bring)
        self.attempt = 0
        #: The one whose output the last piece came from.
        self._post = post
        self._arrived = threading.Condition()
        self._pieces: deque[DeliverOutput] = deque()
        self._taken: dict[StreamName, DeliverOutput] = {}
        #: The last piece taken of each stream, where that was not reported yet.
        self._unreported = 0
        #: Bytes taken since the last report.
        self._over = False
        self.add_done_callback(self._end)

    def receive(self, action: DeliverOutput) -> None:
        """Take output, on the client's thread."""
        with self._arrived:
            self._pieces.append(action)
            self._arrived.notify()

    def stop(self) -> None:
        """End the iteration behind what has arrived: nobody follows the task any more."""
        self._end(self)

    def _end(self, _future: object) -> None:
        with self._arrived:
            self._over = True
            self._arrived.notify_all()

    def __iter__(self) -> Iterator[Piece]:
        """Yield output until there is no more."""
        while (piece := self.next_piece()) is not None:
            yield piece

    def next_piece(self, timeout_s: float | None = None) -> Piece | None:
        """Return the next piece, or None at the end.

        Args:
            timeout_s: How long to wait, in seconds; None: for ever.

        Raises:
            TimeoutError: Nothing came in time.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._pieces or self._over, timeout_s):
                raise TimeoutError
            if not self._pieces:
                return None
            action = self._pieces.popleft()
            drained = not self._pieces
        self.attempt = action.attempt
        self._taken[action.stream] = action
        self._unreported += len(action.data)
        if drained or self._unreported >= REPORT_BYTES:
            self._report()
        return Piece(action.stream, action.data)

    def _report(self) -> None:
        """Tell the core how far both streams were taken."""
        for name, action in self._taken.items():
            end = action.offset + len(action.data)
            self._post(
                events.OutputTaken(
                    at=monotonic(), id=self.id, attempt=action.attempt, stream=name, offset=end
                )
            )
        self._taken.clear()
        self._unreported = 0
