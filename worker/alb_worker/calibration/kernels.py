"""What a calibration runs: short loops inside the interpreter's own libraries, and their rates elsewhere.

A loop in Python would measure the interpreter, so each round is a few calls that stay in C for a millisecond
or more. Rates are per second of processor time, so other processes on the machine disturb little, and of
several slices the best counts: what disturbs only slows down.
"""

from __future__ import annotations

import math
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final

from alb_core.speeds import Speeds

SLICES: Final = 5
SLICE_S: Final = 0.04
#: Of processor time: fifteen of them and their preparation stay below a second.

TEXT_BYTES: Final = 64 * 1024
#: What is compressed stays in the caches: it is computing that is measured, not memory.
MEMORY_BYTES: Final = 32 * 1024 * 1024
#: Copied to as many others: together more than the last cache of one processor's share holds, and little
#: enough for a small worker.
VECTOR_NUMBERS: Final = 4096
SERIES_NUMBERS: Final = 512

REFERENCE: Final = Speeds(integer=390.0, memory=165.0, floating=9000.0)
#: Rounds a second on the machine whose speed is 1: one processor of an AMD EPYC of the third generation
#: (Milan, 2.4 GHz) under KVM, Python 3.11, zlib 1.2.13.

Round = Callable[[], object]


def integer_round() -> Round:
    """Return a round of integer work: compression (branches and tables), and powers of long numbers."""
    words = b" ".join(b"%x" % (number * 2_654_435_761 % 1_000_003) for number in range(TEXT_BYTES // 6))
    text, base, exponent, modulus = (
        words[:TEXT_BYTES],
        (1 << 2047) | 12_345_678_901,
        (1 << 61) - 1,
        2**2048 - 1_942_289,
    )

    def run() -> None:
        zlib.compress(text, 6)
        pow(base, exponent, modulus)

    return run


def memory_round() -> Round:
    """Return a round of memory work: a copy from one buffer to another, both larger than caches."""
    source, target = (memoryview(bytearray(MEMORY_BYTES)) for _ in range(2))

    def run() -> None:
        target[:] = source

    return run


def floating_round() -> Round:
    """Return a round of floating point work: distances of long vectors, and a series with logarithms."""
    ones = tuple(math.sin(number) for number in range(VECTOR_NUMBERS))
    others = tuple(math.cos(number) for number in range(VECTOR_NUMBERS))
    series = [0.5 + number / 7 for number in range(SERIES_NUMBERS)]

    def run() -> None:
        math.dist(ones, others)
        math.dist(others, ones)
        deque(map(math.lgamma, series), maxlen=0)

    return run


def rate(run: Round, clock: Callable[[], float] = time.thread_time, slice_s: float = SLICE_S) -> float:
    """Return how many rounds a second of processor time take, in the best of some slices.

    Args:
        run: One round; run once before anything is measured, so that its memory is there.
        clock: Processor time in seconds.
        slice_s: Length of one.
    """
    run()
    best = 0.0
    for _ in range(SLICES):
        began, rounds, spent = clock(), 0, 0.0
        while spent < slice_s:
            run()
            rounds += 1
            spent = clock() - began
        best = max(best, rounds / spent)
    return best


def measure() -> Speeds:
    """Return how fast this machine is, against the reference."""
    return Speeds(
        integer=rate(integer_round()) / REFERENCE.integer,
        memory=rate(memory_round()) / REFERENCE.memory,
        floating=rate(floating_round()) / REFERENCE.floating,
    )
