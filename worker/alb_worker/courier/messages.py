"""The words between a worker's agent and its courier. Both are always of one version.

The frames are those of ``alb_worker.runner.link``.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from alb_core.files import FileRef
from alb_core.messages import AttemptId
from alb_core.notes import Note
from alb_worker.core.saving import Seen


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent tells its courier at the start, as JSON in an argument."""

    home: str
    #: The worker's directory.
    cache_bytes_max: int


class CourierMessage(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """The base of all messages of this link."""


class UseDepots(CourierMessage, frozen=True, kw_only=True):
    """Speak to these depots from now on, the first before the others. No answer."""

    depots: tuple[str, ...]


class Prepare(CourierMessage, frozen=True, kw_only=True):
    """Gather an attempt's files in a directory. Answer: Prepared or NotPrepared, unless Abandon comes."""

    attempt: AttemptId
    files: tuple[FileRef, ...]
    ordered_at: float
    #: Monotonic seconds, when the agent got the order.


class Collect(CourierMessage, frozen=True, kw_only=True):
    """Bring what an ended attempt left to a depot, and remove it. Answer: Collected, unless Abandon comes."""

    attempt: AttemptId
    directory: str
    patterns: tuple[str, ...]


class Save(CourierMessage, frozen=True, kw_only=True):
    """Bring what a running attempt has to a depot, as far as it changed. Answer: Saved, unless Abandon comes.

    The directory stays. One order of an attempt is answered before the next one is given.
    """

    attempt: AttemptId
    directory: str
    patterns: tuple[str, ...]
    seen: tuple[Seen, ...]
    #: What the last save found.
    last: bool
    #: The command is over, and its end waits for this.


class Abandon(CourierMessage, frozen=True, kw_only=True):
    """Nobody wants this attempt's files any more: stop, and remove what is there. No answer."""

    attempt: AttemptId


class Discard(CourierMessage, frozen=True, kw_only=True):
    """The files in this directory were gathered for nobody: remove it. No answer."""

    directory: str


ToCourier: TypeAlias = UseDepots | Prepare | Collect | Save | Abandon | Discard


class Prepared(CourierMessage, frozen=True, kw_only=True):
    """The files are in this directory, which is the agent's now."""

    attempt: AttemptId
    directory: str


class NotPrepared(CourierMessage, frozen=True, kw_only=True):
    """The files cannot be had, or find no room here."""

    attempt: AttemptId
    why: str


class Collected(CourierMessage, frozen=True, kw_only=True):
    """What was wanted is in the depots, as far as that was possible."""

    attempt: AttemptId
    files: tuple[FileRef, ...]
    unmatched: str = ""
    #: Which patterns matched nothing, as a sentence.
    unreturned: str = ""
    #: Why something that matched is not there, as a sentence.


class Saved(CourierMessage, frozen=True, kw_only=True):
    """Depots have all of these files, or there was trouble and they do not make a checkpoint."""

    attempt: AttemptId
    files: tuple[FileRef, ...] = ()
    seen: tuple[Seen, ...] = ()
    trouble: str = ""


class Noted(CourierMessage, frozen=True, kw_only=True):
    """Something for the agent's log."""

    note: Note


FromCourier: TypeAlias = Prepared | NotPrepared | Collected | Saved | Noted
