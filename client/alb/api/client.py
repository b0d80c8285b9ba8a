"""The Python client: submit commands, follow them, ask about the cluster."""

from __future__ import annotations

import os
import pwd
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack

import msgspec

from alb.api.array import ArrayFuture, ArrayTask, strides_of
from alb.api.arrays import Arrays
from alb.api.desk import Desk
from alb.api.future import TaskFuture
from alb.api.options import Command, TaskOptions, encoded, make_spec, spec_encoded, specified
from alb.api.packing import PACKED, pack
from alb.api.result import TaskResult
from alb.api.stored import bounded, checked
from alb.api.stream import TaskStream
from alb.api.waits import Waits
from alb.api.works import Prepared, Works
from alb.core import events, notices
from alb.core.events import Query
from alb.shell.engine import Engine
from alb.shell.glance import look, look_for_worker
from alb_core import codec, config
from alb_core.arrays import Stride
from alb_core.errors import AlbError, InvalidTask
from alb_core.io.clock import monotonic, new_id
from alb_core.limits import WORKS_MAX
from alb_core.messages import (
    TaskLine,
    ToClient,
    WorksPage,
)
from alb_core.spec import Start
from alb_core.tasks import Result
from alb_core.znodes import BrokerNode, LeaderNode, WorkerNode

if TYPE_CHECKING:
    from alb.api.files import Files

CAPTURE_BYTES: Final = 64 * 1024 * 1024
#: What a future keeps of each stream, unless its client was told otherwise.
DEPOT_S: Final = 60.0
#: While no depot takes or gives a file, it is tried again for so long, or for `timeout` if that is longer.
LOOK_UP_S: Final = 3.0
#: A visit to ZooKeeper takes no longer, so that a silent one is told before `timeout` is over.
MAP_WINDOW: Final = 1000
#: Tasks of one `Client.map` under way at once.

Page = TypeVar("Page")


