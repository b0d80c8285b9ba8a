"""Tasks of steps: a command that runs once for each step, each step reported as an increment when it is over.

A small shell script runs them one after another, so a step costs what starting its command costs. A step that
fails ends the task with its status. An attempt that goes on begins after the newest step that is stored.
"""

from __future__ import annotations

from typing import Final

from alb_core.increments import STEP_KEY

_LOOP: Final = f"""\
step=$1 last=$2
shift 2
while [ "$step" -le "$last" ]; do
  (ALB_STEP=$step; export ALB_STEP; exec "$@") || exit
  printf '{{"key":"{STEP_KEY}","value":%d}}\\n' "$step" >>"$ALB_INCREMENTS" || exit 125
  step=$((step + 1))
done
"""


def command_of_steps(command: str | tuple[str, ...], steps: int, first: int) -> tuple[str, ...]:
    """Return the command that runs a command for each step from `first` to `steps`."""
    words = ("/bin/sh", "-c", command) if isinstance(command, str) else command
    return ("/bin/sh", "-c", _LOOP, "steps", str(first), str(steps), *words)
