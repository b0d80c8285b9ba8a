"""Which works have a good result already, or are being done: what an incremental submission need not run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from alb.api.future import TaskFuture
from alb_core.limits import WORKS_MAX
from alb_core.messages import QueryWorks, TaskLine, WorksPage
from alb_core.spec import TaskSpec
from alb_core.works import work_of

if TYPE_CHECKING:
    from alb.api.files import Shipment


class Prepared(NamedTuple):
    """A task that can be submitted."""

    id: str
    spec: TaskSpec
    wire: bytes
    #: The specification as it travels.
    shipment: Shipment | None = None
    #: Its files: to be in the depots before it is submitted.


class Works:
    """Finds tasks by their work, and keeps those that this client is doing: asked for twice, they run once.

    Args:
        user: Whose tasks these are.
        ask: Asks the leader.
    """

    def __init__(self, user: str, ask: Callable[[QueryWorks], WorksPage]) -> None:
        self._user: Final = user
        self._ask: Final = ask
        self._doing: Final[dict[str, TaskFuture]] = {}  #: By work, while it is under way.

    def find(self, specs: Sequence[TaskSpec]) -> list[TaskLine | None]:
        """Return for each specification a task that did its work well, or waits or runs; or None."""
        works = [work_of(self._user, spec) for spec in specs]
        found = self._find(works)
        return [found.get(work) for work in works]

    def submit(
        self,
        tasks: Sequence[Prepared],
        submit: Callable[[Prepared], TaskFuture],
        follow: Callable[[TaskLine], TaskFuture],
    ) -> list[TaskFuture]:
        """Return futures of tasks; those whose work nobody did well or is doing are submitted.

        Args:
            tasks: What is wanted.
            submit: Submits one.
            follow: Follows the task that did, or does, the same.
        """
        works = [work_of(self._user, task.spec) for task in tasks]
        found = self._find([work for work in works if work not in self._doing])
        futures = []
        for task, work in zip(tasks, works, strict=True):
            future = self._doing.get(work)
            if future is None:
                line = found.get(work)
                future = submit(task) if line is None else follow(line)
                if line is not None:
                    future.earlier = line
                self._doing[work] = future
                future.add_done_callback(partial(self._did, work))
            futures.append(future)
        return futures

    def _did(self, work: str, _future: object) -> None:
        self._doing.pop(work, None)

    def _find(self, works: Sequence[str]) -> dict[str, TaskLine]:
        found: dict[str, TaskLine] = {}
        wanted = iter(dict.fromkeys(works))
        while some := tuple(islice(wanted, WORKS_MAX)):
            found |= self._ask(QueryWorks(seq=0, works=some)).tasks
        return found
