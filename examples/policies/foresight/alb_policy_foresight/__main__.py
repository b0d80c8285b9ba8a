"""``python -m alb_policy_foresight learn|priority``: from history to a file, from a command to a priority."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from alb_policy_foresight.medians import dumps, key_of, learn, loads

USAGE = """usage:
  alb sql --json "SELECT command, wall_s FROM v_tasks WHERE state = 'SUCCEEDED' ORDER BY finished_at" \\
    | python -m alb_policy_foresight learn > medians.json
  export ALB_FORESIGHT=medians.json
  alb submit -p "$(python -m alb_policy_foresight priority 'make report')" 'make report'
"""


class Run(msgspec.Struct, frozen=True):
    """One row of history."""

    command: str
    wall_s: float | None


def main(words: list[str]) -> int:
    """Learn from standard input, or say a command's priority; what cannot be read is said in a sentence."""
    try:
        return _run(words)
    except KeyError as missing:
        why = f"{missing.args[0]} is not set: export {missing.args[0]}=medians.json, which `learn` wrote"
    except OSError as error:
        why = f"{error.filename or 'standard output'}: {error.strerror}"
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        why = f"this is not what `alb sql --json` or `learn` wrote: {error}"
    print(f"alb_policy_foresight: {why}", file=sys.stderr)
    return 1


def _run(words: list[str]) -> int:
    match words:
        case ["learn"]:
            rows = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Run])
            runs = ((key_of(row.command), row.wall_s or 0.0) for row in rows)
            sys.stdout.buffer.write(dumps(learn(runs)) + b"\n")
        case ["priority", command]:
            medians = loads(Path(os.environ["ALB_FORESIGHT"]).read_bytes())
            print(medians.priority(key_of(command)))
        case _:
            print(USAGE, end="", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
