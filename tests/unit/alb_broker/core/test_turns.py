"""The turns of placement passes: the order that a look at every group before every offer would give."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import CLAIMED_S, make_task, request

from alb_broker.core.groups import AGE_PER_LEVEL_S, AGED_S, Key, Offered, WaitingGroup, key_of
from alb_broker.core.queue import Queue
from alb_broker.core.task import Task
from alb_broker.core.turns import ORDER_SLACK
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
    st.sampled_from(
        (
            *(Offered.PLACED, Offered.PLACED, Offered.FILLED),
            *(Offered.NO_ROOM, Offered.NOWHERE, Offered.BOUNDED),
        )
    )
)
STEPS = st.lists(
    st.one_of(
        *2 * [st.tuples(st.just("pass"), st.tuples(ANSWERS, st.integers(1, 3)))],
        st.tuples(st.just("wait"), st.sampled_from((1.0, 150.0, AGE_PER_LEVEL_S, AGED_S))),
        st.tuples(st.just("room"), st.sampled_from(SHAPES)),
        st.tuples(st.just("cancel"), st.integers(0, 25)),
        st.tuples(st.just("return"), st.integers(0, 25)),
        st.tuples(st.just("give back"), st.sampled_from("abc")),
        st.tuples(st.just("take"), st.sampled_from("abc")),
        st.tuples(st.just("submit"), st.integers(0, 5)),
    ),
    max_size=30,
)
#: What may happen, to whom; a pass makes so many placements at most.


class Pass:
    """One pass over some groups, whose offers are answered as was drawn; what comes of it is remembered."""

    def __init__(self, answers: list[Offered]) -> None:
        self._answers = iter(answers)
        self.shares: Counter[str] = Counter()
        self.asked = 0  #: So many times for a share.
        self.offered: list[str] = []

    def share(self, user: str) -> float:
        """Return what a user holds."""
        self.asked += 1
        return self.shares[user]

    def offer(self, task: Task, share: float) -> Offered:
        """Answer an offer."""
        assert share == self.shares[task.user]
        self.offered.append(task.id)
        answer = next(self._answers, Offered.PLACED)
        if answer in {Offered.PLACED, Offered.FILLED}:
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


def by_looking_at_all(
    waiting: Queue, keys: list[Key], each: Pass, at: float, most: int = 1000
) -> list[WaitingGroup]:
    """Make a pass that ranks all groups anew before each offer; returns those whose users had enough."""
    known = [group for key in keys if (group := waiting.group(key)) is not None]
    groups = [group for group in known if not (group.blocked or group.put_off)]

    def turn(group: WaitingGroup) -> tuple[float, float, float, str]:
        head = group.head()
        assert head is not None
        return -group.level(head, at), each.share(group.key[0]), head.submitted, head.id

    placed, put_off = 0, list[WaitingGroup]()
    while placed < most and (groups := [group for group in groups if group.head() is not None]):
        group = min(groups, key=turn)
        answer = each.offer(group.tasks[0], each.shares[group.key[0]])
        if answer in {Offered.PLACED, Offered.FILLED}:
            group.serve(at)
            placed += 1
        if answer in {Offered.FILLED, Offered.NOWHERE}:
            for other in groups:
                if other.key[2].cpus >= group.key[2].cpus:
                    other.block(at)
            groups = [other for other in groups if not other.blocked]
        elif answer is not Offered.PLACED:
            groups.remove(group)
            if answer is Offered.NO_ROOM:
                group.block(at)
            else:
                group.wait(answer)
                put_off.append(group)
    return put_off


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


class World:
    """A queue over time, whose passes are made in one way or the other."""

    def __init__(self, drawn: list[tuple[str, int, float, int, int]], *, quick: bool) -> None:
        self.tasks = waiting_tasks(drawn)
        self._quick = quick
        self._queue = queue(self.tasks)
        self._held: Counter[str] = Counter()
        self._fallen: set[str] = set()  #: Who gave something back since the last pass.
        self._bounded: list[tuple[WaitingGroup, Task | None]] = []  #: Of full users, with heads.
        self._at = CLAIMED_S

    def step(self, verb: str, what: object) -> list[object]:
        """Let something happen; returns what could be seen of it."""
        if verb == "pass":
            assert isinstance(what, tuple)
            return self._pass(*what)
        if verb == "wait":
            assert isinstance(what, float)
            self._at += what
        elif verb == "room":
            self._queue.open_shapes(
                lambda cpus: 1 if cpus == what else -1, lambda wanted: wanted.cpus == what
            )
        elif verb == "give back":
            assert isinstance(what, str)
            self._held[what] = 0
            self._fallen.add(what)
        elif verb == "take":
            assert isinstance(what, str)
            self._held[what] += 1
        elif verb == "submit":
            assert isinstance(what, int)
            self._submit(what)
        elif self.tasks:
            assert isinstance(what, int)
            self._leave_or_return(verb, self.tasks[what % len(self.tasks)])
        return []

    def _submit(self, number: int) -> None:
        spec = TaskSpec(command="x", priority=number % 3, request=request(SHAPES[number % 2]))
        new = make_task(100 + len(self.tasks), spec=spec, user="abc"[number // 2], submitted=self._at)
        self.tasks.append(new)
        self._queue.add(new)

    def _leave_or_return(self, verb: str, task: Task) -> None:
        if verb == "cancel" and task.state is TaskState.QUEUED:
            task.state = TaskState.CANCELLED
            self._queue.stir()
        elif verb == "return" and task.state is TaskState.RUNNING:
            task.state = TaskState.QUEUED
            task.queued_since = self._at
            self._queue.add(task, first=True)

    def _pass(self, answers: list[Offered], most: int) -> list[object]:
        made = Pass(answers)
        made.shares = self._held
        if self._quick:
            self._queue.place(made.share, made.offer, most, self._at, self._fallen)
        else:
            bounded, self._bounded = self._bounded, []
            for group, head in bounded:
                if group.head() is not head or group.key[0] in self._fallen:
                    group.come_back()
                else:
                    self._bounded.append((group, head))
            bounded_now = by_looking_at_all(self._queue, list(self._queue._groups), made, self._at, most)
            self._bounded += [(group, group.head()) for group in bounded_now]
            for group in [each for each in self._queue._groups.values() if not each.tasks]:
                self._queue._forget(group)
        self._fallen = set()
        blocked = sorted(head.id for head in self._queue.roomless())
        return [*made.offered, "blocked", *blocked]


def test_a_task_that_came_back_has_its_old_turn() -> None:
    """Its group stood by a younger head, behind another one, and goes before that again."""
    first, second, third = tasks = waiting_tasks(
        [("a", 0, cpus, age, 0) for cpus, age in ((1, 1), (2, 2), (1, 3))]
    )
    waiting, made = queue(tasks), Pass([])
    waiting.place(made.share, made.offer, 1, CLAIMED_S)
    first.state = TaskState.QUEUED
    waiting.add(first, first=True)
    waiting.place(made.share, made.offer, 3, CLAIMED_S)
    assert made.offered == [first.id, first.id, second.id, third.id]


def test_behind_a_head_that_left_one_may_have_risen() -> None:
    """A group that stood by who came back lately is as high as who has waited behind all the time."""
    first, second, other = tasks = waiting_tasks([("a", 0, 1, 1, 0), ("a", 0, 1, 2, 3), ("b", 1, 1, 3, 0)])
    waiting, made = queue(tasks), Pass([Offered.BOUNDED, Offered.BOUNDED])
    waiting.place(made.share, made.offer, 1, CLAIMED_S)
    first.state = TaskState.CANCELLED
    waiting.stir()
    waiting.place(made.share, made.offer, 2, CLAIMED_S)
    assert made.offered == [other.id, first.id, second.id, other.id]


@given(WAITING, STEPS)
def test_what_is_kept_between_passes_changes_nothing(
    drawn: list[tuple[str, int, float, int, int]], steps: list[tuple[str, object]]
) -> None:
    """Heads that left or came back, levels that rose, room that grew, shares that changed: all are seen."""
    quick, slow = World(drawn, quick=True), World(drawn, quick=False)
    for verb, what in steps:
        assert quick.step(verb, what) == slow.step(verb, what)


def crowd(users: int, tasks_each: int = 2) -> Queue:
    """Return a queue in which each of so many users waits."""
    waiting = Queue()
    for number in range(users * tasks_each):
        spec = TaskSpec(command="x", request=request(1.0))
        task = make_task(number, spec=spec, user=f"u{number % users}", submitted=float(number))
        task.queued_since = CLAIMED_S
        waiting.add(task)
    return waiting


def test_a_pass_costs_what_it_offers_not_how_many_wait() -> None:
    """Of a hundred users who wait, those are looked at whose turn comes, and who gave something back."""
    waiting, made = crowd(100), Pass([Offered.PLACED, Offered.PLACED, Offered.NOWHERE])
    assert waiting.place(made.share, made.offer, 100, CLAIMED_S) == 2
    made = Pass([Offered.PLACED, Offered.NOWHERE])
    waiting.open_shapes(lambda _: 0, lambda _: True)
    assert waiting.place(made.share, made.offer, 100, CLAIMED_S, {"u7"}) == 1
    assert len(made.offered) == 2
    assert made.asked <= 5


def test_who_waits_for_more_than_grew_is_not_asked_after() -> None:
    """A hundred users whose tasks are too large go before all others, and cost the passes nothing."""
    waiting, large = crowd(2, 9), request(4.0)
    for number in range(100, 200):
        task = make_task(number, spec=TaskSpec(command="x", request=large), user=f"u{number}")
        task.queued_since = CLAIMED_S
        waiting.add(task)
    held = Counter(u0=1, u1=1)
    for answers in ([Offered.NOWHERE, Offered.PLACED], [Offered.PLACED], [Offered.PLACED]):
        made = Pass(answers)
        made.shares = held
        waiting.open_shapes(lambda cpus: 0 if cpus == 1 else -1, lambda wanted: wanted.cpus == 1)
        waiting.place(made.share, made.offer, 1, CLAIMED_S, {"u0"})
    assert made.asked <= 3
    assert len(made.offered) == 1
    waiting.open_shapes(lambda _: 0, lambda _: True)
    made = Pass([Offered.NOWHERE])
    made.shares = held
    waiting.place(made.share, made.offer, 1, CLAIMED_S, ())
    assert made.offered[0] == f"{100:032x}"


def test_a_share_that_fell_goes_first_and_leaves_nothing_behind() -> None:
    """Who gave back stands anew each time; the places that bands had before are dropped in the end."""
    waiting, shares = crowd(3, 200), Counter(u0=2, u1=1, u2=1)
    for _ in range(200):
        made = Pass([Offered.PLACED])
        made.shares = shares
        waiting.open_shapes(lambda _: 0, lambda _: True)
        shares["u0"] = 0
        waiting.place(made.share, made.offer, 1, CLAIMED_S, {"u0"})
        assert shares["u0"] == 1
        shares["u0"] = 2
    assert len(waiting._turns._order) <= ORDER_SLACK + 10


def test_whose_user_has_enough_costs_no_pass_anything_before_he_has_less() -> None:
    """However much room grows: of a hundred such users only the one is asked who gave something back."""
    waiting, made = crowd(100), Pass([Offered.BOUNDED] * 100)
    assert waiting.place(made.share, made.offer, 100, CLAIMED_S) == 0
    assert len(made.offered) == 100
    made = Pass([Offered.PLACED, Offered.BOUNDED])
    waiting.open_shapes(lambda _: 0, lambda _: True)
    assert waiting.place(made.share, made.offer, 100, CLAIMED_S, {"u7"}) == 1
    assert len(made.offered) == 2
    assert made.asked <= 3
    assert list(waiting.roomless()) == list(waiting.unplaced()) == []
    made = Pass([Offered.BOUNDED] * 100)
    waiting.place(
        made.share, made.offer, 100, CLAIMED_S
    )  # all may have less: a bound was raised, or workers joined
    assert len(made.offered) == 100
