"""A leader of two sockets and no cluster: it answers clients from a script, over real ZeroMQ."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

import zmq

from alb_core import codec
from alb_core.io.sockets import Doorbell, Router
from alb_core.messages import (
    Accepted,
    ArraysPage,
    Attach,
    Chunk,
    Error,
    Finished,
    Grant,
    Heartbeat,
    Hello,
    IdsPage,
    Message,
    Ping,
    Pong,
    Pulse,
    QueryArray,
    QueryArrays,
    QueryIds,
    QueryOutput,
    QueryTask,
    QueryTasks,
    Submit,
    TaskPage,
    TasksPage,
    Welcome,
)
from alb_core.spec import TaskSpec
from alb_core.tasks import Attempt, AttemptState, Result, Stream, TaskRecord, TaskState
from alb_core.znodes import LeaderNode

TABLE = "t" * 32

Answer = Callable[[Message], Sequence[Message]]


def succeed(stdout: bytes = b"") -> Result:
    """Make the result of a command that printed this."""
    return Result(
        state=TaskState.SUCCEEDED, exit_code=0, attempt=1, worker="w1", stdout=Stream.of(stdout, len(stdout))
    )


class FakeBroker:
    """Accepts and finishes every task at once, unless `answer` says otherwise.

    Args:
        answer: Takes each message of a client but Hello and Ping; returns what to reply.
        output: What a grant is answered with: the whole stdout of every task.
    """

    def __init__(self, answer: Answer | None = None, output: bytes = b"", epoch: int = 1) -> None:
        self.answer = answer or self.finish
        self.output = output
        self.epoch = epoch
        self.lost = ""
        #: What every grant is answered with instead of output.
        self.received: list[Message] = []
        self._requests = Router("127.0.0.1")
        self._outputs = Router("127.0.0.1")
        self._bell = Doorbell()
        self._later: deque[Message] = deque()
        #: What is said to everybody, of its own accord.
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="fake-broker")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def node(self) -> LeaderNode:
        """Return what ZooKeeper would hold of this leader."""
        return LeaderNode(
            broker="b1",
            incarnation="i" * 32,
            clients=self._requests.endpoint,
            client_output=self._outputs.endpoint,
            workers="",
            worker_output="",
            epoch=self.epoch,
            table=TABLE,
        )

    def close(self) -> None:
        """Die, with all links."""
        self._stopping = True
        self._bell.ring()
        self._thread.join()

    def say(self, *messages: Message) -> None:
        """Say something to every client, from any thread."""
        self._later.extend(messages)
        self._bell.ring()

    def finish(self, message: Message) -> Sequence[Message]:
        """Answer a submission with its result."""
        if isinstance(message, Submit):
            return (Accepted(id=message.id), Finished(id=message.id, result=succeed()))
        return ()

    def _run(self) -> None:
        poller = zmq.Poller()
        for source in (self._requests.socket, self._outputs.socket, self._bell.fileno()):
            poller.register(source, zmq.POLLIN)
        peers: set[bytes] = set()
        while not self._stopping:
            if not poller.poll(500):
                for peer in peers:
                    self._say(peer, [Heartbeat()])
            for peer, frame in self._requests.receive(100):
                peers.add(peer)
                messages = codec.decode_from_client(frame)
                self._say(peer, [reply for message in messages for reply in self._reply(message)])
            self._bell.clear()
            messages = [self._later.popleft() for _ in range(len(self._later))]
            for peer in peers if messages else ():
                self._say(peer, messages)
            for peer, frame in self._outputs.receive(100):
                for grant in codec.decode_output(frame):
                    self._serve(peer, grant)
        for router in (self._requests, self._outputs):
            router.close()
        self._bell.close()

    def _say(self, peer: bytes, messages: Sequence[Message]) -> None:
        for frame in codec.encode_broker_frames(self.epoch, TABLE, messages):
            self._requests.send(peer, frame)

    def _reply(self, message: Message) -> Sequence[Message]:
        self.received.append(message)
        if isinstance(message, Hello):
            endpoints = (self._requests.endpoint,)
            return (Welcome(broker="b1", output=self._outputs.endpoint, brokers=endpoints),)
        if isinstance(message, Ping):
            pulses = tuple(Pulse(id=task_id, state=TaskState.QUEUED) for task_id in message.tasks)
            return (Pong(seq=message.seq, tasks=pulses),)
        return self.answer(message) or self._know_nothing(message)

    @staticmethod
    def _know_nothing(message: Message) -> Sequence[Message]:
        """Answer questions where the script says nothing: the table is empty."""
        match message:
            case QueryArrays(seq=seq):
                return (ArraysPage(seq=seq, arrays=()),)
            case QueryTasks(seq=seq):
                return (TasksPage(seq=seq, tasks=()),)
            case QueryIds(seq=seq):
                return (IdsPage(seq=seq),)
            case QueryArray(seq=seq) | QueryTask(seq=seq):
                return (Error(seq=seq, code="gone", why="it is not in the table"),)
        return ()

    def _serve(self, peer: bytes, grant: Message) -> None:
        assert isinstance(grant, Grant)
        self.received.append(grant)
        if self.lost:
            gone = Chunk(
                task=grant.task,
                attempt=1,
                stream=grant.stream,
                offset=grant.offset,
                end=True,
                lost=self.lost,
            )
            self._outputs.send(peer, codec.encode_frames([gone])[0])
            return
        data = self.output if grant.stream == 1 else b""
        end = min(len(data), grant.offset + grant.window)
        offset = grant.offset
        while True:
            piece = data[offset : min(end, offset + 256 * 1024)]
            chunk = Chunk(
                task=grant.task,
                attempt=1,
                stream=grant.stream,
                offset=offset,
                data=piece,
                end=offset + len(piece) == len(data),
            )
            for frame in codec.encode_frames([chunk]):
                self._outputs.send(peer, frame)
            offset += len(piece)
            if offset >= end:
                return


def finish_with(what: Result) -> Callable[[Message], Sequence[Message]]:
    """Answer every submission and attachment with this result."""

    def answer(message: Message) -> Sequence[Message]:
        if isinstance(message, Submit):
            running = Accepted(id=message.id, state=TaskState.RUNNING, attempt=1, worker="w1")
            return (running, Finished(id=message.id, result=what))
        if isinstance(message, Attach):
            return (Finished(id=message.id, result=what),)
        if isinstance(message, QueryTask):
            return (TaskPage(seq=message.seq, task=record_with(message.id, what)),)
        if isinstance(message, QueryOutput):
            return (Error(code="invalid", why="there is no store", seq=message.seq),)
        return ()

    return answer


def record_with(task: str, result: Result | None, attempts: int = 1) -> TaskRecord:
    """Return a task as the table holds it."""
    return TaskRecord(
        id=task,
        state=TaskState.RUNNING if result is None else result.state,
        user="u",
        digest="d",
        spec=TaskSpec(command="true"),
        submitted=0.0,
        attempts=tuple(
            Attempt(n=n, worker="w1", incarnation="i", epoch=1, state=AttemptState.OVER)
            for n in range(1, attempts + 1)
        ),
        result=result,
    )
