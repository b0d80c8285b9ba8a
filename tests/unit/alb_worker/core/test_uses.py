"""What attempts use, on its way to the leader: little at a time, each in turn, only the newest."""

from __future__ import annotations

from tests.worker_parts import attempt

from alb_core.messages import AttemptUse
from alb_worker.core.uses import USES_A_BEAT, Uses


def use(number: int, cpus: float = 1.0) -> AttemptUse:
    """Return what the attempt of the task of this number uses."""
    return AttemptUse(attempt=attempt(number), cpus=cpus)


def test_a_beat_carries_a_few_and_the_next_one_others() -> None:
    """Nobody is told twice, or passed over, however many there are."""
    uses = Uses()
    uses.note(use(number) for number in range(USES_A_BEAT + 3))
    assert uses.take() == tuple(use(number) for number in range(USES_A_BEAT))
    uses.note([use(0)])
    assert uses.take() == (use(16), use(17), use(18), use(0))
    assert uses.take() == ()


def test_the_newest_counts_and_keeps_the_turn() -> None:
    """What was measured again before it was told replaces what was measured before."""
    uses = Uses()
    uses.note([use(1), use(2)])
    uses.note([use(1, 0.5)])
    assert uses.take() == (use(1, 0.5), use(2))


def test_while_nobody_listens_nothing_gathers() -> None:
    """It would be old when somebody does."""
    uses = Uses()
    uses.note([use(1)])
    uses.forget()
    assert uses.take() == ()


def test_together_they_use_what_those_use_that_still_run() -> None:
    """The newest of each, whether it was told or not; what has ended is forgotten."""
    uses = Uses()
    uses.see([use(1, 0.5), use(2, 4.0)])
    uses.see([use(1, 1.5)])
    assert uses.cpus(lambda _: True) == 5.5
    assert uses.cpus(lambda each: each == attempt(1)) == 1.5
    assert uses.cpus(lambda _: True) == 1.5
    assert uses.take() == ()
