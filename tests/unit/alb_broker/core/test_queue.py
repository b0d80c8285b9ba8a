"""The order of waiting tasks: priority, the user with the least reserved, age; and what is skipped."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import make_task, request

from alb_broker.core.queue import Offered, Queue
from alb_broker.core.task import Task
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

    def offer(self, each: Task) -> Offered:
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

    def run(self, waiting: Queue, most: int = 1000) -> list[int]:
        """Make a pass; returns the numbers of the tasks placed in it."""
        before = len(self.placed)
        assert waiting.place(self.share, self.offer, most) == len(self.placed) - before
        return [int(each.id, 16) for each in self.placed[before:]]


def test_a_queue_that_is_empty_says_so() -> None:
    """Then a turn spares the placement pass; what was placed is waited for no more."""
    waiting = queue()
    assert not waiting
    waiting.add(task(1))
    assert waiting
    cluster = Cluster()
    waiting.place(cluster.share, cluster.offer, 10)
    assert not waiting


def test_the_oldest_of_equals_goes_first() -> None:
    """Within a group age decides."""
    assert Cluster().run(queue(task(1), task(2), task(3))) == [1, 2, 3]


def test_priority_goes_before_everything() -> None:
    """A younger task of a greedier user goes first if its priority is higher."""
    cluster = Cluster()
    cluster.shares["bob"] = 50
    assert cluster.run(queue(task(1), task(2, "bob", priority=5))) == [2, 1]


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
    waiting.unblock(lambda shape: shape.cpus <= 1)
    assert cluster.run(waiting) == [1]
    assert cluster.offered == 3


def test_a_task_that_the_policy_declined_is_offered_in_the_next_pass() -> None:
    """The policy may think otherwise then, though no room grew."""
    waiting = queue(task(1))
    assert waiting.place(lambda _: 0.0, lambda _: Offered.DECLINED, 10) == 0
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
        waiting.unblock(lambda shape: shape.cpus <= cluster.free)
        cluster.run(waiting)
        left = [each for each in tasks if each.state is TaskState.QUEUED]
        assert not any(each.spec.request.cpus <= cluster.free for each in left)
    assert len({each.id for each in cluster.placed}) == len(cluster.placed)
    for key in {_key(each) for each in cluster.placed}:
        group = [each.submitted for each in cluster.placed if _key(each) == key]
        assert group == sorted(group)


def _key(each: Task) -> tuple[str, int, float]:
    return each.user, each.spec.priority, each.spec.request.cpus
