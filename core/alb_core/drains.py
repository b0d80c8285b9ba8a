"""Drains: workers that take nothing new, because somebody wants to stop or change their machines.

A drain belongs to a worker's name, so it outlives the worker's process and the leader that was asked for it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from alb_core import ids, limits

REASON_LENGTH_MAX: Final = 200
WORKERS_AT_ONCE_MAX: Final = 1000
#: Named in one request.


class Drain(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """That a worker is drained: why, since when, and what becomes of what runs on it."""

    by: str = ""
    #: The user who asked.
    reason: str = ""
    since: float = 0.0
    #: Cluster time, from which its deadline counts; 0: written by hand, and no leader has read it yet.
    deadline_s: float | None = None
    #: After so long, tasks that may run again are taken from the worker; None: everything may end there.

    def evicts_at(self) -> float:
        """Return the cluster time from which on what runs on the worker is taken from it."""
        return float("inf") if self.deadline_s is None else self.since + self.deadline_s

    def joined(self, wish: Drain) -> Drain:
        """Return what is in force when somebody drains again.

        Saying it again changes nothing. Another reason, or another deadline (which counts from then), takes
        the place of the earlier one; what is not said stays.
        """
        if wish.deadline_s is not None and wish.deadline_s != self.deadline_s:
            return msgspec.structs.replace(wish, reason=wish.reason or self.reason)
        if wish.reason and wish.reason != self.reason:
            return msgspec.structs.replace(self, by=wish.by, reason=wish.reason)
        return self


def check_names(workers: tuple[str, ...]) -> str:
    """Return what is wrong with the names in a request, or an empty text."""
    if not workers:
        return "no worker was named"
    if len(workers) > WORKERS_AT_ONCE_MAX:
        return f"{len(workers)} workers are more than {WORKERS_AT_ONCE_MAX} at once"
    for name in workers:
        if not ids.is_name(name):
            return f"{name[:80]!r} cannot be a worker's name"
    return ""


def check_drain(drain: Drain) -> str:
    """Return what is wrong with a drain, as it was asked for or written by hand, or an empty text."""
    if len(drain.by) > limits.USER_LENGTH_MAX or not drain.by.isprintable():
        return "the user's name is too long or not printable"
    if len(drain.reason) > REASON_LENGTH_MAX or not drain.reason.isprintable():
        return f"the reason is longer than {REASON_LENGTH_MAX} characters or not printable"
    if drain.deadline_s is not None and not 0 <= drain.deadline_s <= limits.TIME_LIMIT_S_MAX:
        return f"a deadline of {drain.deadline_s} s is not between 0 and a year"
    return ""


def named(workers: Collection[str], most: int = 5) -> str:
    """Return names of workers for a sentence."""
    more = len(workers) - most
    return ", ".join(sorted(workers)[:most]) + (f" and {more} more" if more > 0 else "")
