"""The user's vector: what people write, what it decides, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker_parts import request

from alb_core.resources import check_request
from alb_core.vectors import (
    PATIENCE_S,
    Vector,
    check_vector,
    hurries,
    may_copy,
    parse_vector,
    patience_s,
    vector_words,
    weighed,
)

WEIGHT = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("time", 1.0),
        ("resources", 0.0),
        ("time=0.7,resources=0.3", 0.7),
        ("resources=30, time=70", 0.7),
        ("time=0.25", 0.25),
        ("resources=0.25", 0.75),
        ("time=5", 1.0),
        ("time,resources", 0.5),
    ],
)
def test_people_write_one_or_both(text: str, time: float) -> None:
    """Weights of any size are brought to the sum 1; of one between 0 and 1 the other is the rest."""
    assert parse_vector(text) == Vector(time=time, resources=pytest.approx(1 - time))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is nothing to optimise: write time, resources"),
        ("money", "'money' is nothing to optimise"),
        ("time=fast", "'fast' is no weight of time"),
        ("time,time", "time is given twice"),
        ("time=0,resources=0", "nor both of them 0"),
        ("time=-1", "not negative"),
        ("time=nan", "not negative"),
        ("time=inf,resources=1", "not negative"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str, words: str) -> None:
    """The sentence names the word that is wrong."""
    with pytest.raises(ValueError, match=words):
        parse_vector(text)


@given(WEIGHT, WEIGHT)
def test_weights_have_the_sum_one_and_are_read_back(time: float, resources: float) -> None:
    """Whatever was given; what is shown to people means the same."""
    if not time + resources > 0:
        return
    vector = weighed(time, resources)
    assert check_vector(vector) is None
    assert check_request(request(optimize=vector)) is None
    read = parse_vector(vector_words(vector))
    assert read.time == pytest.approx(vector.time, abs=1e-5)


@pytest.mark.parametrize("weights", [(0.5, 0.6), (-0.5, 1.5), (float("nan"), 0.5)])
def test_a_request_with_other_weights_is_refused(weights: tuple[float, float]) -> None:
    """Whoever speaks the protocol himself is told."""
    assert "are no weights" in str(
        check_request(request(optimize=Vector(time=weights[0], resources=weights[1])))
    )


def test_copies_are_for_who_is_in_a_hurry() -> None:
    """And for who says nothing: where a copy costs more than it is worth, its bounds say so."""
    asked = [None, *map(parse_vector, ("time", "time=0.5", "time=0.4", "resources"))]
    assert [may_copy(vector) for vector in asked] == [True, True, True, False, False]
    assert [hurries(vector) for vector in asked if vector is not None] == [True, True, False, False]


@given(WEIGHT, WEIGHT)
def test_who_hurries_does_not_wait_and_who_saves_not_for_ever(time: float, resources: float) -> None:
    """The more resources outweigh time, the longer, up to a bound."""
    if not time + resources:
        return
    vector = weighed(time, resources)
    assert 0 <= patience_s(vector) <= PATIENCE_S
    assert (patience_s(vector) == 0) is hurries(vector)
