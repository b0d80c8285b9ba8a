"""Logs as another process's stderr shows them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from alb_core.errors import ConfigError
from alb_core.io import logs

PROGRAM = """
import logging
from alb_core.io import logs
from alb_core.notes import Level, Note

logger = logs.configure("info", broker="b1")
fields = {"worker": "w1", "payload": b"\\x00", "odd": object}
logs.write_note(logger, Note("worker_lost", fields, Level.WARNING))
logs.write_note(logger, Note("detail_seen", {}, Level.DEBUG))
for _ in range(100):
    for why in ("broken", "refused"):
        logging.getLogger("kazoo.client").warning("Connection dropped: %s", why)
logging.getLogger("kazoo.client").debug("data of a znode: secret")
logging.getLogger("kazoo.client").info("Connecting to somewhere")
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("loop_failed", epoch=7)
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, object]]:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True)
    assert run.stdout == ""
    return [json.loads(line) for line in run.stderr.splitlines()]


def test_note_is_one_line_of_json(lines: list[dict[str, object]]) -> None:
    """A note has its event, its level, its fields, what the process bound, and a time."""
    note = lines[0]
    assert {
        "event": "worker_lost",
        "level": "warning",
        "worker": "w1",
        "broker": "b1",
    }.items() <= note.items()
    assert str(note["timestamp"]).endswith("Z")


def test_level_filters(lines: list[dict[str, object]]) -> None:
    """What is below the level is not written."""
    assert "detail_seen" not in [line["event"] for line in lines]


def test_kazoo_warns_into_the_log(lines: list[dict[str, object]]) -> None:
    """Its warnings are lines, once each, also in turns; what is below may hold data and is not written."""
    assert lines[1]["event"] == "library_warned"
    assert (lines[1]["logger"], lines[1]["text"]) == ("kazoo.client", "Connection dropped: broken")
    assert lines[2]["text"] == "Connection dropped: refused"
    assert "secret" not in str(lines)
    assert len(lines) == 4


def test_exception_is_a_field(lines: list[dict[str, object]]) -> None:
    """A traceback stays inside its line."""
    assert lines[3]["event"] == "loop_failed"
    assert "ZeroDivisionError" in str(lines[3]["exception"])


def test_gathered_lines_leave_together() -> None:
    """Nothing is written before the flush, and a stream that is closed meanwhile stops nobody."""
    program = """
import os
from alb_core.io import logs
from alb_core.notes import Note

logger = logs.configure("info", gathered=True)
logs.write_note(logger, Note("first"))
logs.write_note(logger, Note("second"))
os.write(2, b"before\\n")
logs.flush()
logs.flush()
os.close(2)
logs.write_note(logger, Note("third"))
logs.flush()
print("alive")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    before, *lines = run.stderr.splitlines()
    assert (before, run.stdout) == ("before", "alive\n")
    assert [json.loads(line)["event"] for line in lines] == ["first", "second"]


def test_the_time_is_that_of_the_line(lines: list[dict[str, object]]) -> None:
    """In UTC, to the microsecond."""
    told = datetime.fromisoformat(str(lines[0]["timestamp"]))
    assert abs((datetime.now(UTC) - told).total_seconds()) < 60
    assert len(str(lines[0]["timestamp"])) == len("2026-01-01T00:00:00.000000Z")


def test_unknown_level_is_a_configuration_error() -> None:
    """The error lists the levels."""
    with pytest.raises(ConfigError, match="'loud' is none of debug, info, warning, error"):
        logs.configure("loud")


def test_a_writer_of_notes_writes_what_a_logger_would() -> None:
    """The same lines but for their time: of any field and level, and none of what matters too little."""
    program = """
from alb_core.io import logs
from alb_core.notes import Level, Note

logger = logs.configure("info", broker="b1")
writer = logs.NoteWriter(logger)
for level in Level:
    fields = {"worker": "w1", "odd": object, "payload": b"0", "level": 3, "why": "ü"}
    note = Note("worker_lost", fields, level)
    logs.write_note(logger, note)
    writer.write(note)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    written = [re.sub(r'"timestamp":"[-0-9T:.]*Z"', "", line) for line in run.stderr.splitlines()]
    assert len(written) == 6
    assert written[::2] == written[1::2]
