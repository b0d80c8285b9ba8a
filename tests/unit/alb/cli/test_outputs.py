"""What tasks wrote, in one piece when they have ended; and what of it is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from alb.api.result import Captured
from alb.cli.outputs import write_outputs
from alb_core.tasks import Result, Stream, TaskState


@pytest.mark.parametrize(
    ("captured", "stream", "told"),
    [
        (Captured(b"abc", cut=False), Stream.of(b"abc", 3), ""),
        (None, Stream.of(b"abc", 3), ""),
        (Captured(b"bc", cut=True), Stream.of(b"bc", 3), "one: these are the last 2 of 3 bytes of stdout"),
        (Captured(b"abc", cut=False), Stream.of(b"abc", 3, truncated=True), "the first 3 bytes are there"),
    ],
)
def test_output_that_is_not_whole_is_called_so(captured: Captured | None, stream: Stream, told: str) -> None:
    """Its beginning where little was captured, its end where the worker had no room for it."""
    future = SimpleNamespace(id="t", captured=lambda: (captured, None))
    said: list[str] = []
    written: list[bytes] = []
    record = Result(state=TaskState.SUCCEEDED, stdout=stream)
    write_outputs(cast("Any", future), record, "one", said.append, lambda _, data: written.append(data))
    assert written == [captured.data if captured else b"abc"]
    assert (told in "".join(said), bool(said)) == (True, bool(told))
