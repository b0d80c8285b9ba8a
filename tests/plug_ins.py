"""Installs an example plug-in where a cluster of tests finds it, without asking any index."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path


def install(example: Path, target: Path, more: Mapping[str, str]) -> None:
    """Do what pip does with an example: its package, and beside it what its distribution says of itself.

    Args:
        example: Its folder, with a pyproject.toml that registers in one group of entry points.
        target: A folder that the cluster has in its PYTHONPATH.
        more: Entry points that the distribution has besides, by name.
    """
    pyproject = tomllib.loads((example / "pyproject.toml").read_text())
    project = pyproject["project"]
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(example / package, target / package)
    about = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    ((group, points),) = project["entry-points"].items()
    lines = [f"{name} = {value}\n" for name, value in {**points, **more}.items()]
    (about / "entry_points.txt").write_text(f"[{group}]\n" + "".join(lines))
