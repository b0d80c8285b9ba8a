"""Mixes: what users, operators and faults do in a seed, and how much of it. All drawn from the seed.

``usual`` is what ``make sim`` runs. The others are for long runs: each has more of everything, and much of
one thing. ``python -m tests.simulation --mix heavy --seeds 500``; ``--mix heavier`` runs so many of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from tests.simulation.commands import SIMULATED
from tests.simulation.knobs import POLICIES, Knobs

from alb_broker.policies import Candidate, Context
from alb_core.spec import TaskSpec

USUAL: Final = "usual"
HEAVIER: Final = "heavier"
#: All others, together.
USERS: Final = ("ann", "bob", "cyd", "dan")
PROGRAMS: Final = (SIMULATED, "make", "train", "render")


def raising(_task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """Fail in every way, now and then."""
    match context.draws.below(4):
        case 0:
            raise RuntimeError("as it was planted")
        case 1:
            return msgspec.structs.replace(candidates[0], worker="nobody")
        case _:
            return candidates[0]


def hesitant(_task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
    """Let tasks wait although there is room, more often than not."""
    return None if context.draws.below(10) < 7 else candidates[-1]


def refusing(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Let every task wait, for as long as it may."""
    return None


class Ended(BaseException):
    """Raised by a policy that ends the process: what blocks in C with the interpreter's lock does no less."""


