"""Policies: pure rules that choose a worker for a task.

One file each; found through the entry point group ``alb.policies``; chosen at run time through
``/config/policy``. A policy is a callable ``choose(task, candidates, context) -> Candidate | None``. It sees
only values, keeps nothing between calls, and must be quick: when it raises, answers with something that is
no candidate, or is slow, the default policy places the task instead. The first line of its docstring is what
people read of it; `wishes` says what else it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from alb_core.choices import PARAMETERS_MAX, Parameter
from alb_core.draws import Draws
from alb_core.resources import Capacity, Load
from alb_core.spec import TaskSpec

CANDIDATES: Final = 4
#: A policy sees so many workers: the cost of a placement does not grow with the cluster, and a few choices
#: are nearly as good as all (Mitzenmacher, "The power of two choices", 2001).
CANDIDATES_MAX: Final = 16
#: For those that want the best of more.


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A worker that has room for the task now."""

    worker: str
    capacity: Capacity
    cpus: float
    #: Free.
    memory_bytes: int
    #: Free.
    net_bps: int
    #: Free.
    load: Load
    #: As last reported.
    attempts: int = 0
    #: That it holds.
    turn: int = 0
    #: Rises with every placement: the worker's newest; 0: it was given nothing under this leader.
    preferred: int = 0
    #: How many of the labels that the task prefers it carries. All candidates carry as many: those with more
    #: have no room.
    speed: float = 1.0
    #: In what the task strains, as measured and corrected by run times; `capacity` has what the worker says.


class Context(msgspec.Struct, frozen=True):
    """What a policy may use besides the task and the candidates."""

    at: float
    #: Cluster time.
    draws: Draws
    #: Random numbers, reproducible in simulation.
    parameters: Mapping[str, Parameter] = {}
    #: The policy's own, with what the operator chose in their place.


class Policy(Protocol):
    """The interface of a policy."""

    def __call__(
        self, task: TaskSpec, candidates: Sequence[Candidate], context: Context, /
    ) -> Candidate | None:
        """Choose one of the candidates (a sole one may be declined), or None to wait."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy wants to be given."""

    candidates: int = CANDIDATES
    #: How many workers it sees at most.
    fastest_first: bool = False
    #: Those are the fastest with room; else others each time.
    parameters: Mapping[str, Parameter] = {}
    #: What operators may change, with what holds if they do not.
    check: Callable[[Mapping[str, Parameter]], str | None] | None = None
    #: Tells what is wrong with a set of parameters, as a sentence, or None; names and types are looked at
    #: before.
    halves: tuple[str, ...] = ()
    #: Two parameters that make 1 together: who gives one alone means the rest by the other.


PLAIN: Final = Wishes()
P = TypeVar("P", bound=Policy)


def wishes(
    *,
    candidates: int = CANDIDATES,
    fastest_first: bool = False,
    parameters: Mapping[str, Parameter] | None = None,
    check: Callable[[Mapping[str, Parameter]], str | None] | None = None,
    halves: tuple[str, ...] = (),
) -> Callable[[P], P]:
    """Decorate a policy with what it wants; see `Wishes`."""
    wanted = Wishes(
        candidates=candidates,
        fastest_first=fastest_first,
        parameters=parameters or {},
        check=check,
        halves=halves,
    )

    def decorate(policy: P) -> P:
        vars(policy)["wishes"] = wanted
        return policy

    return decorate


def wishes_of(policy: Policy) -> Wishes:
    """Return what a policy wants; who says nothing gets the usual."""
    wanted: Wishes = getattr(policy, "wishes", PLAIN)
    return wanted


def summary(policy: Policy) -> str:
    """Return the first line of what a policy says of itself."""
    text = (policy.__doc__ or "").strip()
    return text.partition("\n")[0][:200]


def check_policy(policy: object) -> str | None:
    """Return why a plug-in cannot be a policy, as a sentence, or None."""
    if not callable(policy):
        return "it cannot be called: a policy is choose(task, candidates, context)"
    wanted = getattr(policy, "wishes", PLAIN)
    if not isinstance(wanted, Wishes):
        return "its wishes are none: decorate it with alb_broker.policies.wishes"
    if not 1 <= wanted.candidates <= CANDIDATES_MAX:
        return f"it wants {wanted.candidates} candidates, and gets 1 to {CANDIDATES_MAX}"
    if len(wanted.parameters) > PARAMETERS_MAX:
        return f"it has {len(wanted.parameters)} parameters, more than {PARAMETERS_MAX}"
    return None


def completed(policy: Policy, given: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return parameters that are given to a policy, with what they say of others that are not."""
    halves = wishes_of(policy).halves
    said = [name for name in halves if name in given]
    if len(said) != 1 or isinstance(value := given[said[0]], str):
        return dict(given)
    return {**{name: max(0.0, 1.0 - value) for name in halves}, **given}


def check_parameters(policy: Policy, given: Mapping[str, Parameter], *, asking: bool = True) -> str | None:
    """Return what is wrong with parameters for a policy, as a sentence, or None.

    Args:
        policy: Whose.
        given: What was chosen.
        asking: Whether its own check of them is asked.
    """
    wanted = wishes_of(policy)
    for name, value in given.items():
        if name not in wanted.parameters:
            known = ", ".join(wanted.parameters) or "none"
            return f"it has no parameter {name[:40]!r}; it has: {known}"
        if isinstance(value, str) is not isinstance(wanted.parameters[name], str):
            kind = "a word" if isinstance(wanted.parameters[name], str) else "a number"
            return f"its parameter {name} is {kind}, and {value!r:.40} is none"
    if wanted.check is None or not asking:
        return None
    try:
        return wanted.check({**wanted.parameters, **completed(policy, given)})
    except Exception as error:  # noqa: BLE001 (a policy is foreign code)
        return f"its own check of them failed: {error!r:.200}"
