"""Finds the installed policies: entry points of the group ``alb.policies``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Final, NamedTuple

from alb_broker.policies import Policy, check_policy
from alb_core import ids
from alb_core.choices import DEFAULT_POLICY
from alb_core.errors import ConfigError
from alb_core.notes import Level, Note

GROUP: Final = "alb.policies"
POLICIES_MAX: Final = 64
#: Of one broker: it names all of them in its node.


class Installed(NamedTuple):
    """What was found."""

    policies: dict[str, Policy]
    sources: dict[str, str]
    #: By name: the distribution that a policy came with, and its version.
    notes: list[Note]
    #: What could not be used.


def load_policies() -> dict[str, Policy]:
    """Import every installed policy, see `find_policies`; returns them by name."""
    return find_policies().policies


def find_policies() -> Installed:
    """Import every installed policy.

    One that cannot be used is left out: a plug-in of somebody else's must not keep a broker from starting.

    Raises:
        ConfigError: The default is not among them: the installation is broken.
    """
    found = Installed({}, {}, [])
    for point in _points():
        try:
            policy = point.load()
            wrong = check_policy(policy) if ids.is_name(point.name) else "its name is not usable"
        except Exception as error:  # noqa: BLE001 (whatever foreign code does when it is imported)
            wrong = f"it cannot be loaded: {error!r:.200}"
        if wrong is not None:
            fields = {"policy": point.name, "at": point.value, "why": wrong}
            found.notes.append(Note("policy_unusable", fields, Level.WARNING))
            continue
        found.policies[point.name] = policy
        distribution = getattr(point, "dist", None)
        found.sources[point.name] = f"{distribution.name} {distribution.version}" if distribution else ""
    if DEFAULT_POLICY not in found.policies:
        reasons = "".join(f"; {note.fields['why']}" for note in found.notes)
        raise ConfigError(
            f"the policy {DEFAULT_POLICY} is not installed; install alb again (pip install -e .){reasons}"
        )
    return found


def _points() -> Iterator[EntryPoint]:
    """Yield what is registered, the default first, at most so many."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name != DEFAULT_POLICY)
    yield from points[:POLICIES_MAX]
