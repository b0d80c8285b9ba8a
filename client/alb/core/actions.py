"""What the client's core wants done: imperatives, carried out by the shell in the order given."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from alb.core.notices import AnyNotice, OutputMissing
from alb_core.messages import ClientMessage, Grant, StreamName, ToClient
from alb_core.tasks import Result


class Action(msgspec.Struct, frozen=True):
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
    """The task ends here without a result: `code` is one of ``alb_core.errors.TASK_ERRORS``."""

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


class AnswerQuery(Action, frozen=True):
    """The answer to the CancelRequested or QueryRequested of this token."""

    token: int
    message: ToClient


class Tell(Action, frozen=True):
    """Something that the waiting person wants to know."""

    notice: AnyNotice


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
    | AnswerQuery
    | Tell
)
