"""The transcripts of this folder are what happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.transcript import Transcript


def test_scenario(transcript: Path, rewrite: bool) -> None:  # noqa: FBT001 (a fixture)
    """Given the commands of the transcript, exactly its lines are told."""
    text = transcript.read_text()
    happened = Transcript(text).play()
    if rewrite:
        transcript.write_text(happened)
    assert happened.splitlines() == text.splitlines() or rewrite


def test_a_difference_is_found() -> None:
    """A transcript that tells something else than what happens is not what is played."""
    text = "# A broker begins.\nstart brokers=b1 workers=\n----\nnobody leads\n"
    played = Transcript(text).play()
    assert played != text
    assert Transcript(played).play() == played


@pytest.mark.parametrize(
    ("line", "part"),
    [("dance", "dance"), ("submit", "submit"), ("start colour=red", "colour"), ("kill b9", "b9")],
)
def test_a_command_that_will_not_do_is_named(line: str, part: str) -> None:
    """A mistake in a transcript is found by its line."""
    with pytest.raises(ValueError, match=part):
        Transcript(f"# Nothing.\n{line}\n----\n").play()
