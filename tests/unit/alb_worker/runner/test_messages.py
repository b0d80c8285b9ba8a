"""The words of the link keep their meaning on the way."""

from __future__ import annotations

import msgspec
import pytest

from alb_core.messages import AttemptId, StreamName
from alb_core.notes import Level, Note
from alb_core.tasks import Cause, Outcome
from alb_worker.runner.messages import (
    Ended,
    FromRunner,
    Kill,
    Noted,
    Output,
    Ready,
    RunnerMessage,
    Settings,
    Start,
    Started,
    ToRunner,
)

ATTEMPT = AttemptId("0" * 32 + ".5", 2)
OUTCOME = Outcome(cause=Cause.SIGNALLED, signal=9, why="ä", wall_s=1.5, output_open=True)


@pytest.mark.parametrize(
    ("message", "union"),
    [
        (Kill(attempt=ATTEMPT, grace_s=0.5), ToRunner),
        (
            Start(
                attempt=ATTEMPT,
                command="echo ä",
                env={"A": "b"},
                cwd="/tmp",  # noqa: S108 (only a text)
                time_limit_s=2.0,
                grace_s=1.0,
                cpus=2.0,
                memory_bytes=3,
                marks={"ALB_INCREMENTS": "there"},
            ),
            ToRunner,
        ),
        (Ready(pid=1, cgroup="", mechanism="sampling", dyed=False), FromRunner),
        (Started(attempt=ATTEMPT, pid=7), FromRunner),
        (Output(attempt=ATTEMPT, stream=StreamName.STDERR, offset=2**40, data=b"\x00\xff"), FromRunner),
        (
            Ended(attempt=ATTEMPT, outcome=OUTCOME, stdout=b"\xff", stderr=b"", stdout_size=9, stderr_size=0),
            FromRunner,
        ),
        (Noted(note=Note("attempt_unkillable", {"pids": [1, 2]}, Level.ERROR)), FromRunner),
    ],
)
def test_every_message_survives_the_wire(message: RunnerMessage, union: object) -> None:
    """What is decoded equals what was encoded, for each kind of message."""
    encoded = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(encoded, type=union) == message  # type: ignore[comparison-overlap]


def test_settings_travel_as_an_argument() -> None:
    """The settings survive JSON, with names that are not ASCII."""
    settings = Settings(worker="w1", home="/häuser/w1", cgroup="alb-1-w1-i.1")
    assert msgspec.json.decode(msgspec.json.encode(settings).decode(), type=Settings) == settings
