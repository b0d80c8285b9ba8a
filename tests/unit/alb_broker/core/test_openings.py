"""The index of open workers: it finds whoever has room, in the order asked for, and looks at few others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import attempt, make_worker, request

from alb_broker.core.openings import BARRED_MAX, POOLS_MAX, Openings, Order
from alb_broker.core.worker import Worker
from alb_core.resources import Load, Request

BY_SIZE = Order(lambda worker: worker.capacity.cpus)
BY_ROOM = Order(lambda worker: worker.room.cpus)
SHAPES = tuple(request(cpus, memory) for cpus in (1, 2, 3) for memory in (0, 10, 20))


def openings(*workers: Worker) -> Openings:
    """Return an index that knows these workers."""
    found = Openings()
    for worker in workers:
        found.grew(worker)
    return found


def names(found: list[Worker]) -> list[str]:
    """Return the names of workers."""
    return [worker.name for worker in found]


class Counted(Worker):
    """A worker that counts how often it is looked at."""

    looks = 0

    def fits(self, request: Request) -> bool:
        """Count, and tell."""
        Counted.looks += 1
        return super().fits(request)


def test_room_that_is_too_small_is_looked_at_once() -> None:
    """However many workers have a little room, who looks for more pays for those that grew since."""
    each = [Counted(f"w{number}", "1", 0.0) for number in range(100)]
    for worker in each:
        worker.offer(make_worker(cpus=2).capacity)
        worker.session = worker.link = True
        worker.reserve(attempt(1), request(1))
    index = openings(*each)
    assert index.search(request(2), 4) == []
    Counted.looks = 0
    assert index.search(request(2), 4) == []
    assert Counted.looks == 0
    each[70].release(attempt(1))
    index.grew(each[70])
    assert names(index.search(request(2), 4)) == ["w70"]
    assert Counted.looks <= 3


def test_the_highest_rank_is_found_first() -> None:
    """And the next ones where those do not suffice; among equals the search goes round."""
    each = [make_worker(f"w{number}", cpus=1 + number % 3) for number in range(9)]
    index = openings(*each)
    index.order_by(lambda _request: BY_SIZE)
    assert names(index.search(request(), 2)) == ["w2", "w5"]
    assert names(index.search(request(), 4)) == ["w8", "w2", "w5", "w1"]


def test_a_rank_that_changed_counts_at_the_next_search() -> None:
    """A worker that registers again with another speed stands where it belongs."""
    first, second = make_worker("w1", cpus=3), make_worker("w2", cpus=2)
    index = openings(first, second)
    index.order_by(lambda _request: BY_SIZE)
    assert names(index.search(request(), 2)) == ["w1", "w2"]
    first.offer(make_worker(cpus=1).capacity)
    assert names(index.search(request(), 2)) == ["w1", "w2"]
    assert names(index.search(request(), 2)) == ["w2", "w1"]


def test_what_may_fit_is_known_of_what_was_searched_for() -> None:
    """Nothing is known of other requests; a pool that ran empty says no until somebody's room grows."""
    worker = make_worker(cpus=2)
    index = openings(worker)
    assert index.may_fit(request(2)) is None
    assert names(index.search(request(2), 1)) == ["w1"]
    assert index.may_fit(request(2)) is True
    worker.reserve(attempt(1), request(1))
    assert index.search(request(2), 1) == []
    assert index.may_fit(request(2)) is False
    worker.release(attempt(1))
    index.grew(worker)
    assert index.may_fit(request(2)) is True


def test_requests_beyond_the_bound_are_found_all_the_same() -> None:
    """Their search begins anew, and no more pools are kept than the bound says."""
    worker = make_worker(cpus=1, memory_bytes=10 * POOLS_MAX)
    index = openings(worker)
    for _ in range(2):
        for number in range(POOLS_MAX + 5):
            assert index.search(request(1, number), 1) == [worker]
    assert len(index._pools) == POOLS_MAX


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "release", "cut", "heal", "forget", "rank", "steady"]),
            st.integers(0, 3),
            st.sampled_from(SHAPES),
        ),
        max_size=40,
    )
)
def test_exactly_those_with_room_are_found(steps: list[tuple[str, int, Request]]) -> None:
    """For every shape, whatever happened: what a look at all workers finds."""
    each = [make_worker(f"w{number}", cpus=4, memory_bytes=40) for number in range(4)]
    index = openings(*each)
    for number, (verb, which, shape) in enumerate(steps):
        worker = each[which]
        if verb == "reserve" and worker.fits(shape):
            worker.reserve(attempt(number), shape)
        elif verb == "release" and worker.reserved:
            worker.release(next(iter(worker.reserved)))
            index.grew(worker)
        elif verb in ("cut", "heal"):
            worker.link = verb == "heal"
            index.grew(worker)
        elif verb == "forget":
            worker.known = False
            index.remove(worker.name)
        elif verb == "rank":
            index.order_by(lambda _request: BY_ROOM)
        elif verb == "steady":
            index.order_by(lambda _request: BY_ROOM._replace(steady=True))
        expected = sorted(worker.name for worker in each if worker.placeable and worker.fits(shape))
        assert sorted(names(index.search(shape, 16))) == expected
        assert bool(index.may_fit(shape)) == bool(expected)


