"""Tasks as values: their outputs, results, digests, and what is wrong with a specification."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb_core import limits
from alb_core.resources import Request
from alb_core.spec import TaskSpec, check_spec, digest
from alb_core.tasks import EMPTY_STREAM, Cause, Outcome, Result, Stream, TaskState, bounded


@given(st.binary(max_size=300))
def test_a_short_stream_survives_whole(data: bytes) -> None:
    """Text and bytes alike, in a JSON node and back."""
    stream = Stream.of(data, len(data))
    again = msgspec.json.decode(msgspec.json.encode(stream), type=Stream)
    assert again.tail() == data
    assert again.complete


@given(st.binary(min_size=1, max_size=50))
def test_of_a_long_stream_the_last_bytes_are_kept(piece: bytes) -> None:
    """And its length; it is not taken for the whole."""
    data = piece * (limits.INLINE_OUTPUT_BYTES // len(piece) + 1)
    stream = Stream.of(data, len(data))
    assert stream.tail() == data[-limits.INLINE_OUTPUT_BYTES :]
    assert stream.size_bytes == len(data)
    assert not stream.complete


def test_what_is_missing_between_head_and_tail_is_told() -> None:
    """Also where the record is cut to what a result may keep."""
    whole = Stream(10_000, "x" * 10_000, "", left_out_bytes=77)
    cut = whole.bounded()
    assert (cut.left_out_bytes, cut.size_bytes, len(cut.text)) == (77, 10_000, limits.INLINE_OUTPUT_BYTES)
    assert not cut.truncated


def test_an_empty_stream_takes_no_room() -> None:
    """In the node of a silent command nothing is written of its output."""
    assert Stream.of(b"", 0) is EMPTY_STREAM
    assert msgspec.json.encode(EMPTY_STREAM) == b"{}"
    assert Stream.of(b"", 0, truncated=True).truncated


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (Result(state=TaskState.SUCCEEDED, exit_code=0), 0),
        (Result(state=TaskState.FAILED, exit_code=7), 7),
        (Result(state=TaskState.FAILED, signal=9), 137),
        (Result(state=TaskState.TIMEOUT, signal=15), 124),
        (Result(state=TaskState.CANCELLED), 125),
        (Result(state=TaskState.LOST), 125),
    ],
)
def test_the_exit_status_is_a_shells(result: Result, status: int) -> None:
    """The command's own, 128 and the signal, 124 at the time limit, 125 where alb failed."""
    assert result.exit_status() == status


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1.0, 1e308])
def test_what_is_no_amount_does_not_get_into_the_table(odd: float) -> None:
    """JSON writes it as null, and no leader could read the result any more."""
    told = Outcome(cause=Cause.EXITED, exit_code=3, wall_s=odd, cpu_s=odd, memory_bytes=-1, read_bytes=2**70)
    assert bounded(told) == Outcome(cause=Cause.EXITED, exit_code=3)
    usual = Outcome(cause=Cause.EXITED, wall_s=0.5, cpu_s=0.25, memory_bytes=7, written_bytes=9)
    assert bounded(usual) is usual
    assert bounded(msgspec.structs.replace(usual, wall_s=odd)).memory_bytes == 7


def test_terminal_states_are_those_with_a_result() -> None:
    """All but those in which something is still to come."""
    open_states = {TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING}
    assert {state for state in TaskState if not state.terminal} == open_states


def test_digests_tell_specifications_apart() -> None:
    """Equal bytes give equal digests, others others."""
    assert digest(b"x") == digest(b"x")
    assert digest(b"x") != digest(b"y")
    assert len(digest(b"")) == 24


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec(command="echo hello; exit 3"),
        TaskSpec(command=("/bin/true",)),
        TaskSpec(command="x", env={"A": "", "B": "c=d\n"}, cwd="/tmp", time_limit_s=0.5, grace_s=0),  # noqa: S108
        TaskSpec(command="x", request=Request(cpus=0.25, memory_bytes=1 << 40), priority=-(2**31)),
        TaskSpec(command="x", time_limit_s=limits.TIME_LIMIT_S_MAX, name="n" * limits.NAME_LENGTH_MAX),
    ],
)
def test_a_good_specification_has_nothing_wrong(spec: TaskSpec) -> None:
    """Also at the edges."""
    assert check_spec(spec, 100) is None


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"command": ""}, "the command is empty"),
        ({"command": ()}, "the command is empty"),
        ({"command": ("", "x")}, "the command is empty"),
        ({"command": ("x",) * (limits.ARGUMENTS_MAX + 1)}, "arguments"),
        ({"command": "a\0b"}, "NUL"),
        ({"command": ("a", "\0")}, "NUL"),
        ({"env": {"": "x"}}, "environment variable ''"),
        ({"env": {"A=B": "x"}}, "environment variable 'A=B'"),
        ({"env": {"A": "\0"}}, "environment variable 'A'"),
        ({"cwd": "relative"}, "not an absolute path"),
        ({"cwd": "/a\0"}, "not an absolute path"),
        ({"name": "x" * (limits.NAME_LENGTH_MAX + 1)}, "name is longer"),
        ({"name": "a\x1b[31m"}, "not printable"),
        ({"time_limit_s": 0}, "time limit"),
        ({"time_limit_s": float("nan")}, "time limit"),
        ({"time_limit_s": float("inf")}, "time limit"),
        ({"grace_s": -1}, "grace"),
        ({"grace_s": float("nan")}, "grace"),
        ({"request": Request(cpus=0)}, "cpus"),
        ({"request": Request(cpus=float("nan"))}, "cpus"),
        ({"request": Request(cpus=float("inf"))}, "cpus"),
        ({"request": Request(memory_bytes=-1)}, "memory"),
        ({"request": Request(net_bps=2**62)}, "memory and bandwidth"),
        ({"priority": 2**31}, "priority"),
    ],
)
def test_each_mistake_has_its_sentence(fields: dict[str, Any], part: str) -> None:
    """It names what is wrong."""
    wrong = check_spec(TaskSpec(**{"command": "x", **fields}), 100)
    assert wrong is not None
    assert part in wrong


def test_a_large_specification_is_refused_first() -> None:
    """With what to do instead."""
    wrong = check_spec(TaskSpec(command=""), limits.SPEC_BYTES_MAX + 1)
    assert wrong is not None
    assert "put large environments or inputs into a file" in wrong


def test_the_cause_of_a_later_version_is_a_crash() -> None:
    """An upgrade must not make a report unreadable: the attempt brought nothing, and its task runs again."""
    outcome = msgspec.json.decode(b'{"cause": "abducted"}', type=Outcome)
    assert outcome.cause is Cause.INTERRUPTED
