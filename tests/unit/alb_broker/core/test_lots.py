"""Which workers are looked at: a lot until all heads were, bounded by workers and by what runs on them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.broker_parts import attempt, make_state, make_worker, request

from alb_broker.core import lots
from alb_broker.core.heads import Heads
from alb_broker.core.lots import Lots
from alb_broker.core.worker import Worker


def crowd(count: int, attempts: int = 0) -> list[Worker]:
    """Return workers on which so many attempts run."""
    made = [make_worker(f"w{number}", cpus=9.0) for number in range(count)]
    for number, worker in enumerate(made):
        for n in range(attempts):
            worker.reserve(attempt(number, n), request(1.0))
    return made


def looks(workers: Sequence[Worker], rounds: int) -> list[str]:
    """Return which workers are looked at in each round of the heads."""
    heads = Heads(make_state())
    each = Lots(heads)
    found = []
    for heads.rounds in range(rounds):
        found += [" ".join(worker.name for worker in each.take(workers, len(workers))) for _ in range(2)]
    return found


def test_a_lot_is_for_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in turns, and from the first again behind the last."""
    monkeypatch.setattr(lots, "WORKERS_MAX", 2)
    assert looks(crowd(3), 3) == ["w0 w1", "w0 w1", "w2", "w2", "w0 w1", "w0 w1"]
    assert looks([], 2) == ["", "", "", ""]


def test_what_runs_there_bounds_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one worker is looked at, whatever runs there."""
    monkeypatch.setattr(lots, "ATTEMPTS_MAX", 4)
    assert looks(crowd(3, attempts=3), 2) == ["w0 w1", "w0 w1", "w2", "w2"]
    monkeypatch.setattr(lots, "ATTEMPTS_MAX", 1)
    assert looks(crowd(2, attempts=3), 2) == ["w0", "w0", "w1", "w1"]
