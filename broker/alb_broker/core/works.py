"""Which works were done well already, or are being done: clients may run only what has no good result yet.

The newest good task of a work is looked for in the table, then in the results store. The table's works are
hashed only once somebody asks for any, a portion a tick, and each task once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from alb_broker.core.answers import COMMAND_SHOWN, task_line
from alb_broker.core.clients import Client
from alb_broker.core.past import is_going
from alb_broker.core.state import State
from alb_broker.core.table import DoneTask
from alb_broker.core.task import Task
from alb_core import limits, rows
from alb_core.messages import Error, Message, QueryWorks, TaskLine, WorksPage
from alb_core.tasks import TaskState
from alb_core.works import work_of

PORTION: Final = 5_000
#: Tasks hashed in one tick: some 20 ms.
UNUSED_S: Final = 600.0
#: After so long without a question, what was hashed is forgotten.
SLACK: Final = 1_000
#: Works of tasks that left the table may linger.
QUESTIONS_MAX: Final = 200
#: That wait or are under way; beyond, clients are told to ask again.


class _Index:
    """The works of the tasks in the table."""

    def __init__(self) -> None:
        self.tasks: dict[str, str] = {}  #: Task by work: one that did it, else the first that waits or runs.
        self._works: dict[str, str] = {}  #: Work by task, of all that were hashed.
        self._judged: set[str] = set()  #: Finished tasks that were looked at.
        self._unhashed: deque[Task | DoneTask] = deque()

    @property
    def whole(self) -> bool:
        """Whether nothing waits to be hashed."""
        return not self._unhashed

    def look(self, state: State) -> None:
        """Note the tasks that came since the last look: both books keep them in the order of coming."""
        table = state.table
        live, done = [], []
        for task in reversed(table.live.values()):
            if task.id in self._works:
                break
            live.append(task)
        for each in reversed(table.done.values()):
            if each.id in self._judged:
                break
            done.append(each)
        self._unhashed += reversed(live)
        self._unhashed += reversed(done)
        self._forget_gone(state)

    def _forget_gone(self, state: State) -> None:
        live, done = state.table.live, state.table.done
        if len(self._works) > 2 * (len(live) + len(done)) + SLACK:
            self._works = {name: work for name, work in self._works.items() if name in live or name in done}
            self._judged &= done.keys()
            self.tasks = {work: name for work, name in self.tasks.items() if name in self._works}

    def hash_on(self) -> None:
        """Hash a portion."""
        for _ in range(min(PORTION, len(self._unhashed))):
            task = self._unhashed.popleft()
            if isinstance(task, Task):
                self.tasks.setdefault(self._work(task.id, task.user, task.spec), task.id)
            elif task.record is not None:
                self._judged.add(task.id)
                work = self._work(task.id, task.record.user, task.record.spec)
                if task.record.state is TaskState.SUCCEEDED:
                    self.tasks[work] = task.id
                elif self.tasks.get(work) == task.id:
                    del self.tasks[work]

    def _work(self, task_id: str, user: str, spec: Any) -> str:
        work = self._works.get(task_id)
        if work is None:
            work = self._works[task_id] = work_of(user, spec)
        return work


class Works:
    """Answers which works were done.

    Args:
        state: The reign's parts.
    """

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._index: _Index | None = None
        self._asked_at = state.at  #: Own clock, of the newest question.
        self._waiting: Final[dict[tuple[bytes, int], tuple[Client, QueryWorks]]] = {}
        #: Questions that came before the index was whole, by peer and number.
        self._under_way: Final[set[tuple[bytes, int]]] = set()  #: Of those that the store was asked.

    def handlers(self) -> dict[type[Message], Callable[[Client, Any], None]]:
        """Return which message is answered by what."""
        return {QueryWorks: self._on_query}

    def _on_query(self, client: Client, query: QueryWorks) -> None:
        self._asked_at = self._state.at
        asked = (client.peer, query.seq)
        if len(query.works) > limits.WORKS_MAX:
            why = f"{len(query.works)} works in one question, more than {limits.WORKS_MAX}: ask for fewer"
            self._refuse(client, query, "invalid", why)
        elif asked in self._under_way:
            return  # the store has it
        elif len(self._waiting) + len(self._under_way) >= QUESTIONS_MAX and asked not in self._waiting:
            self._refuse(client, query, "error", "too many such questions are under way; ask again later")
        else:
            self._waiting[asked] = (client, query)
            self._work_off()

    def tick(self) -> None:
        """Go on with what waits; forget what nobody asks for any more."""
        if self._waiting:
            self._work_off()
        elif self._index is not None and self._state.at - self._asked_at > UNUSED_S:
            self._index = None

    def _work_off(self) -> None:
        if not self._state.recollected:
            return  # records of finished tasks are still being read after the takeover
        index = self._index
        if index is None:
            index = self._index = _Index()
        index.hash_on()
        if index.whole:  # others came since the last look
            index.look(self._state)
            index.hash_on()
        if index.whole:
            waiting = list(self._waiting.values())
            self._waiting.clear()
            for client, query in waiting:
                self._answer(index, client, query)

    def _answer(self, index: _Index, client: Client, query: QueryWorks) -> None:
        found: dict[str, TaskLine] = {}
        for work in query.works:
            line = self._in_table(index.tasks.get(work, ""))
            if line is not None:
                found[work] = line
        missing = [work for work in dict.fromkeys(query.works) if work not in found]
        if not missing or not self._state.table.archives:
            self._tell(client, query, found)
            return
        self._under_way.add((client.peer, query.seq))
        self._state.store.get(
            rows.Work,
            [(work,) for work in missing],
            lambda works, why: self._on_works(client, query, found, works, why),
        )

    def _in_table(self, task_id: str) -> TaskLine | None:
        """Return a task of the table that succeeded, or that may."""
        table = self._state.table
        task, done = table.live.get(task_id), table.done.get(task_id)
        if task is not None:
            return None if task.cancel else task_line(task.record())
        record = done.record if done is not None else None
        if record is None or record.result is None or record.state is not TaskState.SUCCEEDED:
            return None
        return None if record.result.unreturned else task_line(record)  # its files did not come back

    def _on_works(
        self, client: Client, query: QueryWorks, found: dict[str, TaskLine], works: Sequence[Any], why: str
    ) -> None:
        """The store told who did these works; see whether it still has their results."""
        if why:
            self._refuse(client, query, "error", why)
            return
        did = {row.task: row.work for row in works}
        self._state.store.get(
            rows.FinishedTask,
            [(task,) for task in did],
            lambda tasks, why: self._on_tasks(client, query, found, did, tasks, why),
        )

    def _on_tasks(  # noqa: PLR0913, PLR0917 (what the answer is made of)
        self,
        client: Client,
        query: QueryWorks,
        found: dict[str, TaskLine],
        did: dict[str, str],
        tasks: Sequence[Any],
        why: str,
    ) -> None:
        if why:
            self._refuse(client, query, "error", why)
            return
        for row in tasks:
            if row.state == TaskState.SUCCEEDED.value and not is_going(row):  # parts of it may be gone
                found[did[row.task]] = _line(row)
        self._tell(client, query, found)

    def _tell(self, client: Client, query: QueryWorks, found: dict[str, TaskLine]) -> None:
        self._under_way.discard((client.peer, query.seq))
        page = WorksPage(seq=query.seq, tasks=found, stored=self._state.table.archives)
        self._state.tell(client.peer, page)

    def _refuse(self, client: Client, query: QueryWorks, code: str, why: str) -> None:
        self._under_way.discard((client.peer, query.seq))
        self._state.tell(client.peer, Error(code=code, why=why, seq=query.seq))


def _line(row: rows.FinishedTask) -> TaskLine:
    return TaskLine(
        id=row.task,
        state=TaskState(row.state),
        user=row.user,
        name=row.name,
        command=row.command[:COMMAND_SHOWN],
        worker=row.worker,
        attempt=row.attempt,
        submitted=row.submitted,
        finished=row.finished,
        exit_status=row.exit_code,
        why=row.why,
    )
