"""What fits a worker: amounts, counts, labels, measured loads; and what is refused as nonsense."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb_core.resources import (
    Capacity,
    Count,
    Load,
    Request,
    Room,
    check_capacity,
    check_request,
    counts_of,
    fits,
    parse_counts,
)

OFFER = Capacity(cpus=4, memory_bytes=1000, net_bps=100, labels=("ssd", "zone=a"))


@pytest.mark.parametrize(
    ("request_", "fitting"),
    [
        (Request(), True),
        (Request(4, 1000, 100, ("zone=a", "ssd")), True),
        (Request(4.01), False),
        (Request(1, 1001), False),
        (Request(1, 0, 101), False),
        (Request(1, labels=("gpu",)), False),
        (Request(1, labels=("zone",)), False),
    ],
)
def test_every_resource_counts(request_: Request, fitting: bool) -> None:  # noqa: FBT001 (parametrized)
    """Each at most what is offered, each label there."""
    assert fits(request_, OFFER) is fitting


def test_unknown_bandwidth_fits_only_who_reserves_none() -> None:
    """Nobody can promise what nobody knows."""
    unknown = Capacity(cpus=1, memory_bytes=1)
    assert fits(Request(), unknown)
    assert not fits(Request(net_bps=1), unknown)


# --- what is counted in whole units -----------------------------------------------------------------------

LAB = Capacity(cpus=4, memory_bytes=1000, counts=(Count("gpus", 2), Count("licence", 5)))


def asking(**counts: int) -> Request:
    """Return a request for counts."""
    return Request(counts=counts_of(counts))


@pytest.mark.parametrize(
    ("request_", "fitting"),
    [
        (asking(licence=5, gpus=2), True),
        (asking(licence=6), False),
        (asking(gpus=3), False),
        (asking(dongle=1), False),
        (Request(), True),
    ],
)
def test_counts_are_amounts_like_others(request_: Request, fitting: bool) -> None:  # noqa: FBT001 (parametrized)
    """What a worker does not name it has none of, whether it is looked at empty or counted down."""
    assert fits(request_, LAB) is fitting
    assert Room(LAB).holds(request_) is fitting


def test_room_is_short_of_what_was_taken() -> None:
    """Two GPUs go once; what is given back goes again; the rest is nobody's concern."""
    room = Room(LAB)
    room.take(asking(gpus=1, licence=5))
    assert room.taken_counts(LAB) == (Count("gpus", 1), Count("licence", 5))
    assert not room.holds(asking(licence=1))
    assert room.holds(asking(gpus=1))
    assert not room.holds(asking(gpus=2))
    room.give_back(asking(gpus=1, licence=5))
    assert room.holds(asking(gpus=2, licence=5))


def test_what_is_taken_before_anything_is_offered_stays_taken() -> None:
    """A new leader knows reservations before it knows what the worker offers."""
    room = Room()
    room.take(asking(gpus=2))
    room.resize(Capacity(cpus=0, memory_bytes=0), LAB)
    assert not room.holds(asking(gpus=1))
    assert room.holds(asking(licence=5))


def test_more_of_a_count_exceeds() -> None:
    """So nothing waits behind something smaller for what does not come free with it."""
    assert asking(gpus=1).exceeds(Request())
    assert asking(gpus=2).exceeds(asking(gpus=1))
    assert not asking(gpus=1).exceeds(asking(gpus=1, licence=1))
    assert not Request().exceeds(asking(gpus=1))


requests = st.builds(
    Request,
    cpus=st.sampled_from((0.25, 0.5, 1.0, 2.0)),
    memory_bytes=st.integers(0, 400),
    counts=st.dictionaries(st.sampled_from(("gpus", "licence", "dongle")), st.integers(1, 3)).map(counts_of),
)


@given(st.lists(requests, max_size=20), st.randoms(use_true_random=False))
def test_room_never_gives_more_than_there_is_and_gets_all_of_it_back(
    asked: list[Request], draws: random.Random
) -> None:
    """Whoever fits takes; whatever the order of leaving, at the end it is as in the beginning."""
    room, inside = Room(LAB), list[Request]()
    for request in asked:
        if room.holds(request):
            room.take(request)
            inside.append(request)
        elif inside and draws.random() < 0.5:
            room.give_back(inside.pop(draws.randrange(len(inside))))
        assert room.cpus >= 0
        assert room.memory_bytes >= 0
        assert all(free >= 0 for free in room.counts.values())
        assert sum(each.gpus for each in inside) <= 2
    for request in inside:
        room.give_back(request)
    assert (room.cpus, room.memory_bytes, room.taken_counts(LAB)) == (
        4,
        1000,
        (Count("gpus", 0), Count("licence", 0)),
    )


