"""What the tasks felt of a choice of policy: how long they waited and how much slower that made them.

Two tallies, of the choice in force and of the one before it, since this leader began: enough to compare. A
task counts for the choice that placed the attempt which brought its result: what the default placed in a
failing policy's stead counts for none, nor does what went by its own vector, or was placed by another leader.
"""

from __future__ import annotations

from typing import Final

from alb_core.messages import TallyLine

SHORT_S: Final = 10.0
#: A task that runs shorter counts as so long: else a wait of a second makes a thousandfold of a millisecond
#: (bounded slowdown; Feitelson and Rudolph, 1998).


class _Tally:
    """Sums over the tasks of one choice."""

    __slots__ = ("ended", "placed", "policy", "since", "slowdown", "waited_s")

    def __init__(self, policy: str, since: float) -> None:
        self.policy = policy
        self.since = since  #: Cluster time, since when the choice is, or was, in force.
        self.placed = 0
        self.waited_s = 0.0
        self.ended = 0
        self.slowdown = 0.0

    def line(self) -> TallyLine:
        """Return the means."""
        return TallyLine(
            placed=self.placed,
            waited_s=self.waited_s / self.placed if self.placed else 0.0,
            ended=self.ended,
            slowdown=self.slowdown / self.ended if self.ended else 0.0,
        )


class PolicyFigures:
    """The tallies of one reign.

    Args:
        policy: In force at its beginning.
        at: Cluster time of that.
    """

    def __init__(self, policy: str, at: float) -> None:
        self._now = _Tally(policy, at)
        self._before = _Tally("", at)

    def begin(self, policy: str, at: float) -> None:
        """Another choice is in force."""
        self._before, self._now = self._now, _Tally(policy, at)

    def on_placed(self, policy: str, waited_s: float) -> None:
        """A policy placed a task that had waited for room so long."""
        if policy == self._now.policy:
            self._now.placed += 1
            if waited_s > 0.0:
                self._now.waited_s += waited_s

    def on_ended(self, policy: str, placed: float, waiting_since: float, finished: float) -> None:
        """A task has its result.

        Args:
            policy: Chose the worker of the attempt that brought it.
            placed: Cluster time of that choice.
            waiting_since: From when its time counts.
            finished: Cluster time of the result.
        """
        tally = self._now if placed >= self._now.since else self._before
        if policy != tally.policy or placed < tally.since:
            return
        ran_s = finished - placed
        if ran_s < SHORT_S:  # noqa: PLR1730 (with each end: a call of `max` costs ten times as much)
            ran_s = SHORT_S
        slowdown = (finished - waiting_since) / ran_s
        tally.ended += 1
        tally.slowdown += slowdown if slowdown > 1.0 else 1.0  # noqa: FURB136 (likewise)

    def lines(self) -> tuple[TallyLine, TallyLine]:
        """Return the means of the choice in force, and of the one before."""
        return self._now.line(), self._before.line()
