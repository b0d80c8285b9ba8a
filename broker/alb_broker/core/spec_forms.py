"""The forms of a specification: as it travels, and as a znode holds it. Neither is made again for each write.

Who submits thousands of tasks submits the same bytes again and again, so what follows from the bytes alone is
worked out once, and their tasks share it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from alb_core import codec, znodes
from alb_core.spec import TaskSpec, digest


class SpecForms(msgspec.Struct, frozen=True, gc=False):
    """One specification, encoded."""

    wire: msgspec.Raw
    #: In messages.
    node: msgspec.Raw
    #: In the data of znodes.


class Submitted(NamedTuple):
    """A specification as somebody submitted it."""

    spec: TaskSpec
    why: str | None
    #: What is wrong with it and what to do, its size apart.
    digest: str
    forms: SpecForms


def forms_of(spec: TaskSpec, wire: bytes = b"") -> SpecForms:
    """Return the forms of a specification.

    Args:
        spec: The specification.
        wire: How it came; it is encoded where nothing is given.
    """
    return SpecForms(msgspec.Raw(wire or codec.encode_spec(spec)), msgspec.Raw(znodes.encode(spec)))


@lru_cache(maxsize=codec.SPECS_KEPT)
def read_submitted(wire: bytes) -> Submitted:
    """Read a specification, as `codec.read_spec` does.

    Raises:
        RemoteProtocolError: It is none; the text says what is wrong with which field.
    """
    spec, why = codec.read_spec(wire)
    return Submitted(spec, why, digest(wire), forms_of(spec, wire))
