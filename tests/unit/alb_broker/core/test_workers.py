"""Workers: what is free, who has room, who is silent, who is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import attempt, make_worker, request

from alb_broker.core.worker import Worker
from alb_broker.core.workers import Workers
from alb_core import limits


def workers(*each: Worker) -> Workers:
    """Return these workers as the leader knows them."""
    known = Workers()
    for worker in each:
        known.add(worker)
        known.grew(worker)
    return known


def names(found: list[Worker]) -> list[str]:
    """Return the names of workers."""
    return [worker.name for worker in found]


# --- ahead --------------------------------------------------------------------------------------------------


def quick_worker(name: str = "w1", allowance: int = 2) -> Worker:
    """Return a worker of one processor, which is busy, and which may hold some ahead."""
    worker = make_worker(name)
    worker.reserve(attempt(1), request())
    worker.allowance = allowance
    return worker


def test_what_does_not_fit_waits_in_its_order() -> None:
    """It holds no room, and gets it in its turn, when that is given back."""
    worker = quick_worker()
    for number in (2, 3):
        worker.reserve(attempt(number), request())
    assert (list(worker.reserved), list(worker.ahead)) == ([attempt(1)], [attempt(2), attempt(3)])
    assert worker.release(attempt(1))
    assert (list(worker.reserved), list(worker.ahead)) == ([attempt(2)], [attempt(3)])
    assert worker.room.cpus == 0
    assert worker.release(attempt(3))
    assert (list(worker.reserved), list(worker.ahead)) == ([attempt(2)], [])


def test_nothing_overtakes_what_waits() -> None:
    """A large one ahead keeps its place: smaller ones do not fit beside it, though there is room."""
    worker = make_worker(cpus=2)
    worker.reserve(attempt(1), request(1))
    worker.reserve(attempt(2), request(2))
    assert not worker.fits(request(1))
    worker.release(attempt(2))
    assert worker.fits(request(1))


def test_a_worker_is_given_ahead_what_it_ends_in_a_moment() -> None:
    """Its pace decides, anew at every tick; what was given back unstarted does not count."""
    worker = make_worker(cpus=100)
    for number in range(100):
        worker.reserve(attempt(number), request())
    worker.reserve(attempt(100), request())
    worker.release(attempt(100))
    for number in range(100):
        worker.release(attempt(number))
    worker.take_pace(2.0)
    assert worker.allowance == int(50 * limits.AHEAD_S)
    worker.take_pace(0.2)
    assert worker.allowance == 0
    worker.ended = 1_000_000
    worker.take_pace(0.2)
    assert worker.allowance == limits.AHEAD_MAX


def test_ahead_is_for_what_the_worker_could_run() -> None:
    """Its capacity and its labels count, and its allowance."""
    worker = quick_worker(allowance=1)
    assert worker.fits_ahead(request(1))
    assert not worker.fits_ahead(request(2))
    assert not worker.fits_ahead(request(1, labels=("gpu",)))
    worker.reserve(attempt(2), request())
    assert not worker.fits_ahead(request(1))


def test_the_soonest_has_least_to_do_for_its_pace() -> None:
    """Two that wait on a worker twice as quick are sooner done than two on another."""
    slow, quick, idle = quick_worker("slow", 4), quick_worker("quick", 8), quick_worker("idle", 0)
    for number, worker in enumerate((slow, slow, quick, quick)):
        worker.reserve(attempt(10 + number), request())
    known = workers(slow, quick, idle)
    assert known.soonest(request(), 16, spared=lambda _: False) is quick
    assert known.soonest(request(), 16, spared=lambda worker: worker is quick) is slow
    assert known.soonest(request(2), 16, spared=lambda _: False) is None


def test_a_new_pace_makes_a_full_worker_one_of_the_grown() -> None:
    """Tasks that found no room are offered again."""
    worker = quick_worker(allowance=0)
    known = workers(worker)
    assert known.take_grown().workers == []
    worker.ended = 1000
    known.take_paces(1.0)
    assert known.take_grown().workers == [worker]
    assert known.soonest(request(), 16, spared=lambda _: False) is worker


def test_an_idle_tick_makes_nobody_grow() -> None:
    """Else every blocked task would be offered anew five times a second."""
    known = workers(*(make_worker(f"w{number}") for number in range(3)))
    known.take_grown()
    known.take_paces(0.2)
    assert known.take_grown().workers == []


def test_what_is_larger_than_what_comes_free_is_not_given_ahead() -> None:
    """Two processors do not come free where one ends after the other."""
    worker = make_worker(cpus=4)
    worker.reserve(attempt(1), request(1))
    worker.reserve(attempt(2), request(3))
    worker.release(attempt(1))
    worker.allowance = 5
    assert worker.fits_ahead(request(1))
    assert not worker.fits_ahead(request(2))
    assert not worker.fits_ahead(request(1, 1))
    worker.release(attempt(2))
    assert worker.fits_ahead(request(2))


# --- candidates ---------------------------------------------------------------------------------------------


def test_candidates_have_room_for_the_request() -> None:
    """Full, unfit and unplaceable workers are none."""
    full, small, gone, good = (
        make_worker(name, cpus) for name, cpus in (("full", 8), ("small", 1), ("gone", 8), ("good", 8))
    )
    known = workers(full, small, gone, good)
    full.reserve(attempt(1), request(8))
    gone.link = False
    assert names(known.candidates(request(2), 16)) == ["good"]


def test_searches_go_round() -> None:
    """With more workers than a search returns, each gets its turn."""
    known = workers(*(make_worker(f"w{number}") for number in range(5)))
    assert names(known.candidates(request(), 2)) == ["w0", "w1"]
    assert names(known.candidates(request(), 2)) == ["w2", "w3"]
    assert names(known.candidates(request(), 2)) == ["w4", "w0"]


def test_who_is_met_full_is_passed_over_and_the_others_keep_their_order() -> None:
    """A search goes on behind them until it has enough, and the next one behind that, without them."""
    known = workers(*(make_worker(f"w{number}") for number in range(6)))
    known.candidates(request(), 1)
    for name in ("w1", "w3"):
        known.by_name[name].reserve(attempt(1), request())
    assert names(known.candidates(request(), 2)) == ["w2", "w4"]
    assert names(known.candidates(request(), 3)) == ["w5", "w0", "w2"]
    assert names(known.candidates(request(), 4)) == ["w4", "w5", "w0", "w2"]


def test_a_full_worker_is_looked_at_once() -> None:
    """A search drops workers without room, so that the cost of the next does not grow with their number."""
    known = workers(*(make_worker(f"w{number}") for number in range(100)))
    for number, worker in enumerate(known):
        worker.reserve(attempt(number), request())
    assert known.candidates(request(), 16) == []
    assert not known._openings._pools[request()].members


def test_a_worker_comes_back_into_the_searches_when_its_room_grows() -> None:
    """Whoever gives back says so; then the worker is among the grown, and found."""
    worker = make_worker()
    known = workers(worker)
    worker.reserve(attempt(1), request())
    known.candidates(request(), 16)
    known.take_grown()
    worker.release(attempt(1))
    known.grew(worker)
    assert known.take_grown().workers == [worker]
    assert known.take_grown().workers == []
    assert known.candidates(request(), 16) == [worker]


def test_a_worker_that_is_forgotten_is_no_candidate() -> None:
    """Neither it nor the incarnation that it replaced is found."""
    old, new = make_worker(), make_worker()
    known = workers(old)
    known.add(new)
    assert known.candidates(request(), 16) == []
    known.grew(old)
    assert known.take_grown().workers == []
    known.grew(new)
    assert known.candidates(request(), 16) == [new]


@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "release", "cut", "heal"]), st.integers(0, 3)), max_size=40
    )
)
def test_a_worker_with_room_is_always_found(steps: list[tuple[str, int]]) -> None:
    """The index forgets nobody: it finds exactly those that a look at all workers finds."""
    each = [make_worker(f"w{number}", cpus=2) for number in range(4)]
    known = workers(*each)
    for number, (verb, index) in enumerate(steps):
        worker = each[index]
        if verb == "reserve" and worker.fits(request()):
            worker.reserve(attempt(number), request())
        elif verb == "release" and worker.reserved:
            worker.release(next(iter(worker.reserved)))
            known.grew(worker)
        elif verb in ("cut", "heal"):
            worker.link = verb == "heal"
            known.grew(worker)
        expected = {worker.name for worker in each if worker.placeable and worker.fits(request())}
        assert set(names(known.candidates(request(), 16))) == expected


# --- who is who ---------------------------------------------------------------------------------------------


def test_an_incarnation_is_found_under_its_own_id_only() -> None:
    """A name alone proves nothing."""
    known = workers(make_worker("w1"))
    assert known.find("w1", "w1-1") is not None
    assert known.find("w1", "w1-2") is None


def test_a_link_belongs_to_one_worker() -> None:
    """Who registers at an address is heard there; forgetting who was there before does not take it away."""
    first, second = make_worker("w1"), make_worker("w2")
    known = workers(first, second)
    known.linked(first, b"peer", 1.0)
    known.linked(second, b"peer", 2.0)
    known.remove("w1")
    assert known.by_peer[b"peer"] is second


# --- silence and loss ---------------------------------------------------------------------------------------


def silent(**fields: Any) -> Worker:
    """Return a worker that was last heard at 0."""
    worker = make_worker()
    for field, value in fields.items():
        setattr(worker, field, value)
    return worker


def test_three_missed_heartbeats_take_the_link() -> None:
    """Not earlier; and only once."""
    worker = silent()
    known = workers(worker)
    bound = limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S
    assert known.mark_silent(bound) == []
    assert known.mark_silent(bound + 0.1) == [worker]
    assert (worker.link, worker.silent_since) == (False, bound + 0.1)
    assert known.mark_silent(bound + 9.0) == []


def test_each_worker_has_its_own_time_until_it_is_silent() -> None:
    """Though they are looked at only when the one that was heard longest ago may be."""
    bound = limits.MISSED_HEARTBEATS * limits.HEARTBEAT_S
    early, late = make_worker("early"), make_worker("late")
    known = workers(early, late)
    for worker, at in ((early, 0.0), (late, 1.0)):
        known.linked(worker, worker.name.encode(), at)
    assert known.mark_silent(bound) == []
    early.heard = 2.0
    assert known.mark_silent(bound + 1.0) == []
    assert known.mark_silent(bound + 1.5) == [late]
    known.linked(late, b"late again", bound + 1.6)
    assert known.mark_silent(bound + 2.5) == [early]
    assert known.mark_silent(2 * bound + 1.6) == []
    assert known.mark_silent(2 * bound + 1.7) == [late]


def test_a_worker_without_session_and_link_is_lost_after_a_short_grace() -> None:
    """Nothing speaks for it any more."""
    known = workers(silent(session=False, link=False))
    assert known.overdue(limits.LOST_WITHOUT_SESSION_S - 0.1) == []
    assert names(known.overdue(limits.LOST_WITHOUT_SESSION_S)) == ["w1"]


def test_a_worker_with_a_session_alone_is_lost_later() -> None:
    """Its machine lives; its link may come back. But it is lost in the end."""
    known = workers(silent(session=True, link=False))
    assert known.overdue(limits.LOST_WITH_SESSION_S - 0.1) == []
    assert names(known.overdue(limits.LOST_WITH_SESSION_S)) == ["w1"]


def test_a_worker_with_a_link_alone_is_not_lost() -> None:
    """It is heard: its attempts stay its own, however long its session is gone."""
    assert workers(silent(session=False, link=True)).overdue(1e6) == []


def test_a_program_goes_to_the_machines_that_it_is_for() -> None:
    """However much room the others have."""
    known = workers(make_worker("x", 8, arch="x86_64"), make_worker("a", 1, arch="aarch64"))
    found = known.candidates(request(archs=("aarch64", "riscv64")), 4)
    assert [worker.name for worker in found] == ["a"]
    assert len(known.candidates(request(), 4)) == 2
