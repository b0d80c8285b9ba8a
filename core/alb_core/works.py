"""What a task does, apart from who may wait how long for it: its work. Tasks of one work need run only once.

A work is everything that decides what is executed, for whom: the command, its environment, its directory, its
files, and which workers will do. What only decides when and how patiently (name, priority, reservations,
limits) is no part of it. When in doubt a field is part: a result that is not found costs a run, a wrong one
more.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from alb_core.spec import TaskSpec

APART: Final = frozenset(
    {
        "name",
        "priority",
        "time_limit_s",
        "grace_s",
        "on_lost",
        "preemptible",
        "request",
        "bounds",
        "retry",
        "start",
        "nice",
        "speculative",
    }
)
#: Fields of a specification that are no part of its work; of the request, the labels are.

_PARTS: Final = tuple(name for name in TaskSpec.__struct_fields__ if name not in APART)
_PLAIN: Final = TaskSpec(command="")
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


def work_of(user: str, spec: TaskSpec) -> str:
    """Return the name of a task's work: a hash, the same for all tasks that do the same.

    Args:
        user: Whose task it is: nobody is given what others ran.
        spec: What is to run. A field at its default counts for nothing, so that later ones change no name.
    """
    parts = {name: value for name in _PARTS if (value := getattr(spec, name)) != getattr(_PLAIN, name)}
    if spec.request.archs:
        parts["archs"] = sorted(spec.request.archs)
    return hashlib.blake2b(
        _ENCODER.encode((user, sorted(spec.request.labels), parts)), digest_size=16
    ).hexdigest()
