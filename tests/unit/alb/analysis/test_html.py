"""The report as HTML: one file, everything in it escaped, plots drawn."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from tests.store_rows import attempt, finished, load

from alb.analysis import html, plots
from alb.analysis.core.advice import advise
from alb.analysis.core.figures import Advice, Figures
from alb.analysis.core.workload import Workload

EVIL = "<script>alert(1)</script> & \"'> $\\frac{a}{b$ \x1b[2J <img src=x onerror=alert(2)> \ud800 </svg> ]]"
BEGIN = 1_795_305_600.0


class _Reader(HTMLParser):
    """Notes which elements there are, and with which attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs


def read(document: str) -> _Reader:
    """Parse a document."""
    reader = _Reader()
    reader.feed(document)
    reader.close()
    return reader


@pytest.fixture(scope="module")
def document(figures: Figures, advice: list[Advice]) -> str:
    return html.write(figures, advice, str, plots.draw)


def test_the_day_as_one_file(document: str) -> None:
    """Every plot is drawn, every advice told, and the file is small."""
    assert document.count("<svg") == len(plots.PLOTS) == document.count("</svg>")
    assert "User bob reserves more processors" in document
    assert len(document) < 2_000_000


def test_it_needs_nothing_from_elsewhere(document: str) -> None:
    """No script, no style sheet, no picture, no link; and the browser is told to refuse them."""
    reader = read(document)
    assert not {"script", "link", "iframe", "object"} & set(reader.elements)
    for name, value in reader.attributes:
        if name in {"src", "href", "xlink:href"}:
            assert value is not None
            assert value.startswith(("#", "data:image/png")), value
    assert "default-src 'none'" in document
    assert not re.search(r"url\((?!#|'?data:)", document)


def test_hostile_names_are_only_text() -> None:
    """Users, commands, workers and causes are what others chose; in tables, in advice and in plots."""
    workload = Workload()
    for number in range(150):
        at = BEGIN + 30.0 * number
        workload.add(
            finished(
                f"{number}",
                command=f"{EVIL} {EVIL}",
                user=EVIL,
                worker=EVIL,
                state="FAILED",
                exit_code=3,
                submitted=at,
                finished=at + 5.0,
                cpus=8.0,
            )
        )
        workload.add(attempt(f"{number}", policy=EVIL, worker=EVIL, cause=EVIL))
        workload.add(load(EVIL, at))
    figures = workload.figures(EVIL)
    made = html.write(figures, advise(figures, str), str, plots.draw)
    made.encode()
    reader = read(made)
    assert not {"script", "img"} & set(reader.elements)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert made.count("<svg") == made.count("</svg>") == len(plots.PLOTS)
    for plot in re.findall(r"<svg.*?</svg>", made, re.DOTALL):
        ET.fromstring(plot)  # noqa: S314 (we wrote it)


def test_nothing_is_a_report_too() -> None:
    """An empty store, and one task: no plot is drawn of nothing."""
    for rows in ([], [finished("a")], [load("w1", BEGIN)], [attempt("a")]):
        workload = Workload()
        for row in rows:
            workload.add(row)
        figures = workload.figures("a test")
        made = html.write(figures, advise(figures, str), str, plots.draw)
        assert "too little data" in made
        assert made.endswith("</html>\n")


def test_the_same_figures_make_the_same_plot(figures: Figures, document: str) -> None:
    """So that two reports can be compared."""
    assert plots.draw("failures", figures) in document
