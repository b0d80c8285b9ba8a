"""Copies of stragglers: which tasks may have one, and how many there may be. Values only.

A task that lags far behind its likes runs a second time on another worker, and the first success counts. Who
lags, and where a copy goes, decides the broker's ``alb_broker.core.copies``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core.spec import OnLost, TaskSpec

SHARE_MAX: Final = 1.0
CHOOSER: Final = "copies"
#: Stands where else the policy does that chose an attempt's worker.
OUTRUN: Final = "outrun"
#: How an attempt ended that ran beside one that counts.


class CopiesNode(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """``/config/copies``: the bounds of copies. The defaults are those of the LATE scheduler.

    People write it by hand: a misspelt field must be found, not ignored.
    """

    share: float = 0.1
    #: Of all processors: so much copies reserve at once, or there is one that is larger; 0: none is made.
    unasked: bool = False
    #: Tasks that do not say whether they may be copied may be.
    slow_tasks: float = 0.25
    #: Only tasks are copied that are slower than this part of their likes,
    slow_workers: float = 0.25
    #: and only on workers that are no slower than this part of all.

    @property
    def enabled(self) -> bool:
        """Whether copies are made at all."""
        return self.share > 0


COPIES: Final = CopiesNode()
#: Of a new cluster.


def may_run_twice(spec: TaskSpec, node: CopiesNode) -> bool:
    """Tell whether somebody said that a task may run twice at once.

    What must not run again when its worker is lost must not run twice either, whatever is the default. What
    saves checkpoints is one run that goes on, not one of many.
    """
    if not (node.unasked if spec.speculative is None else spec.speculative):
        return False
    return spec.on_lost is OnLost.RERUN and not spec.checkpoints


def check_copies(node: CopiesNode) -> str:
    """Return what is wrong with bounds of copies, as a sentence; empty: nothing."""
    if not 0 <= node.share <= SHARE_MAX:
        return f"the share of {node.share:g} for copies is not between 0 (none is made) and 1"
    for name in ("slow_tasks", "slow_workers"):
        part = getattr(node, name)
        if not 0 <= part <= 1:
            return f"{name} of {part:g} is not between 0 and 1: it is a part of all, like 0.25"
    if not node.slow_tasks:
        return "slow_tasks of 0: no task is slower than all; to make no copies set the share to 0"
    return ""
