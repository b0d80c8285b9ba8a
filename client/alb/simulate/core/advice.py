"""What follows from replays for whoever chooses the policy: is another one better, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from alb.analysis.core.figures import Advice
from alb.analysis.core.words import count, seconds, share
from alb.simulate.core.figures import Figures

GAIN_MIN: Final = 0.02
#: What is less may be luck: policies draw at random.
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


def advise(found: Sequence[Figures], in_force: str, remarks: Sequence[str]) -> Advice:
    """Return the advice.

    The better policy is the one with the lower mean bounded slowdown: that is what users feel.

    Args:
        found: What each policy made of the workload; the first one stands in for an unknown one in force.
        in_force: The policy that places now, as far as history tells.
        remarks: What the replay left out.
    """
    now = next((each for each in found if each.policy == in_force), found[0])
    best = min(found, key=lambda each: (each.slowdown.mean, each.makespan_s))
    gain = 1.0 - best.slowdown.mean / now.slowdown.mean
    evidence = "; ".join((*map(_told, found), f"{count(now.jobs, 'task')} replayed", *remarks))
    if best is now or gain <= GAIN_MIN:
        text = (
            f"No policy would have been better for this workload than {now.policy} by more than "
            f"{share(GAIN_MIN)}."
        )
    else:
        text = (
            f"Policy {best.policy} would have served this workload better than {now.policy}: mean slowdown "
            f"{best.slowdown.mean:,.2f} instead of {now.slowdown.mean:,.2f} ({share(gain)} less). To switch: "
            f"alb policy set {best.policy}"
        )
    return Advice(topic=TOPIC, text=text, evidence=evidence)


def _told(found: Figures) -> str:
    return (
        f"{found.policy}: mean wait {seconds(found.wait_s.mean)}, slowdown {found.slowdown.mean:,.2f}, "
        f"makespan {seconds(found.makespan_s)}"
    )


def unable(why: str) -> Advice:
    """Return what is said where nothing could be replayed."""
    return Advice(
        topic=TOPIC, text="Policies could not be compared by replaying this workload.", evidence=why
    )
