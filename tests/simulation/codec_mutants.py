"""Planted defects of the wire: one value that is written in two ways."""

from __future__ import annotations

from typing import Any

from alb_core import codec


def written_as_built() -> list[tuple[Any, str, Any]]:
    """A specification travels as its objects are: 1 and 1.0 are two of them."""
    return [(codec, "plain", lambda spec: spec)]
