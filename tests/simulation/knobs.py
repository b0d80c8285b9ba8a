"""What differs from seed to seed besides the faults: sizes, speeds, bounds. All drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from alb_broker.core import (
    array_desk,
    arrays,
    clearance,
    copies,
    declines,
    expansion,
    ledger,
    placement,
    probation,
    quarantine,
    reign,
    reservations,
    siblings,
)
from alb_broker.shell.plugins import load_policies
from alb_core import ids, limits

POLICIES: Final = load_policies()
DISTRUST_S: Final = 1e6
#: So long a policy rests that ended its leader: longer than ZooKeeper's clock jumps.
LAPSE_S: Final = 20.0
#: So long a worker is set aside in vain at first.
MOVE_AFTER_S: Final = 6.0
#: So long one waits there at first for what ends nobody knows when.
DECLINES_S: Final = 3.0
#: So long a policy may let a task wait for which there is room.
BUCKETS: Final = 4
#: Instead of 256: a takeover lists each of them, and the table of a seed is small.


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """One seed's surroundings. Times in seconds."""

    brokers: int
    workers: int
    clients: int
    tasks: int
    faults: int
    safety_s: float
    #: Length of the first phase.
    latency_s: float
    latency_slow_s: float
    slow_chance: float
    #: Probability that a packet takes up to `latency_slow_s`.
    break_chance: float
    #: Probability that a blocked path ends a connection soon, instead of stalling it for some seconds.
    double_delay_s: float
    fixed_ports: bool
    #: A broker that starts again listens where it did before.
    turn_s: float
    #: Between what wakes a broker's loop and its turn.
    tick_s: float
    #: Between two ticks of a process.
    turn_events: int
    #: The most that a turn takes.
    broker_session_s: float
    worker_session_s: float
    batch_operations: int
    batch_bytes: int
    lost_with_session_s: float
    ahead_s: float
    ahead_kept_s: float
    holding_s: float
    done_kept_s: float
    done_kept: int
    pending_max: int
    crash_limit: int
    policy: str
    arrays: int
    array_window: int
    array_chunk: int
    unacknowledged: int
    #: Results that hold up an array.
    store: bool
    #: There is a results store.
    store_keep_s: float
    store_bytes: int
    loops: int
    #: Commands that never end.
    chunk_bytes: int
    #: The most that one message carries of output: several follow each other, and the first may be lost.
    reserve_after_s: float
    large_every: int
    #: One task of so many wants the whole of the largest worker.
    revoke_after_s: float
    good_batch: int
    #: Groups that no batch waits to have more of.
    hogs: int = 0
    #: Tasks that want all the memory of the largest worker, of which each endless command keeps some.
    quantum_s: float = 2.0
    max_demoted: int = limits.DEMOTED_PER_CPU_MAX