class Client(Arrays):
    """A connection to a cluster, whichever broker leads it.

    It finds the leader through ZooKeeper, and a new one when that is gone; tasks under way are carried along.
    Usable from many threads and from asyncio (futures can be awaited). Close it, or use it in a ``with``
    block. Make it after a fork, never before.

    Args:
        zk: ZooKeeper servers, ``host:2181,host:2181``, with an optional ``/chroot``. None: ``$ALB_ZK``.
        user: Whose tasks these are. None: the login name.
        timeout: How long questions wait for an answer, in seconds. Tasks wait as long as it takes.
        connect_timeout: Return only when a leader answers, and wait for that at most so many seconds. None:
            return at once; what is asked or submitted then waits by itself.
        capture_bytes: How much output a future keeps of each stream, in bytes: the last ones, and
            `TaskResult.stdout_cut` tells. Read larger output with `stream`.
        on_notice: Told what happens meanwhile (`alb.core.notices`), on the client's thread; must not block.
            None: what takes longer than a moment is a warning of Python's logger ``alb``.

    Raises:
        ConfigError: No ZooKeeper was given, or the address is malformed.
        ZooKeeperUnreachable: With `connect_timeout`: no server answered in time.
        NoLeader: With `connect_timeout`: no broker answered as the leader in time.
    """

    def __init__(  # noqa: PLR0913 (each has its default)
        self,
        zk: str | None = None,
        *,
        user: str | None = None,
        timeout: float = 10.0,
        connect_timeout: float | None = None,
        capture_bytes: int = CAPTURE_BYTES,
        on_notice: Callable[[notices.AnyNotice], None] | None = None,
    ) -> None:
        flags = {"zk": zk, "user": user}
        made = config.load(config.ClientConfig, file=None, environ=os.environ, flags=flags)
        self.config = made if made.user else msgspec.structs.replace(made, user=login_name())
        self._timeout = timeout
        self._capture_bytes = capture_bytes
        self._on_notice = Waits().hear if on_notice is None else on_notice
        self._desk = Desk(self._on_notice, self.config.zk)
        self._mover: Files | None = None
        #: Made when the first file is to be moved.
        patience_s = timeout if connect_timeout is None else min(timeout, connect_timeout)
        self._engine = Engine(self.config, self._desk, min(LOOK_UP_S, 0.8 * patience_s))
        self._works = Works(self.config.user, lambda query: self._ask(query, WorksPage))
        self._engine.start()
        # Also runs when the client is forgotten, and when the interpreter ends.
        self._finalizer = weakref.finalize(self, self._engine.stop)
        if connect_timeout is not None and not self._desk.greeted.wait(connect_timeout):
            self.close()
            raise self._desk.no_answer(connect_timeout)

    def close(self) -> None:
        """Leave. Futures that are not done raise ClientClosed; their tasks go on in the cluster."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- tasks --------------------------------------------------------------------------------------------

    def submit(
        self,
        command: Command,
        *,
        id: str | None = None,  # noqa: A002 (the word that users know)
        output: bool = True,
        moves: bool = False,
        incremental: bool = False,
        **options: Unpack[TaskOptions],
    ) -> TaskFuture:
        """Run a command on the cluster.

        Args:
            command: A string runs under ``/bin/sh -c``; a sequence of words is executed as it is.
            id: Submitting the same id and command again is the same task. None: a new one.
            output: Fetch all output; else only the last 4 KiB of each stream come with the result.
            moves: Send notices of where the task runs to `on_notice`.
            incremental: Ask first whether the same work (see `find_earlier`) has a good result, or waits or
                runs; then nothing is submitted: the future is that task's, and its `earlier` is set.
            **options: See `TaskOptions`.

        Returns:
            The task's future. While the cluster has no room for it, the task waits in the client. Files are
            in the cluster before that: with `files`, the call lasts as long as they take.

        Raises:
            InvalidTask: The command or an option cannot be.
            TaskError: With `incremental`: the results store does not answer.
            CoordinationError: With `incremental`: nobody answered in time.
            TransferError: The files cannot be brought to the cluster.
        """
        task = self._prepare(command, id, options)
        if incremental:
            return self._submit_missing([task], output=output, moves=moves)[0]
        return self._submit(task, output=output, moves=moves)

    def retry(self, task_id: str) -> TaskFuture:
        """Run a task again: a new one with the same specification. Of an array, see `retry_array`.

        What it waited for to begin is not waited for again.

        Raises:
            TaskGone: Neither the table nor the results store holds the task.
            CoordinationError: Nobody answered in time.
        """
        spec = msgspec.structs.replace(self.task(task_id).spec, start=Start())
        again = Prepared(new_id(), spec, codec.encode_spec(spec))
        return self._submit(again, output=True, moves=True)

    def stream(
        self,
        command: Command,
        *,
        id: str | None = None,  # noqa: A002 (the word that users know)
        moves: bool = False,
        **options: Unpack[TaskOptions],
    ) -> TaskStream:
        """Run a command and iterate over its output while it runs.

        Args:
            command: As in `submit`.
            id: As in `submit`.
            moves: Send notices of where the task runs to `on_notice`.
            **options: See `TaskOptions`.

        Returns:
            The task's future, which also yields ``(stream, bytes)`` pieces.

        Raises:
            InvalidTask: The command or an option cannot be.
        """
        task = self._prepare(command, id, options)
        self._ship(task)
        future = TaskStream(task.id, self._cancel, self._engine.post, self._bring)
        self._desk.expect(future)
        self._engine.post(
            events.SubmitRequested(at=monotonic(), id=task.id, spec=task.wire, live=True, moves=moves)
        )
        return future

    def map(
        self,
        commands: Iterable[Command] | str,
        *,
        inputs: Iterable[str] | None = None,
        window: int = MAP_WINDOW,
        incremental: bool = False,
        **options: Unpack[TaskOptions],
    ) -> Iterator[TaskResult]:
        """Run many commands; yields their results in the order of the commands.

        Args:
            commands: May be endless: it is read as results are taken. With `inputs`, one command.
            inputs: Run it for each of these, as one array (see `array`): ``map("gzip {}", inputs=files)``.
            window: How many are under way at once.
            incremental: As in `submit`; a question is asked for many commands at once. Not with `inputs`.
            **options: See `TaskOptions`.

        Raises:
            TaskError: A task has no outcome of its own (cancelled, lost, rejected).
        """
        if inputs is not None:
            if incremental or not isinstance(commands, str):
                raise InvalidTask("", "with inputs, map takes one command as a text, and nothing incremental")
            array = self.array(commands, inputs=inputs, at_once=window, ordered=True, **options)
            return map(ArrayTask.result, array)
        return self._map(commands, window, options, incremental=incremental)

    def _map(
        self, commands: Iterable[Command], window: int, options: TaskOptions, *, incremental: bool
    ) -> Iterator[TaskResult]:
        under_way: deque[TaskFuture] = deque()
        source = iter(commands)
        at_once = min(max(window, 1), WORKS_MAX) if incremental else 1
        while some := [self._prepare(command, None, options) for command in islice(source, at_once)]:
            if incremental:
                under_way += self._submit_missing(some, output=True, moves=False)
            else:
                under_way.append(self._submit(some[0], output=True, moves=False))
            while len(under_way) > window - at_once:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def find_earlier(
        self, commands: Sequence[Command], **options: Unpack[TaskOptions]
    ) -> list[TaskLine | None]:
        """Look for tasks of this user that did the same work well, or wait or run now.

        The same work: the same command, environment, directory, files and labels of the worker. A cluster
        without a results store knows finished tasks only while they are in its table.

        Args:
            commands: As in `submit`.
            **options: See `TaskOptions`.

        Returns:
            For each command its task (SUCCEEDED, QUEUED or RUNNING), or None.

        Raises:
            InvalidTask: A command or an option cannot be.
            TaskError: The results store does not answer.
            CoordinationError: Nobody answered in time.
        """
        return self._works.find([self._prepare(command, None, options).spec for command in commands])

    def attach(self, task_id: str, *, output: bool = True) -> TaskFuture:
        """Follow a task that was submitted before, by this client or another.

        Args:
            task_id: Its id.
            output: Fetch all output; else only the last 4 KiB of each stream come with the result.

        Returns:
            Its future; raises TaskGone where neither the table nor the results store holds the task.
        """
        future = self._make_future(task_id)
        self._desk.expect(future)
        self._engine.post(events.AttachRequested(at=monotonic(), id=checked(task_id), output=output))
        return future

    def attach_stream(
        self, task_id: str, *, stdout: int = 0, stderr: int = 0, moves: bool = False
    ) -> TaskStream:
        """Read the output of a task that was submitted before, from these offsets in bytes on.

        Raises:
            InvalidTask: This is no task id, or no such offset can be.
        """
        bounded("an offset", stdout, 0)
        bounded("an offset", stderr, 0)
        future = TaskStream(task_id, self._cancel, self._engine.post, self._bring)
        self._desk.expect(future)
        self._engine.post(
            events.AttachRequested(
                at=monotonic(), id=checked(task_id), live=True, moves=moves, stdout=stdout, stderr=stderr
            )
        )
        return future

    def detach(self, future: TaskFuture | ArrayFuture) -> None:
        """Stop to follow a task or an array.

        It goes on; the future never ends, and a stream yields only what is here.
        """
        self._desk.forget(future.id)
        if isinstance(future, TaskStream):
            future.stop()
        self._engine.post(events.TaskAbandoned(at=monotonic(), id=future.id))

    def cancel(self, task_id: str, indexes: str | Sequence[int] | None = None) -> None:
        """End a task or an array, wherever it is. Returns once that is durable; what had ended stays so.

        Args:
            task_id: The task, or the array.
            indexes: Of an array only these: ``5-10,20``, or numbers; None: all.

        Raises:
            TaskGone: The table does not hold the task.
            InvalidTask: These are no indexes of it.
            CoordinationError: Nobody answered in time.
        """
        self._wait(*self._start_cancel(task_id, strides_of(indexes)))

    def start_cancel(self, task_id: str) -> Future[ToClient]:
        """Begin to end a task or an array; the future is done once that is durable, or fails as `cancel`."""
        return self._start_cancel(task_id)[1]

    def explain_silence(self, waited_s: float) -> AlbError:
        """Return the error that says why nobody answered for so long, as far as that is known."""
        return self._desk.no_answer(waited_s)

    def fetch(self, task_id: str, directory: str | os.PathLike[str] = ".") -> list[Path]:
        """Fetch the files that a task brought back.

        Args:
            task_id: A task that has ended.
            directory: Where they go; made where it is missing. A file of the same name is replaced.

        Returns:
            Where they are.

        Raises:
            InvalidTask: The task has not ended.
            TaskGone: The table does not hold the task any more.
            TransferError: No depot has a file.
        """
        record = self.task(task_id)
        if record.result is None:
            raise InvalidTask(
                task_id, f"task {task_id} is {record.state.value}: it brings files back at its end"
            )
        return self._bring(record.result, directory)

    # --- ZooKeeper ----------------------------------------------------------------------------------------

    def brokers(self) -> tuple[LeaderNode | None, list[BrokerNode]]:
        """Return the leader and all brokers, as ZooKeeper knows them.

        Raises:
            ZooKeeperUnreachable: No server answered in time.
        """
        return read_brokers(self.config, self._timeout)

    def worker_node(self, name: str) -> tuple[LeaderNode | None, WorkerNode | None]:
        """Return the leader and how a worker is registered, as ZooKeeper knows them; raises as `brokers`."""
        return look_for_worker(self.config.zk_hosts(), self.config.zk_chroot(), name, self._timeout)

    # --- inside -------------------------------------------------------------------------------------------

    def _expect_array(self, future: ArrayFuture) -> None:
        self._desk.expect_array(future)

    def _make_future(self, task_id: str) -> TaskFuture:
        return TaskFuture(task_id, self._cancel, self._capture_bytes, self._bring)

    def _post(self, event: events.ClientEvent) -> None:
        self._engine.post(event)

    def _submit(self, task: Prepared, *, output: bool, moves: bool) -> TaskFuture:
        self._ship(task)
        future = self._make_future(task.id)
        self._desk.expect(future)
        self._engine.post(
            events.SubmitRequested(at=monotonic(), id=task.id, spec=task.wire, output=output, moves=moves)
        )
        return future

    def _submit_missing(self, tasks: Sequence[Prepared], *, output: bool, moves: bool) -> list[TaskFuture]:
        """Submit tasks whose work nobody did well or is doing; follow the tasks of the others."""

        def follow(line: TaskLine) -> TaskFuture:
            return self._desk.future(line.id) or self.attach(line.id, output=output)

        return self._works.submit(tasks, partial(self._submit, output=output, moves=moves), follow)

    def _prepare(self, command: Command, given_id: str | None, options: TaskOptions) -> Prepared:
        task_id = new_id() if given_id is None else checked(given_id)
        if options and any(options.get(name) for name in PACKED):
            spec, shipment = pack(make_spec(command, options), options, self._files)
            return Prepared(task_id, spec, spec_encoded(spec), shipment)
        spec, wire = specified(command, options)
        return Prepared(task_id, spec, wire)

    def _ship(self, task: Prepared) -> None:
        if task.shipment is not None:
            self._files().ship(task.shipment)

    def _files(self) -> Files:
        if self._mover is None:
            from alb.api.files import Files  # noqa: PLC0415 (most clients move no files, and HTTP takes time)

            self._mover = Files(self._find_depots, self._on_notice, max(self._timeout, DEPOT_S))
        return self._mover

    def _find_depots(self) -> list[str]:
        """Return the depots, the leader's first."""
        leader, brokers = self.brokers()
        first = [] if leader is None else [leader.depot]
        return [depot for depot in dict.fromkeys([*first, *(node.depot for node in brokers)]) if depot]

    def _bring(self, record: Result, directory: str | os.PathLike[str]) -> list[Path]:
        return self._files().bring(record.returned, Path(directory))

    def _start_cancel(self, task_id: str, strides: tuple[Stride, ...] = ()) -> tuple[int, Future[ToClient]]:
        token, future = self._desk.expect_answer()
        self._post(events.CancelRequested(at=monotonic(), token=token, id=checked(task_id), strides=strides))
        return token, future

    def _cancel(self, task_id: str, strides: tuple[Stride, ...] = ()) -> None:
        self._post(events.CancelRequested(at=monotonic(), token=0, id=task_id, strides=strides))

    def _ask(self, query: Query, page: type[Page], timeout: float | None = None) -> Page:
        encoded(query, codec.fits_frame, lambda _, fits: None if fits else "this is too much for one request")
        token, future = self._desk.expect_answer()
        self._engine.post(events.QueryRequested(at=monotonic(), token=token, message=query))
        answer = self._wait(token, future, timeout)
        assert isinstance(answer, page)  # noqa: S101 (narrows the type: the answer has the question's number)
        return answer

    def _wait(self, token: int, future: Future[ToClient], timeout: float | None = None) -> ToClient:
        patience_s = self._timeout if timeout is None else timeout
        try:
            return future.result(patience_s)
        except FutureTimeout:
            self._desk.forget_answer(token)
            self._engine.post(events.RequestAbandoned(at=monotonic(), token=token))
            raise self._desk.no_answer(patience_s) from None


def login_name() -> str:
    """Return who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def read_brokers(
    settings: config.ClientConfig, within_s: float
) -> tuple[LeaderNode | None, list[BrokerNode]]:
    """Read the leader and all brokers from ZooKeeper; raises ZooKeeperUnreachable."""
    return look(settings.zk_hosts(), settings.zk_chroot(), within_s)
