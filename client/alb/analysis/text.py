"""The analysis as text: what a terminal shows, section by section, the advice last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from alb.analysis.core.figures import Advice, Figures
from alb.analysis.sections import Moment, Section, Table, sections, summary

CELL_WIDTH: Final = 48


def write(figures: Figures, advice: Sequence[Advice], moment: Moment) -> Iterator[str]:
    """Return the lines of the report.

    Args:
        figures: What was found.
        advice: What follows from it.
        moment: Writes a time for people.
    """
    yield from write_sections(summary(figures, moment), sections(figures, moment))
    yield from write_advice(advice)


def write_advice(advice: Sequence[Advice]) -> Iterator[str]:
    """Return the lines of what follows, each with its evidence."""
    yield from ("", "ADVICE")
    for each in advice:
        yield _safe(f"* {each.text}")
        yield _safe(f"    {each.evidence}")


def write_sections(above: Sequence[str], parts: Iterable[Section]) -> Iterator[str]:
    """Return the lines of any report: its first sentences, then its parts."""
    yield from map(_safe, above)
    for section in parts:
        yield from ("", section.title.upper())
        for number, table in enumerate(section.tables):
            if number:
                yield ""
            yield from _table(table)
        yield from map(_safe, section.notes)


def _table(table: Table) -> Iterator[str]:
    lines = [table.columns, *(tuple(_cut(_safe(cell)) for cell in row) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(line, widths, table.sides, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _cut(cell: str) -> str:
    return cell if len(cell) <= CELL_WIDTH else cell[: CELL_WIDTH - 1] + "…"


def _safe(text: str) -> str:
    """Return a text without what could move the cursor or colour the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
