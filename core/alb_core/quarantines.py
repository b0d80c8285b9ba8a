"""Quarantine: a worker is given nothing for a while, because tasks fail on it that succeed elsewhere."""

from __future__ import annotations

import msgspec


class Quarantine(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """That a worker is in quarantine."""

    until: float
    #: Cluster time.
    why: str
    #: A sentence.
