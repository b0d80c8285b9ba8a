"""Builders for tests of the client's core: a leader that answers by hand, and short names for events."""

from __future__ import annotations

from typing import Any, TypeVar

from alb.core import actions, events
from alb.core.actions import ClientAction
from alb.core.session import ClientCore
from alb_core import codec
from alb_core.config import ClientConfig
from alb_core.messages import Accepted, Finished, Message, Welcome
from alb_core.spec import TaskSpec
from alb_core.tasks import Result, Stream, TaskState
from alb_core.znodes import BrokerNode, LeaderNode

TABLE = "t" * 32
TASK = "a" * 32
OTHER = "b" * 32
SPEC = codec.encode_spec(TaskSpec(command=("/bin/true",)))
ENDPOINTS = {name: f"tcp://{name}:1" for name in ("b1", "b2", "b3")}

A = TypeVar("A", bound=ClientAction)


def broker(name: str) -> BrokerNode:
    """Return a broker's registration."""
    return BrokerNode(
        broker=name,
        incarnation=name,
        clients=ENDPOINTS[name],
        client_output=f"tcp://{name}:2",
        workers="",
        worker_output="",
    )


def leader(name: str, epoch: int, table: str = TABLE) -> LeaderNode:
    """Return the leader's node."""
    fields = {field: getattr(broker(name), field) for field in BrokerNode.__struct_fields__}
    return LeaderNode(**fields, epoch=epoch, table=table)


BROKERS = tuple(broker(name) for name in ENDPOINTS)


def result(
    stdout: bytes = b"", *, size: int | None = None, truncated: bool = False, attempt: int = 1, **fields: Any
) -> Result:
    """Make the result of a command that wrote this (or: of whose output these are the last bytes)."""
    stream = Stream.of(stdout, len(stdout) if size is None else size, truncated=truncated)
    known = {"state": TaskState.SUCCEEDED, "exit_code": 0, "worker": "w1", "stdout": stream}
    return Result(attempt=attempt, **(known | fields))


class Driver:
    """A client's core with a clock; remembers what the last event brought about.

    Args:
        settings: Of `ClientConfig`.
    """

    def __init__(self, **settings: Any) -> None:
        self.core = ClientCore(ClientConfig(zk="zk:2181", user="u", **settings), client="h:1", seed=1)
        self.now = 0.0
        self.epoch = 1
        self.link = 0
        self.output_link = 0
        self.out: list[ClientAction] = []

    def do(self, kind: type[events.Event], **fields: Any) -> list[ClientAction]:
        """Give the core an event at the present time."""
        self.out = self.core.handle(kind(at=self.now, **fields))  # type: ignore[arg-type]
        for action in self.out:
            if isinstance(action, actions.Connect):
                self.link = action.link
            if isinstance(action, actions.ConnectOutput):
                self.output_link = action.link
        return self.out

    def tick(self, seconds: float = 0.0) -> list[ClientAction]:
        """Let time pass, and tell the core."""
        self.now += seconds
        return self.do(events.Tick)

    def hear(self, *messages: Message, epoch: int | None = None, table: str = TABLE) -> list[ClientAction]:
        """Let the broker at the other end say something, in one frame."""
        epoch = self.epoch if epoch is None else epoch
        return self.do(events.BrokerSaid, link=self.link, epoch=epoch, table=table, messages=messages)

    def connect(self, name: str = "b1", epoch: int = 1) -> Driver:
        """Find a leader and be welcomed by it."""
        self.epoch = epoch
        self.tick()
        self.do(events.LeaderFound, leader=leader(name, epoch), brokers=BROKERS)
        return self.welcome(name)

    def welcome(self, name: str) -> Driver:
        """Open the link, and be welcomed over it."""
        self.do(events.LinkOpened, link=self.link)
        welcome = Welcome(broker=name, output=f"tcp://{name}:2", brokers=tuple(ENDPOINTS.values()))
        self.hear(welcome)
        return self

    def submit(self, task: str = TASK, **fields: Any) -> list[ClientAction]:
        """Ask for a task."""
        return self.do(events.SubmitRequested, id=task, spec=SPEC, **fields)

    def accept(self, task: str = TASK, **fields: Any) -> list[ClientAction]:
        """Let the leader accept a task."""
        return self.hear(Accepted(id=task, **fields))

    def finish(self, what: Result | None = None, task: str = TASK) -> list[ClientAction]:
        """Let the leader finish a task."""
        return self.hear(Finished(id=task, result=what or result()))

    def only(self, kind: type[A]) -> list[A]:
        """Return the last actions of a kind."""
        return [action for action in self.out if isinstance(action, kind)]

    def sent(self) -> list[Message]:
        """Return the messages that the last event sent to the broker."""
        return [action.message for action in self.only(actions.Send)]

    def told(self) -> list[Any]:
        """Return the notices of the last event."""
        return [action.notice for action in self.only(actions.Tell)]
