"""The kind ``sqlite``: runs an SQL script on a database that comes along, and returns the last rows.

Payload: the script. Files: ``db``, the database; without one it is empty. Output: the rows, as text with
tabs. Value: the same rows as JSON, a list of lists. Ask for the file ``db`` back (``--return db``) to have
what the script changed.

    alb submit --kind sqlite --payload report.sql --file orders.db:db
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from alb_core.tasks import Outcome
from alb_worker.kinds.interface import Attempt, Kind, KindFailed, Launch

PAYLOAD = ".alb/payload"
REFUSED_STATUS = 1
#: Of ``run.py``.


class Sqlite(Kind):
    """A script on a database."""

    def prepare(self, attempt: Attempt) -> Launch:
        """Start the script's runner. The script is the user's, so here it is only looked for."""
        if not Path(attempt.directory, PAYLOAD).exists():
            raise KindFailed("it has no script; give one with --payload FILE, or payload= in Python")
        return Launch(command=(sys.executable, str(Path(__file__).with_name("run.py"))))

    def conclude(self, outcome: Outcome) -> Outcome:
        """Leave the value as it is: ``run.py`` wrote it to ``.alb/value``. Only the sentence gets better."""
        if outcome.exit_code == REFUSED_STATUS and not outcome.why:
            return msgspec.structs.replace(outcome, why="SQLite refused the script; its stderr says why")
        return outcome
