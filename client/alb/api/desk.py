"""Brings what the engine delivers to whoever waits for it: futures by task, answers by token."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Final

from alb.api.array import ArrayFuture
from alb.api.future import TaskFuture
from alb.api.result import TaskResult, describe
from alb.core import actions, notices
from alb_core.errors import (
    TASK_ERRORS,
    AlbError,
    ClientClosed,
    NoLeader,
    TaskCancelled,
    TaskError,
    TaskLost,
    ZooKeeperUnreachable,
)
from alb_core.messages import Error, Rejected, ToClient
from alb_core.tasks import TaskState

_OF_NO_OUTCOME: Final = {TaskState.CANCELLED: TaskCancelled, TaskState.LOST: TaskLost}
#: States of a task that has no outcome of its own, and what its future raises then.


class Desk:
    """The engine's `Receiver`.

    Args:
        on_notice: Told what a waiting person may want to know, on the engine's thread.
        zookeeper: The servers, for people.
    """

    def __init__(self, on_notice: Callable[[notices.AnyNotice], None], zookeeper: str = "") -> None:
        self._on_notice = on_notice
        self._zookeeper: Final = zookeeper
        self.greeted = threading.Event()
        #: A leader welcomed us, once at least.
        self._lock = threading.Lock()
        #: Held while the books change hands at the end; a single dict operation needs no lock.
        self._futures: dict[str, TaskFuture] = {}
        self._arrays: dict[str, ArrayFuture] = {}
        self._answers: dict[int, Future[ToClient]] = {}
        self._tokens = count(1)
        self._trouble: notices.AnyNotice | None = None
        #: Why no leader is known at present.
        self._awaited = ""
        #: What a search for one waits for, as far as that was said.
        self._ended: AlbError | None = None

    # --- the user's threads -------------------------------------------------------------------------------

    def expect(self, future: TaskFuture) -> None:
        """Deliver to this future what concerns its task.

        Raises:
            ValueError: The task is under way in this client already.
            ClientClosed: The client was closed.
        """
        with self._lock:
            if self._ended is not None:
                raise self._ended
            array = self._arrays.get(future.id.partition(".")[0]) if self._arrays else None
            if array is not None and array.wants_results:
                raise ValueError(f"task {future.id} is one of an array whose results this client takes")
            if self._futures.setdefault(future.id, future) is not future:
                raise ValueError(f"task {future.id} is under way in this client already")

    def expect_array(self, future: ArrayFuture) -> None:
        """Deliver to this future what concerns its array; raises as `expect`."""
        with self._lock:
            if self._ended is not None:
                raise self._ended
            if self._arrays.setdefault(future.id, future) is not future:
                raise ValueError(f"array {future.id} is under way in this client already")

    def future(self, task_id: str) -> TaskFuture | None:
        """Return the future of a task that is under way in this client."""
        return self._futures.get(task_id)

    def forget(self, task_id: str) -> None:
        """Deliver nothing of this task, or array, any more."""
        self._futures.pop(task_id, None)
        self._arrays.pop(task_id, None)

    def expect_answer(self) -> tuple[int, Future[ToClient]]:
        """Return a token for a request, and the future of its answer; raises ClientClosed."""
        token, future = next(self._tokens), Future[ToClient]()
        with self._lock:
            if self._ended is not None:
                raise self._ended
            self._answers[token] = future
        return token, future

    def forget_answer(self, token: int) -> None:
        """Nobody waits for this answer any more."""
        self._answers.pop(token, None)

    def no_answer(self, waited_s: float) -> AlbError:
        """Word that nobody answered in time, with the cause where it is known."""
        match self._trouble:
            case notices.ZooKeeperSilent(why=why):
                return ZooKeeperUnreachable(why)
            case notices.NobodyLeads(brokers=0):
                return NoLeader(
                    f"no broker is registered in ZooKeeper ({self._zookeeper}; waited {waited_s:g} s): start "
                    "one, `alb broker`, or name the cluster that has some, --zk or ALB_ZK"
                )
            case notices.NobodyLeads(brokers=brokers):
                return NoLeader(
                    f"none of {brokers} brokers leads yet ({self._zookeeper}; waited {waited_s:g} s): try "
                    "again, or wait longer; if it stays so, see `alb brokers` and their logs"
                )
            case notices.BrokerRefused(why=why):
                return NoLeader(f"the broker refuses this client: {why}")
            case notices.LeaderWaits(broker=broker, what=what) if what:
                return NoLeader(f"leader {broker} waits for {what} itself (waited {waited_s:g} s): try again")
            case _:
                tried = f" (waited for {self._awaited})" if self._awaited else ""
                return NoLeader(
                    f"no broker answered as the leader within {waited_s:g} s{tried}: see who is there, "
                    "`alb brokers`, and whether it can be reached from here"
                )

    # --- the engine's thread ------------------------------------------------------------------------------

    def on_settle(self, action: actions.Settle) -> None:
        """Complete a future with its result."""
        future = self._futures.pop(action.id, None)
        if future is not None:
            complete(future, action)
            return
        array = self._array_of(action.id)
        if array is not None:
            child = array.child(action.id)
            complete(child, action)
            array.add(child)

    def on_fail(self, action: actions.FailTask) -> None:
        """Complete a future with an error."""
        error = TASK_ERRORS.get(action.code, TaskError)(action.id, action.why)
        for futures in (self._futures, self._arrays):
            future = futures.pop(action.id, None)
            if future is not None:
                future.set_exception(error)

    def on_output(self, action: actions.DeliverOutput) -> None:
        """Hand output to its future."""
        future = self._futures.get(action.id)
        if future is not None:
            future.receive(action)
            return
        array = self._array_of(action.id)
        if array is not None:
            array.child(action.id).receive(action)

    def _array_of(self, task_id: str) -> ArrayFuture | None:
        array, dot, _ = task_id.partition(".")
        return self._arrays.get(array) if dot else None

    def on_array(self, action: actions.ArrayAction) -> None:
        """Hand on what an array's future is told."""
        match action:
            case actions.TellArray(line=line):
                array = self._arrays.get(line.id)
                if array is not None:
                    array.on_line(line)
            case actions.SettleArray(line=line):
                array = self._arrays.pop(line.id, None)
                if array is not None:
                    array.settle(line)
            case _:
                array = self._arrays.get(action.id)
                if array is not None:
                    array.on_action(action)

    def on_answer(self, action: actions.AnswerQuery) -> None:
        """Complete the future of a request."""
        future = self._answers.pop(action.token, None)
        if future is None:
            return
        match action.message:
            case Error(code=code, why=why):
                future.set_exception(TASK_ERRORS.get(code, TaskError)("", why))
            case Rejected(id=task_id, code=code, why=why):
                future.set_exception(TASK_ERRORS.get(code, TaskError)(task_id, why))
            case message:
                future.set_result(message)

    def on_tell(self, notice: notices.AnyNotice) -> None:
        """Remember what explains a delay, and pass the notice on."""
        if isinstance(notice, notices.LeaderGreeted):
            self._trouble, self._awaited = None, ""
            self.greeted.set()
        elif isinstance(notice, notices.LeaderAwaited):
            self._awaited = notice.what
        elif isinstance(
            notice,
            notices.ZooKeeperSilent | notices.NobodyLeads | notices.BrokerRefused | notices.LeaderWaits,
        ):
            self._trouble = notice
        elif isinstance(notice, notices.TaskPlaced) and (future := self._futures.get(notice.id)) is not None:
            future.move(notice)
        self._on_notice(notice)

    def on_end(self, error: BaseException | None) -> None:
        """Fail everything that is still waited for."""
        text = "the client was closed" if error is None else f"the client's thread ended: {error!r}"
        with self._lock:
            self._ended = ClientClosed(f"{text}; tasks under way go on in the cluster, attach to them by id")
            futures: list[TaskFuture | ArrayFuture] = [*self._futures.values(), *self._arrays.values()]
            answers = list(self._answers.values())
            self._futures.clear()
            self._arrays.clear()
            self._answers.clear()
        for future in futures:
            future.set_exception(self._ended)
        for answer in answers:
            answer.set_exception(self._ended)


def complete(future: TaskFuture, action: actions.Settle) -> None:
    """End a future with its task's result."""
    record = future.record = action.result
    future.missing = action.missing
    error = _OF_NO_OUTCOME.get(record.state)
    if error is not None:
        future.set_exception(error(action.id, describe(record)))
    else:
        future.set_result(
            TaskResult(id=action.id, record=record, captured=future.captured(), missing=action.missing)
        )
