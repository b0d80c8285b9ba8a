"""Builders for tests of how the client's core follows arrays."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.alb.core.core_driver import BROKERS, Driver, leader, result

from alb.core import actions, events
from alb_core import codec
from alb_core.arrays import ArrayLine, ArraySpec, Counts, Stretch, Stride
from alb_core.messages import Accepted, Ack, ArrayMoved, ArrayPage, Attach, Finished, QueryArray
from alb_core.spec import TaskSpec
from alb_core.tasks import Result, TaskState

ARRAY = "c" * 32


def spec_of(*strides: Stride) -> ArraySpec:
    """Return the specification of an array of these indexes."""
    return ArraySpec(task=TaskSpec(command="true"), strides=strides)


def line_of(total: int, state: TaskState = TaskState.RUNNING, **fields: Any) -> ArrayLine:
    """Return how the array is."""
    return ArrayLine(id=ARRAY, user="u", state=state, total=total, **fields)


class ArrayDriver(Driver):
    """A client's core that runs one array.

    Args:
        total: How many tasks it has; 0: as many as there are inputs.
        settings: Of `ClientConfig`.
    """

    def __init__(self, total: int = 3, **settings: Any) -> None:
        super().__init__(**settings)
        self.total = total
        self.spec = codec.encode_array(spec_of(*([Stride(1, total)] if total else [])))

    def request(self, **fields: Any) -> list[actions.ClientAction]:
        """Ask for the array."""
        return self.do(events.ArrayRequested, id=ARRAY, spec=self.spec, **fields)

    def begin(self, **fields: Any) -> ArrayDriver:
        """Ask for it, and have it accepted; the first question finds that nothing ended."""
        self.connect()
        self.request(**fields)
        self.hear(Accepted(id=ARRAY))
        self.answer()
        return self

    def answer(self, *stretches: Stretch, until: int | None = None, **fields: Any) -> None:
        """Answer the question that the last event asked, where it asked one."""
        for question in [message for message in self.sent() if isinstance(message, QueryArray)]:
            found = tuple(each for each in stretches if each.first + each.count > question.after)
            page = ArrayPage(
                seq=question.seq,
                array=line_of(self.total, **fields),
                spec=msgspec.Raw(self.spec),
                stretches=found,
                until=self.total if until is None else until,
            )
            self.hear(page)

    def end(self, index: int, what: Result | None = None) -> list[actions.ClientAction]:
        """Let a task end."""
        return self.hear(Finished(id=f"{ARRAY}.{index}", result=what or result()))

    def take(self, *positions: int, reached: int = 0) -> list[actions.ClientAction]:
        """Let the consumer take results."""
        return self.do(events.ResultsTaken, id=ARRAY, positions=positions, reached=reached)

    def move(self, state: TaskState = TaskState.RUNNING, **fields: Any) -> list[actions.ClientAction]:
        """Let the leader say how it is."""
        return self.hear(ArrayMoved(array=line_of(self.total, state, **fields)))

    def over(self) -> list[actions.ClientAction]:
        """Let the leader say that all of it went well."""
        counts = Counts(succeeded=self.total)
        return self.move(TaskState.SUCCEEDED, counts=counts, cursor=self.total)

    def lose_leader(self) -> None:
        """Let the leader die, and another be found."""
        self.do(events.LinkClosed, link=self.link)
        self.epoch += 1
        self.do(events.LeaderFound, leader=leader("b2", self.epoch), brokers=BROKERS)
        self.welcome("b2")

    def acknowledged(self) -> list[str]:
        """Return whose results the last event acknowledged: indexes, or ``all`` for the array itself."""
        ids = [message.id for message in self.sent() if isinstance(message, Ack)]
        return [task.partition(".")[2] or "all" for task in ids]

    def attached(self) -> list[str]:
        """Return the indexes that the last event attached to."""
        return [message.id.partition(".")[2] for message in self.sent() if isinstance(message, Attach)]

    def settled(self) -> list[str]:
        """Return the indexes whose results the last event delivered."""
        return [action.id.partition(".")[2] for action in self.only(actions.Settle)]
