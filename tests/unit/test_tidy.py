"""The house rules that a machine can hold: sizes, docstrings, names, links.

Each rule is a function from a text to the list of what breaks it; each is first shown to find a breach.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from tests.source_tree import ROOT, files, python_files

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

DRAWERS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
#: Names of modules that could hold anything, and in time do.

_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
_MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:work|root)/")
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache(maxsize=1)  # one file is held to several rules, then comes the next
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _functions(source: str) -> list[Function]:
    return [node for node in ast.walk(_parsed(source)) if isinstance(node, Function)]


def long_module(source: str) -> list[str]:
    """A module fits in one reading: at most ``MODULE_LINES_MAX`` lines that are not blank."""
    lines = sum(1 for line in source.splitlines() if line.strip())
    return [f"{lines} lines"] if lines > MODULE_LINES_MAX else []


def long_functions(source: str) -> list[str]:
    """A function fits on a screen: at most ``FUNCTION_LINES_MAX`` lines, its docstring included."""
    return [
        f"{node.name}: {length} lines"
        for node in _functions(source)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def silent_module(source: str) -> list[str]:
    """A module opens with what it owns."""
    return [] if ast.get_docstring(_parsed(source)) else ["no module docstring"]


def silent_tests(source: str) -> list[str]:
    """A test states its claim."""
    return [
        f"{node.name}: no docstring"
        for node in _functions(source)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]


def unfinished(text: str) -> list[str]:
    """Nothing is left for later: a known gap is an issue, not a mark in a file."""
    return _UNFINISHED.findall(text)


def machine_paths(text: str) -> list[str]:
    """No file knows the machine that it was written on."""
    return _MACHINE_PATH.findall(text)


def drawer(path: Path) -> list[str]:
    """A module is named after what it owns."""
    return [path.stem] if path.stem in DRAWERS else []


def broken_links(page: Path) -> list[str]:
    """Every relative link of a page leads to a file, and its anchor to a heading there."""
    text = _FENCE.sub("", page.read_text())
    return [target for target in _LINK.findall(text) if not _resolves(page, target)]


def _resolves(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, anchor = target.partition("#")
    there = page.parent / name if name else page
    if not there.exists():
        return False
    return not anchor or (there.suffix == ".md" and anchor in _anchors(there.read_text()))


def _anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


_LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (long_module, "x = 1\n" * MODULE_LINES_MAX, "x = 1\n" * (MODULE_LINES_MAX + 1)),
        (long_functions, _LONG_FUNCTION.replace("    x = 1\n", "", 1), _LONG_FUNCTION),
        (silent_module, '"""Owns x."""\n', "x = 1\n"),
        (silent_tests, 'def test_a():\n    """A claim."""\n', "def test_a():\n    pass\n"),
        (silent_tests, "def make_a():\n    pass\n", "class T:\n    async def test_a(self):\n        pass\n"),
        (unfinished, "today is done", "# TODO: the rest"),
        (unfinished, "mktemp XXXXXX", "XXX hm"),
        (machine_paths, "network/root/leaf and ~/work/x", "cd /root/alb"),
        (machine_paths, "docs/work/x", "see '/work/main'"),
    ],
)
def test_each_rule_of_text_finds_its_breach(rule: Callable[[str], list[str]], good: str, bad: str) -> None:
    """Every rule lets a good text pass and reports a bad one."""
    assert rule(good) == []
    assert rule(bad) != []


def test_the_rule_of_names_finds_its_breach() -> None:
    """A module called after nothing is reported, one called after a noun is not."""
    assert drawer(Path("core/utils.py")) == ["utils"]
    assert drawer(Path("core/tasks.py")) == []


def test_the_rule_of_links_finds_its_breach(tmp_path: Path) -> None:
    """A dead file and a dead anchor are reported; live ones, addresses and code are not."""
    (tmp_path / "other.md").write_text("# The fence: why\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Top\n[a](other.md) [b](other.md#the-fence-why) [c](https://example.org/x) [d](#top)\n"
        "```\n[in code](nowhere.md)\n```\n[e](gone.md) [f](other.md#gone) [g](#gone)\n"
    )
    assert broken_links(page) == ["gone.md", "other.md#gone", "#gone"]


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", python_files(), ids=_named)
def test_python_file_is_tidy(path: Path) -> None:
    """Every Python file keeps the rules of size, docstrings and names."""
    source = path.read_text()
    assert long_module(source) == []
    assert long_functions(source) == []
    assert silent_module(source) == []
    assert drawer(path) == []
    if path.is_relative_to(ROOT / "tests"):
        assert silent_tests(source) == []


@pytest.mark.parametrize("path", list(files()), ids=_named)
def test_text_file_is_tidy(path: Path) -> None:
    """Every text file is finished and knows no machine; this one names what it looks for."""
    text = path.read_text() if path != Path(__file__) else ""
    assert unfinished(text) == []
    assert machine_paths(text) == []


@pytest.mark.parametrize("page", [path for path in files() if path.suffix == ".md"], ids=_named)
def test_links_of_a_page_resolve(page: Path) -> None:
    """Every link of every page leads somewhere."""
    assert broken_links(page) == []
