"""The ``console`` blocks of a page: what a person types, what is shown, and a way to type it all.

A line that begins with ``$ `` is a command, with ``> `` its next line; what follows is what it shows. There
``...`` stands for anything, alone on a line for any lines. A block marked ``console second`` is typed into a
second terminal, while the last command of the block before still runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from tests.harness import wait_for
from tests.source_tree import ROOT

TOUR = ROOT / "docs" / "tour.md"
STOP = "\n## Stop\n"
#: The heading of its last part.
WAITING = "alb: looking for the leader"
#: It is said only where the answer takes a moment, as on a busy machine: no page shows it.
COMMAND_S = 120.0
#: For one command: the longest brings a cluster up.

_BLOCK = re.compile(r"^```console( second)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = 'while IFS= read -r -d "" command <&9; do eval "$command"; printf "\\0%d\\0" $?; done'


class Step(msgspec.Struct):
    """One command and what it shows."""

    command: str
    shows: list[str] = []


class Block(msgspec.Struct):
    """What is typed into one terminal, one command after the other."""

    second: bool
    steps: list[Step]


def read_blocks(text: str) -> list[Block]:
    """Return the console blocks of a page."""
    return [Block(second=bool(mark), steps=_read_steps(body)) for mark, body in _BLOCK.findall(text)]


def _read_steps(body: str) -> list[Step]:
    steps: list[Step] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:]))
        elif line.startswith("> ") and not steps[-1].shows:
            steps[-1].command += "\n" + line[2:]
        else:
            steps[-1].shows.append(line)
    return steps


def matches(shows: list[str], output: str) -> bool:
    """Tell whether an output is what a page shows.

    What alb says of itself comes by another stream than what it prints: their order is left to chance.
    """
    lines = [line for line in output.splitlines() if line != WAITING]
    return all(_match(kind(shows), kind(lines)) for kind in (_printed, _said))


def _printed(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("alb: ")]


def _said(lines: list[str]) -> list[str]:
    return [line for line in lines if line == "..." or line.startswith("alb: ")]


def _match(shows: list[str], lines: list[str]) -> bool:
    patterns = ["(?:.*\n)*" if line == "..." else _pattern(line) + "\n" for line in shows]
    return re.fullmatch("".join(patterns), "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split("...")))


class Terminal:
    """A shell that is typed into. It keeps its variables from one command to the next.

    Args:
        folder: Where it starts.
    """

    def __init__(self, folder: Path) -> None:
        reader, self._typed = os.pipe()
        self._shell = subprocess.Popen(
            ["bash", "-c", f"exec 9<&{reader}; {_SHELL}"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[reader],
        )
        os.close(reader)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._typed)
        self._shell.terminate()
        self._shell.wait()
        self._reader.join()
        assert self._shell.stdout is not None
        self._shell.stdout.close()

    def type(self, command: str) -> None:
        """Start a command."""
        self._shown.clear()
        os.write(self._typed, command.encode() + b"\0")

    def wait_for_output(self) -> None:
        """Wait until the command shows something."""
        wait_for(lambda: self._shown, "the first output", COMMAND_S)

    def finish(self) -> tuple[str, int]:
        """Wait for the command's end; return what it showed, and its exit status."""
        wait_for(lambda: self._shown.endswith(b"\0") and self._shown.count(0) == 2, "the end", COMMAND_S)
        output, status, _ = bytes(self._shown).split(b"\0")
        return output.decode(), int(status)

    def _read(self) -> None:
        assert self._shell.stdout is not None
        while data := os.read(self._shell.stdout.fileno(), 65536):
            self._shown += data


def perform(blocks: list[Block], folder: Path) -> None:
    """Type every command of a page, and hold what comes against what the page shows."""
    with Terminal(folder) as first, Terminal(folder) as second:
        running: Step | None = None  # in the first terminal, while the second is typed into
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            terminal = second if block.second else first
            for step in block.steps:
                terminal.type(step.command)
                if not block.second and step is block.steps[-1] and following and following.second:
                    terminal.wait_for_output()
                    running = step
                else:
                    _check(step, *terminal.finish())
            if block.second and running and not (following and following.second):
                _check(running, *first.finish())
                running = None


def _check(step: Step, output: str, status: int) -> None:
    assert status == 0, f"$ {step.command}\nexit status {status}\n{output}"
    shown = "\n".join(step.shows)
    assert matches(step.shows, output), f"$ {step.command}\n--- the page shows\n{shown}\n--- it is\n{output}"
