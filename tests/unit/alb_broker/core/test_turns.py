"""The turns of a placement pass: the order that a look at every group before every offer would give."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import CLAIMED_S, make_task, request

from alb_broker.core.queue import AGE_PER_LEVEL_S, Key, Offered, Queue, WaitingGroup, key_of
from alb_broker.core.task import Task
from alb_core.spec import TaskSpec
from alb_core.tasks import TaskState

SHAPES = (1.0, 2.0, 3.0)
WAITING = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from(SHAPES),
        st.integers(0, 4),
        st.integers(0, 9),
    ),
    max_size=20,
)
#: User, priority, shape, when it was submitted (some are of one age), and how long it waits.
ANSWERS = st.lists(
    st.sampled_from((Offered.PLACED, Offered.PLACED, Offered.NO_ROOM, Offered.NOWHERE, Offered.BOUNDED))
)


class Pass:
    """One pass over some groups, whose offers are answered as was drawn; what comes of it is remembered."""

    def __init__(self, answers: list[Offered]) -> None:
        self._answers = iter(answers)
        self.shares: Counter[str] = Counter()
        self.offered: list[str] = []

    def share(self, user: str) -> float:
        """Return what a user holds."""
        return self.shares[user]

    def offer(self, task: Task) -> Offered:
        """Answer an offer."""
        self.offered.append(task.id)
        answer = next(self._answers, Offered.PLACED)
        if answer is Offered.PLACED:
            task.state = TaskState.RUNNING
            self.shares[task.user] += int(task.request.cpus)
        return answer


def waiting_tasks(drawn: list[tuple[str, int, float, int, int]]) -> list[Task]:
    """Return the tasks that were drawn."""
    tasks = []
    for number, (user, priority, cpus, submitted, thirds) in enumerate(drawn, start=1):
        spec = TaskSpec(command="x", priority=priority, request=request(cpus))
        task = make_task(number, spec=spec, user=user, submitted=float(submitted))
        task.queued_since = CLAIMED_S - thirds * AGE_PER_LEVEL_S / 3
        tasks.append(task)
    return tasks


def queue(tasks: list[Task]) -> Queue:
    """Return a queue of these tasks."""
    waiting = Queue()
    for task in tasks:
        waiting.add(task)
    return waiting


def by_looking_at_all(waiting: Queue, keys: list[Key], each: Pass, at: float) -> None:
    """Make a pass that ranks all groups anew before each offer."""
    groups = [group for key in keys if (group := waiting.group(key)) is not None]

    def turn(group: WaitingGroup) -> tuple[float, float, float, str]:
        head = group.head()
        assert head is not None
        return -group.level(head, at), each.share(group.key[0]), head.submitted, head.id

    while groups := [group for group in groups if group.head() is not None]:
        group = min(groups, key=turn)
        answer = group.offer_head(each.offer, at)
        if answer is Offered.NOWHERE:
            groups = [other for other in groups if other.shape is not group.shape]
        elif answer is not Offered.PLACED:
            groups.remove(group)


@given(WAITING, ANSWERS)
def test_the_order_is_that_of_a_look_at_all_groups_before_each_offer(
    drawn: list[tuple[str, int, float, int, int]], answers: list[Offered]
) -> None:
    """Whatever is placed, refused, risen by waiting or equal: bands save work and change nothing."""
    one, other = waiting_tasks(drawn), waiting_tasks(drawn)
    quick, slow = Pass(answers), Pass(answers)
    queue(one).place(quick.share, quick.offer, 1000, CLAIMED_S)
    by_looking_at_all(queue(other), list(dict.fromkeys(map(key_of, other))), slow, CLAIMED_S)
    assert quick.offered == slow.offered
    assert quick.shares == slow.shares
