"""GPUs by index: distinct, lowest first, back when their attempt is over."""

from __future__ import annotations

from alb_worker.core.gpus import Gpus


def test_no_two_have_the_same() -> None:
    """And none is given that there is not."""
    gpus = Gpus(4)
    first, second = gpus.take(1), gpus.take(2)
    assert (first, second, gpus.free) == ((0,), (1, 2), 1)
    gpus.give_back(first)
    assert gpus.take(2) == (0, 3)
    assert gpus.free == 0


def test_who_asks_for_none_gets_none() -> None:
    """On a machine with GPUs, and on one without."""
    assert Gpus(2).take(0) == ()
    assert Gpus(0).take(0) is None
