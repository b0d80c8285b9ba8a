"""Python functions on the cluster: an executor as the standard library has them, whose calls are tasks.

It knows what a call is and what its future promises. What becomes of a task is the client's business, and how
a call is packed ``alb_core/calls.py``'s.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar, Unpack

from alb.api.client import Client
from alb.api.future import TaskFuture
from alb.api.options import TaskOptions
from alb.api.waits import LOGGER
from alb.core.notices import TaskPlaced
from alb_core.calls import PYTHON, PYTHON_LABEL, Reply, open_reply, pack_call, pack_each
from alb_core.errors import CallFailed
from alb_core.limits import NAME_LENGTH_MAX
from alb_core.tasks import TaskState

T = TypeVar("T")
P = ParamSpec("P")


class CallFuture(Future[T]):
    """One call under way: a `concurrent.futures.Future`.

    It runs from the moment that the cluster says so: until then it can be cancelled. What runs goes on, as
    with the standard library; ``Client.cancel(future.id)`` ends that too.
    """

    def __init__(self, withdraw: Callable[[], None]) -> None:
        super().__init__()
        self.id = ""
        #: Of its task; empty until that is handed to the cluster.
        self._withdraw: Callable[[], None] | None = withdraw
        self._entry = threading.Lock()
        self._entered = False
        #: It runs, or was cancelled: never both.
        self._alive = False
        #: It was not cancelled.

    def cancel(self) -> bool:
        """Cancel the call, unless it runs or has ended; its task is cancelled then.

        Returns:
            Whether it is cancelled. If it was about to start at this very moment, its process is killed.
        """
        with self._entry:
            if self._alive:
                return False
            first, self._entered = not self._entered, True
        if first:
            super().cancel()
            super().set_running_or_notify_cancel()  # for those who wait
            if self._withdraw is not None:
                self._withdraw()
        return True

    def begin(self) -> bool:
        """Let it run, if it does not; returns whether it was not cancelled before."""
        with self._entry:
            if not self._entered:
                self._entered = True
                self._alive = super().set_running_or_notify_cancel()
            return self._alive

    def leave(self) -> None:
        """Let go of the task: it has ended, and what it returned is nobody's but the user's."""
        self._withdraw = None


class _Call:
    """A call and its task."""

    def __init__(self, calls: _Calls, label: str) -> None:
        self._tell: Final = calls.tell
        self.label: Final = label
        self.payload = b""
        #: Empty again once it was handed over.
        self.future: Final[CallFuture[Any]] = CallFuture(lambda: calls.withdraw(self))
        self.task: TaskFuture | None = None
        self.error: BaseException | None = None
        #: Why there is no task.

    def hear(self, notice: TaskPlaced) -> None:
        """Take what the cluster says of the task, on the client's thread."""
        if notice.state is TaskState.RUNNING:
            self.future.begin()
        elif notice.why:
            self._tell(notice.why)

    def reply(self) -> Reply:
        """Return what came of it; blocks while a large value comes from the depots."""
        task, self.task = self.task, None
        if task is None:
            return Reply(None, self.error)
        try:
            result = task.result()
            data = task.value()
            if not data:
                result.check()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the call came to)
            return Reply(None, error)
        if not data:
            return Reply(None, CallFailed("its process ended before the call did, as os._exit does"))
        return open_reply(data)


class _Calls:
    """The calls of one executor; lives as long as one of them is under way.

    A thread of its own brings back what ended: values may be large, and unpickling them, like the callbacks
    of futures, is the user's code. The thread is there while calls are, and so keeps the interpreter from
    ending before them.
    """

    def __init__(
        self, client: Client, options: TaskOptions, at_once: int | None, *, owns_client: bool
    ) -> None:
        self._client: Final = client
        self._options: Final = options
        self._at_once: Final = at_once
        self._owns_client: Final = owns_client
        self._changed: Final = threading.Condition()
        #: Guards what follows.
        self._waiting: Final[deque[_Call]] = deque()
        #: Not handed to the cluster yet.
        self._under_way: Final[set[_Call]] = set()
        self._over: Final[SimpleQueue[_Call]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._shut = False
        self._told = ""

    def add(self, pack: Callable[[], bytes], label: str) -> CallFuture[Any]:
        """Take a call; what cannot be packed is its future's exception."""
        call = _Call(self, label)
        try:
            call.payload = pack()
        except Exception as error:  # noqa: BLE001 (foreign code: whatever pickling it raises)
            call.error = error
        with self._changed:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if not threading.main_thread().is_alive():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="alb-executor", daemon=False)
                self._thread.start()
            if self._at_once is not None and len(self._under_way) >= self._at_once:
                self._waiting.append(call)
                return call.future
            self._under_way.add(call)
        self._hand_over(call)
        return call.future

    def _hand_over(self, call: _Call) -> None:
        payload, call.payload = call.payload, b""
        if call.error is None and not call.future.cancelled():
            options: Any = {"name": call.label[:NAME_LENGTH_MAX], **self._options, "payload": payload}
            try:
                call.task = self._client.submit(call.label, output=False, moves=True, **options)
            except Exception as error:  # noqa: BLE001 (no task: that is what the call came to)
                call.error = error
        if call.task is None:
            self._over.put(call)
            return
        call.future.id = call.task.id
        call.task.call_when_moved(call.hear)
        call.task.add_done_callback(lambda _: self._over.put(call))
        if call.future.cancelled():
            call.task.cancel()

    def withdraw(self, call: _Call) -> None:
        """A call was cancelled: so is its task, if it has one."""
        with self._changed:
            if call in self._waiting:
                self._waiting.remove(call)
        task = call.task
        if task is not None:
            task.cancel()

    def tell(self, why: str) -> None:
        """Say why a call waits; once as long as it is the same."""
        if why != self._told:
            self._told = why
            LOGGER.warning("a call of the executor waits: %s", why)

    def shut(self, *, wait: bool, cancel: bool) -> None:
        """Take no more calls."""
        with self._changed:
            self._shut = True
            some = [*self._waiting, *self._under_way] if cancel else []
        for call in some:
            call.future.cancel()
        if wait and threading.current_thread() is not self._thread:
            with self._changed:
                self._changed.wait_for(lambda: self._thread is None)
        if self._thread is None:
            self._leave()

    def _leave(self) -> None:
        if self._owns_client:
            self._client.close()

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            call = self._over.get()
            try:
                _settle(call)
            except BaseException:  # noqa: BLE001 (a callback of the user's: the other calls are still here)
                LOGGER.exception("a callback of a call of the executor failed")
            following = self._next(call)
            if following is not None:
                self._hand_over(following)
            elif self._rest():
                return
            del call, following  # while we wait, nobody's value is kept

    def _next(self, ended: _Call) -> _Call | None:
        with self._changed:
            self._under_way.discard(ended)
            following = self._waiting.popleft() if self._waiting else None
            if following is not None:
                self._under_way.add(following)
            return following

    def _rest(self) -> bool:
        """End the thread if no call is left."""
        with self._changed:
            if self._under_way:
                return False
            self._thread = None
            self._changed.notify_all()
        if self._shut:
            self._leave()
        return True


