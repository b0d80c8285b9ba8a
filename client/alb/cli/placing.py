"""``alb policy``: which policies there are, which one places tasks, how it does, and another one instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from alb.cli import out
from alb.cli.options import Place, cluster_options, json_option
from alb.cli.values import DURATION, format_clock, format_duration
from alb_core.choices import PARAMETERS_MAX, parameter_words, parse_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alb.api.client import Client
    from alb_core.choices import Choice, Parameter
    from alb_core.messages import PoliciesPage, PolicyLine, TallyLine

TRIED: Final = 600.0
#: Seconds of a try, unless `--for` says otherwise.
USAGE: Final = "[list | show [NAME] | set NAME [K=V…] | try NAME [K=V…] | history | rollback]"


@click.command()
@click.argument("words", nargs=-1, metavar=USAGE)
@click.option("--for", "try_for", type=DURATION, help="Of `try`: how long. Else 10 minutes.")
@json_option
@cluster_options
def policy(place: Place, words: Sequence[str], *, try_for: float | None, as_json: bool) -> int:
    """Show or choose the policy that places tasks.

    Without words: which one it is. `list`: all that are installed. `show NAME`: what one does, its
    parameters, how often it failed, what a call takes; without NAME, of the one in force. `set NAME K=V…`:
    place by it from now on, without a restart, under every later leader. `try NAME --for 10m`: for so long,
    then by the former one again; `show` compares the two meanwhile. `history`: who chose what. `rollback`:
    back to the one before.

    `set optimize time=0.3 resources=0.7` chooses what counts for all tasks that do not say it themselves
    (`alb submit --optimize`).
    """
    verb, *rest = words or ("",)
    action = _ACTIONS.get(verb)
    if action is None:
        hint = f"; to place by it: alb policy set {verb}" if len(words) == 1 else ""
        raise click.UsageError(f"there is no `alb policy {verb[:40]}`; write `alb policy {USAGE}`{hint}")
    if try_for is not None and verb != "try":
        raise click.UsageError("--for is how long a try lasts: alb policy try NAME --for 10m")
    with place.client() as client:
        return action(client, rest, try_for, as_json)


# --- looking ------------------------------------------------------------------------------------------------


def _name(client: Client, words: Sequence[str], _for: float | None, as_json: bool) -> int:  # noqa: FBT001
    _no_more(words)
    page = client.policies()
    if as_json:
        out.emit_json({"policy": page.in_force.policy, "parameters": page.in_force.parameters})
    else:
        out.echo(page.in_force.words())
        if page.node.until and _is_followed(page):
            out.say(f"it is tried until {format_clock(page.node.until)}, then {_former(page)} again")
        _warn(page)
    return 0


def _list(client: Client, words: Sequence[str], _for: float | None, as_json: bool) -> int:  # noqa: FBT001
    _no_more(words)
    page = client.policies()
    if as_json:
        out.emit_json(page)
        return 0
    rows = [
        ("*" if line.name == page.in_force.policy else "", line.name, line.source, line.summary)
        for line in page.policies
    ]
    out.emit_table(("", "POLICY", "FROM", ""), rows, empty="")
    _warn(page)
    for line in page.policies:
        if line.missing_on:
            out.say(_missing(line))
    for other in page.elsewhere:
        out.say(
            f"{other.name}, of {other.source}, is on {', '.join(other.brokers)}, but not on {page.leader}, "
            f"which leads: it can be chosen once {page.leader} has been started again with it"
        )
    return 0


def _show(client: Client, words: Sequence[str], _for: float | None, as_json: bool) -> int:  # noqa: FBT001
    page = client.policies()
    name = words[0] if words else page.in_force.policy
    _no_more(words[1:])
    line = _line(page, name)
    if as_json:
        out.emit_json({"policy": line, "node": page.node, "tally": page.tally, "former": page.former_tally})
        return 0
    in_force = name == page.in_force.policy
    out.echo(
        f"policy    {name}{' (in force)' if in_force else ''}, from {line.source or 'nobody knows where'}"
    )
    out.echo(f"chooses   {line.summary}")
    seen = f"{line.candidates} workers with room at most" if line.candidates > 1 else "one worker with room"
    out.echo(f"sees      {seen}, {'the fastest' if line.fastest_first else 'others each time'}")
    if line.parameters:
        chosen = page.in_force.parameters if in_force else {}
        out.echo(f"given     {' '.join(parameter_words({**line.parameters, **chosen}))}")
    if line.calls:
        took = f", {line.us_per_call:.1f} us each" if line.us_per_call else ""
        out.echo(f"asked     {line.calls} times under this leader{took}")
    if line.failures:
        out.echo(f"failed    {line.failures} times, last {format_clock(line.failed_at)}: {line.failed}")
    if line.missing_on:
        out.echo(f"missing   {_missing(line)}")
    if in_force:
        _show_choice(page)
    return 0


def _show_choice(page: PoliciesPage) -> None:
    node = page.node
    if node.since and _is_followed(page):
        out.echo(f"since     {format_clock(node.since)}, by {node.by or 'zkCli'}")
    if node.until and _is_followed(page):
        left = format_duration(max(node.until - page.now, 0.0))
        out.echo(f"tried     for {left} more, then {_former(page)} again")
    out.echo(f"now       {_tally(page.tally)}")
    if page.former_tally.placed or page.former_tally.ended:
        out.echo(f"before    {_tally(page.former_tally)}")
    _warn(page)


def _tally(tally: TallyLine) -> str:
    if not tally.placed and not tally.ended:
        return "nothing placed yet under this leader"
    placed = f"{tally.placed} placed, after {format_duration(tally.waited_s)} on average"
    if not tally.ended:
        return placed
    return f"{placed}; {tally.ended} ended, slowed down {tally.slowdown:.2f} times on average"


def _history(client: Client, words: Sequence[str], _for: float | None, as_json: bool) -> int:  # noqa: FBT001
    _no_more(words)
    changes = client.policies().changes[::-1]
    if as_json:
        out.emit_json(changes)
        return 0
    rows = [(format_clock(change.at), change.by or "zkCli", change.how, change.words()) for change in changes]
    out.emit_table(("WHEN", "WHO", "HOW", "POLICY"), rows, empty="nobody has chosen yet")
    return 0


# --- choosing -----------------------------------------------------------------------------------------------


def _set(client: Client, words: Sequence[str], _for: float | None, as_json: bool) -> int:  # noqa: FBT001
    name, parameters = _wish("set", words)
    client.set_policy(name, parameters)
    return _chosen(client, as_json)


def _try(client: Client, words: Sequence[str], try_for: float | None, as_json: bool) -> int:  # noqa: FBT001
    name, parameters = _wish("try", words)
    if try_for == 0:
        raise click.UsageError("a try ends by itself: give --for 10m; to choose for good, alb policy set")
    client.set_policy(name, parameters, try_for=TRIED if try_for is None else try_for)
    return _chosen(client, as_json)


def _rollback(client: Client, words: Sequence[str], _for: float | None, as_json: bool) -> int:  # noqa: FBT001
    _no_more(words)
    client.rollback_policy()
    return _chosen(client, as_json)


def _chosen(client: Client, as_json: bool) -> int:  # noqa: FBT001
    """Say what is in force now, and which broker could not follow."""
    page = client.policies()
    node = page.node
    if as_json:
        out.emit_json(node)
        return 0
    former = f" (before: {node.former.words()})" if node.former is not None else ""
    if node.until:
        former = f" until {format_clock(node.until)}, then {node.former.words()} again" if node.former else ""
    out.echo(f"{node.words()}{former}")
    missing = [line for line in page.policies if line.name == node.policy and line.missing_on]
    for line in missing:
        out.say(f"{_missing(line)}: if one of them leads, the default places until it is installed there")
    return 0


def _wish(verb: str, words: Sequence[str]) -> tuple[str, dict[str, Parameter]]:
    """Return a policy's name, and parameters; raises UsageError."""
    if not words or "=" in words[0]:
        raise click.UsageError(f"write `alb policy {verb} NAME [K=V…]`; `alb policy list` names them")
    if len(words) - 1 > PARAMETERS_MAX:
        raise click.UsageError(f"a policy has at most {PARAMETERS_MAX} parameters")
    try:
        return words[0], parse_parameters(words[1:])
    except ValueError as error:
        raise click.UsageError(str(error)) from None


