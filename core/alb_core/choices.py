"""Which policy places tasks, with which parameters; who chose it, when, and what was before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from alb_core import ids

Parameter: TypeAlias = float | str
#: Of a policy: a number or a word.

DEFAULT_POLICY: Final = "least-loaded"
PARAMETERS_MAX: Final = 16
#: Of one policy: what people choose by hand.
WORD_LENGTH_MAX: Final = 200
#: Of a parameter that is a word.
CHANGES_KEPT: Final = 50
#: In the history of choices: one znode, for people; longer ago nobody rolls back.
TRY_S_MAX: Final = 7 * 86_400.0
#: Longer than a week is no try.


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A policy, and the parameters that it is given instead of its own."""

    policy: str = msgspec.field(
        default_factory=lambda: DEFAULT_POLICY
    )  # a default of its own is written, too
    parameters: dict[str, Parameter] = {}

    def words(self) -> str:
        """Return it as people write it: ``weighted cpu=0.6 memory=0.4``."""
        return " ".join((self.policy, *parameter_words(self.parameters)))

    def plain(self) -> Choice:
        """Return the choice without what is said besides."""
        return Choice(policy=self.policy, parameters=self.parameters)


class Change(Choice, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One choice that came into force."""

    by: str = ""
    #: The user; ``zkCli``: somebody wrote the node by hand.
    at: float = 0.0
    #: Cluster time.
    how: str = ""
    #: ``set``, ``try``, ``rollback``, or ``ended``: the time of a try was over.


class PolicyNode(Choice, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """``/config/policy``: which policy places tasks.

    People write it by hand, perhaps no more than the name: the leader adds the rest.
    """

    by: str = ""
    since: float = 0.0
    #: Cluster time; 0: written by hand.
    former: Choice | None = None
    #: What `alb policy rollback` goes back to, and what comes back when a try ends; then there is none.
    until: float = 0.0
    #: The try ends then; 0: this is no try.


class UseNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``/config/policy-use``: how far a leader trusts a policy that is not alb's; nothing: none is in use.

    Written before it is asked for the first time in a reign, so that the heir of a leader that ended in it
    does not ask it, too.
    """

    policy: str = ""
    #: Its name; empty: no leader asks one, or who did has handed over.
    epoch: int = 0
    #: Of who wrote this.
    since: float = 0.0
    #: Cluster time when it was about to be asked for the first time.
    answered: bool = False
    #: It came back from that.
    deaths: int = 0
    #: So many leaders before, one after the other, ended soon after they had begun to ask it.
    rests_until: float = 0.0
    #: Cluster time until when it is not asked; 0: it is.
    why: str = ""
    #: It rests.


class HistoryNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``/config/policy-history``: what was chosen, the newest last."""

    changes: tuple[Change, ...] = ()


def parameter_words(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return parameters as people write them."""
    return [
        f"{name}={value if isinstance(value, str) else f'{value:.12g}'}" for name, value in parameters.items()
    ]


def parse_parameters(words: Iterable[str]) -> dict[str, Parameter]:
    """Return what people write as parameters by name: each word ``NAME=VALUE``, a number or a word.

    Raises:
        ValueError: It is something else; the sentence says what to write.
    """
    parameters: dict[str, Parameter] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word[:80]!r} is no parameter: write NAME=VALUE")
        if name in parameters:
            raise ValueError(f"the parameter {name[:40]} is given twice")
        try:
            parameters[name] = float(text)
        except ValueError:
            parameters[name] = text
    return parameters


def check_choice(choice: Choice) -> str | None:
    """Return what is wrong with a choice whatever its policy is, as a sentence, or None."""
    if not ids.is_name(choice.policy):
        return f"{choice.policy[:80]!r} is no name of a policy; alb policy list names them"
    if len(choice.parameters) > PARAMETERS_MAX:
        return (
            f"{len(choice.parameters)} parameters are more than the {PARAMETERS_MAX} that a policy may have"
        )
    for name, value in choice.parameters.items():
        if not ids.is_name(name):
            return f"{name[:80]!r} is no name of a parameter"
        if isinstance(value, str) and (len(value) > WORD_LENGTH_MAX or not value.isprintable()):
            return f"the parameter {name} is longer than {WORD_LENGTH_MAX} characters, or not printable"
        if isinstance(value, float) and not math.isfinite(value):
            return f"the parameter {name}={value} is no number to reckon with"
    return None


def check_try(seconds: float) -> str | None:
    """Return what is wrong with the length of a try (0: no try), as a sentence, or None."""
    if not 0 <= seconds <= TRY_S_MAX:
        return f"a try of {seconds:g} s cannot be: it lasts a week at most"
    return None
