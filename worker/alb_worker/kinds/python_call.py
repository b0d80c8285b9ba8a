"""``python -m alb_worker.kinds.python_call PAYLOAD VALUE``: does the call in a file, and leaves its reply.

A process of its own for each call: what the call prints is its task's output, what it breaks is its own. Its
exit status says whether it raised. The directory that it starts in is the first place where modules are
looked for, so a task can take modules along as files.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from alb_core.calls import answer


def main(payload: str, value: str) -> int:
    """Do a call.

    Args:
        payload: Holds it.
        value: Where the reply goes, as a whole or not at all.

    Returns:
        The exit status: 1 if it raised, or came to nothing that can be brought back.
    """
    target = Path(value).absolute()  # before the call, which may change the directory
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # who reads along waits for lines
    where = f"the worker {os.environ.get('ALB_WORKER', '')}"
    reply, error = answer(Path(payload).read_bytes(), where)
    if error is not None:
        traceback.print_exception(error)
    part = target.with_suffix(".part")
    target.parent.mkdir(parents=True, exist_ok=True)  # the call may have removed its directory
    part.write_bytes(reply)
    part.replace(target)
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
