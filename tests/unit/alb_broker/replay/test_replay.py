"""Replays on the real core: nothing lost, nobody over capacity, no room left idle, and always the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alb_broker.core.declines import DECLINES_S
from alb_broker.policies import Candidate, Context, least_loaded, uniform
from alb_broker.replay.replay import Ran, Replay
from alb_core.errors import ReplayBroken
from alb_core.resources import Capacity, Request
from alb_core.spec import TaskSpec
from alb_core.traces import Job, Machine

GIB = 1 << 30


def refuse(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Let everything wait."""
    return None


def broken(_task: TaskSpec, _candidates: Sequence[Candidate], _context: Context) -> Candidate | None:
    """Have a defect."""
    raise RuntimeError("broken")


POLICIES = {
    "least-loaded": least_loaded.choose,
    "uniform": uniform.choose,
    "refuse": refuse,
    "broken": broken,
}


def machines(*cpus: float, speed: float = 1.0) -> list[Machine]:
    """Return machines of so many processors, with a GiB for each."""
    return [
        Machine(
            name=f"w{number}",
            capacity=Capacity(cpus=each, memory_bytes=int(each * GIB), speed=speed),
        )
        for number, each in enumerate(cpus, start=1)
    ]


def job(submitted: float, run_s: float, cpus: float = 1.0, memory_bytes: int = 0, user: str = "ann") -> Job:
    """Return a job."""
    return Job(submitted=submitted, run_s=run_s, user=user, request=Request(cpus, memory_bytes))


def replay(jobs: Sequence[Job], pool: Sequence[Machine], policy: str = "least-loaded", seed: int = 0) -> Ran:
    """Replay with commits that take no time."""
    return Replay(jobs, pool, POLICIES, policy, seed=seed, turn_s=0.0).run()


def test_jobs_run_when_there_is_room() -> None:
    """Two slots, three jobs: the third starts when the first ends; times are those of the trace."""
    ran = replay([job(5.0, 10.0), job(6.0, 20.0), job(7.0, 1.0)], machines(2.0))
    assert list(ran.started) == pytest.approx([5.0, 6.0, 15.0])
    assert list(ran.ended) == pytest.approx([15.0, 26.0, 16.0])
    assert (ran.attempts, ran.wasted_s, ran.policy_failures) == (3, 0.0, 0)


def test_years_may_lie_between_two_jobs() -> None:
    """Nobody is taken for dead because time jumped, and a long wait costs little."""
    year = 365 * 86_400.0
    ran = replay([job(0.0, year / 2), job(1.0, 5.0), job(2 * year, 5.0)], machines(1.0))
    assert list(ran.started) == pytest.approx([0.0, year / 2, 2 * year])


def test_a_fast_machine_ends_earlier() -> None:
    """Run times are those of a machine of speed 1."""
    ran = replay([job(0.0, 10.0)], machines(1.0, speed=4.0))
    assert ran.ended[0] == pytest.approx(2.5)


def test_short_jobs_that_wait_ahead_are_run_in_time() -> None:
    """A machine that ends many a second is given some ahead of its room: all the same nothing overlaps."""
    jobs = [job(0.0, 0.02) for _ in range(400)] + [job(4.0, 0.02) for _ in range(200)]
    ran = replay(jobs, machines(1.0))
    assert max(ran.ended) == pytest.approx(12.0, rel=0.1)
    check_capacity(jobs, machines(1.0), ran)


