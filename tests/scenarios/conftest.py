"""One test for each transcript of this folder; ``--rewrite`` writes down what happens now."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that rewrites the expected parts of the transcripts."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the expected lines of the scenarios")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every transcript its test."""
    if "transcript" in metafunc.fixturenames:
        paths = sorted(HERE.glob("*.txt"))
        metafunc.parametrize("transcript", paths, ids=[path.stem for path in paths])


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether to write what happens instead of checking it."""
    return bool(request.config.getoption("--rewrite", default=False))
