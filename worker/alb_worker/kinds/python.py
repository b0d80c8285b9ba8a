"""The kind ``python``: calls a function in an interpreter of its own, the worker's."""

from __future__ import annotations

import sys

from alb_core.calls import PYTHON_LABEL
from alb_core.kinds import PAYLOAD_FILE, VALUE_FILE
from alb_worker.kinds.interface import Attempt, Kind, KindFailed, Launch


class Python(Kind):
    """A call that ``alb.Executor`` packed."""

    labels = (PYTHON_LABEL,)

    def prepare(self, attempt: Attempt) -> Launch:
        """Start an interpreter on the call."""
        spec = attempt.spec
        if not spec.payload and not any(file.name == PAYLOAD_FILE for file in spec.files):
            raise KindFailed("the task has no call: those of the kind python come from alb.Executor")
        return Launch(
            command=(sys.executable, "-m", "alb_worker.kinds.python_call", PAYLOAD_FILE, VALUE_FILE)
        )
