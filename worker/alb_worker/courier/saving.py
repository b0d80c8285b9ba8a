"""Brings the files of a running attempt to the depots: a checkpoint, as far as it changed since the last one.

The command writes while we read. Each file of a checkpoint is whole: nothing wrote to it while it was read.
Several are of one moment where the command leaves them alone for that long; else each is as old as its own
reading, and none is older than the order. Who replaces a file by renaming another one is never waited for.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Final

from alb_core import limits
from alb_core.errors import TransferError, TransferStopped, WrongContent
from alb_core.files import FileRef, wrong_name
from alb_core.increments import wrong_checkpoint
from alb_core.io import transfer
from alb_core.io.transfer import GoesOn
from alb_worker.core.saving import Seen
from alb_worker.courier.depots import RETURN_S, Depots
from alb_worker.courier.errors import NotMoved, disk_trouble
from alb_worker.courier.matching import Found, open_own
from alb_worker.courier.messages import Save, Saved

WHILE_RUNNING_S: Final = 60.0
#: No depot takes a file of a command that runs: it is tried again with the next save.
LOOKS_MAX: Final = 2
#: How often all is looked at again, so that several files are of one moment.
READS_MAX: Final = 3
#: Of one file that something writes to meanwhile.
SETTLED_S: Final = 0.02
#: Two writes within a tick of the kernel's clock leave the same time: what was just written is let lie.

_Stamps = dict[str, tuple[int, ...]]


class _Gone(Exception):
    """Raised when a file is not there any more that was there a moment ago. Looking again helps."""


class Saver:
    """Carries the orders to save out.

    Args:
        depots: Where files go.
    """

    def __init__(self, depots: Depots) -> None:
        self._depots = depots

    def save(self, order: Save, goes_on: GoesOn) -> Saved:
        """Save what an attempt has.

        Args:
            order: Which, and what of it.
            goes_on: Whether it is still wanted.

        Raises:
            TransferStopped: It is not.
        """
        try:
            seen = self._save(order, goes_on)
        except NotMoved as error:
            return Saved(attempt=order.attempt, trouble=str(error))
        except _Gone:
            trouble = (
                "its files come and go too fast; let the command keep the old one until the new one is there"
            )
            return Saved(attempt=order.attempt, trouble=trouble)
        files = tuple(each.ref for each in seen)
        wrong = wrong_checkpoint(files)
        if wrong is not None:
            return Saved(attempt=order.attempt, trouble=wrong)
        return Saved(attempt=order.attempt, files=files, seen=seen)

    def _save(self, order: Save, goes_on: GoesOn) -> tuple[Seen, ...]:
        known = {each.ref.name: each for each in order.seen}
        before = _look(order)
        for look in range(LOOKS_MAX):
            last = look == LOOKS_MAX - 1
            try:
                for name in before:
                    known[name] = self._bring(order, name, known.get(name), goes_on)
            except _Gone:
                if last:
                    raise
                before = _look(order)
                continue
            after = _look(order)
            seen = tuple(known[name] for name in before)
            still = {name: known[name].stamp for name in before} == after
            if still or last or (len(before) == 1 and before.keys() == after.keys()):
                return seen
            before = after
        raise AssertionError("the last look returns or raises")

    def _bring(self, order: Save, name: str, seen: Seen | None, goes_on: GoesOn) -> Seen:
        """Bring a file to the depots, unless they have it."""
        try:
            descriptor = open_own(order.directory, name)
        except FileNotFoundError as error:
            raise _Gone from error
        except OSError as error:
            raise NotMoved(f"the file {name[:80]!r} cannot be read: {error.strerror}") from error
        try:
            if seen is not None and seen.stamp == _stamp(os.fstat(descriptor)):
                return seen
            return self._read(name, descriptor, goes_on, RETURN_S if order.last else WHILE_RUNNING_S)
        except (TransferStopped, NotMoved):
            raise
        except TransferError as error:
            raise NotMoved(f"the file {name[:80]!r}: {error}") from error
        except OSError as error:
            raise disk_trouble(error) from error
        finally:
            os.close(descriptor)

    def _read(self, name: str, descriptor: int, goes_on: GoesOn, within_s: float) -> Seen:
        for _ in range(READS_MAX):
            _let_lie(descriptor)
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise _Gone  # something else took its place
            content = transfer.content_of(descriptor, goes_on)
            if _whole(before, os.fstat(descriptor)):
                try:
                    self._depots.store(content, descriptor, goes_on, within_s)
                except WrongContent:
                    continue
                executable = bool(before.st_mode & 0o111)
                ref = FileRef(
                    name=name, sha256=content.sha256, size_bytes=content.size_bytes, executable=executable
                )
                return Seen(ref=ref, stamp=_stamp(before))
        raise NotMoved(
            f"the file {name[:80]!r} is written to without a pause; let the command write another one and "
            "rename it when it is whole"
        )


def _look(order: Save) -> _Stamps:
    """Return the files that are to be saved, with what tells when they change."""
    found = Found(order.directory, order.patterns)
    if len(found.names) > limits.CHECKPOINT_FILES_MAX:
        raise NotMoved(
            f"{len(found.names)} files match its checkpoint patterns, more than "
            f"{limits.CHECKPOINT_FILES_MAX}; save one archive instead"
        )
    stamps: _Stamps = {}
    for name in found.names:
        wrong = wrong_name(name)
        if wrong is not None:
            raise NotMoved(wrong)
        try:
            stamps[name] = _stamp(os.lstat(f"{order.directory}/{name}"))
        except OSError:
            continue  # just removed
    if not os.path.isdir(order.directory):  # noqa: PTH112 (a path as text)
        raise NotMoved("its directory is not there any more")  # the command is over, or removed it itself
    return stamps


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_mode & 0o111,
    )


def _whole(before: os.stat_result, after: os.stat_result) -> bool:
    """Tell whether nothing was written to a file. One that was replaced meanwhile is whole all the same."""
    written = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    return not written and (before.st_ctime_ns == after.st_ctime_ns or not after.st_nlink)


def _let_lie(descriptor: int) -> None:
    """Wait until the next write to a file must leave another time than the last one."""
    found = os.fstat(descriptor)
    age_s = time.time() - max(found.st_mtime, found.st_ctime)
    if 0 <= age_s < SETTLED_S:
        time.sleep(SETTLED_S)