def test_who_has_what_is_preferred_is_found_alone() -> None:
    """Those that have most of it; the others only when none of these has room. Nobody waits for it."""
    zones = {"w0": ("zone=a",), "w1": ("zone=a", "ssd"), "w2": (), "w3": ("zone=a", "ssd")}
    each = {name: make_worker(name, 1, labels=labels) for name, labels in zones.items()}
    index = openings(*each.values())
    wish = request(1, prefers=("zone=a", "ssd"))
    for expected in ({"w1", "w3"}, {"w0"}, {"w2"}, set[str]()):
        found = index.search(wish, 4)
        assert {worker.name for worker in found} == expected
        for worker in found:
            worker.reserve(attempt(1), wish)


def test_a_preference_comes_before_a_rank() -> None:
    """The fastest of those that are preferred, however fast the others are."""
    each = [make_worker(f"w{cpus}", cpus, labels=("ssd",) if cpus < 3 else ()) for cpus in (1, 2, 3)]
    index = openings(*each)
    index.order_by(lambda _request: BY_SIZE)
    assert names(index.search(request(1, prefers=("ssd",)), 4)) == ["w2", "w1"]
    assert names(index.search(request(1), 4)) == ["w3", "w2", "w1"]


def test_a_fallen_load_opens_a_worker_to_those_who_heed_it() -> None:
    """And to nobody else: the others have joined by what is reserved."""
    worker = make_worker("w1", 2)
    index = openings(worker)
    worker.load = Load(cpu=0.9)
    heeding = request(1, measured=True)
    assert index.search(heeding, 4) == []
    assert names(index.search(request(1), 4)) == ["w1"]
    worker.load = Load(cpu=0.5)
    assert index.search(heeding, 4) == []
    index.eased(worker)
    assert names(index.search(heeding, 4)) == ["w1"]


def test_who_does_not_admit_a_task_is_passed_over_and_stays() -> None:
    """To the last one while nobody is found; then past a bounded number; another gate finds all of them."""
    each = [make_worker(f"w{number}") for number in range(3 * BARRED_MAX)]
    index, asked = openings(*each), list[str]()

    def only_last(worker: Worker) -> bool:
        asked.append(worker.name)
        return worker is each[-1]

    assert index.search(request(), 4, lambda _worker: False) == []
    assert names(index.search(request(), 4, only_last)) == [each[-1].name]
    assert len(asked) == len(each)
    asked.clear()
    index.search(request(), 1, lambda worker: worker is each[-2])  # the next search begins behind it
    assert names(index.search(request(), 4, only_last)) == [each[-1].name]
    assert len(asked) == 1 + BARRED_MAX + 1
    assert len(index.search(request(), len(each))) == len(each)


def test_a_steady_order_finds_the_same_ones_again() -> None:
    """As long as they have room; in any other order the search goes on behind the last one."""
    each = [make_worker(f"w{number}", 2) for number in range(6)]
    index = openings(*each)
    assert [names(index.search(request(), 2)) for _ in range(2)] == [["w0", "w1"], ["w2", "w3"]]
    index.order_by(lambda _request: Order(lambda _worker: 0.0, steady=True))
    assert [names(index.search(request(), 2)) for _ in range(2)] == [["w0", "w1"], ["w0", "w1"]]
    each[0].reserve(attempt(1), request(2))
    assert names(index.search(request(), 2)) == ["w1", "w2"]


def test_workers_stand_anew_where_ranks_changed_unseen() -> None:
    """Who rises from a low row would not be found there while a higher one suffices."""
    first, second = make_worker("w1", 3), make_worker("w2", 2)
    index = openings(first, second)
    index.order_by(lambda _request: BY_SIZE)
    assert names(index.search(request(), 1)) == ["w1"]
    second.offer(make_worker(cpus=4).capacity)
    assert names(index.search(request(), 1)) == ["w1"]
    index.reorder()
    assert names(index.search(request(), 1)) == ["w2"]