def fatal(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """End whoever asks."""
    raise Ended


IN_THE_MIDST: Final = ("hand-over", "kill broker", "leaders killed one after the other", "slow ZooKeeper")
#: Faults that find things half done, and leave them so for a while.
FAULTY: Final = {"raising": raising, "hesitant": hesitant, "refusing": refusing}
INSTALLED: Final = POLICIES | FAULTY
#: Of every broker.
FATAL: Final = {"fatal": fatal}
#: Of every broker of mixes in which somebody chooses it.


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What people do, and how things break. The defaults are the usual mix."""

    users: tuple[str, ...] = ()
    #: Empty: one or two, as drawn.
    programs: tuple[str, ...] = (SIMULATED,)
    #: Of users' own tasks: what has the same program does not give way to its like.
    repeated: float = 0.0
    #: Part of the tasks that do the same as an earlier one of their user.
    speculative: float = 0.0
    #: Part of the tasks that may run twice at once.
    preemptible: float = 0.25
    time_limits: tuple[float | None, ...] = (None, None, None, 3.0)
    priorities: tuple[int, ...] = (0, 0, 5)
    cancelled: float = 0.12
    #: Part of the tasks that somebody cancels.
    cancelled_soon: bool = False
    #: At moments at which something happens to them, as far as that can be known.
    measured: float = 0.0
    #: Part of the tasks that heed how busy a machine is; machines are busy with what others do there.
    curious: bool = False
    #: People ask whatever can be asked.
    resubmits: bool = False
    #: Who starts again also submits what he had the result of.
    changes: int = 0
    #: Times that operators choose another policy, limits and shares, besides the usual.
    drains: int = 0
    policies: tuple[str, ...] = tuple(sorted(POLICIES))
    #: That operators choose.
    fatal: bool = False
    #: Somebody may choose a policy that ends its leader.
    in_series: bool = False
    #: Faults also come in series, and some strike one kind of message only.
    favoured: tuple[str, ...] = ()
    #: Kinds of faults that are among those of every seed.
    piece: int = 3
    #: Inputs of an array that one message brings.


Mix = Callable[[random.Random, Knobs], tuple[Knobs, Habits]]


def _usual(_draws: random.Random, knobs: Knobs) -> tuple[Knobs, Habits]:
    return knobs, Habits()


def _heavy(draws: random.Random, knobs: Knobs) -> tuple[Knobs, Habits]:
    """More of everything, and everything together."""
    quantum_s, max_demoted = draws.choice((0.0, 0.3, 2.0, 2.0, 5.0)), draws.choice((0, 1, 2, 2, 4))
    gives_way = quantum_s > 0 and max_demoted > 0
    loops = draws.choice((0, 3, 10)) if gives_way else 0  # else they rightly keep what they have
    table = draws.choice((12, 40, 80)) if knobs.pending_max < 1000 else knobs.pending_max - 2 * knobs.loops
    knobs = msgspec.structs.replace(
        knobs,
        # What impatient users of many tasks ask again and again must not grow faster than commits take it.
        latency_slow_s=min(knobs.latency_slow_s, 0.4),
        batch_operations=max(knobs.batch_operations, 3),
        batch_bytes=max(knobs.batch_bytes, 5_000),
        workers=draws.randint(3, 8),
        clients=draws.randint(2, 5),
        tasks=draws.randint(60, 120),
        faults=draws.randint(8, 24),
        arrays=draws.choice((0, 2, 4)),
        loops=loops,
        large_every=draws.choice((2, 4, 8)),
        reserve_after_s=draws.choice((0.0, 1.0, 3.0, 10.0)),
        quantum_s=quantum_s,
        max_demoted=max_demoted,
        pending_max=table + 2 * loops,
    )
    habits = _draw_habits(draws)
    return knobs, msgspec.structs.replace(habits, measured=0.0 if loops else habits.measured)


def _draw_habits(draws: random.Random) -> Habits:
    return Habits(
        users=USERS[: draws.randint(1, 4)],
        programs=PROGRAMS[: draws.randint(1, 4)],
        repeated=draws.choice((0.0, 0.5)),
        speculative=draws.choice((0.0, 0.3)),
        preemptible=draws.choice((0.0, 0.3, 0.7)),
        time_limits=draws.choice(((None, None, 3.0), (3.0, 8.0), (None,), (1.0, None))),
        priorities=draws.choice(((0,), (0, 0, 5), (-3, 0, 1, 7))),
        cancelled=draws.choice((0.05, 0.2, 0.4)),
        cancelled_soon=draws.random() < 0.5,
        measured=draws.choice((0.0, 0.3)),
        curious=True,
        resubmits=draws.random() < 0.5,
        changes=draws.choice((0, 2, 6)),
        drains=draws.choice((0, 2, 4)),
        policies=tuple(sorted(INSTALLED)) if draws.random() < 0.5 else tuple(sorted(POLICIES)),
        in_series=True,
        fatal=True,
    )


def _endless(draws: random.Random, knobs: Knobs) -> tuple[Knobs, Habits]:
    """Many commands that never end, few workers."""
    knobs, habits = _heavy(draws, knobs)
    loops = draws.choice((10, 25, 60))
    habits = msgspec.structs.replace(habits, measured=0.0)  # those commands keep every machine busy
    knobs = msgspec.structs.replace(
        knobs,
        workers=draws.randint(3, 4),
        tasks=draws.randint(30, 60),
        loops=loops,
        hogs=draws.choice((0, 2)),
        quantum_s=draws.choice((0.3, 2.0)),
        max_demoted=draws.choice((1, 2)),
        pending_max=200_000 if knobs.pending_max > 1000 else 44 + 2 * loops,
    )
    return knobs, habits


def _scarce(draws: random.Random, knobs: Knobs) -> tuple[Knobs, Habits]:
    """Memory and whole machines are what tasks want, much of it may be preempted."""
    knobs, habits = _heavy(draws, knobs)
    knobs = msgspec.structs.replace(knobs, workers=3, large_every=draws.choice((2, 3)), arrays=0)
    habits = msgspec.structs.replace(
        habits, preemptible=0.8, priorities=draws.choice(((0,), (0, 1, 2, 3))), users=USERS[:2]
    )
    return knobs, habits


def _unruly(draws: random.Random, knobs: Knobs) -> tuple[Knobs, Habits]:
    """Something breaks every half second."""
    knobs, habits = _heavy(draws, knobs)
    return msgspec.structs.replace(knobs, faults=draws.randint(40, 80), tasks=draws.randint(30, 60)), habits


def _arrays(draws: random.Random, knobs: Knobs) -> tuple[Knobs, Habits]:
    """Arrays above all."""
    knobs, habits = _heavy(draws, knobs)
    knobs = msgspec.structs.replace(knobs, arrays=draws.randint(6, 12), tasks=draws.randint(10, 30))
    return knobs, msgspec.structs.replace(habits, favoured=IN_THE_MIDST, piece=draws.choice((1, 3)))


MIXES: Final[dict[str, Mix]] = {
    USUAL: _usual,
    "heavy": _heavy,
    "endless": _endless,
    "scarce": _scarce,
    "unruly": _unruly,
    "arrays": _arrays,
}
#: All, by name.
