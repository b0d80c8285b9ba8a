"""The hierarchies of control groups that this machine has, and where in each of them this process is.

Version 2 is one hierarchy for everything; of version 1 each controller may have its own. Both may be there at
once, the controllers shared out between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

AGENT_LEAF: Final = "alb-agent"
#: Where an agent is moved to when its group must have no processes of its own: version 2 shares its
#: controllers out only then. It still counts as being where it was.

WANTED: Final = frozenset({"memory", "pids", "freezer"})
#: Controllers that hold or end an attempt.
DEMOTING: Final = frozenset({"cpu"})
#: That lets an attempt have the lowest weight.
NO_CONTROLLERS: Final[frozenset[str]] = frozenset()


class Place(NamedTuple):
    """A group in one hierarchy."""

    version: int
    controllers: frozenset[str]
    #: Of those we want, the ones that this hierarchy has, whether or not they are shared out to the group.
    path: str

    def below(self, name: str) -> Place:
        """Return the group of a name in this one."""
        return self._replace(path=f"{self.path}/{name}")


def own_places(root: Path = Path("/"), wanted: frozenset[str] = WANTED) -> list[Place]:
    """Return the groups that this process is in, of the hierarchies that are of use; version 2 first.

    Args:
        root: Where ``proc`` and the mounts are looked up; another folder in tests.
        wanted: Controllers of version 1 that are of use.
    """
    groups = dict(_groups(_text(root / "proc/self/cgroup")))
    places: dict[frozenset[str], Place] = {}
    for mount_root, mount_point, controllers in _mounts(_text(root / "proc/self/mountinfo")):
        found = (controllers or NO_CONTROLLERS) & wanted
        key = "" if controllers is None else next((each for each in sorted(found) if each in groups), None)
        if key is None or key not in groups or found in places:
            continue
        relative = groups[key].removeprefix(mount_root.rstrip("/")).strip("/")
        folder = root / mount_point.strip("/") / relative
        if folder.name == AGENT_LEAF:
            folder = folder.parent
        if not folder.is_dir():
            continue
        if controllers is None:
            places[found] = Place(2, frozenset(_text(folder / "cgroup.controllers").split()), str(folder))
        else:
            places[found] = Place(1, found, str(folder))
    return sorted(places.values(), key=lambda place: (-place.version, place.path))


def mount_points(root: Path = Path("/")) -> list[str]:
    """Return where the hierarchies that are of use are mounted."""
    return [
        str(root / mount_point.strip("/"))
        for _, mount_point, controllers in _mounts(_text(root / "proc/self/mountinfo"))
        if controllers is None or controllers & (WANTED | DEMOTING)
    ]


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Read ``/proc/self/cgroup``: the group of each controller; that of version 2 has no name."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _mounts(text: str) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """Read ``/proc/self/mountinfo`` (proc(5)): root in the hierarchy, mount point, controllers.

    Version 2 has None for its controllers: its groups tell them.
    """
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if not separator or len(fields) < 5 or not kinds:
            continue
        if kinds[0] == "cgroup2":
            yield fields[3], fields[4], None
        elif kinds[0] == "cgroup":
            yield fields[3], fields[4], frozenset(kinds[-1].split(","))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
