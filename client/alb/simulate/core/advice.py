"""What follows from replays for whoever chooses the policy: is another one better, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

import msgspec

from alb.analysis.core.figures import Advice
from alb.analysis.core.words import count, seconds, share
from alb.simulate.core.figures import Failure, Figures

GAIN_MIN: Final = 0.02
#: What is less is not worth a switch.
RIVALS_MAX: Final = 3
#: Policies that are replayed again beside the one in force, with other draws: the best ones of the first.
TOPIC: Final = "policy"


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy made of the workload, in a few numbers: the means, and the whole."""

    policy: str
    wait_s: float
    slowdown: float
    utilisation: float
    fairness: float
    makespan_s: float

    @classmethod
    def of(cls, found: Figures) -> Replayed:
        """Return the few numbers."""
        return cls(
            policy=found.policy,
            wait_s=found.wait_s.mean,
            slowdown=found.slowdown.mean,
            utilisation=found.utilisation,
            fairness=found.fairness,
            makespan_s=found.makespan_s,
        )


def now_of(found: Sequence[Figures], in_force: str) -> Figures:
    """Return the figures of the policy in force; the first ones stand in for those of an unknown one."""
    return next((each for each in found if each.policy == in_force), found[0])


def rivals(found: Sequence[Figures], now: Figures) -> list[str]:
    """Return the policies that may be better than the one in force, the best first.

    The better one is that with the lower mean bounded slowdown: that is what users feel. One that failed is
    none, for its figures are the default's.
    """
    better = [each for each in found if not each.policy_failures and _worth(now, each.slowdown.mean)]
    better.sort(key=lambda each: (each.slowdown.mean, each.makespan_s))
    return [each.policy for each in better[:RIVALS_MAX]]


def advise(
    found: Sequence[Figures],
    in_force: str,
    remarks: Sequence[str],
    slowdowns: Mapping[str, Sequence[float]],
    failed: Sequence[Failure] = (),
) -> Advice:
    """Return the advice: another policy only where it was better with all draws than this one with any.

    Args:
        found: What each policy made of the workload.
        in_force: The policy that places now, as far as anybody knows.
        remarks: What the replay left out.
        slowdowns: Mean slowdowns of that and of its rivals by name, each with the same draws.
        failed: Policies that could not be replayed.
    """
    now = now_of(found, in_force)
    evidence = "; ".join(
        (
            *(_told(each, slowdowns.get(each.policy, ())) for each in found),
            *(f"{each.policy} left out: {each.why}" for each in failed),
            f"{count(now.jobs, 'task')} replayed",
            *remarks,
        )
    )
    mine = slowdowns.get(now.policy, (now.slowdown.mean,))
    others = [name for name in rivals(found, now) if name in slowdowns]
    best = min(others, key=lambda name: fmean(slowdowns[name]), default=now.policy)
    theirs = slowdowns.get(best, mine)
    gain = 1.0 - fmean(theirs) / fmean(mine)
    if best == now.policy or gain <= GAIN_MIN:
        text = (
            f"No policy would have been better for this workload than {now.policy} by more than "
            f"{share(GAIN_MIN)}."
        )
    elif max(theirs) >= min(mine):
        text = (
            f"No policy would have been better for this workload than {now.policy} beyond luck: {best} had a "
            f"mean slowdown of {_range(theirs)}, {now.policy} of {_range(mine)}, as policies drew at random."
        )
    else:
        text = (
            f"Policy {best} would have served this workload better than {now.policy}: mean slowdown "
            f"{_range(theirs)} instead of {_range(mine)} ({share(gain)} less). To switch: "
            f"alb policy set {best}"
        )
    return Advice(topic=TOPIC, text=text, evidence=evidence)


def _worth(now: Figures, slowdown: float) -> bool:
    return 1.0 - slowdown / now.slowdown.mean > GAIN_MIN


def _range(values: Sequence[float]) -> str:
    least, most = f"{min(values):,.2f}", f"{max(values):,.2f}"
    return least if least == most else f"{least} to {most}"


def _told(found: Figures, slowdowns: Sequence[float]) -> str:
    again = f" (with other draws {_range(slowdowns)})" if len(slowdowns) > 1 else ""
    failures = ", and it failed" if found.policy_failures else ""
    return (
        f"{found.policy}: mean wait {seconds(found.wait_s.mean)}, slowdown {found.slowdown.mean:,.2f}{again}"
        f", makespan {seconds(found.makespan_s)}{failures}"
    )


def unable(why: str) -> Advice:
    """Return what is said where nothing could be replayed."""
    return Advice(
        topic=TOPIC, text="Policies could not be compared by replaying this workload.", evidence=why
    )
