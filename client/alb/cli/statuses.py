"""The exit statuses of ``alb``: one rule for every verb.

Several verbs hand on the exit status of a task, which may be any number. So what alb itself could not do
has a status of its own, whatever the reason is and in every verb: 125, as ``docker``, ``env`` and ``timeout``
have it. The reason is on standard error.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NO_STATUS: Final = 1
REFUSED_STATUS: Final = 78
#: ``EX_CONFIG`` of sysexits.h, for supervisors: to start it again is in vain.
TIMED_OUT_STATUS: Final = 124
FAILED_STATUS: Final = 125
INTERRUPTED_STATUS: Final = 130
READER_GONE_STATUS: Final = 141
#: 128 and SIGPIPE.

DAEMONS: Final = frozenset(("broker", "worker"))
#: Verbs that a supervisor starts, and starts again.


class Meaning(NamedTuple):
    """One line of the table that people read."""

    status: str
    text: str


TABLE: Final = (
    Meaning("0", "done; of a task: it succeeded"),
    Meaning("a task's own", "submit, attach, wait, retry --attach: its command's, of many the first failure"),
    Meaning("1", "the answer is no: health, drain"),
    Meaning("124", "the time is up: the task's limit, or that of wait --timeout"),
    Meaning("125", "alb itself did not do it: wrong usage, no such id, no cluster; stderr says why"),
    Meaning("126, 127", "the command cannot be executed, or is not there"),
    Meaning("128+N", "a signal ended the command, or alb: 130 Ctrl-C, 141 nobody reads the output"),
    Meaning("78", "broker, worker: its settings cannot work"),
)
#: What each status means, for the help and the documents.


def wrong_usage(verb: str) -> int:
    """Return the status of a verb that cannot be done as it is written."""
    return REFUSED_STATUS if verb in DAEMONS else FAILED_STATUS
