"""How an attempt is reported: causes, codes, usage, and what of its output was not sent yet."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator

import pytest

from alb_core.messages import AttemptId, StreamName
from alb_core.tasks import Cause
from alb_worker.runner.attempt import OutputPipe, RunningAttempt
from alb_worker.runner.command import Spawned
from alb_worker.runner.messages import Start
from alb_worker.runner.timers import Timers


@pytest.fixture
def attempt() -> Iterator[RunningAttempt]:
    start = Start(
        attempt=AttemptId("0" * 32, 1),
        command="true",
        env={},
        cwd="/",
        time_limit_s=None,
        grace_s=5.0,
        cpus=1.0,
        memory_bytes=0,
        marks={},
    )
    read_ends = []
    for _ in range(2):
        read_end, write_end = os.pipe()
        os.close(write_end)
        os.set_blocking(read_end, False)
        read_ends.append(read_end)
    attempt = RunningAttempt(start, Spawned(1234, 5, *read_ends), None, 10.0)
    yield attempt
    for pipe in attempt.pipes:
        pipe.close()


def test_an_exit_is_reported_with_its_code_and_time(attempt: RunningAttempt) -> None:
    """The wait status becomes a code, and the time is that of the leader."""
    attempt.leader_ended(7 << 8, 12.5, 1.0)
    outcome = attempt.outcome()
    assert (outcome.cause, outcome.exit_code, outcome.signal, outcome.wall_s) == (Cause.EXITED, 7, None, 2.5)


def test_a_signal_of_another_is_signalled(attempt: RunningAttempt) -> None:
    """Death by a signal that we did not send has a code of its own and its name."""
    attempt.leader_ended(signal.SIGTERM, 11.0, 1.0)
    outcome = attempt.outcome()
    assert (outcome.cause, outcome.exit_code, outcome.signal) == (Cause.SIGNALLED, None, signal.SIGTERM)
    assert outcome.why == "Terminated"


def test_our_own_reason_wins_over_how_it_died(attempt: RunningAttempt) -> None:
    """At a time limit the cause is that, whatever the wait status says."""
    attempt.cause, attempt.why = Cause.TIMED_OUT, "too long"
    attempt.leader_ended(signal.SIGKILL, 11.0, 1.0)
    outcome = attempt.outcome()
    assert (outcome.cause, outcome.signal, outcome.why) == (Cause.TIMED_OUT, signal.SIGKILL, "too long")


def test_out_of_memory_is_told_apart(attempt: RunningAttempt) -> None:
    """KILL by the kernel because memory ran out is a cause of its own."""
    attempt.out_of_memory, attempt.peak_bytes = True, 300 << 20
    attempt.leader_ended(signal.SIGKILL, 11.0, 1.0)
    assert attempt.outcome().cause is Cause.OUT_OF_MEMORY
    assert "its peak was 300 MiB" in attempt.outcome().why


def test_usage_adds_time_and_keeps_the_peak(attempt: RunningAttempt) -> None:
    """CPU times and input and output of all processes add up; memory is that of the largest."""
    nothing = [0.0] * 16
    attempt.add_usage(resource.struct_rusage([1.0, 0.5, 300, *nothing[3:9], 4, 8, *nothing[11:]]))
    attempt.add_usage(resource.struct_rusage([0.25, 0.25, 200, *nothing[3:9], 1, 0, *nothing[11:]]))
    attempt.leader_ended(0, 11.0, 1.0)
    outcome = attempt.outcome()
    assert (outcome.cpu_s, outcome.memory_bytes) == (2.0, 300 * 1024)
    assert (outcome.read_bytes, outcome.written_bytes) == (5 * 512, 8 * 512)


def test_what_was_seen_of_the_whole_tree_counts_too(attempt: RunningAttempt) -> None:
    """Time that nobody waited for, and memory of several together, are known from looking at them."""
    attempt.cpu_seen_s, attempt.peak_bytes = 3.0, 5_000_000
    attempt.add_usage(resource.struct_rusage([1.0, 0.5, 300, *[0.0] * 13]))
    attempt.leader_ended(0, 11.0, 1.0)
    outcome = attempt.outcome()
    assert (outcome.cpu_s, outcome.memory_bytes) == (3.0, 5_000_000)


def test_the_drain_lasts_as_long_as_the_grace(attempt: RunningAttempt) -> None:
    """After TERM the pipes stay open until KILL is due; after KILL only for the drain."""
    attempt.kill_at = 30.0
    attempt.leader_ended(0, 11.0, 1.0)
    assert attempt.drain_until == 30.0
    attempt.killing = True
    attempt.leader_ended(0, 11.0, 1.0)
    assert attempt.drain_until == 12.0


def test_no_timer_survives_an_attempt(attempt: RunningAttempt) -> None:
    """The limit ends with the leader, the rest with the attempt; an escalation replaces the one before."""
    timers, fired = Timers(), list[str]()
    attempt.limit = timers.at(1.0, lambda: fired.append("limit"))
    attempt.leader_ended(0, 0.5, 1.0)
    attempt.escalate(timers.at(1.0, lambda: fired.append("first")))
    attempt.escalate(timers.at(1.0, lambda: fired.append("second")))
    timers.fire(1.0)
    assert fired == ["second"]
    attempt.escalate(timers.at(2.0, lambda: fired.append("third")))
    attempt.cancel_timers()
    timers.fire(2.0)
    assert fired == ["second"]


def test_a_pipe_tells_nothing_now_from_the_end() -> None:
    """None: nothing now; bytes; ``b""``: the end. What was read is held with its offset until it is taken."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    pipe = OutputPipe(StreamName.STDOUT, read_end)
    assert pipe.read() is None
    for piece in (b"ab", b"cd"):
        os.write(write_end, piece)
        assert pipe.read() == piece
    assert pipe.take() == (0, b"abcd")
    os.write(write_end, b"ef")
    pipe.read()
    assert pipe.take() == (4, b"ef")
    assert pipe.take() == (6, b"")
    os.close(write_end)
    assert pipe.read() == b""
    pipe.close()
    pipe.close()
    assert pipe.closed
