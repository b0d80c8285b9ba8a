"""One worker: what is free there, what fits, and whether it may get anything."""

from __future__ import annotations

from tests.broker_parts import attempt, capacity, make_worker, request

from alb_broker.core.worker import Worker
from alb_core.messages import AttemptUse
from alb_core.resources import counts_of


def test_what_is_reserved_comes_back_once() -> None:
    """A reservation is taken once and given back once, however often either is asked for."""
    worker = make_worker(cpus=2, memory_bytes=100, net_bps=50)
    shape = request(1.5, 60, net_bps=50)
    worker.reserve(attempt(1), shape)
    worker.reserve(attempt(1), shape)
    assert (worker.room.cpus, worker.room.memory_bytes, worker.room.net_bps) == (0.5, 40, 0)
    assert worker.release(attempt(1))
    assert not worker.release(attempt(1))
    assert (worker.room.cpus, worker.room.memory_bytes, worker.room.net_bps) == (2, 100, 50)


def test_a_request_fits_only_into_what_is_free() -> None:
    """Each resource counts, and so does each label."""
    worker = make_worker(cpus=2, memory_bytes=100, net_bps=50, labels=("ssd", "arch=arm"))
    assert worker.fits(request(2, 100, net_bps=50, labels=("ssd",)))
    assert not worker.fits(request(2.1))
    assert not worker.fits(request(1, 101))
    assert not worker.fits(request(1, net_bps=51))
    assert not worker.fits(request(1, labels=("ssd", "gpu")))


def test_fractions_of_a_processor_add_up() -> None:
    """Ten tenths fill a worker of one processor, whatever binary fractions make of them."""
    worker = make_worker(cpus=1)
    for number in range(10):
        assert worker.fits(request(0.1))
        worker.reserve(attempt(number), request(0.1))
    assert not worker.fits(request(0.1))
    assert not worker.has_room


def test_another_offer_keeps_what_is_reserved() -> None:
    """A worker that registers again with less may owe; it has room again once enough was given back."""
    worker = make_worker(cpus=4)
    worker.reserve(attempt(1), request(3))
    worker.offer(capacity(2))
    assert worker.room.cpus == -1
    assert not worker.fits(request(0.5))
    assert (worker.line().reserved_cpus, worker.line().running) == (3, 1)


def test_only_a_worker_with_session_and_link_is_placeable() -> None:
    """And one that is not leaving, and holds nothing that the table does not know."""
    worker = make_worker()
    assert worker.placeable
    for field, value in (("session", False), ("link", False), ("leaving", True), ("known", False)):
        before = getattr(worker, field)
        setattr(worker, field, value)
        assert not worker.placeable, field
        setattr(worker, field, before)
    worker.bar(attempt(9))
    assert not worker.placeable
    worker.unbar(attempt(9))
    assert worker.placeable


def test_counts_taken_before_a_worker_registers_are_settled_when_it_does() -> None:
    """After a takeover attempts are known first; what the worker then offers is short of what they have."""
    worker = Worker("w1", "w1-1", 0.0)
    worker.reserve(attempt(1), request(counts=counts_of({"gpus": 2})))
    worker.offer(capacity(4, counts=counts_of({"gpus": 3})))
    assert worker.line().reserved_counts == counts_of({"gpus": 2})
    assert not worker.fits(request(counts=counts_of({"gpus": 2})))
    assert worker.fits(request(counts=counts_of({"gpus": 1})))
    worker.release(attempt(1))
    assert worker.line().reserved_counts == counts_of({"gpus": 0})


def test_what_attempts_use_is_known_as_long_as_they_run() -> None:
    """Of others a worker may say what it wants."""
    worker = make_worker("w1")
    worker.reserve(attempt(1), request())
    use = AttemptUse(attempt=attempt(1), cpus=0.5)
    worker.note_uses((use, AttemptUse(attempt=attempt(7))))
    assert worker.uses == {attempt(1): use}
    worker.note_uses((AttemptUse(attempt=attempt(1), cpus=float("nan")),))
    assert worker.uses == {attempt(1): use}
    worker.release(attempt(1))
    assert worker.uses == {}


def test_attempts_have_one_order() -> None:
    """What becomes of them all becomes of them one after the other: no hash decides in which order."""
    worker = make_worker("w1", cpus=1.0)
    for number in (5, 3, 8, 2, 9, 1, 7, 4):
        worker.reserve(attempt(number), request())
        worker.exit(attempt(number))
    assert worker.attempts() == [attempt(number) for number in (1, 2, 3, 4, 5, 7, 8, 9)]
