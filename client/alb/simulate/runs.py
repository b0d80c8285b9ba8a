"""Runs replays: the one place of the client that reaches into the broker, whose core decides there, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from alb.simulate.core.figures import Failure, Figures, figures
from alb.simulate.core.trace import Trace
from alb_broker.policies import Policy, check_parameters
from alb_broker.replay.replay import Ran, Replay
from alb_broker.shell.plugins import find_policies
from alb_broker.shell.replay_guard import PolicyHung, ReplayGuard
from alb_core.choices import DEFAULT_POLICY, Choice, Parameter, check_choice, parse_parameters
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

    def chosen(self, text: str) -> list[Choice]:
        """Return the policies that somebody asks for.

        Args:
            text: Names with commas between, each perhaps with parameters: ``NAME:K=V:K=V``; ``all``, perhaps
                among others: every one, with its own parameters.

        Raises:
            ConfigError: One is not installed here, or does not take its parameters.
        """
        found = [word.strip() for word in text.split(",") if word.strip()]
        words = list(
            dict.fromkeys(name for word in found for name in (self.names if word == "all" else [word]))
        )
        if not words and text:
            raise ConfigError(f"--policy: {text[:80]!r} names no policy; there are {', '.join(self.names)}")
        return [self._choice(word) for word in words] or [Choice(policy=self.default)]

    def _choice(self, word: str) -> Choice:
        name, *settings = word.split(":")
        if name in self.unusable and name not in self._found:
            raise ConfigError(f"--policy: {name} cannot be used: {self.unusable[name]}")
        if name not in self._found:
            raise ConfigError(
                f"--policy: {name[:80]!r} is not installed here; there are {', '.join(self.names)} "
                "(with parameters: NAME:K=V)"
            )
        try:
            choice = Choice(policy=name, parameters=parse_parameters(settings))
        except ValueError as error:
            raise ConfigError(f"--policy {word[:80]}: {error}; write NAME:K=V:K=V") from None
        wrong = check_choice(choice) or self.refusal(choice)
        if wrong is not None:
            raise ConfigError(f"--policy {word[:80]}: {wrong}")
        return choice

    def refusal(self, choice: Choice) -> str | None:
        """Return why a choice cannot be replayed, as a sentence, or None."""
        if choice.policy not in self._found:
            return f"the policy {choice.policy} is not installed here"
        try:
            return check_parameters(ReplayGuard().guard(self._found)[choice.policy], choice.parameters)
        except PolicyHung as hung:
            return str(hung)

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

    def verdicts(
        self,
        trace: Trace,
        machines: Sequence[Machine],
        choices: Sequence[Choice],
        *,
        seed: int = 0,
        tell: Tell = lambda _policy, _ended: None,
    ) -> Iterator[Figures | Failure]:
        """Replay a trace under each of these choices; one that cannot go on is no reason to know no other."""
        for choice in choices:
            words, default = choice.words(), choice == Choice(policy=self.default)
            try:
                ran = self.run(
                    trace,
                    machines,
                    choice.policy,
                    parameters=choice.parameters,
                    seed=seed,
                    tell=partial(tell, words),
                )
            except ReplayBroken as error:
                yield Failure(policy=words, why=str(error))
            else:
                yield figures(words, trace.jobs, machines, ran, default=default)

    def run(  # noqa: PLR0913 (what a replay consists of)
        self,
        trace: Trace,
        machines: Sequence[Machine],
        name: str,
        *,
        parameters: Mapping[str, Parameter] | None = None,
        seed: int = 0,
        sharing: float = 0.0,
        tell: Callable[[int], None] = lambda _ended: None,
    ) -> Ran:
        """Replay a trace under one policy; on a full machine each run takes longer by the share `sharing`.

        Raises:
            ReplayBroken: The replay cannot go on, or the policy hangs.
        """
        guard = ReplayGuard()
        replay = Replay(
            trace.jobs,
            machines,
            guard.guard(self._found),
            name,
            parameters=parameters,
            seed=seed,
            sharing=sharing,
            tell=tell,
        )
        try:
            with guard, collector.seldom():
                return replay.run()
        except PolicyHung as hung:
            raise ReplayBroken(str(hung)) from None
