"""Finds the installed kinds of task: entry points of the group ``alb.kinds``.

A plug-in that cannot be used is left out and noted: the worker is there for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from alb_core.io.plug_ins import Loader
from alb_core.kinds import BUILT_IN, is_kind, label_of
from alb_core.notes import Level, Note
from alb_worker.kinds.builtin import Binary, Command
from alb_worker.kinds.interface import Kind

GROUP: Final = "alb.kinds"
LABELS_MAX: Final = 8
#: Of one kind, besides its own.
LABEL_LENGTH_MAX: Final = 64


def load_kinds() -> tuple[dict[str, Kind], list[Note]]:
    """Make every installed kind, in the main thread.

    Returns:
        Kinds by name, and what an operator should know: which are there, and which cannot be used and why.
    """
    kinds: dict[str, Kind] = {"command": Command(), "binary": Binary()}
    notes: list[Note] = []
    loader = Loader()
    for point in entry_points(group=GROUP):
        try:
            if point.name in kinds or not is_kind(point.name):
                raise ValueError("its name is taken, or none that a kind can have")  # noqa: TRY301 (told below)
            kinds[point.name] = loader.load(point, lambda found: _checked(found()))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (foreign code: whatever it does, the others are there)
            fields = {"kind": point.name, "plugin": point.value, "error": repr(error)[:200]}
            notes.append(Note("kind_unusable", fields, Level.WARNING))
    notes.append(Note("kinds_loaded", {"kinds": sorted(kinds)}))
    return kinds, notes


def labels_of(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """Return the labels that tell where kinds are to be had; of the built-in ones nobody asks."""
    return tuple(
        label
        for name, kind in sorted(kinds.items())
        if name not in BUILT_IN
        for label in (label_of(name), *kind.labels)
    )


def _checked(kind: object) -> Kind:
    """Hold a plug-in to its interface."""
    if not isinstance(kind, Kind):
        raise TypeError("it is no alb_worker.kinds.interface.Kind")
    labels = kind.labels
    if not isinstance(labels, tuple) or len(labels) > LABELS_MAX:
        raise TypeError(f"its labels are no tuple of at most {LABELS_MAX}")
    if not all(isinstance(label, str) and 0 < len(label) <= LABEL_LENGTH_MAX for label in labels):
        raise TypeError(f"a label of it is no text of at most {LABEL_LENGTH_MAX} characters")
    return kind
