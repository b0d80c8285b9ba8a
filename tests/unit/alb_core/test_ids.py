"""Task ids and names: what is one, and where it is kept."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alb_core import ids

ID = "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_a_uuid_of_version_7(milliseconds: int, randomness: bytes) -> None:
    """RFC 9562: the time in front, the version and the variant where they belong."""
    made = uuid.UUID(ids.uuid7(milliseconds, randomness))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == milliseconds
    assert ids.is_task_id(made.hex)


@given(
    st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=5, unique=True),
    st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_time(moments: list[int], randomness: bytes) -> None:
    """Whatever their random part is."""
    made = [ids.uuid7(moment, randomness) for moment in sorted(moments)]
    assert made == sorted(made)


@pytest.mark.parametrize("length", [0, 9, 11])
def test_an_id_needs_enough_randomness(length: int) -> None:
    """Ten bytes, no more and no less."""
    with pytest.raises(ValueError, match=f"not {length}"):
        ids.uuid7(1, b"x" * length)


@pytest.mark.parametrize("text", [ID, f"{ID}.0", f"{ID}.7", f"{ID}.999999999"])
def test_what_names_a_task(text: str) -> None:
    """32 lower-case hex digits, and for a task of an array its index."""
    assert ids.is_task_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID[1:],
        f"{ID}0",
        ID.upper(),
        f"{ID}.",
        f"{ID}.01",
        f"{ID}.-1",
        f"{ID}.1000000000",
        f"{ID}\n",
        f"{ID}/x",
        f"../{ID}",
    ],
)
def test_what_names_no_task(text: str) -> None:
    """Nothing that a path or a list could trip over."""
    assert not ids.is_task_id(text)


def test_part_of_an_id() -> None:
    """Some of its digits, up to all of them; what is longer, or no digit of it, is in no id."""
    assert all(map(ids.is_part, ("0", "beef", ID)))
    assert not any(map(ids.is_part, ("", "BEEF", "x", f"{ID}0", f"{ID}.7", "7\n")))


@pytest.mark.parametrize("text", ["b1", "w-1.example_2", "9", "x" * 64])
def test_what_names_a_broker_or_worker(text: str) -> None:
    """Letters, digits and a little more."""
    assert ids.is_name(text)


@pytest.mark.parametrize("text", ["", ".", "..", "-x", "a/b", "a b", "ä", "x\n", "x" * 65, "a\0"])
def test_what_names_neither(text: str) -> None:
    """A name becomes a node, and perhaps a folder."""
    assert not ids.is_name(text)


def test_buckets_are_even_and_known() -> None:
    """Any task is in one of the 256 buckets, and none of them is crowded: a list stays far below 1 MB."""
    names = ids.buckets()
    assert len(names) == len(set(names)) == 256
    counts = Counter(ids.bucket(ids.uuid7(1_700_000_000_000 + number, bytes(10))) for number in range(25_600))
    assert set(counts) <= set(names)
    assert max(counts.values()) < 300


def test_the_bucket_of_an_id_never_changes() -> None:
    """It is where every version of alb looks for the task."""
    assert [ids.bucket(each) for each in (ID, f"{ID}.7", "0" * 32)] == ["0b", "df", "d0"]
