"""A leader of a script that remembers what it did: for tests of what runs only what has no good result."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.alb.array_broker import ArrayMixin, ArrayModel, result_of
from tests.unit.alb.fake_broker import FakeBroker

from alb_core import codec
from alb_core.messages import (
    Accepted,
    Attach,
    Cancel,
    CancelNoted,
    ClusterPage,
    Error,
    Finished,
    Message,
    QueryCluster,
    QueryWorks,
    Submit,
    TaskLine,
    WorksPage,
)
from alb_core.tasks import Result, TaskState
from alb_core.works import work_of

USER = "u"


class RememberingBroker(ArrayMixin, FakeBroker):
    """Finishes every task at once, but those whose command holds ``sleep``; finds those that it did well.

    Args:
        store: What it says of its results store.
    """

    def __init__(self, store: str = "ok") -> None:
        self.store = store
        self.arrays: dict[str, ArrayModel] = {}
        self.refuse_after = -1
        self.commands: dict[str, str] = {}
        #: Submitted, by task.
        self.works: dict[str, TaskLine] = {}
        self.trouble: list[str] = []
        #: The next questions for works are answered with these errors.
        super().__init__(self._answer)

    def submitted(self) -> list[str]:
        """Return the commands that were submitted, in order; those of arrays come last."""
        of_arrays = [
            model.command(position) for model in self.arrays.values() for position in range(model.total)
        ]
        return [*self.commands.values(), *of_arrays]

    def _answer(self, message: Message) -> Sequence[Message]:  # noqa: PLR0911 (a flat table)
        of_array = self.answer_array(message)
        if of_array is not None:
            return of_array
        match message:
            case Submit():
                return self._submit(message)
            case Attach() if message.id in self.commands:
                return self._end(message.id)
            case Cancel():
                cancelled = Result(state=TaskState.CANCELLED)
                return (CancelNoted(id=message.id), Finished(id=message.id, result=cancelled))
            case QueryWorks():
                return (self._find(message),)
            case QueryCluster():
                return (self._page(message.seq),)
        return ()

    def _find(self, message: QueryWorks) -> Message:
        if self.trouble:
            return Error(code="error", why=self.trouble.pop(0), seq=message.seq)
        found = {work: self.works[work] for work in message.works if work in self.works}
        return WorksPage(seq=message.seq, tasks=found, stored=bool(self.store))

    def _submit(self, message: Submit) -> Sequence[Message]:
        spec = codec.decode_spec(message.spec)
        command = spec.command if isinstance(spec.command, str) else " ".join(spec.command)
        self.commands[message.id] = command
        ended = self._end(message.id)
        state = TaskState.QUEUED if not ended else result_of(command).state
        if state is not TaskState.FAILED:
            line = TaskLine(id=message.id, state=state, user=USER)
            self.works.setdefault(work_of(USER, spec), line)
        return (Accepted(id=message.id), *ended)

    def _end(self, task: str) -> Sequence[Message]:
        command = self.commands[task]
        if "sleep" in command:
            return ()
        return (Finished(id=task, result=result_of(command)),)

    def _page(self, seq: int) -> ClusterPage:
        return ClusterPage(
            seq=seq,
            broker="b1",
            epoch=1,
            batch=1,
            table="t",
            policy="p",
            since=1.0,
            now=2.0,
            session_timeout_s=5.0,
            counts={},
            counters={},
            store=self.store,
        )
