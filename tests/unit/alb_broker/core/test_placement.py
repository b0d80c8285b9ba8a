"""The placement pass: the policy's choice is taken, and what found no room is not asked in vain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.broker_parts import POLICIES, attempt, make_attempt, make_task, make_worker, request
from tests.placement_scene import Scene, decline, take_last

from alb_broker.core.groups import key_of
from alb_broker.core.placement import (
    PASS_MAX,
    Placer,
)
from alb_broker.core.reservations import Plan
from alb_broker.core.shares import Shares
from alb_broker.core.worker import Worker
from alb_broker.policies import CANDIDATES, CANDIDATES_MAX, Candidate, Context, optimize, wishes
from alb_core.choices import Choice
from alb_core.resources import Load, Request, counts_of
from alb_core.shares import Share, SharesNode
from alb_core.spec import OnLost, TaskSpec
from alb_core.speeds import Speeds, Strain
from alb_core.tasks import AttemptState, TaskState
from alb_core.vectors import PATIENCE_S, parse_vector


def test_the_policy_chooses() -> None:
    """The task goes where the policy says."""
    scene = Scene(take_last)
    scene.submit(1)
    assert scene.run() == 1
    assert scene.placed == [(1, "w1")]


def test_a_policy_sees_what_is_free_and_not_everybody() -> None:
    """At most so many candidates, each with room, whatever the size of the cluster."""
    seen: list[Sequence[Candidate]] = []

    def watch(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        seen.append(candidates)
        return candidates[0]

    scene = Scene(watch, workers=3 * CANDIDATES, cpus=2)
    scene.submit(1, 2)
    scene.run()
    assert [len(candidates) for candidates in seen] == [CANDIDATES] * 2
    assert {candidate.cpus for candidates in seen for candidate in candidates} == {2.0}


def test_a_task_that_fits_nowhere_waits() -> None:
    """And is placed as soon as room that fits it grows."""
    scene = Scene(cpus=1)
    scene.submit(1, cpus=2)
    assert scene.run() == 0
    worker = make_worker("big", 2)
    scene.workers.add(worker)
    scene.workers.grew(worker)
    assert scene.run() == 1
    assert scene.placed == [(1, "big")]


def test_where_there_is_no_room_short_commands_wait_on_a_worker() -> None:
    """Up to its allowance, and only those that may run a second time should it be lost."""
    scene = Scene(workers=2, cpus=1)
    scene.allow("w1", 2)
    scene.submit(*range(6))
    assert scene.run() == 4
    ahead = {worker.name: len(worker.ahead) for worker in scene.workers}
    assert ahead == {"w0": 0, "w1": 2}


def test_what_may_not_wait_on_a_worker_is_not_starved_by_what_may() -> None:
    """Its turn came: nothing more is handed ahead there, until what waits has run dry and there is room."""
    scene = Scene(workers=1, cpus=1)
    worker = scene.allow("w0", 2)
    scene.submit(*range(10))
    assert scene.run() == 3
    once = make_task(10, spec=TaskSpec(command="x", priority=9, on_lost=OnLost.FAIL))
    scene.queue.add(once)
    for number in range(3):
        worker.release(attempt(number))
        scene.workers.grew(worker)
        scene.run()
    assert once.state is TaskState.RUNNING
    assert list(worker.reserved) == [attempt(10)]
    assert len(worker.ahead) == 2


def test_what_no_worker_could_run_at_once_spares_nobody() -> None:
    """A task that must not run twice and fits nowhere does not keep short commands from a worker."""
    scene = Scene(workers=1, cpus=1)
    scene.allow("w0", 2)
    spec = TaskSpec(command="x", priority=9, on_lost=OnLost.FAIL, request=request(2))
    scene.queue.add(make_task(10, spec=spec))
    scene.submit(*range(5))
    assert scene.run() == 3


def test_a_policy_may_decline_what_would_wait_on_a_worker() -> None:
    """And what only one worker has room for."""
    scene = Scene(decline, workers=1, cpus=1)
    scene.submit(1)
    assert scene.run() == 0
    scene.workers.by_name["w0"].reserve(attempt(9), request())
    scene.allow("w0", 2)
    scene.workers.grew(scene.workers.by_name["w0"])
    assert scene.run() == 0


def test_what_asks_for_more_than_what_fitted_nowhere_is_not_searched_for() -> None:
    """A backlog of many large shapes costs one search; a smaller one, or one of another kind, has its own."""
    scene = Scene(workers=3, cpus=2)
    searched = searches(scene)
    for number, cpus in enumerate((8, 9, 10, 7, 3, 2, 11), start=1):
        scene.submit(number, cpus=cpus)
    scene.submit(8, cpus=1, memory_bytes=1 << 40)
    scene.submit(9, cpus=1, labels=("gpu",))
    assert scene.run() == 1
    assert searched == [8, 7, 3, 2, 1, 1]


def searches(scene: Scene) -> list[float]:
    """Return what is searched for from now on: the processors of each."""
    searched: list[float] = []
    search = scene.workers.candidates

    def candidates(shape: Request, most: int, _admits: object = None) -> list[Worker]:
        searched.append(shape.cpus)
        return search(shape, most)

    scene.workers.candidates = candidates  # type: ignore[method-assign]
    return searched


def test_what_took_the_last_room_has_its_likes_wait_without_a_search() -> None:
    """Where one worker was found, and has no room for as much any more, the next ones are not offered."""
    scene = Scene(workers=1, cpus=3)
    searched = searches(scene)
    scene.submit(1, 2, 3, 4, cpus=2)
    scene.submit(5, cpus=3)
    scene.submit(6, cpus=1)
    assert scene.run(at=7.0) == 2
    assert scene.placed == [(1, "w0"), (6, "w0")]
    assert searched == [2, 1]
    assert [head.id for head in scene.queue.roomless()] == [make_task(number).id for number in (2, 5)]
    likes = scene.queue.group(key_of(make_task(2, spec=TaskSpec(command="x", request=request(cpus=2)))))
    assert likes is not None
    assert likes.refused == 7.0


def test_what_asks_for_a_label_tells_nothing_of_workers_without_it() -> None:
    """It took the last room that suits it; its likes wait, and others go where it could not."""
    scene = Scene(workers=0)
    for number, labels in enumerate((("zone=a",), ()), start=1):
        worker = make_worker(f"w{number}", 2, labels=labels)
        scene.workers.add(worker)
        scene.workers.grew(worker)
    searched = searches(scene)
    scene.submit(1, 2, cpus=2, labels=("zone=a",))
    scene.submit(3, cpus=2)
    assert scene.run() == 2
    assert searched == [2, 2]


def test_a_retry_that_leaves_out_where_it_failed_tells_nothing_of_that() -> None:
    """Of two that were found it gets one alone to choose from: that is not the last with room."""
    scene = Scene()
    failed = msgspec.structs.replace(make_attempt(1, "w1", AttemptState.OVER), ended_as="exited")
    spec = TaskSpec(command="x", request=request(4))
    scene.queue.add(make_task(1, failed, failures=1, spec=spec))
    scene.queue.add(make_task(2, spec=spec))
    assert scene.run() == 2
    assert scene.placed == [(1, "w0"), (2, "w1")]


def test_a_policy_that_sees_one_worker_knows_nothing_of_the_others() -> None:
    """That one was found is no word on those that were not looked at."""

    @wishes(candidates=1)
    def choose(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        return candidates[0]

    scene = Scene(choose)
    scene.submit(1, 2, cpus=4)
    assert scene.run() == 2


def test_a_choice_is_refused_with_a_reason() -> None:
    """An unknown policy, a parameter that it does not have, one of another type, one that it refuses."""
    placer = Scene(take_last).placer
    for choice, part in (
        (Choice(policy="missing"), "known: least-loaded, mine, optimize, uniform, weighted"),
        (Choice(policy="mine", parameters={"x": 1.0}), "no parameter 'x'; it has: none"),
        (Choice(policy="weighted", parameters={"cpus": 1.0}), "it has: cpu, memory, network"),
        (Choice(policy="weighted", parameters={"cpu": "much"}), "cpu is a number, and 'much' is none"),
        (Choice(policy="weighted", parameters={"cpu": -1.0}), "are not negative"),
    ):
        refusal = placer.refusal(choice)
        assert refusal is not None
        assert part in refusal
    assert placer.refusal(Choice(policy="weighted", parameters={"cpu": 1.0})) is None


def test_a_policy_gets_its_parameters() -> None:
    """Its own, and what was chosen in their place."""
    seen: list[Any] = []

    @wishes(parameters={"a": 1.0, "b": "x"})
    def watch(_task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
        seen.append(context.parameters)
        return candidates[0]

    scene = Scene(watch)
    scene.placer.use(Choice(policy="mine", parameters={"b": "y"}))
    scene.submit(1)
    scene.run()
    assert seen == [{"a": 1.0, "b": "y"}]


def test_a_policy_sees_as_many_candidates_as_it_wants() -> None:
    """And, where it wants that, the fastest with room: the others when those are full."""
    seen: list[list[str]] = []

    @wishes(candidates=CANDIDATES_MAX, fastest_first=True)
    def watch(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        seen.append([candidate.worker for candidate in candidates])
        return candidates[0]

    scene = Scene(watch, workers=2 * CANDIDATES_MAX, cpus=1)
    for name in ("w9", "w20"):
        worker = scene.workers.by_name[name]
        worker.offer(msgspec.structs.replace(worker.capacity, speed=2.0))
    scene.submit(1, 2, 3)
    scene.run()
    assert [worker for _, worker in scene.placed[:2]] == ["w9", "w20"]
    assert [len(names) for names in seen] == [CANDIDATES_MAX] * 3
    assert seen[2][0] not in {"w9", "w20"}


def test_candidates_tell_whose_turn_it_was() -> None:
    """And how many attempts each has."""
    seen: list[dict[str, tuple[int, int]]] = []

    def watch(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        seen.append({each.worker: (each.attempts, each.turn) for each in candidates})
        return min(candidates, key=lambda each: each.turn)

    scene = Scene(watch, workers=2)
    scene.submit(1, 2, 3)
    scene.run()
    assert seen == [
        {"w0": (0, 0), "w1": (0, 0)},
        {"w0": (1, 1), "w1": (0, 0)},
        {"w0": (1, 1), "w1": (1, 2)},
    ]


def test_a_pass_is_bounded() -> None:
    """As many placements as a batch of writes holds; the rest comes in the next pass."""
    scene = Scene(workers=1, cpus=2 * PASS_MAX)
    scene.submit(*range(1, PASS_MAX + 11))
    assert scene.run() == PASS_MAX
    assert scene.run() == 10


def test_equal_seeds_place_equally() -> None:
    """Randomness comes in with the seed: a simulation can be played again."""
    first, second = Scene(POLICIES["uniform"], workers=8), Scene(POLICIES["uniform"], workers=8)
    for scene in (first, second):
        scene.submit(*range(1, 20))
        scene.run()
    assert first.placed == second.placed


def test_a_retry_prefers_another_worker() -> None:
    """A task that failed goes elsewhere where there is room; else it goes where it failed."""
    for workers, chosen in ((3, {"w0", "w2"}), (1, {"w1"})):
        scene = Scene(workers=0, cpus=1.0, policy=take_last)
        for number in range(3) if workers == 3 else (1,):
            worker = make_worker(f"w{number}", 1.0)
            scene.workers.add(worker)
            scene.workers.grew(worker)
        failed = msgspec.structs.replace(make_attempt(1, "w1", AttemptState.OVER), ended_as="exited")
        scene.queue.add(make_task(1, failed, failures=1))
        assert scene.run() == 1
        assert scene.placed[0][1] in chosen


def test_what_is_preferred_is_taken_first_and_never_waited_for() -> None:
    """A policy sees only those that carry it, as long as they have room."""
    seen: list[tuple[int, ...]] = []

    def look(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
        seen.append(tuple(candidate.preferred for candidate in candidates))
        return candidates[0]

    scene = Scene(look, workers=0)
    for name, labels in (("w1", ()), ("w2", ("zone=a",)), ("w3", ())):
        worker = make_worker(name, 1, labels=labels)
        scene.workers.add(worker)
        scene.workers.grew(worker)
    scene.submit(1, 2, 3, prefers=("zone=a",))
    assert scene.run() == 3
    assert scene.placed[0] == (1, "w2")
    assert seen == [(1,), (0, 0), (0,)]


def test_counts_are_given_out_once() -> None:
    """Of two licences two tasks have one each; the third waits, and who needs none passes."""
    scene = Scene(workers=0)
    worker = make_worker("w1", 8, counts=counts_of({"licence": 2}))
    scene.workers.add(worker)
    scene.workers.grew(worker)
    scene.submit(1, 2, 3, counts=counts_of({"licence": 1}))
    scene.submit(4)
    assert scene.run() == 3
    assert sorted(number for number, _ in scene.placed) == [1, 2, 4]
    worker.release(attempt(1))
    scene.workers.grew(worker)
    assert scene.run() == 1
    assert scene.placed[-1] == (3, "w1")
    assert worker.line().reserved_counts == counts_of({"licence": 2})


def test_a_task_that_heeds_loads_waits_for_them_to_fall() -> None:
    """It does not keep others from being placed meanwhile; a load that falls lets it go."""
    scene = Scene(workers=1)
    worker = next(iter(scene.workers))
    scene.workers.loaded(worker, Load(cpu=0.9))
    scene.submit(1, measured=True)
    scene.submit(2)
    assert scene.run() == 1
    assert scene.placed == [(2, "w0")]
    scene.workers.loaded(worker, Load(cpu=0.95))
    assert scene.run() == 0
    scene.workers.loaded(worker, Load(cpu=0.5))
    assert scene.run() == 1
    assert scene.placed[-1] == (1, "w0")


def test_a_tasks_own_vector_is_placed_by_whatever_the_policy_is() -> None:
    """Also while the policy is broken: it is not asked. Who says nothing is placed by the policy."""
    scene = Scene(take_last, workers=3)
    scene.workers.by_name["w1"].reserve(attempt(9), request())
    scene.submit(1, 2, optimize=parse_vector("resources"))
    assert scene.run() == 2
    assert scene.placed == [(1, "w1"), (2, "w1")]
    assert (scene.placer.calls["optimize"], scene.placer.calls["mine"]) == (2, 0)
    scene.submit(3)
    scene.run()
    assert scene.placer.calls["mine"] == 1


def test_tasks_that_save_fill_one_worker_after_the_other() -> None:
    """However many there are: a search meets those first that run something, and the same ones again."""
    workers = 3 * CANDIDATES_MAX
    scene = Scene(workers=workers, cpus=4)
    scene.submit(*range(1, 13), optimize=parse_vector("resources"))
    newest = make_task(12).queued_since
    assert scene.run(newest) == 4, "the others wait for room where something runs"
    assert scene.run(newest + PATIENCE_S) == 8
    assert len({worker for _, worker in scene.placed}) == 3
    scene = Scene(workers=workers, cpus=4)
    scene.submit(*range(1, 13), optimize=parse_vector("time"))
    scene.run()
    assert len({worker for _, worker in scene.placed}) == 12


def test_the_clusters_vector_is_that_of_the_policy_in_force() -> None:
    """Whoever asks what counts for a task that says nothing is told; under other policies nobody knows."""
    placer = Placer({**POLICIES, "optimize": optimize.choose}, seed=1)
    assert placer.vector is None
    placer.use(Choice(policy="optimize", parameters={"time": 0.3, "resources": 0.7}))
    assert placer.vector == parse_vector("time=0.3")


def test_a_task_goes_to_who_is_fast_in_what_it_strains() -> None:
    """The fastest in general may be slow in that."""
    scene = Scene(workers=3 * CANDIDATES, cpus=4)
    scene.placer.use(Choice(policy="mine"))
    good = scene.workers.by_name["w7"]
    speeds = Speeds(integer=0.1, memory=0.1, floating=9.0)
    good.offer(msgspec.structs.replace(good.capacity, speeds=speeds, speed=0.5))
    scene.submit(1, strain=Strain.FLOAT, optimize=parse_vector("time"))
    scene.submit(2, strain=Strain.MEMORY, optimize=parse_vector("time"))
    scene.run()
    assert dict(scene.placed)[1] == "w7"
    assert dict(scene.placed)[2] != "w7"


class Offers:
    """Counts what a scene's queue offers, of fifty users who want as much."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, cpus: float) -> None:
        self.users: list[str] = []
        for number in range(50):
            spec = TaskSpec(command="x", request=request(cpus))
            scene.queue.add(make_task(number, spec=spec, user=f"user {number}"))
        place = scene.queue.place

        def counted(share: Any, offer: Any, *rest: Any) -> int:
            return place(share, lambda task, has: self.users.append(task.user) or offer(task, has), *rest)

        monkeypatch.setattr(scene.queue, "place", counted)


