"""What a broker's core wants done: imperatives, the only way out of it.

The requests to ZooKeeper are those of ``alb_core.zk``, the lines of the log those of ``alb_core.notes``;
here are the others. The shell carries actions out in the order in which they were returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from alb_core import zk
from alb_core.files import Census
from alb_core.messages import AttemptId, Chunk, Grant, Increments, ToClient, ToWorker
from alb_core.notes import Note
from alb_core.rows import Key, Row, Span


class SendToClient(msgspec.Struct, frozen=True, gc=False):
    """Send a message on the clients' requests link, in a frame of this epoch."""

    peer: bytes
    epoch: int
    message: ToClient


class SendToWorker(msgspec.Struct, frozen=True, gc=False):
    """Send a message on the workers' link, in a frame of this epoch."""

    peer: bytes
    epoch: int
    message: ToWorker


class SendGrant(msgspec.Struct, frozen=True, gc=False):
    """Pass a reader's grant to the worker that has the output."""

    peer: bytes
    grant: Grant


class SendChunk(msgspec.Struct, frozen=True, gc=False):
    """Pass output to its reader."""

    peer: bytes
    chunk: Chunk


class FollowLeader(msgspec.Struct, frozen=True, gc=False):
    """Open a link to this endpoint and say Follow on it, instead of any other such link; empty: none."""

    endpoint: str


class Probe(msgspec.Struct, frozen=True, gc=False):
    """Try a plain TCP connection to the endpoint. Answer: ProbeEnded."""

    token: int
    endpoint: str


class WriteDump(msgspec.Struct, frozen=True, gc=False):
    """Write this JSON to a file of its own, for analysis."""

    data: bytes
    why: str


class BeginStore(msgspec.Struct, frozen=True, gc=False):
    """Begin this leader's term in the results store: no earlier one writes there any more."""

    epoch: int


class StoreRows(msgspec.Struct, frozen=True, gc=False):
    """Keep these rows in the results store. Answer: StoreWritten with the token, unless that is 0."""

    token: int
    epoch: int
    rows: tuple[Row, ...]
    patient: bool = False
    #: Nobody waits for them: they may be gathered with others.


class ScanStore(msgspec.Struct, frozen=True, gc=False):
    """Read rows from the results store, in the order of their keys. Answer: StoreScanned."""

    token: int
    epoch: int
    family: type[Row]
    span: Span
    limit: int
    newest_first: bool = False
    #: Those with the greatest keys first.


class GetRows(msgspec.Struct, frozen=True, gc=False):
    """Read the rows of these keys from the results store. Answer: StoreScanned."""

    token: int
    epoch: int
    family: type[Row]
    keys: tuple[Key, ...]


class TellDepots(msgspec.Struct, frozen=True, gc=False):
    """Tell this broker's depot what the leader knows of files, for all depots; None: it leads no more."""

    census: Census | None
    keys: Mapping[str, str] = {}
    #: Of the depots, by their addresses.


class ClearStore(msgspec.Struct, frozen=True, gc=False):
    """Remove rows from the results store, see `Store.remove`. Answer: StoreRemoved."""

    token: int
    epoch: int
    family: type[Row]
    spans: tuple[Span, ...]
    limit: int


class MeasureStore(msgspec.Struct, frozen=True, gc=False):
    """Find out how much room the results store takes. Answer: StoreMeasured."""

    token: int
    epoch: int


class TaskKept(msgspec.Struct, frozen=True, gc=False):
    """Not for the shell: released with a result's commit, it lets the reign archive the task."""

    task: str


class TaskSettled(msgspec.Struct, frozen=True, gc=False):
    """Not for the shell: a placement or an end is in the table, and those who wait for the task may go on."""

    task: str


class PolicyMarked(msgspec.Struct, frozen=True, gc=False):
    """Not for the shell: it is in the table that a policy is about to be asked, and now it may be."""

    serial: int
    #: Of the mark.


class ArrayOpened(msgspec.Struct, frozen=True, gc=False):
    """Writes with which an array began are in ZooKeeper. Not for the shell: the reign takes it back."""

    array: str


class IncrementsMarked(msgspec.Struct, frozen=True, gc=False):
    """Not for the shell: released with the mark of a task, it lets its first increments be stored."""

    worker: str
    incarnation: str
    message: Increments


class ResumeWanted(msgspec.Struct, frozen=True, gc=False):
    """Not for the shell: released with a placement, it has the reign read what the attempt is given."""

    attempt: AttemptId


class Exit(msgspec.Struct, frozen=True, gc=False):
    """End the process."""

    code: int
    why: str


Action: TypeAlias = (
    SendToClient
    | SendToWorker
    | SendGrant
    | SendChunk
    | FollowLeader
    | Probe
    | WriteDump
    | BeginStore
    | StoreRows
    | ScanStore
    | GetRows
    | TellDepots
    | ClearStore
    | MeasureStore
    | TaskKept
    | TaskSettled
    | ArrayOpened
    | IncrementsMarked
    | PolicyMarked
    | ResumeWanted
    | Exit
    | Note
    | zk.Request
)
