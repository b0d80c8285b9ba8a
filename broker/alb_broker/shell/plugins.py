"""Finds the installed policies: entry points of the group ``alb.policies``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from alb_broker.policies import Candidate, Context, Policy, check_policy, wishes_of
from alb_core import ids
from alb_core.choices import DEFAULT_POLICY
from alb_core.errors import ConfigError
from alb_core.io.plug_ins import Loader, PlugInUnusable, is_ours
from alb_core.notes import Level, Note
from alb_core.spec import TaskSpec

GROUP: Final = "alb.policies"
POLICIES_MAX: Final = 64
#: Of one broker: it names all of them in its node.

T = TypeVar("T")


class PolicyBroke(Exception):
    """Raised in place of what a policy raised that would end the process, or that cannot say what it is."""


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
    """Import every installed policy, in the main thread.

    One that cannot be used is left out: a plug-in of somebody else's must not keep a broker from starting.

    Raises:
        ConfigError: The default is not among them: the installation is broken.
    """
    found, loader = Installed({}, {}, []), Loader()
    for point in _points():
        policy: Any = None
        try:
            wrong = _wrong_name(point.name, found)
            if wrong is None:
                policy, wrong = loader.load(point, lambda loaded: (loaded, check_policy(loaded)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever foreign code does when it is imported)
            told = str(error) if isinstance(error, PlugInUnusable) else repr(error)
            wrong = f"it cannot be loaded: {told:.200}"
        if wrong is not None:
            fields = {"policy": point.name, "at": point.value, "why": wrong}
            found.notes.append(Note("policy_unusable", fields, Level.WARNING))
            continue
        found.policies[point.name] = policy if is_ours(point) else _tamed(policy)
        distribution = getattr(point, "dist", None)
        found.sources[point.name] = f"{distribution.name} {distribution.version}" if distribution else ""
    if DEFAULT_POLICY not in found.policies:
        reasons = "".join(f"; {note.fields['why']}" for note in found.notes)
        raise ConfigError(
            f"the policy {DEFAULT_POLICY} is not installed; install alb again (pip install -e .){reasons}"
        )
    return found


def _wrong_name(name: str, found: Installed) -> str | None:
    if not ids.is_name(name):
        return "its name is not usable"
    if name in found.policies:
        return f"its name is taken, by {found.sources[name] or 'another one'}"
    return None


def _points() -> Iterator[EntryPoint]:
    """Yield what is registered, at most so many: our own first, so that nobody takes their names."""
    points = sorted(entry_points(group=GROUP), key=lambda point: not is_ours(point))
    yield from points[:POLICIES_MAX]


def _tamed(policy: Policy) -> Policy:
    """Return a policy of others that raises nothing but exceptions that can be told, nor does its check."""

    @wraps(policy)  # it keeps what it says of itself
    def choose(task: TaskSpec, candidates: Sequence[Candidate], context: Context) -> Candidate | None:
        return _kept(policy, task, candidates, context)

    wanted = wishes_of(policy)
    if (check := wanted.check) is not None:
        vars(choose)["wishes"] = msgspec.structs.replace(wanted, check=lambda given: _kept(check, given))
    return choose


def _kept(code: Callable[..., T], *args: object) -> T:
    """Run foreign code; not even what it raises to leave ends the process, but for somebody's Ctrl-C."""
    try:
        return code(*args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if (broke := _harmless(error)) is error:
            raise
        raise broke from None


def _harmless(error: BaseException) -> Exception:
    """Return an error as it is where it is an `Exception` with a text, else what tells of it."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 (its text is foreign code, too)
        text = "(it cannot say itself)"
    else:
        if isinstance(error, Exception):
            return error
    return PolicyBroke(f"{type(error).__qualname__}: {text}".strip(": "))
