"""Texts of somebody else's, made fit to be shown: a command may hold what clears its reader's terminal."""

from __future__ import annotations

import os


def legible(text: str, *, lines: bool = False) -> str:
    """Return a text without what could move the cursor or colour the terminal.

    Args:
        text: For example a command.
        lines: It may have several; else it becomes one.
    """
    if text.isprintable():
        return text
    blanks = {"\n": "\n", "\t": "\t"} if lines else {"\n": " ", "\t": " "}
    return "".join(each if each.isprintable() else blanks.get(each, "?") for each in text)


def fit_for(descriptor: int, text: str) -> str:
    """Return what is written of a text: a terminal gets nothing but text, a program what there is."""
    return legible(text, lines=True) if os.isatty(descriptor) else text
