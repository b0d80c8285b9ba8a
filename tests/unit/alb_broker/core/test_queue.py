"""The order of waiting tasks: priority, the user with the least reserved, age; and what is skipped."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import CLAIMED_S, make_task, request

from alb_broker.core.groups import AGE_PER_LEVEL_S, AGED_S, Offered, key_of
from alb_broker.core.queue import Queue
from alb_broker.core.task import Task
from alb_core.resources import Request
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState


def task(number: int, user: str = "ann", priority: int = 0, cpus: float = 1.0) -> Task:
    """Return a waiting task; higher numbers are younger."""
    spec = TaskSpec(command="x", priority=priority, request=request(cpus))
    return make_task(number, spec=spec, user=user)


def queue(*tasks: Task) -> Queue:
    """Return a queue of these tasks."""
    waiting = Queue()
    for each in tasks:
        waiting.add(each)
    return waiting


def open_up_to(waiting: Queue, cpus: float) -> None:
    """Room for so many processors grew."""
    waiting.open_shapes(lambda wanted: 0 if wanted <= cpus else -1, lambda wanted: wanted.cpus <= cpus)


class Cluster:
    """Room for some processors; what is placed is remembered in order."""

    def __init__(self, cpus: float = 1000.0) -> None:
        self.free = cpus
        self.placed: list[Task] = []
        self.offered = 0
        self.shares: Counter[str] = Counter()

    def share(self, user: str) -> float:
        """Return what a user holds."""
        return self.shares[user]

    def offer(self, each: Task, _share: float) -> Offered:
        """Place a task where there is room."""
        self.offered += 1
        cpus = each.spec.request.cpus
        if cpus > self.free:
            return Offered.NO_ROOM
        self.free -= cpus
        self.shares[each.user] += int(cpus)
        each.state = TaskState.RUNNING
        self.placed.append(each)
        return Offered.PLACED

    def run(self, waiting: Queue, most: int = 1000, at: float = CLAIMED_S) -> list[int]:
        """Make a pass; returns the numbers of the tasks placed in it."""
        before = len(self.placed)
        assert waiting.place(self.share, self.offer, most, at) == len(self.placed) - before
        return [int(each.id, 16) for each in self.placed[before:]]


def test_a_queue_that_is_empty_says_so() -> None:
    """Then a turn spares the placement pass; what was placed is waited for no more."""
    waiting = queue()
    assert not waiting
    waiting.add(task(1))
    assert waiting
    cluster = Cluster()
    waiting.place(cluster.share, cluster.offer, 10, at=0.0)
    assert not waiting


def test_the_oldest_of_equals_goes_first() -> None:
    """Within a group age decides."""
    assert Cluster().run(queue(task(1), task(2), task(3))) == [1, 2, 3]


def test_priority_goes_before_everything() -> None:
    """A younger task of a greedier user goes first if its priority is higher."""
    cluster = Cluster()
    cluster.shares["bob"] = 50
    assert cluster.run(queue(task(1), task(2, "bob", priority=5))) == [2, 1]


def test_what_was_sent_together_goes_in_its_order() -> None:
    """All of it is of one age; ids sort by time, so no shape goes before what was sent earlier."""
    waiting = queue(*(task(number, cpus=cpus) for number, cpus in ((1, 1.0), (2, 4.0), (3, 1.0), (4, 2.0))))
    assert Cluster().run(waiting) == [1, 2, 3, 4]


def test_users_with_less_go_first() -> None:
    """Among equals of priority the one who holds least is served, so shares even out."""
    cluster = Cluster()
    cluster.shares["ann"] = 2
    waiting = queue(task(1), task(2), task(3, "bob"), task(4, "bob"), task(5, "bob"))
    assert cluster.run(waiting) == [3, 4, 1, 5, 2]


def test_many_shapes_do_not_make_a_larger_share() -> None:
    """A user whose tasks are all different gets no more turns than one whose tasks are alike."""
    waiting = queue(
        *(task(number, cpus=1 + number / 1000) for number in range(1, 5)),
        *(task(number, "bob") for number in range(5, 9)),
    )
    cluster = Cluster()
    cluster.run(waiting)
    users = [each.user for each in cluster.placed]
    assert sorted(users[:4]) == ["ann", "ann", "bob", "bob"]


def test_a_task_that_lost_its_worker_goes_before_its_likes() -> None:
    """It had its turn already."""
    waiting = queue(task(2), task(3))
    waiting.add(task(1), first=True)
    assert Cluster().run(waiting) == [1, 2, 3]


def test_many_tasks_line_up_as_one_after_the_other_would() -> None:
    """The same groups with the same tasks in the same order, whoever shares a specification with whom."""
    shared, equal = (TaskSpec(command="x", request=request(1.0)) for _ in range(2))
    other = TaskSpec(command="x", request=request(2.0))
    tasks = [
        make_task(number, spec=spec, user=user)
        for number, (spec, user) in enumerate(
            [(shared, "ann"), (equal, "ann"), (shared, "bob"), (other, "ann"), (shared, "ann")]
        )
    ]
    at_once = Queue()
    at_once.fill(iter(tasks))
    one_by_one = queue(*tasks)
    assert {key: list(group.tasks) for key, group in at_once._groups.items()} == {
        key: list(group.tasks) for key, group in one_by_one._groups.items()
    }
    assert list(at_once._groups) == list(one_by_one._groups)


def test_of_many_tasks_those_that_are_held_back_wait_apart() -> None:
    """They are offered when they are released, and not before."""
    held = {1}
    waiting = Queue(lambda each: int(each.id, 16) in held)
    waiting.fill([task(1), task(2)])
    cluster = Cluster()
    assert cluster.run(waiting) == [2]
    held.clear()
    waiting.release_held()
    assert cluster.run(waiting) == [1]


def test_tasks_that_left_the_queue_otherwise_are_passed_over() -> None:
    """A cancelled or adopted task is not placed, wherever it stands."""
    gone, stays = task(1), task(2)
    waiting = queue(gone, stays)
    gone.state = TaskState.CANCELLED
    assert Cluster().run(waiting) == [2]


def test_a_task_that_waits_twice_is_placed_once() -> None:
    """One that was adopted and lost again may stand in its group twice."""
    again = task(1)
    waiting = queue(again, task(2))
    waiting.add(again, first=True)
    assert Cluster().run(waiting) == [1, 2]


def test_a_shape_that_fits_nowhere_does_not_hold_up_the_others() -> None:
    """A large task at the head of its group lets small ones pass."""
    assert Cluster(cpus=2).run(queue(task(1, cpus=64), task(2))) == [2]


def test_a_shape_that_fits_nowhere_is_not_offered_again_before_it_could_fit() -> None:
    """The backlog costs nothing while nothing changes, and nothing when what changes does not help."""
    cluster = Cluster(cpus=0)
    waiting = queue(task(1, cpus=1), task(2, cpus=64))
    cluster.run(waiting)
    assert cluster.offered == 2
    cluster.run(waiting)
    assert cluster.offered == 2
    cluster.free = 1.0
    open_up_to(waiting, 1)
    assert cluster.run(waiting) == [1]
    assert cluster.offered == 3


def test_what_fits_nowhere_whoever_asks_is_offered_once_for_all_users() -> None:
    """The others of its shape are blocked as it is, and found when somebody looks for who has no room."""
    offered: list[str] = []

    def offer(each: Task, _share: float) -> Offered:
        offered.append(each.user)
        return Offered.NOWHERE

    waiting = queue(task(1, "ann"), task(2, "bob"), task(3, "cleo"))
    assert waiting.place(lambda _: 0.0, offer, 10, CLAIMED_S) == 0
    assert offered == ["ann"]
    assert [head.user for head in waiting.roomless()] == ["ann", "bob", "cleo"]
    group = waiting.group(key_of(task(3, "cleo")))
    assert group is not None
    assert group.refused == CLAIMED_S


def test_a_shape_is_asked_about_once_when_room_grew_unless_its_tasks_are_told_apart() -> None:
    """What holds of one head holds of its likes; but a gate may let in one user and not another."""
    waiting = queue(task(1, "ann"), task(2, "bob"))
    asked: list[Request] = []
    heads: set[str] = set()

    def holds(request: Request) -> bool:
        asked.append(request)
        return False

    def lets_in(head: Task) -> bool:
        heads.add(head.user)
        return head.user == "bob"

    Cluster(cpus=0).run(waiting)
    waiting.open_shapes(lambda _: -1, holds)
    assert asked == [request(1.0)]
    waiting.open_shapes(lambda _: -1, holds, lets_in)
    assert heads == {"ann", "bob"}
    assert [head.user for head in waiting.roomless()] == ["ann"]


def test_a_task_that_the_policy_declined_is_offered_in_the_next_pass() -> None:
    """The policy may think otherwise then, though no room grew."""
    waiting = queue(task(1))
    assert waiting.place(lambda _: 0.0, lambda *_: Offered.DECLINED, 10, CLAIMED_S) == 0
    assert list(waiting.unplaced()) == []
    assert Cluster().run(waiting) == [1]


def test_unplaced_names_the_heads() -> None:
    """What waits for room is known by the head of each group."""
    heads = [task(1), task(3, "bob")]
    waiting = queue(heads[0], task(2), heads[1])
    assert list(waiting.unplaced()) == heads


def test_a_pass_is_bounded() -> None:
    """The rest is placed in the next pass."""
    waiting = queue(*(task(number) for number in range(1, 6)))
    cluster = Cluster()
    assert cluster.run(waiting, most=2) == [1, 2]
    assert cluster.run(waiting, most=2) == [3, 4]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from([1.0, 2.0, 7.0])), max_size=25
    ),
    st.lists(st.integers(0, 12), min_size=1, max_size=8),
)
def test_all_that_fits_is_placed_once_and_in_the_order_of_its_group(
    drawn: list[tuple[str, int, float]], rooms: list[int]
) -> None:
    """However room comes and goes: nobody who fits is forgotten, placed twice, or overtaken by his likes."""
    tasks = [
        task(number, user, priority, cpus) for number, (user, priority, cpus) in enumerate(drawn, start=1)
    ]
    waiting, cluster = queue(*tasks), Cluster(cpus=0)
    for room in rooms:
        cluster.free += room
        open_up_to(waiting, cluster.free)
        cluster.run(waiting)
        left = [each for each in tasks if each.state is TaskState.QUEUED]
        assert not any(each.spec.request.cpus <= cluster.free for each in left)
    assert len({each.id for each in cluster.placed}) == len(cluster.placed)
    for key in {_key(each) for each in cluster.placed}:
        group = [each.submitted for each in cluster.placed if _key(each) == key]
        assert group == sorted(group)


def _key(each: Task) -> tuple[str, int, float]:
    return each.user, each.spec.priority, each.spec.request.cpus


LATER_S = CLAIMED_S + AGE_PER_LEVEL_S


def test_who_got_nothing_for_long_rises() -> None:
    """One level for each span of waiting; then the next has to wait as long."""
    cluster = Cluster(cpus=100)
    waiting = queue(task(1, "bob"), task(2, "bob"), *(task(n, priority=1) for n in range(3, 8)))
    assert cluster.run(waiting, most=1, at=CLAIMED_S) == [3]
    assert cluster.run(waiting, most=1, at=LATER_S - 200) == [4]
    assert cluster.run(waiting, most=3, at=LATER_S + 1) == [1, 5, 6]


def test_many_shapes_of_one_user_age_together() -> None:
    """Else a user with a thousand shapes would have a thousand turns before everybody, once they are old."""
    shapes = [task(n, "bob", cpus=1 + n / 1000) for n in range(1, 10)]
    others = [task(20, "ann", priority=1), task(21, "ann", priority=1)]
    for each in others:
        each.queued_since = LATER_S
    waiting, cluster = queue(*shapes, *others), Cluster()
    assert cluster.run(waiting, most=3, at=LATER_S + 30) == [1, 20, 21]


def test_a_backlog_that_is_served_does_not_age() -> None:
    """Who flooded the queue long ago does not go before who comes now."""
    cluster = Cluster()
    waiting = queue(*(task(n) for n in range(1, 50)))
    at = CLAIMED_S
    while at < LATER_S + 60:
        cluster.run(waiting, most=1, at=at)
        at += 60.0
    fresh = task(100, "bob")
    fresh.queued_since = at
    waiting.add(fresh)
    assert cluster.run(waiting, most=1, at=at) == [100]


def test_after_a_day_no_priority_is_too_high() -> None:
    """Priorities are 32-bit numbers: levels alone would take for ever."""
    waiting = queue(task(1, "bob", priority=-(2**31)), task(2, "ann", priority=2**31 - 1))
    waiting.add(task(3, "ann", priority=2**31 - 1))
    for each in waiting.group(key_of(task(2, "ann", priority=2**31 - 1))).tasks:  # type: ignore[union-attr]
        each.queued_since = CLAIMED_S + AGED_S
    assert Cluster().run(waiting, at=CLAIMED_S + AGED_S + 1) == [1, 2, 3]


def test_who_may_have_no_more_is_asked_again() -> None:
    """In each pass, for others of his may have ended; meanwhile nobody takes the leader for stuck."""
    waiting = queue(task(1))
    assert waiting.place(lambda _: 0.0, lambda *_: Offered.BOUNDED, 10, CLAIMED_S) == 0
    assert list(waiting.unplaced()) == []
    assert Cluster().run(waiting) == [1]


def starved(waiting: Queue, cluster: Cluster, at: float) -> list[int]:
    """Return the heads that starve at a moment, by number."""
    groups = waiting.starved(at - 10.0, cluster.share, at)
    return [int(group.tasks[0].id, 16) for group in groups]


def test_who_is_overtaken_for_long_starves() -> None:
    """It found no room for long, and something was placed past it; not who merely waits."""
    cluster = Cluster(cpus=1)
    waiting = queue(task(1, cpus=4), task(2))
    assert cluster.run(waiting) == [2]
    assert starved(waiting, cluster, CLAIMED_S + 5) == []
    waiting.add(task(3))
    cluster.free = 1.0
    open_up_to(waiting, 1)
    assert cluster.run(waiting, at=CLAIMED_S + 9) == [3]
    assert starved(waiting, cluster, CLAIMED_S + 10) == [1]
    assert starved(waiting, cluster, CLAIMED_S + 11) == [1]  # and goes on doing so, until it is placed
    cluster.free = 4.0
    open_up_to(waiting, 4)
    assert cluster.run(waiting, at=CLAIMED_S + 12) == [1]
    assert starved(waiting, cluster, CLAIMED_S + 30) == []


def test_who_has_less_by_right_overtakes_nobody() -> None:
    """A higher priority, or a user with less, has its turn first: no reservation is due for that."""
    for other in (task(2, "bob", priority=1), task(2, "bob")):
        cluster = Cluster(cpus=1)
        cluster.shares["ann"] = 5
        waiting = queue(task(1, cpus=4), other)
        cluster.run(waiting)
        assert starved(waiting, cluster, CLAIMED_S + 20) == []


def test_the_order_of_groups_can_be_told() -> None:
    """Which groups have their turn before one: for whoever asks why it waits."""
    cluster = Cluster(cpus=0)
    waiting = queue(task(1), task(2, "bob", priority=3), task(3, "eve", priority=1), task(4))
    group = waiting.group(key_of(task(1)))
    assert group is not None
    assert [each.key[0] for each in waiting.before(group, cluster.share, CLAIMED_S)] == ["bob", "eve"]
    assert waiting.waits(key_of(task(1)))
    assert not waiting.waits(key_of(task(1, "nobody")))
