"""Compares the installed policies on what history tells, for the advice of ``alb analyze``."""

from __future__ import annotations

from typing import Final

from alb.simulate.core.advice import Replayed, advise, unable
from alb.simulate.core.history import History
from alb.simulate.core.trace import fitted
from alb.simulate.report import Comparison, policy_section
from alb.simulate.runs import Policies
from alb_core.errors import ConfigError, ReplayBroken

TITLE: Final = "This workload under each policy"


def compare(history: History) -> Comparison:
    """Replay what was gathered under every installed policy, on the workers that history knows.

    Returns:
        What follows; where nothing can be replayed, the sentence that says why.
    """
    try:
        trace = history.trace("history")
        if not trace.machines:
            return Comparison(advice=unable("history has no load samples, so the workers are unknown"))
        trace = fitted(trace, trace.machines)
        policies = Policies()
        found = list(policies.replay(trace, trace.machines, policies.names))
    except (ConfigError, ReplayBroken) as error:
        return Comparison(advice=unable(str(error)))
    return Comparison(
        advice=advise(found, trace.policy, trace.remarks),
        replays=[Replayed.of(each) for each in found],
        sections=(policy_section(found, TITLE, trace.remarks, plot=""),),
    )
