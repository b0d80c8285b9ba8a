"""Runs replays: the one place of the client that reaches into the broker, whose core decides there, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from alb.simulate.core.figures import Figures, figures
from alb.simulate.core.trace import Trace
from alb_broker.policies import Policy
from alb_broker.replay.replay import Ran, Replay
from alb_broker.shell.plugins import find_policies
from alb_broker.shell.replay_guard import PolicyHung, ReplayGuard
from alb_core.choices import DEFAULT_POLICY
from alb_core.errors import ConfigError, ReplayBroken
from alb_core.io import collector
from alb_core.traces import Machine

Tell = Callable[[str, int], None]
#: Is told which policy is at how many ended jobs.


class Policies:
    """The installed policies."""

    def __init__(self) -> None:
        installed = find_policies()
        self._found: Final[Mapping[str, Policy]] = installed.policies
        self.default: Final = DEFAULT_POLICY
        self.unusable: Final[Mapping[str, str]] = {
            note.fields["policy"]: note.fields["why"] for note in installed.notes
        }
        #: Why others that are installed cannot be used, by name.

    @property
    def names(self) -> list[str]:
        """All names, the default first."""
        return sorted(self._found, key=lambda name: (name != self.default, name))

    def chosen(self, text: str) -> list[str]:
        """Return the policies that somebody asks for.

        Args:
            text: Names with commas between; ``all``: every one.

        Raises:
            ConfigError: One is not installed here.
        """
        if text == "all":
            return self.names
        names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for name in names:
            if name in self.unusable and name not in self._found:
                raise ConfigError(f"--policy: {name} cannot be used: {self.unusable[name]}")
            if name not in self._found:
                raise ConfigError(
                    f"--policy: {name[:80]!r} is not installed here; there are {', '.join(self.names)}"
                )
        if not names and text:
            raise ConfigError(f"--policy: {text[:80]!r} names no policy; there are {', '.join(self.names)}")
        return names or [self.default]

    def replay(
        self,
        trace: Trace,
        machines: Sequence[Machine],
        names: Sequence[str],
        *,
        seed: int = 0,
        tell: Tell = lambda _policy, _ended: None,
    ) -> Iterator[Figures]:
        """Replay a trace under each of these policies, one after the other.

        Raises:
            ReplayBroken: A replay cannot go on.
        """
        for name in names:
            ran = self.run(trace, machines, name, seed=seed, tell=partial(tell, name))
            yield figures(name, trace.jobs, machines, ran, default=name == self.default)

    def run(  # noqa: PLR0913 (what a replay consists of)
        self,
        trace: Trace,
        machines: Sequence[Machine],
        name: str,
        *,
        seed: int = 0,
        sharing: float = 0.0,
        tell: Callable[[int], None] = lambda _ended: None,
    ) -> Ran:
        """Replay a trace under one policy; on a full machine each run takes longer by the share `sharing`.

        Raises:
            ReplayBroken: The replay cannot go on, or the policy hangs.
        """
        policies = ReplayGuard().guard(self._found)
        replay = Replay(trace.jobs, machines, policies, name, seed=seed, sharing=sharing, tell=tell)
        try:
            with collector.seldom():
                return replay.run()
        except PolicyHung as hung:
            raise ReplayBroken(str(hung)) from None
