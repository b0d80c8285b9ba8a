"""The kind ``python``: calls a function in an interpreter of its own, the worker's."""

from __future__ import annotations

import sys

from alb_core.calls import PYTHON_LABEL
from alb_core.kinds import PAYLOAD_FILE, VALUE_FILE
from alb_worker.kinds.interface import Attempt, Kind, Launch


class Python(Kind):
    """A call that ``alb.Executor`` packed."""

    labels = (PYTHON_LABEL,)

    def prepare(self, attempt: Attempt) -> Launch:  # noqa: ARG002 (all that it needs lies in the directory)
        """Start an interpreter on the call."""
        return Launch(
            command=(sys.executable, "-m", "alb_worker.kinds.python_call", PAYLOAD_FILE, VALUE_FILE)
        )
