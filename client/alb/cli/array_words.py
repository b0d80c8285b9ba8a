"""What the words of ``alb submit`` say of an array: which tasks it has. Words that contradict are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from alb_core.arrays import parse_indexes

if TYPE_CHECKING:
    from alb.cli.array import Wanted

COLONS: Final = ":::"
#: What stands between a command and the words that it is run for.


class Given:
    """What was given.

    Args:
        command: All words that are no options.
        indexes: Of ``--array``.
        lines: Of ``--each-line``.
        task_id: Of ``--id``.
        at_once: Of ``--at-once``.
        max_fails: Of ``--max-fails``.
        keep_order: ``--keep-order``.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (one parameter an option)
        self,
        command: tuple[str, ...],
        indexes: str | None,
        lines: BinaryIO | None,
        task_id: str | None,
        at_once: int | None,
        max_fails: int | None,
        *,
        keep_order: bool,
    ) -> None:
        self._template, self._words = _parted(command)
        self._indexes = indexes
        self._lines = lines
        self._task_id = task_id
        self._at_once = at_once
        self._max_fails = max_fails
        self._keep_order = keep_order

    @property
    def many(self) -> bool:
        """Whether these are many tasks."""
        return any(each is not None for each in (self._words, self._indexes, self._lines))

    def check(self, *, incremental: bool, increments: bool) -> None:
        """Refuse what contradicts itself; raises UsageError."""
        sources = {"--array": self._indexes, "--each-line": self._lines, COLONS: self._words}
        named = [name for name, given in sources.items() if given is not None]
        if len(named) > 1:
            raise click.UsageError(f"{' and '.join(named)} each say which tasks there are: give one of them")
        of_arrays = {"--at-once": self._at_once, "--max-fails": self._max_fails}
        loose = [name for name, given in of_arrays.items() if given is not None]
        loose += ["--keep-order"] if self._keep_order else []
        if loose and not named:
            raise click.UsageError(
                f"{loose[0]} is for many tasks: give --array, --each-line, or words after {COLONS}"
            )
        if loose and incremental:
            raise click.UsageError(
                f"{loose[0]} is for arrays, and --incremental asks for each line: leave one out"
            )
        if incremental and named not in ([], ["--each-line"]):
            raise click.UsageError(f"--incremental works with --each-line, not with {named[0]}")
        if increments and named:
            raise click.UsageError("--increments shows what one task reports; later: alb increments ID")
        if self._task_id is not None and self._lines is not None:
            raise click.UsageError("--id names one task, and --each-line makes many")
        if self._words == ():
            raise click.UsageError(f"there are no words after {COLONS}: nothing is to be done")
        if self._indexes is not None:
            self._check_indexes(self._indexes)

    def _check_indexes(self, indexes: str) -> None:
        if not self._template:
            raise click.UsageError("which COMMAND? give a shell command line, or a program and its arguments")
        try:
            _, at_once = parse_indexes(indexes)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--array") from None
        if at_once and self._at_once not in (None, at_once):
            raise click.UsageError(f"--array says {at_once} at once, and --at-once {self._at_once}")

    def wanted(self, **how: Any) -> Wanted:
        """Return the array that is wanted."""
        from alb.cli.array import Wanted  # noqa: PLC0415 (a single task starts without it)
        from alb.cli.lines import Lines  # noqa: PLC0415

        return Wanted(
            template=self._template,
            indexes=self._indexes,
            inputs=self._words,
            lines=None if self._lines is None else Lines(self._lines),
            array_id=self._task_id,
            at_once=self._at_once,
            max_fails=self._max_fails,
            keep_order=self._keep_order,
            **how,
        )


def _parted(command: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Part a command from the words that it is to be run for; None: there are no colons."""
    if COLONS not in command:
        return command, None
    at = command.index(COLONS)
    words = command[at + 1 :]
    if COLONS in words or "::::" in words or "::::" in command[:at]:
        raise click.UsageError(
            f"there is one list of words after one {COLONS}; write combinations out, "
            "or make them a file's lines: --each-line FILE"
        )
    return command[:at], words