# --- labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "carried"),
    [
        ("ssd", True),
        ("zone=a", True),
        ("zone=b", False),
        ("zone!=b", True),
        ("zone!=a", False),
        ("arch=x86_64", True),
        ("arch!=x86_64", False),
        ("host=n1", True),
        ("kernel=6.1", True),
        ("version=1", False),
        ("arch", False),
    ],
)
def test_labels_are_the_operators_and_the_machines_own(label: str, carried: bool) -> None:  # noqa: FBT001
    """Every worker has arch, host and kernel; a value may be excluded; no other field is a label."""
    machine = Capacity(
        cpus=1, memory_bytes=1, arch="x86_64", host="n1", kernel="6.1", version="1", labels=("ssd", "zone=a")
    )
    assert machine.carries(label) is carried
    assert Request(labels=(label,)).suits(machine) is carried
    assert Request(prefers=(label, label, "ssd")).preferred(machine) == 2 * carried + 1


# --- measured loads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "left"),
    [
        (Load(cpu=0.5, memory=0.5, net=0.5), True),
        (Load(cpu=0.51), False),
        (Load(memory=0.51), False),
        (Load(net=0.51), False),
        (Load(cpu=1.4), False),
    ],
)
def test_a_measured_load_leaves_what_it_does_not_use(load: Load, left: bool) -> None:  # noqa: FBT001
    """Each of processors, memory and bandwidth must be there."""
    assert load.leaves(Request(2, 500, 50), OFFER) is left


def test_a_load_falls_if_anything_does() -> None:
    """Then requests that heed it are looked at again."""
    before = Load(cpu=0.5, memory=0.5, net=0.5)
    assert Load(cpu=0.4, memory=0.6, net=0.5).fell(before)
    assert not Load(cpu=0.5, memory=0.6, net=0.5).fell(before)


# --- what is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(cpus=0), "more than 0"),
        (Request(cpus=float("nan")), "more than 0"),
        (Request(memory_bytes=-1), "negative"),
        (asking(licence=0), "licence=0 is no count"),
        (asking(licence=-3), "from 1 to"),
        (asking(licence=10**30), "no count"),
        (asking(cpus=1), "option of their own"),
        (asking(gpu=1), "option of their own"),
        (Request(counts=(Count("two words", 1),)), "no name of a resource"),
        (Request(counts=(Count("a", 1), Count("a", 2))), "twice"),
        (asking(**{f"r{number}": 1 for number in range(1000)}), "1000 named resources, more than 16"),
        (Request(labels=("",)), "is no label"),
        (Request(prefers=("a b",)), "is no label"),
        (Request(labels=("=",)), "is no label"),
        (Request(prefers=("!=b",)), "is no label"),
        (Request(labels=("a" * 200,)), "is no label"),
        (Request(prefers=tuple(f"l{number}" for number in range(65))), "more than 64"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(request_: Request, words: str) -> None:
    """At every edge the same check speaks."""
    assert words in (check_request(request_) or "")


def test_what_is_sound_passes() -> None:
    """Requests as users write them."""
    for request in (Request(), asking(licence=1, gpus=8), Request(labels=("a=b",), prefers=("c!=d",))):
        assert check_request(request) is None


@pytest.mark.parametrize(
    "offer",
    [
        Capacity(cpus=-1, memory_bytes=1),
        Capacity(cpus=1, memory_bytes=1, counts=(Count("licence", -1),)),
        Capacity(cpus=1, memory_bytes=1, counts=(Count("gpus", 1), Count("gpus", 1))),
        Capacity(cpus=1, memory_bytes=1, labels=("x",) * 65),
    ],
)
def test_a_worker_that_offers_nonsense_is_refused(offer: Capacity) -> None:
    """The leader reckons with what it offers."""
    assert check_capacity(offer)


@pytest.mark.parametrize(
    "text", ["licence", "licence=", "licence=x", "licence=-1", "licence=1.5", "a=1" + "0" * 30]
)
def test_what_is_no_count_says_how_to_write_one(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="licence=2"):
        parse_counts([text])


def test_counts_are_written_with_their_names() -> None:
    """Each once."""
    assert parse_counts(["licence=2", "dongle=1"]) == {"licence": 2, "dongle": 1}
    with pytest.raises(ValueError, match="twice"):
        parse_counts(["licence=2", "licence=2"])


def test_what_nobody_asks_for_takes_no_bytes() -> None:
    """Tables of before are read as ever, and plain tasks are written as before."""
    assert msgspec.json.encode(Request()) == b"{}"
    assert msgspec.json.encode(Capacity(cpus=1.0, memory_bytes=1)) == b'{"cpus":1.0,"memory_bytes":1}'
    whole = Request(counts=(Count("gpus", 1),), prefers=("a",), measured=True)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Request) == whole


def test_a_copy_of_room_is_counted_apart() -> None:
    """What is taken from the one is still free in the other."""
    room = Room(Capacity(cpus=2.0, memory_bytes=100, net_bps=10, counts=counts_of({"gpus": 1})))
    twin = room.copy()
    twin.take(Request(2.0, 100, net_bps=10, counts=counts_of({"gpus": 1})))
    assert room.holds(Request(2.0, 100, net_bps=10, counts=counts_of({"gpus": 1})))
    assert not twin.holds(Request(0.5))
    assert (twin.memory_bytes, twin.net_bps, twin.counts) == (0, 0, {"gpus": 0})
