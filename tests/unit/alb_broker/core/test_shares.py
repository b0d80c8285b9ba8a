"""Who holds how much: dominant shares, weights, bounds, and that each reservation is counted once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import attempt, capacity, request

from alb_broker.core.shares import FALLEN_MAX, NOTHING, Shares
from alb_core.resources import Request, counts_of
from alb_core.shares import Share, SharesNode

GIB = 1 << 30


def cluster(cpus: float = 10.0, memory_bytes: int = 100 * GIB) -> Shares:
    """Return the shares of a cluster of this size in which nothing runs."""
    shares = Shares()
    shares.resize(NOTHING, capacity(cpus, memory_bytes))
    return shares


def test_the_share_is_that_of_the_dominant_resource() -> None:
    """The example of the paper: one wants memory, the other processors."""
    shares = cluster(9.0, 18 * GIB)
    shares.take(attempt(1), "a", request(1.0, 4 * GIB))
    shares.take(attempt(2), "b", request(3.0, 1 * GIB))
    assert shares.dominant("a") == (4 / 18, "memory_bytes")
    assert shares.dominant("b") == (3 / 9, "cpus")
    assert shares.share("a") < shares.share("b")


def test_what_is_limited_no_more_is_endless_once() -> None:
    """However often that is said, and of what was demoted it does not matter."""
    shares = cluster()
    for number in (1, 2):
        shares.take(attempt(number), "a", request(2.0))
    shares.demote(attempt(2))
    for number in (1, 1, 2, 3):
        shares.unlimit(attempt(number))
    assert (shares.cpus("a"), shares.cpus("a", endless=False)) == (2.0, 0.0)
    for number in (1, 2):
        shares.give_back(attempt(number))
    assert shares.cpus("a", endless=False) == 0.0


def test_a_weight_makes_a_share_count_for_less() -> None:
    """Who has weight 2 is even with others when he has twice as much."""
    shares = cluster()
    shares.use(SharesNode(users={"a": Share(weight=2.0)}))
    shares.take(attempt(1), "a", request(4.0))
    shares.take(attempt(2), "b", request(2.0))
    assert shares.share("a") == shares.share("b") == 0.2


def test_shares_follow_the_size_of_the_cluster() -> None:
    """A worker that joins makes every part smaller, one that is lost larger; without any, nobody has one."""
    shares = cluster(10.0)
    shares.take(attempt(1), "a", request(5.0))
    assert shares.share("a") == 0.5
    shares.resize(NOTHING, capacity(10.0))
    assert shares.share("a") == 0.25
    shares.resize(capacity(10.0), NOTHING)
    assert shares.share("a") == 0.5
    shares.resize(capacity(10.0, 100 * GIB), NOTHING)
    assert shares.share("a") == 0.0


def test_what_is_counted_in_whole_units_is_a_resource_like_others() -> None:
    """Who holds half of the GPUs holds half of the cluster, as long as the machine with them is there."""
    gpus = counts_of({"gpus": 4})
    shares = cluster()
    shares.resize(NOTHING, capacity(2.0, counts=gpus))
    shares.take(attempt(1), "a", request(1.0, counts=counts_of({"gpus": 2})))
    assert shares.dominant("a") == (0.5, "gpus")
    shares.resize(capacity(2.0, counts=gpus), NOTHING)
    assert shares.dominant("a") == (0.1, "cpus")
    shares.give_back(attempt(1))
    assert shares.dominant("a")[0] == 0.0


def test_what_is_reserved_is_counted_once() -> None:
    """However often it is said, and in place of what was before."""
    shares = cluster()
    shares.take(attempt(1), "a", request(5.0))
    shares.take(attempt(1), "a", request(2.0))
    assert shares.line("a", 3).cpus == 2.0
    shares.give_back(attempt(1))
    shares.give_back(attempt(1))
    assert (shares.users(), shares.share("a")) == ([], 0.0)


def test_a_bound_holds_what_is_beyond_it() -> None:
    """With the reason: what is his, what is asked for, and whether it can ever start."""
    shares = cluster()
    assert shares.allows("a", request(100.0))
    shares.use(SharesNode(users={"a": Share(cpus_max=4.0, memory_bytes_max=GIB)}))
    shares.take(attempt(1), "a", request(3.0))
    assert shares.allows("a", request(1.0, GIB))
    assert not shares.allows("a", request(1.5))
    assert not shares.allows("a", request(1.0, GIB + 1))
    assert shares.allows("b", request(100.0))
    assert "may reserve 4 cpus at once, has 3, and the task asks for 1.5" in shares.why_not("a", request(1.5))
    assert "until others of his have ended" in shares.why_not("a", request(1.5))
    assert "never starts before that is raised" in shares.why_not("a", request(4.5))
    assert shares.why_not("a", request(1.0)) == ""


def test_the_default_bounds_who_is_not_named() -> None:
    """And a request of nothing of a resource is never held by it."""
    shares = cluster()
    shares.use(SharesNode(default=Share(cpus_max=1.0, memory_bytes_max=0)))
    assert shares.allows("a", request(1.0))
    shares.take(attempt(1), "a", request(1.0))
    assert not shares.allows("a", request(1.0))
    assert not shares.allows("b", request(1.0, 1))
    assert shares.allows("b", request(0.5))


def test_too_many_tasks_are_said_to_be() -> None:
    """With the number that he has and may have."""
    shares = cluster()
    assert shares.why_full("a", 10**6) == ""
    shares.use(SharesNode(default=Share(tasks_max=5)))
    assert shares.why_full("a", 4) == ""
    assert "has 5 tasks in the table, and may have 5" in shares.why_full("a", 5)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from("ab"), st.sampled_from([0.1, 1.0, 2.5]), st.booleans()),
        max_size=40,
    )
)
def test_a_users_share_is_the_sum_of_what_his_attempts_hold(
    steps: list[tuple[int, str, float, bool]],
) -> None:
    """Whatever is taken and given back, in any order and twice."""
    shares = cluster(10.0)
    held: dict[int, tuple[str, Request]] = {}
    for number, user, cpus, taken in steps:
        if taken:
            held[number] = (user, request(cpus))
            shares.take(attempt(number), user, request(cpus))
        else:
            held.pop(number, None)
            shares.give_back(attempt(number))
    for user in "ab":
        has = sum(wants.cpus for owner, wants in held.values() if owner == user)
        assert abs(shares.share(user) - has / 10.0) < 1e-9
    assert set(shares.users()) == {user for user, _ in held.values()}


def test_it_tells_whose_share_may_have_fallen() -> None:
    """Who gave something back; everybody where weights changed, or what all offer; each told once."""
    shares = cluster(10.0)
    assert shares.take_fallen() is None
    for number, user in enumerate("ab"):
        shares.take(attempt(number), user, request(1.0))
    assert shares.take_fallen() == set()
    shares.give_back(attempt(0))
    shares.give_back(attempt(0))
    assert shares.take_fallen() == {"a"}
    shares.take(attempt(1), "b", request(0.5))
    assert shares.take_fallen() == {"b"}
    shares.use(SharesNode())
    assert shares.take_fallen() is None
    assert shares.take_fallen() == set()
    for number in range(FALLEN_MAX + 1):
        shares.take(attempt(number), f"u{number}", request(1.0))
        shares.give_back(attempt(number))
    assert shares.take_fallen() is None
    assert shares.take_fallen() == set()
