"""The files of this repository, for the tests that hold the tree to the house rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SOURCE_ROOTS = ("core", "broker", "worker", "client")
#: Folders that each hold one import package.

_SKIPPED = {"__pycache__", "dist", "build", "node_modules"}
_HIDDEN_KEPT = {".ci", ".gitignore", ".dockerignore"}
_TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".cfg", ".service", ".conf", ".sh", ".json", ""}


def files(below: Path = ROOT) -> Iterator[Path]:
    """Yield every text file that belongs to the project, in a stable order."""
    for path in sorted(below.iterdir()):
        hidden = path.name.startswith(".") and path.name not in _HIDDEN_KEPT
        if hidden or path.name in _SKIPPED or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from files(path)
        elif path.suffix in _TEXT:
            yield path


def python_files() -> list[Path]:
    """Return every Python file of the project, tests and benchmarks included."""
    return [path for path in files() if path.suffix == ".py"]


@cache
def modules() -> Mapping[str, Path]:
    """Return the modules of the four packages by their import name."""
    found: dict[str, Path] = {}
    for root in SOURCE_ROOTS:
        for path in files(ROOT / root):
            if path.suffix == ".py":
                parts = path.relative_to(ROOT / root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found
