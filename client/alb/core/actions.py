"""What the client's core wants done: imperatives, carried out by the shell in the order given."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from alb.core.notices import AnyNotice, OutputMissing
from alb_core.arrays import ArrayLine, Stretch
from alb_core.messages import ClientMessage, Grant, StreamName, ToClient
from alb_core.tasks import Result


class Action(msgspec.Struct, frozen=True, gc=False):
    """The base of all actions."""


class LookUp(Action, frozen=True):
    """Read ``/leader`` and ``/brokers``. Answer: LeaderFound or LookUpFailed. At most one is under way."""


class Connect(Action, frozen=True):
    """Open a link of requests to a broker. Answer: LinkOpened, LinkRefused or silence."""

    link: int
    #: Rises with every link of either kind.
    endpoint: str


class ConnectOutput(Action, frozen=True):
    """Open a link of output to a broker, under the same ZeroMQ routing id as the link of requests."""

    link: int
    endpoint: str


class Disconnect(Action, frozen=True):
    """Close a link of either kind, after what was sent on it in this turn."""

    link: int


class Send(Action, frozen=True):
    """Send a message on a link of requests."""

    link: int
    message: ClientMessage


class SendGrant(Action, frozen=True):
    """Send a grant on a link of output."""

    link: int
    grant: Grant


class SendSuspect(Action, frozen=True):
    """Send Suspect to these brokers over links that are closed at once after it. Losing it does no harm."""

    endpoints: tuple[str, ...]
    epoch: int
    why: str


class Settle(Action, frozen=True):
    """The task has its result. All output that can be had was delivered before.

    A stream of which nothing was delivered is whole in the result's own copy, or was not wanted, or is lost.
    """

    id: str
    result: Result
    missing: tuple[OutputMissing, ...] = ()
    #: Output that was wanted and cannot be had.


class FailTask(Action, frozen=True):
    """The task or array ends here without a result: `code` is one of ``alb_core.errors.TASK_ERRORS``."""

    id: str
    code: str
    why: str


class DeliverOutput(Action, frozen=True):
    """Bytes of a task's output, in order and without gaps within an attempt.

    A newer attempt starts again at its first byte and replaces what the older one wrote.
    """

    id: str
    attempt: int
    stream: StreamName
    offset: int
    data: bytes


class TellArray(Action, frozen=True):
    """How an array is now, as the leader says it."""

    line: ArrayLine


class CountInputs(Action, frozen=True):
    """The array is in the table, with so many inputs: there is room for others."""

    id: str
    count: int
    whole: bool = False
    #: All that there will be.


class RefuseInputs(Action, frozen=True):
    """The array takes no more inputs; those that were counted run."""

    id: str
    why: str


class SkipResults(Action, frozen=True):
    """Tasks of an array that ended so, and of which nothing else can be had. Their results need no taking."""

    id: str
    stretch: Stretch


class SettleArray(Action, frozen=True):
    """The array has ended, and all results that were wanted of it were taken."""

    line: ArrayLine


class AnswerQuery(Action, frozen=True):
    """The answer to the CancelRequested or QueryRequested of this token."""

    token: int
    message: ToClient


class Tell(Action, frozen=True):
    """Something that the waiting person wants to know."""

    notice: AnyNotice


ArrayAction: TypeAlias = TellArray | CountInputs | RefuseInputs | SkipResults | SettleArray
#: What concerns the user of an array.

ClientAction: TypeAlias = (
    LookUp
    | Connect
    | ConnectOutput
    | Disconnect
    | Send
    | SendGrant
    | SendSuspect
    | Settle
    | FailTask
    | DeliverOutput
    | ArrayAction
    | AnswerQuery
    | Tell
)