def test_bounds_of_users_make_no_failure_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits nowhere fits nowhere for all users, whatever each may have: one offer tells."""
    scene, shares = Scene(workers=1, cpus=2), Shares()
    shares.use(SharesNode(default=Share(cpus_max=100.0)))
    offers = Offers(scene, monkeypatch, cpus=4)
    assert scene.run(shares=shares) == 0
    assert offers.users == ["user 0"]


@pytest.mark.parametrize("apart", ["gate", "reservation"])
def test_where_nobody_has_room_nobody_is_told_apart(apart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate, or a worker that is set aside, makes a difference only where there is room."""
    scene = Scene(workers=2, cpus=2)
    worker = scene.workers.by_name["w0"]
    if apart == "reservation":
        head = make_task(99, spec=TaskSpec(command="x", request=request(2.0)), user="large")
        assert scene.placer.reservations.book(head, Plan(9.0, 0, worker, set()), scene.workers, 0.0)
    for each in scene.workers:
        each.reserve(attempt(100), request(2.0))
    offers = Offers(scene, monkeypatch, cpus=1)
    admits = (lambda task, _worker: task.user == "user 7") if apart == "gate" else None
    assert scene.run(admits=admits) == 0
    assert offers.users == ["user 0"]
    worker.release(attempt(100))
    scene.workers.grew(worker)
    assert scene.run(admits=admits) == (1 if apart == "gate" else 0), "each is asked where there is room"
    assert len(set(offers.users)) == 50
    assert [number for number, _ in scene.placed] == ([7] if apart == "gate" else [])
