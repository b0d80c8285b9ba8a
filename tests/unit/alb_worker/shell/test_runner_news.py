"""From the runner's messages to events: bytes into the spool, growth told once, the rest in the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.worker_parts import attempt, only

from alb_core import limits
from alb_core.config import WorkerConfig
from alb_core.messages import StreamName
from alb_core.tasks import EMPTY_STREAM, Cause, Outcome, Stream
from alb_worker.core.events import AttemptLaunched, OutputGrew
from alb_worker.runner.messages import Ended, Output, Started
from alb_worker.shell.runner_news import RunnerNews
from alb_worker.shell.spool import Spool

A1, A2 = attempt(1), attempt(2)
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
BOUND = 100_000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool that keeps BOUND bytes of a stream."""
    made = Spool(
        str(tmp_path), WorkerConfig(zk="a:1", name="w1", stream_bytes_max=BOUND, spool_bytes_max=10 * BOUND)
    )
    yield made
    made.close()


@pytest.fixture
def news(spool: Spool) -> RunnerNews:
    return RunnerNews(spool)


def output(offset: int, data: bytes, stream: StreamName = OUT) -> Output:
    return Output(attempt=A1, stream=stream, offset=offset, data=data)


def end(stdout: bytes = b"", size: int | None = None) -> Ended:
    """Return the end of an attempt whose stdout has these last bytes, and this size in all."""
    return Ended(
        attempt=A1,
        outcome=Outcome(cause=Cause.EXITED, exit_code=0),
        stdout=stdout,
        stderr=b"",
        stdout_size=len(stdout) if size is None else size,
        stderr_size=0,
    )


def test_a_short_command_is_one_event(news: RunnerNews, spool: Spool) -> None:
    """Started and ended together: its output is in the outcome, and kept for who asks later."""
    (ended,) = news.translate(1.0, [Started(attempt=A1, pid=7), end(b"hello")])
    assert (ended.outcome.stdout, ended.outcome.stderr) == (Stream(5, "hello"), EMPTY_STREAM)  # type: ignore[union-attr]
    assert (ended.stdout_bytes, ended.stderr_bytes) == (5, 0)  # type: ignore[union-attr]
    assert spool.read(A1, OUT, 1, 99) == b"ello"


def test_a_silent_command_leaves_nothing(news: RunnerNews, spool: Spool) -> None:
    """No output, no entry in the spool."""
    (ended,) = news.translate(1.0, [end()])
    assert ended.outcome.stdout is EMPTY_STREAM  # type: ignore[union-attr]
    assert spool.length(A1, OUT) == 0


def test_growth_is_told_once_for_what_came_together(news: RunnerNews) -> None:
    """Several pieces of a stream are one event with the last length; streams are apart."""
    told = news.translate(1.0, [output(0, b"ab"), output(2, b"c"), output(0, b"!", ERR)])
    assert told == [
        OutputGrew(at=1.0, attempt=A1, stream=OUT, size_bytes=3),
        OutputGrew(at=1.0, attempt=A1, stream=ERR, size_bytes=1),
    ]


def test_growth_that_came_with_the_end_is_not_told(news: RunnerNews) -> None:
    """The end names the lengths anyway."""
    (ended,) = news.translate(1.0, [output(0, b"ab"), end(b"cd", size=4)])
    assert ended.outcome.stdout == Stream(4, "abcd")  # type: ignore[union-attr]


def test_a_long_stream_is_recorded_by_its_last_bytes(news: RunnerNews) -> None:
    """The record has the whole length and the last INLINE_OUTPUT_BYTES."""
    long = bytes(97 + index % 26 for index in range(3 * limits.INLINE_OUTPUT_BYTES))
    news.translate(1.0, [output(0, long[:-10])])
    (ended,) = news.translate(2.0, [end(long[-10:], size=len(long))])
    stream = ended.outcome.stdout  # type: ignore[union-attr]
    assert (stream.size_bytes, stream.truncated) == (len(long), False)
    assert stream.tail() == long[-limits.INLINE_OUTPUT_BYTES :]


def test_what_the_spool_did_not_keep_is_marked(news: RunnerNews) -> None:
    """Beyond its bound a stream is truncated: the record counts what can be read."""
    news.translate(1.0, [output(0, b"x" * BOUND)])
    (ended,) = news.translate(2.0, [end(b"y" * 10, size=BOUND + 10)])
    stream = ended.outcome.stdout  # type: ignore[union-attr]
    assert (stream.size_bytes, stream.truncated) == (BOUND, True)
    assert stream.tail().endswith(b"x")
    assert ended.stdout_bytes == BOUND  # type: ignore[union-attr]


def test_output_of_a_dead_runner_is_closed(news: RunnerNews, spool: Spool) -> None:
    """What died with its runner begins its retention; what ended before is not touched."""
    news.translate(1.0, [output(0, b"ab")])
    news.abandon()
    assert spool.read(A1, OUT, 0, 9) == b"ab"
    assert spool.expire(1e12, lambda _: False) == [A1]
    news.abandon()


def test_a_start_is_told_at_once(news: RunnerNews) -> None:
    """A command that goes on was launched, and what it wrote already comes after that."""
    launched, grew = news.translate(1.0, [Started(attempt=A1, pid=7), output(0, b"a")])
    assert launched == AttemptLaunched(at=1.0, attempt=A1, pid=7)
    assert isinstance(grew, OutputGrew)


def test_other_attempts_are_told_apart(news: RunnerNews) -> None:
    """The end of one attempt leaves the growth of another."""
    told = news.translate(1.0, [Output(attempt=A2, stream=OUT, offset=0, data=b"z"), end(b"a")])
    assert only(OutputGrew, told).attempt == A2
