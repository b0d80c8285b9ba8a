"""Packed keys sort like the keys, begin like their prefixes, and come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alb_broker.store import keys
from alb_core.rows import LoadSample, Output, Span

_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
_OUTPUT = st.tuples(_TEXTS, st.integers(-(2**63), 2**63 - 1), _TEXTS, st.integers(-(2**63), 2**63 - 1))
_LOAD = st.tuples(_TEXTS, st.floats(allow_nan=False).map(lambda value: value + 0.0))


@given(_OUTPUT, _OUTPUT)
def test_whole_numbers_and_texts_sort(one: tuple, other: tuple) -> None:
    """Keys of texts and numbers keep their order as bytes."""
    assert (keys.pack(Output, one) < keys.pack(Output, other)) == (one < other)
    assert keys.unpack(Output, keys.pack(Output, one)) == one


@given(_LOAD, _LOAD)
def test_fractions_sort(one: tuple, other: tuple) -> None:
    """So do keys with fractions, negative and infinite ones too."""
    assert (keys.pack(LoadSample, one) < keys.pack(LoadSample, other)) == (one < other)
    assert keys.unpack(LoadSample, keys.pack(LoadSample, one)) == one


@given(_OUTPUT, _OUTPUT, _OUTPUT, st.tuples(*[st.integers(0, 4)] * 3))
def test_bounds_hold_exactly_the_keys_of_a_span(
    key: tuple, after: tuple, before: tuple, cuts: tuple[int, int, int]
) -> None:
    """A key lies within the bytes of a span exactly when it lies within the span."""
    span = Span(prefix=key[: cuts[0]], after=after[: cuts[1]], before=before[: cuts[2]])
    within = (not span.after or key[: cuts[1]] > span.after) and (
        not span.before or key[: cuts[2]] < span.before
    )
    low, high = keys.bounds(Output, span)
    packed = keys.pack(Output, key)
    assert (low <= packed and (high is None or packed < high)) == within
