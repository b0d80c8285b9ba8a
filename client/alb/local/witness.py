"""The ground truth outside the system: a file in which commands themselves write that they run.

Each start of a command appends one line ``task attempt pid worker others``, with O_APPEND and fsync, before
the command does anything else. `others` are the pids of earlier attempts of the task that still lived then.
"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import msgspec

_SCRIPT = """\
#!/bin/sh
# Usage: witness FILE. Appends one line for this start of a task, and syncs it to the disk.
others=
for pid in $(grep -s "^$ALB_TASK_ID " "$1" | cut -d ' ' -f 3); do
    read -r _ _ state _ 2>/dev/null <"/proc/$pid/stat" && [ "$state" != Z ] && others="$others,$pid"
done
printf '%s %s %s %s %s\\n' "$ALB_TASK_ID" "$ALB_ATTEMPT" "$PPID" "$ALB_WORKER" "${others:-,}" |
    dd of="$1" oflag=append conv=notrunc,fsync status=none
"""


class Start(msgspec.Struct, frozen=True):
    """One start of a command, as the command itself wrote it."""

    task: str
    attempt: int
    pid: int
    worker: str
    others: tuple[int, ...]
    #: Pids of earlier attempts that were alive at that moment.


class Witness:
    """A witness file in a folder that every worker of the machine can reach.

    Args:
        folder: Where the file and the script that writes it live.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "witness.txt"
        self.file.touch()
        self._script = folder / "witness"
        self._script.write_text(_SCRIPT)
        self._script.chmod(0o755)

    def command(self, then: str) -> str:
        """Return a shell command that writes its line and goes on with `then`."""
        return f"{shlex.quote(str(self._script))} {shlex.quote(str(self.file))} && {{ {then}\n}}"

    def starts(self) -> list[Start]:
        """Return every start so far, oldest first."""
        return [_parse(line) for line in self.file.read_text().splitlines()]

    def starts_of(self, task: str) -> list[Start]:
        """Return the starts of one task, oldest first."""
        return [start for start in self.starts() if start.task == task]

    def counts(self) -> Counter[str]:
        """Return how often each task was started."""
        return Counter(start.task for start in self.starts())


def _parse(line: str) -> Start:
    task, attempt, pid, worker, others = line.split(" ")
    return Start(
        task, int(attempt), int(pid), worker, tuple(int(other) for other in others.split(",") if other)
    )
