"""The commands of the simulation: what each will do is written in its own words, for every checker to read.

A command is ``("simulated", duration, exit code, bytes of stdout, bytes of stderr, obeys TERM, increments,
memory)``.
One that reports increments counts from 1 to their number, and goes on where it stopped.
"""

from __future__ import annotations

import zlib

import msgspec

from alb_core import ids
from alb_core.messages import AttemptId, StreamName
from alb_core.spec import TaskSpec
from alb_core.tasks import Cause, Outcome, Stream

SIMULATED = "simulated"
#: The program of commands, unless a mix has others.
BLOCK_BYTES = 64
MENDS = 42
LAG = 8.0
LAGS_EVERY = 6
#: One attempt of so many lags, and takes so many times as long.


class Script(msgspec.Struct, frozen=True):
    """What a command does when nobody disturbs it."""

    duration_s: float
    exit_code: int
    stdout_bytes: int
    stderr_bytes: int
    obedient: bool
    #: Ends at TERM; else only KILL, after the grace, ends it.
    increments: int = 0
    #: That it reports, from its beginning to its end.
    memory_bytes: int = 0
    #: That it needs: with less reserved it runs out of it.

    def exit_code_of(self, n: int) -> int:
        """Return the exit code of attempt `n`: one that ends with 42 is well from the second on."""
        return 0 if self.exit_code == MENDS and n > 1 else self.exit_code

    def words(self) -> tuple[str, ...]:
        """Return the command that does this."""
        return (
            SIMULATED,
            f"{self.duration_s:.3f}",
            str(self.exit_code),
            str(self.stdout_bytes),
            str(self.stderr_bytes),
            "obedient" if self.obedient else "stubborn",
            str(self.increments),
            str(self.memory_bytes),
        )


def script_of(spec: TaskSpec) -> Script:
    """Read a command."""
    _, duration, code, stdout, stderr, manners, increments, memory = tuple(spec.command)
    obedient = manners == "obedient"
    numbers = (int(increments), int(memory))
    return Script(float(duration), int(code), int(stdout), int(stderr), obedient, *numbers)


def lag_of(attempt: AttemptId, spec: TaskSpec) -> float:
    """Return how many times as long an attempt takes: in arrays, and of what may run twice, some lag."""
    if not (ids.array_of(attempt.task) or spec.speculative):
        return 1.0
    return LAG if zlib.crc32(str(attempt).encode()) % LAGS_EVERY == 0 else 1.0


def output_bytes(attempt: AttemptId, stream: StreamName, offset: int, size: int) -> bytes:
    """Return a piece of what an attempt writes: no two attempts and streams write the same."""
    block = f"{attempt.task[-12:]} {attempt.n} {int(stream)} ".ljust(BLOCK_BYTES - 1, "x").encode() + b"\n"
    begin = offset % BLOCK_BYTES
    return (block * ((begin + size) // BLOCK_BYTES + 1))[begin : begin + size]


def outcome_of(
    attempt: AttemptId, cause: Cause, code: int | None, wall_s: float, sizes: tuple[int, int]
) -> Outcome:
    """Return what the worker reports of an end."""
    stdout, stderr = (
        Stream.of(output_bytes(attempt, name, max(0, size - 4096), min(size, 4096)), size)
        for name, size in zip(StreamName, sizes, strict=True)
    )
    return Outcome(cause=cause, exit_code=code, wall_s=round(wall_s, 3), stdout=stdout, stderr=stderr)
