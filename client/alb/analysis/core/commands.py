"""Which commands are the same work: the program, and a form in which numbers and paths are gone.

``/opt/bin/convert -q 90 /in/a17.tif out17.png`` is of the program ``convert`` and has the form
``convert -q N *.tif outN.png``.
"""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from typing import Final

FORM_WORDS: Final = 8
FORM_LENGTH: Final = 80
LOOKED_AT: Final = 1_000
#: Characters of a command: the rest changes nothing in what it is called.

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_LONG_HEX: Final = re.compile(r"(?<![A-Za-z0-9])(?=[0-9a-f]*\d)[0-9a-f]{8,}(?![A-Za-z0-9])")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_EXTENSION: Final = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}\Z")
_SHELLS: Final = {"sh", "bash", "dash", "zsh", "ksh"}
_WRAPPERS: Final = {"env", "nice", "nohup", "exec", "time", "ionice", "chrt", "setsid", "stdbuf", "sudo"}
#: They run what follows.
_WITH_VALUE: Final = {"timeout": 1, "taskset": 1, "flock": 1}
#: Wrappers that take so many words before what they run.


@lru_cache(maxsize=20_000)
def form_of(command: str) -> tuple[str, str]:
    """Return the program and the form of a command.

    Args:
        command: As a shell would read it.

    Returns:
        The program's name without its folder, and the form; both empty for an empty command.
    """
    words = _program_and_arguments(_words(command))
    if not words:
        return "", ""
    program = words[0].rstrip("/").rpartition("/")[2] or words[0]
    shown = [program, *map(_faceless, words[1:FORM_WORDS])]
    form = " ".join(shown) + (" …" if len(words) > FORM_WORDS else "")
    return program[:FORM_LENGTH], form if len(form) <= FORM_LENGTH else form[: FORM_LENGTH - 1] + "…"


def _words(command: str) -> list[str]:
    command = command[:LOOKED_AT]
    try:
        return shlex.split(command, comments=False)
    except ValueError:  # an open quote: perhaps only because it was cut
        return command.split()


def _program_and_arguments(words: list[str]) -> list[str]:
    """Leave out what only leads to the program: assignments, wrappers, ``sh -c``, ``cd … &&``."""
    for _ in range(8):  # wrappers in wrappers; nobody needs more
        while words and _ASSIGNMENT.match(words[0]):
            words = words[1:]
        if not words:
            break
        name = words[0].rpartition("/")[2]
        if name in _SHELLS and len(words) > 2 and re.fullmatch(r"-[a-z]*c", words[1]):
            words = _words(words[2])
        elif name == "cd" and "&&" in words[:4]:
            words = words[words.index("&&") + 1 :]
        elif name in _WRAPPERS or name in _WITH_VALUE:
            rest = words[1:]
            while rest and rest[0].startswith("-"):
                with_value = re.fullmatch(r"-[a-z]", rest[0]) and len(rest) > 2 and rest[1][:1].isdigit()
                rest = rest[2:] if with_value else rest[1:]
            rest = rest[_WITH_VALUE.get(name, 0) :]
            if not rest:
                break
            words = rest
        else:
            break
    return words


def _faceless(word: str) -> str:
    """Return an argument without what differs from task to task."""
    name, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if "/" in value:
        found = _EXTENSION.search(value)
        value = "*" + (found.group() if found else "")
    value = _NUMBER.sub("N", _LONG_HEX.sub("N", value))
    return f"{name}{equals}{value}"[:40]
