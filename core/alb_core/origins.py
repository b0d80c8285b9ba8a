"""Where each setting of a role stood, so that an error can name the place, and say what would be right there.

It knows files, the environment and flags by name only; what settings there are is ``config.py``'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_UNKNOWN: Final = re.compile(r"unknown field `(.*?)`")
_MISSING: Final = re.compile(r"missing required field `(\w+)`")
_MISFIT: Final = re.compile(r"^(?P<told>.*) - at `\$\.(?P<field>\w+)[^`]*`$")
_EXPECTED: Final = re.compile(r"^Expected `(?P<kinds>[^`]*)`, got `\w+`$")
#: How msgspec says each; a value that is no good ends with where it stood.
_KINDS: Final = {
    "int": "a whole number",
    "int | null": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "array": "a list",
}
_UNITS: Final = {
    "_s": " of seconds",
    "_bytes": " of bytes",
    "_bytes_max": " of bytes",
    "_bps": " of bits a second",
}
#: By the end of a setting's name.


class Origins:
    """Tells where settings stood.

    Args:
        fields: The settings that there are.
        file: Name of the configuration file.
        text: What is in it; empty: there is none.
    """

    def __init__(self, fields: Sequence[str], file: str, text: str) -> None:
        self._fields: Final = fields
        self._file: Final = file
        self._text: Final = text
        self._places: Final[dict[str, str]] = {}  #: Of what stood elsewhere than in the file.

    def note(self, place: str, field: str) -> None:
        """A setting came from there, whatever the file says."""
        self._places[field] = place

    def explain(self, told: str, values: Mapping[str, Any]) -> str:
        """Say in a sentence what msgspec told of all settings together."""
        if found := _UNKNOWN.search(told):
            return self._unknown(found[1], values.get(found[1]))
        if found := _MISSING.search(told):
            name = found[1]
            flag = name.replace("_", "-")
            there = f"ALB_{name.upper()} in the environment, or {name} = … in the file"
            return f"{name} is missing: give --{flag}, {there}"
        if found := _MISFIT.match(told):
            return self._misfit(found["field"], values.get(found["field"]), found["told"])
        return f"configuration: {told}"

    def _unknown(self, name: str, value: Any) -> str:
        from difflib import get_close_matches  # noqa: PLC0415 (only who made a mistake waits for it)

        if isinstance(value, Mapping):
            told = f"there is no section [{name:.80}]; settings stand in the file without sections"
        else:
            near = get_close_matches(name, self._fields, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            told = f"there is no setting {name!r:.80}; {hint}There are: {', '.join(self._fields)}"
        return f"{self._place(name)}: {told}"

    def _misfit(self, field: str, value: Any, told: str) -> str:
        expected = _EXPECTED.match(told)
        kind = _KINDS.get(expected["kinds"]) if expected is not None else None
        wanted = told if kind is None else f"it is {kind}"
        if kind in ("a number", "a whole number"):
            wanted += next((unit for end, unit in _UNITS.items() if field.endswith(end)), "")
        if isinstance(value, list | tuple):
            wanted = wanted.replace("it is", "each of it is")
        return f"{self._place(field)}: {field} cannot be {value!r:.80}: {wanted}"

    def _place(self, field: str) -> str:
        place = self._places.get(field)
        if place is not None:
            return place
        name = rf"""["']?{re.escape(field)}["']?[ \t]*"""
        line = re.search(rf"^[ \t]*(\[+[ \t]*{name}|{name}[=.])", self._text, re.MULTILINE)
        if line is None:
            return self._file or "configuration"
        return f"{self._file}, line {self._text.count(chr(10), 0, line.start()) + 1}"
