"""Only what differs from the standard is a structure's own."""

from __future__ import annotations

import msgspec
import pytest

from alb.api.standard import with_fields


class Inner(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part."""

    share: float = 1.0


class Outer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole."""

    name: str = ""
    grace: float = 5.0
    inner: Inner = Inner()


STANDARD = Outer()


def test_what_is_alike_is_the_standards_own() -> None:
    """However it was made: so it is left out of what is written, and found by who looks for the standard."""
    inner = with_fields(STANDARD.inner, {"share": float("1.0")})
    assert inner is STANDARD.inner
    assert with_fields(STANDARD, {"name": "", "grace": float("5.0"), "inner": inner}) is STANDARD
    made = with_fields(STANDARD, {"name": "x", "grace": float("5.0"), "inner": inner})
    assert made == Outer(name="x")
    assert msgspec.json.encode(made) == b'{"name":"x"}'


@pytest.mark.parametrize(("share", "written"), [(True, b"true"), (1, b"1"), (2.0, b"2.0")])
def test_what_only_looks_alike_is_not_taken_for_it(share: object, written: bytes) -> None:
    """Of the wrong type it is written, and refused by who reads it, not silently the default."""
    inner = with_fields(STANDARD.inner, {"share": share})
    assert msgspec.json.encode(with_fields(STANDARD, {"inner": inner})) == b'{"inner":{"share":%b}}' % written
