"""The kinds that every worker has: a command, and a program that came along."""

from __future__ import annotations

from alb_core.kinds import program_for
from alb_worker.kinds.interface import Attempt, Kind, KindFailed, Launch


class Command(Kind):
    """A command as it is."""

    def prepare(self, attempt: Attempt) -> Launch:
        """Start it."""
        return Launch(command=attempt.spec.command)


class Binary(Kind):
    """A program of the task's own, for this machine's architecture."""

    def prepare(self, attempt: Attempt) -> Launch:
        """Start it with the task's arguments, under its own name."""
        program = program_for(attempt.spec.binaries, attempt.arch)
        if program is None:
            there = ", ".join(sorted(attempt.spec.binaries))
            raise KindFailed(f"the task has no program for {attempt.arch}, only for {there}")
        words = attempt.spec.command
        arguments = () if isinstance(words, str) else words[1:]
        return Launch(command=(program.name, *arguments))
