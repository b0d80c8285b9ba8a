"""Compares the installed policies on what history tells, for the advice of ``alb analyze``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alb.simulate.core.advice import Replayed, advise, now_of, rivals, unable
from alb.simulate.core.figures import Failure, Figures
from alb.simulate.core.history import History
from alb.simulate.core.trace import Trace, fitted
from alb.simulate.report import Comparison, policy_section
from alb.simulate.runs import Policies
from alb_core.choices import Choice
from alb_core.errors import ConfigError

TITLE: Final = "This workload under each policy"
SEEDS: Final = (0, 1, 2, 3)
#: Of the draws. All are replayed with the first; with the others, who may be better than what is in force.


def compare(history: History, in_force: Choice | None = None) -> Comparison:
    """Replay what was gathered under every installed policy, on the workers that history knows.

    Args:
        history: What was gathered.
        in_force: What places now; None: nobody asked a leader, and history tells the newest policy.

    Returns:
        What follows; where nothing can be replayed, the sentence that says why.
    """
    try:
        trace = history.trace("history")
        if not trace.machines:
            return Comparison(advice=unable("history has no load samples, so the workers are unknown"))
        trace = fitted(trace, trace.machines)
        policies = Policies()
    except ConfigError as error:
        return Comparison(advice=unable(str(error)))
    choices = [Choice(policy=name) for name in policies.names]
    chosen = in_force or Choice(policy=trace.policy)
    if chosen not in choices and policies.refusal(chosen) is None:
        choices.append(chosen)
    verdicts = list(policies.verdicts(trace, trace.machines, choices, seed=SEEDS[0]))
    found = [each for each in verdicts if isinstance(each, Figures)]
    failed = [each for each in verdicts if isinstance(each, Failure)]
    if not found:
        return Comparison(advice=unable("; ".join(f"{each.policy}: {each.why}" for each in failed)))
    now = now_of(found, chosen.words())
    names = (now.policy, *rivals(found, now))
    slowdowns = _again(policies, trace, [each for each in choices if each.words() in names], found)
    return Comparison(
        advice=advise(found, now.policy, trace.remarks, slowdowns, failed),
        replays=[Replayed.of(each) for each in found],
        sections=(policy_section(found, TITLE, trace.remarks, plot="", failed=failed),),
    )


def _again(
    policies: Policies, trace: Trace, choices: Sequence[Choice], found: Sequence[Figures]
) -> dict[str, list[float]]:
    """Replay some with the other draws; return the mean slowdowns of those that never failed, by name."""
    slowdowns = {each.policy: [each.slowdown.mean] for each in found}
    wanted = {each.words(): slowdowns[each.words()] for each in choices}
    if len(choices) > 1:
        for seed in SEEDS[1:]:
            for each in policies.verdicts(trace, trace.machines, choices, seed=seed):
                if isinstance(each, Figures) and each.policy in wanted:
                    wanted[each.policy].append(each.slowdown.mean)
                else:
                    wanted.pop(each.policy, None)
    return wanted