def _settle(call: _Call) -> None:
    """Give a future what came of its call."""
    call.future.leave()
    if not call.future.begin():
        return
    reply = call.reply()
    if reply.error is not None:
        call.future.set_exception(reply.error)
    else:
        call.future.set_result(reply.value)


class _Each:
    """Stands for a function that is called several times in one task."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function: Final = function


class Executor(StandardExecutor):
    """Calls functions on the cluster: what `concurrent.futures` expects of an executor, and asyncio with it.

    Functions, arguments and values travel by cloudpickle, so lambdas and functions of a script may go;
    modules that they import must be installed on the workers, or come along (``files``). Each call is a task
    of the kind ``python``: it survives failovers, may be run again where its worker is lost, and is seen by
    ``alb tasks``. An exception comes back with the traceback of the worker as its cause; a call whose process
    was killed or broke a limit raises CommandFailed. When the interpreter ends, it waits for calls under way.

    **Values are unpickled here.** A pickle can do anything, so trust whoever may run commands on the cluster.

    Args:
        max_workers: How many calls are with the cluster at once; None: all.
        zk: As in `Client`, of which the executor makes one of its own.
        client: A client to use instead; it stays open.
        **options: How each call is to be run: see `TaskOptions`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        zk: str | None = None,
        client: Client | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if not options.keys().isdisjoint(("kind", "payload", "binary", "steps")):
            raise ValueError("an executor's tasks are calls: kind, payload, binary and steps are its own")
        options["labels"] = tuple(dict.fromkeys((*options.get("labels", ()), PYTHON_LABEL)))
        options["kind"] = PYTHON
        self.client: Final = client or Client(zk)
        #: What its calls go through.
        self._calls: Final = _Calls(self.client, options, max_workers, owns_client=client is None)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[T]:
        """Have a function called on the cluster.

        Args:
            fn: The function.
            *args: Its arguments.
            **kwargs: As above.

        Returns:
            The call's future. What cannot be pickled or shipped is the future's exception.

        Raises:
            RuntimeError: The executor was shut down.
        """
        function: Any = fn
        if isinstance(function, _Each):
            calls: Any = args[0]
            return self._calls.add(lambda: pack_each(function.function, calls), _label_of(function.function))
        return self._calls.add(lambda: pack_call(function, args, kwargs), _label_of(function))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Call a function for each argument; yields values in their order.

        Args:
            fn: The function.
            *iterables: Of its arguments; read at once.
            timeout: Of seconds from now for each value to be there; then TimeoutError is raised.
            chunksize: So many calls are one task: for calls of less than a second.

        Raises:
            ValueError: `chunksize` is less than 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        every = zip(*iterables, strict=False)
        chunks = iter(lambda: tuple(islice(every, chunksize)), ())
        each: Any = _Each(fn)
        return _flat(super().map(each, chunks, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 (as the standard library has it)
        """Take no more calls; those under way go on.

        Args:
            wait: Return when they have ended.
            cancel_futures: Cancel those that do not run yet.
        """
        self._calls.shut(wait=wait, cancel=cancel_futures)


def _flat(lists: Iterator[Sequence[T]]) -> Iterator[T]:
    for values in lists:
        yield from values


def _label_of(function: Callable[..., Any]) -> str:
    """Return what people are shown of a call."""
    inner = getattr(function, "func", function)  # of a functools.partial
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    module = getattr(inner, "__module__", None) or type(inner).__module__
    label = f"{module}.{name}"
    return label if label.isprintable() else "call"
