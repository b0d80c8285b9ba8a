"""How the worker leaves: in order, because somebody asked; or at once, for a newer incarnation."""

from __future__ import annotations

import enum
from typing import Final

from alb_worker.core.attempts import STOP_GRACE_S

KILL_S_MAX: Final = STOP_GRACE_S + 2.0
#: The last command must be gone by then; what cannot be killed is left to the end of the runner.
SAVE_S_MAX: Final = 20.0
#: So much later where the last checkpoints of commands are being saved. Who supervises waits for all of it.
REPORT_S_MAX: Final = 5.0
#: For the leader to acknowledge the reports of what was interrupted.
DELETE_S_MAX: Final = 1.0
#: For ZooKeeper to confirm that our node is gone; it ends with the session anyway.

EXIT_STOPPED: Final = 0
EXIT_STOPPED_TWICE: Final = 1
EXIT_REPLACED: Final = 3
EXIT_TABLE_WENT_BACK: Final = 4


class Stage(enum.Enum):
    """How far the worker has got with leaving."""

    STAYING = "staying"  #: It works.
    KILLING = "killing"  #: Asked to stop: the commands are being killed.
    REPORTING = "reporting"  #: They are gone; the leader is to acknowledge the reports.
    DELETING = "deleting"  #: The node in ZooKeeper is being deleted.
    REPLACED = (
        "replaced"  #: A newer incarnation holds the node: the commands are being killed, nothing is reported.
    )
    GONE = "gone"  #: Exit was said.


_STAYING: Final = Stage.STAYING
_SILENT: Final = frozenset({Stage.REPLACED, Stage.GONE})
#: Asked with every event: looked up in their class they cost thirty times as much.


class Departure:
    """The stage, and when it must be over."""

    def __init__(self) -> None:
        self.stage = Stage.STAYING
        self._deadline = float("inf")
        #: Monotonic seconds.

    @property
    def stopping(self) -> bool:
        """Whether nothing new may start."""
        return self.stage is not _STAYING

    @property
    def silent(self) -> bool:
        """Whether nothing of the leader is heard or answered any more."""
        return self.stage is not _STAYING and self.stage in _SILENT

    def enter(self, at: float, stage: Stage, *, saves: bool = False) -> None:
        """Begin a stage.

        Args:
            at: Monotonic seconds.
            stage: Which.
            saves: Something that is being killed has checkpoints.
        """
        self.stage = stage
        bounds = {Stage.KILLING: KILL_S_MAX, Stage.REPORTING: REPORT_S_MAX, Stage.DELETING: DELETE_S_MAX}
        self._deadline = at + bounds.get(stage, KILL_S_MAX) + (SAVE_S_MAX if saves else 0.0)

    def due(self, at: float, *, live: int, idle: bool, deleting: bool) -> Stage | None:
        """Return the next stage where this one is over, else None.

        Args:
            at: Monotonic seconds.
            live: Attempts whose processes may exist.
            idle: Nothing runs and nothing is unacknowledged.
            deleting: The deletion of our node is under way.
        """
        late = at >= self._deadline
        if self.stage is Stage.KILLING and (not live or late):
            return Stage.REPORTING
        if self.stage is Stage.REPORTING and (idle or late):
            return Stage.DELETING
        if self.stage is Stage.DELETING and (not deleting or late):
            return Stage.GONE
        if self.stage is Stage.REPLACED and (not live or late):
            return Stage.GONE
        return None