jobs_of_a_trace = st.lists(
    st.builds(
        job,
        st.floats(0, 100),
        st.floats(0.01, 50),
        st.sampled_from((0.5, 1.0, 2.0, 4.0)),
        st.sampled_from((0, GIB // 2, 2 * GIB)),
        st.sampled_from(("ann", "bob")),
    ),
    min_size=1,
    max_size=40,
).map(lambda found: sorted(found, key=lambda each: each.submitted))


@settings(max_examples=25, deadline=None)
@given(jobs_of_a_trace, st.sampled_from(("least-loaded", "uniform")))
def test_every_job_runs_once_and_nobody_is_over_capacity(jobs: list[Job], policy: str) -> None:
    """Each is on one machine, not before it was submitted, runs its time, and fits beside the others."""
    pool = machines(4.0, 4.0, 2.0)
    ran = replay(jobs, pool, policy)
    for each, began, ended in zip(jobs, ran.started, ran.ended, strict=True):
        assert began >= each.submitted - 1e-6
        assert ended - began == pytest.approx(each.run_s)
    check_capacity(jobs, pool, ran)


def check_capacity(jobs: Sequence[Job], pool: Sequence[Machine], ran: Ran) -> None:
    """Assert that no machine ever runs more than it has."""
    for index, machine in enumerate(pool):
        changes: list[tuple[float, int, float, int]] = []
        for each, began, ended, where in zip(jobs, ran.started, ran.ended, ran.machine, strict=True):
            if where == index:
                request = each.request
                changes += [
                    (round(began, 6), 1, request.cpus, request.memory_bytes),
                    (round(ended, 6), 0, -request.cpus, -request.memory_bytes),
                ]
        cpus = memory = 0.0
        for _, _, more_cpus, more_memory in sorted(changes):
            cpus, memory = cpus + more_cpus, memory + more_memory
            assert cpus <= machine.capacity.cpus + 1e-6
            assert memory <= machine.capacity.memory_bytes


@settings(max_examples=25, deadline=None)
@given(jobs_of_a_trace)
def test_the_default_leaves_no_room_idle(jobs: list[Job]) -> None:
    """While equal jobs wait, every slot is busy: what starts late starts when another one ends."""
    alike = [job(each.submitted, each.run_s) for each in jobs]
    ran = replay(alike, machines(1.0, 2.0))
    for each, began in zip(alike, ran.started, strict=True):
        if began > each.submitted + 1e-6:
            running = sum(a < began - 1e-6 < b for a, b in zip(ran.started, ran.ended, strict=True))
            assert running == 3
            assert any(abs(ended - began) < 1e-5 for ended in ran.ended)


def test_the_same_seed_gives_the_same_result() -> None:
    """And another one another, for the policy draws."""
    jobs = [job(number * 0.5, 20.0 + number % 7) for number in range(60)]
    pool = machines(*[2.0] * 8)
    first, again, other = (replay(jobs, pool, "uniform", seed) for seed in (1, 1, 2))
    assert (first.machine, first.ended) == (again.machine, again.ended)
    assert first.machine != other.machine


def test_a_broken_policy_is_counted() -> None:
    """The default stands in, and the figures must not be taken for its own."""
    ran = replay([job(0.0, 1.0), job(2.0, 1.0)], machines(1.0, 1.0), "broken")
    assert ran.policy_failures == 2


def test_a_policy_that_lets_everything_wait_is_replaced() -> None:
    """As in a live cluster: after its time the default places, and that is counted."""
    ran = replay([job(0.0, 1.0), job(0.0, 1.0), job(1000.0, 1.0)], machines(1.0), "refuse")
    assert ran.policy_failures == 2
    assert list(ran.started) == pytest.approx([DECLINES_S, DECLINES_S + 1.0, 1000.0 + DECLINES_S], abs=0.5)


@pytest.mark.parametrize(
    ("jobs", "policy", "said"),
    [
        ([job(0.0, 1.0, cpus=9.0)], "least-loaded", "job 0 is never placed"),
        ([job(0.0, 1.0)], "nobody's", "there is no policy"),
        ([job(0.0, 1.0, cpus=-1.0)], "least-loaded", "was rejected"),
    ],
)
def test_what_cannot_go_on_says_why(jobs: list[Job], policy: str, said: str) -> None:
    """A job that fits nowhere, an unknown policy, nonsense."""
    with pytest.raises(ReplayBroken, match=said):
        replay(jobs, machines(2.0), policy)


def test_no_jobs_are_no_replay() -> None:
    """And no error; jobs in disorder are one of the caller's."""
    assert list(replay([], machines(1.0)).ended) == []
    with pytest.raises(ValueError, match="order"):
        replay([job(1.0, 1.0), job(0.0, 1.0)], machines(1.0))