# --- parts --------------------------------------------------------------------------------------------------


def _no_more(words: Sequence[str]) -> None:
    if words:
        raise click.UsageError(f"{words[0][:80]!r} is one word too many; write `alb policy {USAGE}`")


def _line(page: PoliciesPage, name: str) -> PolicyLine:
    for line in page.policies:
        if line.name == name:
            return line
    known = ", ".join(line.name for line in page.policies)
    brokers = next((other.brokers for other in page.elsewhere if other.name == name), ())
    there = f" ({', '.join(brokers)} {'has' if len(brokers) == 1 else 'have'} it)" if brokers else ""
    raise click.UsageError(f"there is no policy {name[:40]!r} on the leader{there}; known: {known}")


def _former(page: PoliciesPage) -> str:
    """Return what comes back after a try, for people."""
    return "the default" if page.node.former is None else page.node.former.words()


def _missing(line: PolicyLine) -> str:
    return f"{line.name} is not installed on {', '.join(line.missing_on)}"


def _is_followed(page: PoliciesPage) -> bool:
    """Tell whether what places is what was chosen."""
    wanted: Choice = page.node.plain()
    return wanted == page.in_force


def _warn(page: PoliciesPage) -> None:
    if not _is_followed(page):
        out.say(f"chosen is {page.node.plain().words()}, which this leader cannot follow")
    if page.why:
        out.say(page.why)


_ACTIONS: Final[dict[str, Callable[[Client, Sequence[str], float | None, Any], int]]] = {
    "": _name,
    "list": _list,
    "show": _show,
    "set": _set,
    "try": _try,
    "history": _history,
    "rollback": _rollback,
}
