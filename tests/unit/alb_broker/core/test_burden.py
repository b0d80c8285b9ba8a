"""What one worker bears of demoted attempts, and whom it still takes beside them."""

from __future__ import annotations

from tests.broker_parts import attempt, make_worker, request

from alb_broker.core.burden import Burden


def admits(burden: Burden, user: str, cpus: float = 1.0, reserved: float = 0.0) -> bool:
    """Ask for a worker of two processors that bears two for each."""
    return burden.admits(user, cpus, reserved=reserved, capacity=2.0, per_cpu=2)


def bears(burden: Burden, *, endless: bool, reserved: float = 2.0) -> bool:
    """Ask whether one processor's worth may be demoted there."""
    return burden.bears(1.0, endless=endless, reserved=reserved, capacity=2.0, per_cpu=2)


def test_a_worker_without_demoted_ones_takes_everybody() -> None:
    """Its room alone decides, whatever is reserved."""
    assert admits(Burden(), "ann", cpus=50.0, reserved=50.0)


def test_who_has_some_there_is_barred_before_others_are() -> None:
    """Up to two for each processor, what is reserved included; up to three for who has none demoted there."""
    burden = Burden()
    for number in range(3):
        burden.add(attempt(number), "ann", 1.0)
    assert admits(burden, "ann")
    assert not admits(burden, "ann", reserved=1.0)
    assert admits(burden, "bob", reserved=2.0)
    assert not admits(burden, "bob", cpus=1.5, reserved=2.0)
    burden.add(attempt(7), "bob", 1.0)
    assert not admits(burden, "bob", reserved=1.0)


def test_small_ones_count_by_what_they_had() -> None:
    """A hundred loops of a hundredth each are one processor's worth."""
    burden = Burden()
    for number in range(300):
        burden.add(attempt(number), "ann", 0.01)
    assert admits(burden, "ann", reserved=0.0)
    assert not admits(burden, "ann", cpus=1.01, reserved=0.0)


def test_whatever_may_run_for_ever_can_be_demoted() -> None:
    """What has a time limit only as long as everything else that is there could still be."""
    burden = Burden()
    for number in range(3):
        burden.add(attempt(number), "ann", 1.0)
    assert bears(burden, endless=True)
    assert not bears(burden, endless=False)
    assert bears(burden, endless=False, reserved=1.0)
    for number in range(3, 6):
        burden.add(attempt(number), f"user{number}", 1.0)
    assert not bears(burden, endless=True)


def test_what_ends_is_forgotten_exactly() -> None:
    """Twice is once, and no rounding stays behind."""
    burden = Burden()
    for number in range(3):
        burden.add(attempt(number), "ann", 0.1)
        burden.add(attempt(number), "ann", 0.1)
    assert len(burden) == 3
    assert attempt(1) in burden
    assert [burden.remove(attempt(number)) for number in (0, 1, 2, 2)] == [True, True, True, False]
    assert (len(burden), burden.cpus) == (0, 0.0)


def test_a_demoted_attempt_frees_processors_and_nothing_else() -> None:
    """Its memory stays reserved until it ends, and then everything is free again, once."""
    worker = make_worker("w1", 2.0)
    memory = worker.capacity.memory_bytes
    worker.reserve(attempt(1), request(2.0, memory_bytes=100))
    worker.demote(attempt(1), "ann")
    assert (worker.room.cpus, worker.room.memory_bytes) == (2.0, memory - 100)
    assert worker.line().demoted == 1
    worker.reserve(attempt(2), request(2.0))
    assert attempt(2) in worker.reserved
    worker.release(attempt(1))
    worker.release(attempt(2))
    assert (worker.room.cpus, worker.room.memory_bytes, len(worker.burden)) == (2.0, memory, 0)


def test_the_pace_does_not_count_who_was_demoted() -> None:
    """What comes free with its end are no processors: nothing is given ahead for it."""
    worker = make_worker("w1", 1.0)
    worker.reserve(attempt(1), request(1.0))
    worker.demote(attempt(1), "ann")
    worker.release(attempt(1))
    assert (worker.ended, worker.turned.cpus) == (0, 1.0)
