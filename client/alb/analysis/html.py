"""The analysis as one HTML file that needs nothing else: no network, no scripts.

Everything that people chose (names, commands, causes) is escaped; a policy in the file forbids scripts and
whatever would be loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from alb.analysis.core.figures import Advice, Figures
from alb.analysis.sections import Moment, Section, Table, sections, summary

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; color: #1a202c; background: #f7fafc;
  margin: 0; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
section { background: #fff; border: 1px solid #e2e8f0; border-radius: 8px; padding: 1rem 1.25rem;
  margin: 1.25rem 0; }
header p { margin: .15rem 0; color: #4a5568; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; margin-bottom: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; margin: .5rem 0 1rem; }
th { text-align: left; color: #4a5568; font-weight: 600; white-space: nowrap; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #edf2f7; font-variant-numeric: tabular-nums; }
td { white-space: nowrap; max-width: 26rem; overflow: hidden; text-overflow: ellipsis; }
.r { text-align: right; }
.note { color: #718096; font-size: .8rem; margin: .2rem 0; }
ul { padding-left: 1.1rem; margin: 0; }
li { margin: .5rem 0; }
li span { display: block; color: #718096; font-size: .85rem; }
"""


def write(
    figures: Figures,
    advice: Sequence[Advice],
    moment: Moment,
    draw: Callable[[str, Figures], str],
    more: Sequence[Section] = (),
) -> str:
    """Return the report.

    Args:
        figures: What was found.
        advice: What follows from it.
        moment: Writes a time for people.
        draw: Makes the SVG of a plot.
        more: Sections that follow those of the figures.
    """
    advised = [
        "<section>\n<h2>Advice for the allocation</h2>\n<ul>",
        *(f"<li>{_escaped(each.text)}<span>{_escaped(each.evidence)}</span></li>" for each in advice),
        "</ul>\n</section>",
    ]
    parts = (*sections(figures, moment), *more)
    return page(
        "Workload analysis", summary(figures, moment), parts, lambda name: draw(name, figures), advised
    )


def page(
    title: str,
    above: Sequence[str],
    parts: Iterable[Section],
    draw: Callable[[str], str],
    first: Sequence[str] = (),
) -> str:
    """Return any report as one document.

    Args:
        title: Its headline.
        above: The sentences below that.
        parts: Its sections.
        draw: Makes the SVG of a plot, by its name.
        first: Markup before the sections.
    """
    return "\n".join(_document(title, above, parts, draw, first))


def _document(
    title: str,
    above: Sequence[str],
    parts: Iterable[Section],
    draw: Callable[[str], str],
    first: Sequence[str],
) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>alb: {_escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f"<header>\n<h1>{_escaped(title)}</h1>"
    yield from (f"<p>{_escaped(line)}</p>" for line in above)
    yield "</header>"
    yield from first
    for section in parts:
        yield from _section(section, draw)
    yield "</main>\n</body>\n</html>\n"


def _section(section: Section, draw: Callable[[str], str]) -> Iterator[str]:
    yield f"<section>\n<h2>{_escaped(section.title)}</h2>"
    if section.plot:
        yield draw(section.plot)
    for table in section.tables:
        yield from _table(table)
    yield from (f'<p class="note">{_escaped(note)}</p>' for note in section.notes)
    yield "</section>"


def _table(table: Table) -> Iterator[str]:
    classes = [' class="r"' if side == "r" else "" for side in table.sides]
    yield '<div class="scroll"><table>'
    heads = zip(table.columns, classes, strict=True)
    yield "<tr>" + "".join(f"<th{kind}>{_escaped(cell)}</th>" for cell, kind in heads) + "</tr>"
    for row in table.rows:
        cells = zip(row, classes, strict=True)
        yield (
            "<tr>"
            + "".join(f"<td{kind}{_title(cell)}>{_escaped(cell)}</td>" for cell, kind in cells)
            + "</tr>"
        )
    yield "</table></div>"


def _title(cell: str) -> str:
    """Return an attribute that shows a long cell whole."""
    return f' title="{_escaped(cell)}"' if len(cell) > 40 else ""


def _escaped(text: str) -> str:
    """Return a text that no browser takes for markup, without characters that HTML cannot hold."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return escape(shown, quote=True)
