"""A cluster for tests of the executor: it takes calls and does them in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import msgspec
from tests.unit.alb.fake_broker import FakeBroker

from alb_core.calls import answer
from alb_core.messages import Accepted, Cancel, CancelNoted, Finished, Message, Submit, TaskMoved
from alb_core.spec import TaskSpec
from alb_core.tasks import Result, TaskState

SLOTS: Final = 4


class CallingBroker(FakeBroker):
    """A leader whose one worker has so many slots; a call is RUNNING when one of them has it."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.specs: dict[str, TaskSpec] = {}
        #: Every task that was submitted.
        self.cancelled: list[str] = []
        self.waits = ""
        #: Why no task is placed at present; empty: they are.
        self._slots = ThreadPoolExecutor(slots, thread_name_prefix="slot")
        self._jobs: dict[str, Future[None]] = {}
        super().__init__(self.take)

    def close(self) -> None:
        """Die, when what is done has ended."""
        self._slots.shutdown(cancel_futures=True)
        super().close()

    def take(self, message: Message) -> Sequence[Message]:
        """Answer a client."""
        if isinstance(message, Submit):
            if message.id not in self.specs:
                spec = msgspec.msgpack.decode(message.spec, type=TaskSpec)
                self.specs[message.id] = spec
                if self.waits:
                    moved = TaskMoved(
                        id=message.id, state=TaskState.QUEUED, attempt=0, worker="", why=self.waits
                    )
                    return (Accepted(id=message.id), moved)
                self._jobs[message.id] = self._slots.submit(self._do, message.id, spec)
            return (Accepted(id=message.id),)
        if isinstance(message, Cancel):
            self.cancelled.append(message.id)
            job = self._jobs.get(message.id)
            if job is None or job.cancel():
                result = Result(state=TaskState.CANCELLED)
                return (CancelNoted(id=message.id), Finished(id=message.id, result=result))
            return (CancelNoted(id=message.id),)
        return ()

    def _do(self, task: str, spec: TaskSpec) -> None:
        self.say(TaskMoved(id=task, state=TaskState.RUNNING, attempt=1, worker="w1"))
        reply, error = answer(spec.payload, "w1")
        state = TaskState.SUCCEEDED if error is None else TaskState.FAILED
        code = 0 if error is None else 1
        result = Result(state=state, exit_code=code, attempt=1, worker="w1", value=reply)
        self.say(Finished(id=task, result=result))


class Gate:
    """A call that lasts as long as a test wants. There is one of each name, on both ends."""

    _gates: Final[dict[str, tuple[threading.Event, threading.Event]]] = {}

    def __init__(self, name: str) -> None:
        self.started, self.opened = self._gates.setdefault(name, (threading.Event(), threading.Event()))
        self.name = name

    def __reduce__(self) -> tuple[type[Gate], tuple[str]]:
        return (Gate, (self.name,))

    def __call__(self) -> str:
        """Be the call."""
        self.started.set()
        assert self.opened.wait(60)
        return self.name
