"""A client for tests of whole brokers in one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alb_broker.core import events
from alb_core.messages import Accepted, Ack, Attach, Busy, Finished, Hello, Message, Rejected, Submit, Welcome

if TYPE_CHECKING:
    from tests.broker_stage import Stage


class StagedClient:
    """One client: it greets each new leader, and asks again for what it does not know."""

    def __init__(self, stage: Stage, name: str, user: str) -> None:
        self.stage = stage
        self.name = name
        self.user = user
        self.epoch = 0  #: Of the leader that welcomed it.
        self.unanswered: dict[str, Submit] = {}
        self.unfinished: set[str] = set()

    def greet(self) -> None:
        """Say Hello to a leader that does not know us."""
        leader = self.stage.leader_node()
        if leader is not None and leader.epoch > self.epoch:
            self.say(Hello(user=self.user))

    def say(self, message: Any, to: str = "") -> None:
        """Say something to the leader, or to a broker by name."""
        leader = self.stage.leader_node()
        broker = self.stage.brokers.get(to or (leader.broker if leader is not None else ""))
        if broker is not None and broker.alive:
            broker.inbox.append(
                events.ClientSaid(at=self.stage.now, peer=self.name.encode(), message=message)
            )

    def submit(self, message: Submit) -> None:
        """Submit, now and again until that is answered."""
        self.unanswered[message.id] = message
        self.say(message)

    def hear(self, epoch: int, message: Message) -> None:
        """Take what a broker says."""
        match message:
            case Welcome():
                self.epoch = epoch
                for waiting in self.unanswered.values():
                    self.say(waiting)
                for task in sorted(self.unfinished):
                    self.say(Attach(id=task))
            case Accepted(id=task):
                self.unanswered.pop(task, None)
                self.unfinished.add(task)
            case Busy(id=task) | Rejected(id=task):
                self.unanswered.pop(task, None)
                self.unfinished.discard(task)
            case Finished(id=task):
                self.unanswered.pop(task, None)
                self.unfinished.discard(task)
                self.say(Ack(id=task))
