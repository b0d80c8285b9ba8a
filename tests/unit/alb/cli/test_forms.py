"""What ``--json`` writes about a task's end: nothing that is missing goes unsaid."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.unit.alb.core.core_driver import TASK, result

from alb.api.future import TaskFuture
from alb.cli.forms import result_form
from alb.core.notices import OutputMissing
from alb_core.messages import StreamName
from alb_core.tasks import Stream


def written(*missing: OutputMissing, **fields: Any) -> dict[str, Any]:
    """Return the form of a task that ended so, as a program reads it."""
    future = TaskFuture(TASK, lambda _: None, 0, lambda *_: [])
    future.record, future.missing = msgspec.structs.replace(result(), **fields), missing
    form: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(result_form(future)))
    return form


def test_sizes_are_written_where_there_is_nothing() -> None:
    """A program that adds them up needs no second look; what is not so is left out."""
    form = written()
    assert (form["stdout"], form["stdout_bytes"], form["stderr"], form["stderr_bytes"]) == ("", 0, "", 0)
    assert not form.keys() & {"output_open", "output_lost", "stdout_truncated", "stdout_lost_from"}


def test_what_is_not_whole_says_so() -> None:
    """Cut by the spool, thinned by a bound, held open by something that was left behind."""
    form = written(stdout=Stream(9, "end", truncated=True, left_out_bytes=5), output_open=True)
    assert (form["stdout"], form["stdout_bytes"]) == ("end", 9)
    assert (form["stdout_truncated"], form["stdout_left_out_bytes"], form["output_open"]) == (True, 5, True)


def test_what_is_gone_is_told_from_its_first_byte() -> None:
    """And why; of the other stream nothing is missing."""
    gone = OutputMissing(id=TASK, stream=StreamName.STDERR, offset=7, why="w1 is gone")
    form = written(gone, stderr=Stream(9, "rr"))
    assert (form["stderr_lost_from"], form["output_lost"]) == (7, "w1 is gone")
    assert "stdout_lost_from" not in form