def draw_knobs(draws: random.Random) -> Knobs:
    """Draw the knobs of a seed."""
    latency_s = draws.choice((0.0005, 0.002, 0.01, 0.04))
    done_kept = draws.choice((0, 5, 10_000))
    # Results that nobody fetches take room beyond `done_kept`: a small table must not be full of them.
    pending_max = draws.choice((8, 25, 200_000, 200_000) if done_kept > 1000 else (200_000,))
    done_kept_s = draws.choice((1.0, 10.0, 3600.0))
    keeps_long = min(done_kept, done_kept_s, pending_max) > 1000
    knobs = Knobs(
        brokers=3,
        workers=draws.randint(3, 6),
        clients=draws.randint(1, 3),
        tasks=draws.randint(30, 40),
        faults=draws.randint(5, 8),
        safety_s=draws.uniform(16.0, 26.0),
        latency_s=latency_s,
        latency_slow_s=latency_s * draws.choice((2, 10, 50)),
        slow_chance=draws.choice((0.0, 0.01, 0.1)),
        break_chance=draws.choice((0.0, 0.5, 1.0)),
        double_delay_s=draws.choice((0.0, 0.05, 1.0)),
        fixed_ports=draws.random() < 0.5,
        turn_s=draws.choice((0.0, 0.0005, 0.005)),
        tick_s=draws.choice((0.2, 0.5)),
        turn_events=draws.choice((1, 5, 100)),
        broker_session_s=draws.choice((2.0, 3.0, 4.0)),
        worker_session_s=draws.choice((2.0, 5.0, 8.0)),
        # One write a commit over slow paths never catches up with what impatient users ask again and again.
        batch_operations=max(draws.choice((1, 3, 20, 500)), 3 if latency_s > 0.01 else 1),
        batch_bytes=max(draws.choice((600, 5_000, 512 * 1024)), 5_000 if latency_s > 0.01 else 600),
        lost_with_session_s=draws.choice((6.0, 10.0)),
        ahead_s=draws.choice((0.1, 1.0, 10.0)),
        ahead_kept_s=draws.choice((0.3, 1.0, 5.0)),
        # So long tasks wait for others that were forgotten: a small table must not be full of them.
        holding_s=600.0 if keeps_long else draws.choice((45.0, 60.0)),
        done_kept_s=done_kept_s,
        done_kept=done_kept,
        pending_max=pending_max,
        crash_limit=draws.choice((2, 5)),
        policy=draws.choice(sorted(POLICIES)),
        arrays=draws.choice((0, 1, 1, 2, 3)),
        array_window=draws.choice((1, 3, 6, 2000)),
        array_chunk=draws.choice((2, 5, 1000)),
        unacknowledged=draws.choice((1, 5, 4000)),
        store=draws.random() < 0.5,
        store_keep_s=draws.choice((0.0, 5.0, 60.0)),
        store_bytes=draws.choice((0, 5_000)),
        loops=0,
        chunk_bytes=draws.choice((2048, 2048, 256 * 1024)),
        reserve_after_s=draws.choice((0.0, 1.0, 10.0)),
        large_every=draws.choice((5, 8, 1000)),
        revoke_after_s=draws.choice((0.0, 0.15, 0.5)),
        good_batch=draws.choice((2, 250)),
    )
    if knobs.arrays:  # what an array makes has no time limit here
        return knobs
    loops = draws.choice((0, 0, 3, 15))
    # They stay in the table, of whose room a user may have half: as much as else is left for the others.
    return msgspec.structs.replace(knobs, loops=loops, pending_max=knobs.pending_max + 2 * loops)


_original_bucket = ids.bucket


def _small_bucket(task_id: str) -> str:
    return f"{int(_original_bucket(task_id), 16) % BUCKETS:02x}"


def _small_buckets() -> list[str]:
    return [f"{number:02x}" for number in range(BUCKETS)]


@contextmanager
def patched_limits(knobs: Knobs) -> Iterator[None]:
    """Let the cores work with a seed's bounds instead of the product's."""
    new: list[tuple[Any, str, Any]] = [
        (ids, "bucket", _small_bucket),
        (ids, "buckets", _small_buckets),
        (limits, "BATCH_OPERATIONS_MAX", knobs.batch_operations),
        (limits, "BATCH_BYTES_MAX", knobs.batch_bytes),
        (limits, "LOST_WITH_SESSION_S", knobs.lost_with_session_s),
        (limits, "AHEAD_S", knobs.ahead_s),
        (limits, "AHEAD_KEPT_S", knobs.ahead_kept_s),
        (limits, "REVOKE_AFTER_S", knobs.revoke_after_s),
        (limits, "CHUNK_BYTES_MAX", knobs.chunk_bytes),
        (limits, "ARRAY_WINDOW", knobs.array_window),
        (limits, "ARRAY_CHUNK", knobs.array_chunk),
        (reservations, "RESERVE_AFTER_S", knobs.reserve_after_s),
        (reservations, "LAPSE_S", LAPSE_S),
        (reservations, "MOVE_AFTER_S", MOVE_AFTER_S),
        (declines, "DECLINES_S", DECLINES_S),
        (placement, "DECLINES_S", DECLINES_S),
        (probation, "DISTRUST_S", DISTRUST_S),
        (ledger, "GOOD_BATCH", knobs.good_batch),
        (reign, "GOOD_BATCH", knobs.good_batch),
        (arrays, "UNACKNOWLEDGED_MAX", knobs.unacknowledged),
        (array_desk, "UNACKNOWLEDGED_MAX", knobs.unacknowledged),
        (quarantine, "QUARANTINE_S", 8.0),
        (expansion, "STEP_TASKS", 3),
        (copies, "LOOK_EVERY_S", 0.2),
        (copies, "AGE_MIN_S", 0.3),
        (siblings, "SIBLINGS_MIN", 2),
        (clearance, "REST_S", 3.0),
        (clearance, "AGAIN_S", 1.0),
        (clearance, "TASKS_AT_ONCE", 4),
        (clearance, "PART_ROWS", 2),
        (clearance, "SAMPLES_AT_ONCE", 3),
    ]
    old = [(place, name, getattr(place, name)) for place, name, _ in new]
    for place, name, value in new:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in old:
            setattr(place, name, value)
