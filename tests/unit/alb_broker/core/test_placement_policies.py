"""No policy can stop the tasks, whether it fails, lets them wait, or is not to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.broker_parts import POLICIES, attempt, make_task, request
from tests.placement_scene import Scene, decline, take_last

from alb_broker.core.declines import DECLINES_S
from alb_broker.core.placement import (
    POLICY_RESTS_S,
    POLICY_RESTS_S_MAX,
    Placer,
)
from alb_broker.policies import Candidate, Context, Policy
from alb_core.choices import Choice
from alb_core.spec import TaskSpec
from alb_core.vectors import parse_vector


def break_down(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Be broken."""
    raise RuntimeError("no\n  idea")


def invent(_task: TaskSpec, candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Choose somebody who was not offered."""
    first = candidates[0]
    return Candidate("stranger", first.capacity, 1.0, 1, 1, first.load)


def babble(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Any:
    """Answer with something else altogether."""
    return "w0"


def test_a_policy_may_let_a_task_wait() -> None:
    """It is asked again in the next pass; that is no failure."""
    scene = Scene(decline)
    scene.submit(1)
    assert (scene.run(), scene.placer.failures) == (0, 0)
    scene.placer.use(Choice(policy="uniform"))
    assert scene.run() == 1


def test_a_policy_that_lets_tasks_wait_for_ever_stops_nobody() -> None:
    """It has its time with a task for which there is room; then the default places that, and all others."""
    scene = Scene(decline)
    scene.submit(1, 2)
    scene.run(0.0)
    scene.run(DECLINES_S - 0.1)
    assert scene.placed == []
    assert scene.placer.declines.waiting(DECLINES_S - 0.1) == (1, DECLINES_S - 0.1)
    scene.submit(3, cpus=2.0)
    scene.run(DECLINES_S)
    assert sorted(number for number, _ in scene.placed) == [1, 2, 3]
    (note,) = scene.placer.notes
    assert (note.event, note.fields["rests_s"]) == ("policy_failed", DECLINES_S)
    assert note.fields["error"] == f"it let task {make_task(1).id} wait for 30 s though there was room"
    assert not scene.placer.declines


def test_a_policy_that_lets_tasks_wait_again_rests_for_longer() -> None:
    """The default has more of the time than it, however busy the cluster is meanwhile."""
    scene = Scene(decline, cpus=100)
    number = iter(range(1, 1000))
    for at in range(400):
        scene.submit(next(number))
        scene.run(float(at))
    assert [note.fields["rests_s"] for note in scene.placer.notes] == [30.0, 60.0, 64.0]


def test_what_had_no_room_meanwhile_is_not_held_against_a_policy() -> None:
    """Nor what it declined where there was none: on a worker where the task would have waited."""
    scene = Scene(decline, workers=1)
    scene.submit(1)
    scene.run(0.0)
    scene.workers.by_name["w0"].reserve(attempt(9), request(4.0))
    scene.run(1.0)
    scene.run(2.0)
    scene.workers.by_name["w0"].release(attempt(9))
    scene.workers.grew(scene.workers.by_name["w0"])
    scene.run(DECLINES_S + 3.0)
    assert scene.placed == []
    tight = Scene(decline, workers=1, cpus=1)
    tight.workers.by_name["w0"].reserve(attempt(9), request(1.0))
    tight.allow("w0", 1).turned = request(1.0)
    tight.submit(2)
    for at in (0.0, DECLINES_S, 2 * DECLINES_S):
        tight.run(at)
    assert (tight.placed, tight.placer.failures) == ([], 0)


@pytest.mark.parametrize("policy", [break_down, invent, babble])
def test_a_policy_that_fails_is_replaced_by_the_default(policy: Policy) -> None:
    """Whatever a policy does, the tasks go on; the operator reads why, once and not for every task."""
    scene = Scene(policy)
    scene.submit(1, 2, 3)
    assert scene.run() == 3
    assert scene.placer.failures == 1
    (note,) = scene.placer.notes
    assert (note.event, note.fields["policy"]) == ("policy_failed", "mine")


def test_a_policy_that_failed_rests_and_gets_another_chance() -> None:
    """It is not asked for a while: so a broken or slow one costs little. Then it is asked again."""
    asked: list[float] = []

    def fail(_task: TaskSpec, _candidates: Sequence[Candidate], context: Context) -> Candidate | None:
        asked.append(context.at)
        raise RuntimeError

    scene = Scene(fail)
    for number, at in enumerate((10.0, 10.5, 10.0 + POLICY_RESTS_S), start=1):
        scene.submit(number)
        scene.run(at)
    assert asked == [10.0, 10.0 + POLICY_RESTS_S]
    assert len(scene.placed) == 3


def test_a_policy_that_is_held_is_not_asked_nor_is_another_in_its_place() -> None:
    """What it would be asked about waits, and the caller learns that something does; nothing failed."""
    scene = Scene(take_last)
    scene.placer.hold()
    assert (scene.run(), scene.placer.wanted) == (0, False), "nobody waits"
    scene.submit(1)
    assert (scene.run(), scene.placer.wanted, scene.placer.rests(1.0)) == (0, True, False)
    assert (scene.placer.calls["mine"], scene.placer.failures) == (0, 0)
    scene.placer.release()
    assert (scene.run(), scene.placer.held, scene.placer.wanted) == (1, False, False)
    assert scene.placer.calls["mine"] == 1


def test_a_task_with_its_own_vector_does_not_wait_for_a_policy_that_is_held() -> None:
    """It is placed by a policy of alb's own."""
    scene = Scene(take_last)
    scene.placer.hold()
    scene.submit(1, optimize=parse_vector("time"))
    assert (scene.run(), scene.placer.wanted) == (1, False)


def test_a_policy_that_is_distrusted_rests_for_long_and_is_held_then() -> None:
    """It may end whoever asks it, so the next time it is asked is written down before."""
    scene = Scene(take_last)
    scene.placer.distrust("it may hang", 10.0, 3600.0)
    (note,) = scene.placer.notes
    fields = note.fields
    assert (note.event, fields["rests_s"], fields["error"]) == ("policy_failed", 3600.0, "it may hang")
    for number, at in enumerate((10.0, 3609.0), start=1):
        scene.submit(number)
        assert (scene.run(at), scene.placer.rests(at), scene.placer.calls["mine"]) == (1, True, 0)
    scene.submit(3)
    assert (scene.run(3610.0), scene.placer.rests(3610.0), scene.placer.held) == (0, False, True)
    scene.placer.release()
    assert (scene.run(3611.0), scene.placer.calls["mine"]) == (1, 1)


def test_whoever_is_trusted_again_neither_rests_nor_is_held() -> None:
    """Not later either, when the rest would have ended in a hold."""
    scene = Scene(take_last)
    scene.placer.distrust("it may hang", 10.0, 3600.0)
    scene.placer.trust()
    scene.submit(1)
    assert (scene.run(3611.0), scene.placer.calls["mine"]) == (1, 1)


def test_only_policies_of_others_are_foreign() -> None:
    """Those of alb cannot hang."""
    scene = Scene(take_last)
    assert scene.placer.foreign
    assert not any(Placer(POLICIES, seed=0).is_foreign(name) for name in POLICIES)


def test_another_policy_does_not_inherit_the_rest() -> None:
    """A switch takes effect at once."""
    scene = Scene(break_down)
    scene.submit(1)
    scene.run()
    scene.placer.policies = {**scene.placer.policies, "other": take_last}  # type: ignore[misc]
    scene.placer.use(Choice(policy="other"))
    scene.submit(2)
    scene.run()
    assert scene.placed[-1] == (2, "w1")


def test_a_policy_cannot_disturb_its_candidates() -> None:
    """What it gets are values: it can neither sort nor change them."""

    def meddle(_task: TaskSpec, candidates: Any, _context: Context) -> Candidate | None:
        candidates[0].cpus = 0
        return None

    scene = Scene(meddle)
    scene.submit(1)
    assert (scene.run(), scene.placer.failures) == (1, 1)


def test_a_policy_that_fails_again_and_again_rests_longer() -> None:
    """Up to a bound; after a while of good answers it begins anew. What it raised is kept, in one line."""
    scene = Scene(break_down, workers=1, cpus=100)
    at, rests = 0.0, []
    for number in range(1, 10):
        scene.submit(number)
        scene.run(at)
        rests.append(scene.placer.notes[-1].fields["rests_s"])
        assert scene.placer.rests(at)
        at += rests[-1]
        assert not scene.placer.rests(at)
    assert rests == [min(POLICY_RESTS_S * 2**n, POLICY_RESTS_S_MAX) for n in range(9)]
    scene.submit(10)
    scene.run(at + POLICY_RESTS_S_MAX)
    assert scene.placer.notes[-1].fields["rests_s"] == POLICY_RESTS_S
    trouble = scene.placer.troubles["mine"]
    assert (trouble.failures, trouble.newest) == (10, "RuntimeError: no idea")
