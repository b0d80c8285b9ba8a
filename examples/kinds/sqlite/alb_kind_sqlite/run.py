"""Runs in the task's own process and directory: the script on the database, its rows to stdout and value."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path


def main() -> int:
    """Run the script; returns the exit status: 1 where SQLite refuses it."""
    script = Path(".alb/payload").read_text(encoding="utf-8")
    database = sqlite3.connect("db")
    rows: list[tuple[object, ...]] = []
    try:
        for statement in statements(script):
            found = database.execute(statement)
            rows = found.fetchall() if found.description else rows
        database.commit()
    except sqlite3.Error as error:
        print(f"sqlite: {error}", file=sys.stderr)
        return 1
    finally:
        database.close()
    for row in rows:
        print(*row, sep="\t")
    Path(".alb/value").write_text(json.dumps(rows, default=repr), encoding="utf-8")
    return 0


def statements(script: str) -> list[str]:
    """Return the statements of a script."""
    found, text = [], ""
    for piece in script.splitlines(keepends=True):
        text += piece
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return [*found, text] if text.strip() else found


if __name__ == "__main__":
    sys.exit(main())
