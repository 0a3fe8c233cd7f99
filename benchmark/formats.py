"""Write a laid-out table for a terminal, or as CSV, Markdown, LaTeX or a page of HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd
from rich.table import Table
from rich.text import Text

from benchmark.collect import Collected
from benchmark.experiment import Experiment, Layout
from benchmark.layout import Entry, Style, grid, headings_of

_TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_TEX |= {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "^": r"\textasciicircum{}"}
_TEX |= {"<": "$<$", ">": "$>$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$"}
_TEX |= {"\0": "{}"}  # between two hyphens, which would become a dash
_TEX |= {"²": "$^2$", "−": "$-$", "–": "--", "≈": r"$\approx$", "·": r"$\cdot$"}
_TEX |= {"≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "∞": r"$\infty$"}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi "
    "chi psi omega"
)
_TEX |= dict(zip("αβγδεζηθικλμνξπρστφχψω", (rf"$\{name}$" for name in _GREEK.split()), strict=True))

MARKDOWN = Style(
    bold="**{}**".format,
    small="<sub>{}</sub>".format,
    lines="<br>".join,
    text=lambda text: text.replace("|", "\\|"),
)
HTML = Style(
    bold="<b>{}</b>".format, small="<small>{}</small>".format, lines="<br>".join, text=escape
)
LATEX = Style(
    bold=r"\textbf{{{}}}".format,
    small=r"{{\tiny {}}}".format,
    lines=lambda lines: (
        r"\begin{tabular}[t]{@{}r@{}}" + r" \\ ".join(lines) + r"\end{tabular}"
        if lines[1:]
        else lines[0]
    ),
    # Two hyphens, as of an option, would become a dash.
    text=lambda text: "".join(_TEX.get(each, each) for each in re.sub("-(?=-)", "-\0", text)),
)
# The difference below the published value, not beside it: five resolutions fit on a page.
NARROW_LATEX = LATEX._replace(
    small=lambda text: r" \\ ".join(map(LATEX.small, re.split(r" (?=\()", text)))
)
TERMINAL = Style(bold="*{}".format, small=str, lines="\n".join, text=str)


def screen(experiment: Experiment, found: Sequence[Entry], width: int) -> list[Table]:
    """Show the table in a terminal, in parts that fit it; the best of a column has a star."""
    table = grid(experiment, found, TERMINAL)
    headings = headings_of(table)
    room = [_width([*heading, *table.iloc[:, at]]) for at, heading in enumerate(headings)]
    title = _width(table.index) + 1
    size = 1 if experiment.layout is Layout.long else len(experiment.metrics)  # kept together
    shown: list[Table] = []
    left = 0
    for at, heading in enumerate(headings):
        group = size if at % size == 0 else 1
        if left < sum(room[at : at + group]):
            name = experiment.title if not shown else ""
            shown.append(Table(title=Text(name), title_justify="left", show_lines=True))
            shown[-1].add_column("", no_wrap=True)
            left, parts = width - title, []
        shown[-1].add_column(Text("\n".join(heading)), justify="right", no_wrap=True)
        left -= room[at]
        parts.append(at)
        following = room[at + 1 : at + 1 + (size if (at + 1) % size == 0 else 1)]
        if not following or left < sum(following):
            for row, line in zip(table.index, table.iloc[:, parts].to_numpy(), strict=True):
                shown[-1].add_row(Text(row), *map(Text, line))
    return shown


def _width(texts: Iterable[str]) -> int:
    """Characters that a column of a terminal takes, its padding and its border included."""
    return 3 + max(len(line) for text in texts for line in text.split("\n"))


def markdown(experiment: Experiment, found: Sequence[Entry], caption: Sequence[str]) -> str:
    """Write the table as Markdown, the best of a column in bold."""
    table = grid(experiment, found, MARKDOWN)
    headings = ["<br>".join(heading) for heading in headings_of(table)]
    lines = zip(table.index, table.to_numpy(), strict=True)
    text = [
        f"**{MARKDOWN.text(experiment.title)}**",
        "",
        f"| | {' | '.join(headings)} |",
        "|---|" + "---:|" * len(headings),
        *(f"| {row} | {' | '.join(line)} |" for row, line in lines),
        "",
        *(f"- {line}" for line in caption),
    ]
    return "\n".join(text) + "\n"


def html(experiment: Experiment, found: Sequence[Entry], caption: Sequence[str]) -> str:
    """Write the table as a page that needs nothing else, on a phone, in print, light and dark."""
    table = html_table(experiment, found)
    notes = "".join(f"<li>{escape(line)}</li>" for line in caption)
    return PAGE.format(title=escape(experiment.title), table=table, notes=notes)


def html_table(experiment: Experiment, found: Sequence[Entry]) -> str:
    """Write the table alone, escaped, as part of a page."""
    return str(grid(experiment, found, HTML).to_html(escape=False, border=0))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
h1 {{ font-size: 1.2em }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
th, td {{ padding: .35em .7em; text-align: right; white-space: nowrap }}
td {{ font-variant-numeric: tabular-nums }}
thead th {{ text-align: center }} tbody th {{ text-align: left }}
thead tr:first-child th {{ border-top: 2px solid }}
thead tr:last-child th {{ border-bottom: 1px solid }}
tbody tr:last-child > * {{ border-bottom: 2px solid }}
small {{ opacity: .75 }}
</style></head>
<body><h1>{title}</h1>{table}<ul>{notes}</ul></body></html>
"""


def latex(experiment: Experiment, found: Sequence[Entry], caption: Sequence[str]) -> str:
    r"""Write the table as LaTeX with booktabs, to be read by ``\input``.

    One that is wider than the page is made smaller until it fits.
    """
    long = experiment.layout is Layout.long
    table = grid(experiment, found, LATEX if long else NARROW_LATEX)
    columns = "l" + "r" * table.shape[1]
    body = table.style.to_latex(hrules=True, column_format=columns, multicol_align="c")
    head, rows = body.rstrip().split("\\midrule\n")
    rows = re.sub(r"(?<=\\\\)\n(?!\\bottomrule)", r" \\addlinespace\n", rows)
    title = re.sub(r"^Table \d+: ", "", experiment.title)  # LaTeX numbers tables itself
    sentences = [line.rstrip(".") for line in (title[:1].upper() + title[1:], *caption)]
    told = LATEX.text(". ".join(sentences) + ".")
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        r"\sbox0{%",
        head + r"\midrule",
        rows + "}%",
        r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox0}\else\usebox0\fi",
        rf"\caption{{{told}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def csv(experiment: Experiment, found: Sequence[Entry], caption: Sequence[str]) -> str:
    """Write every value in a line of its own, with what it can be traced by."""
    del experiment, caption
    return pd.DataFrame([_line(entry) | _traces(entry.cell) for entry in found]).to_csv(index=False)


def _line(entry: Entry) -> dict[str, object]:
    return {
        "row": entry.row,
        "column": entry.column,
        "metric": entry.metric,
        "state": entry.cell.state.name,
        "value": entry.value,
        "low": entry.low,
        "high": entry.high,
        "n": entry.n,
        "best": entry.best,
        "alike": entry.alike,
        "published": entry.published.text if entry.published else "",
        "difference": math.nan if entry.difference is None else entry.difference,
        "note": entry.cell.note,
    }


def _traces(cell: Collected) -> dict[str, str]:
    start = cell.start
    return {
        "run": cell.run,
        "manifest": cell.manifest,
        "weights": str(start.get("weights", "")),
        "device": str(start.get("device", "")),
        "commit": str(start.get("git", {}).get("commit", "")),
        "changed": str(start.get("git", {}).get("changed", "")),
        "time": str(start.get("time", "")),
    }


FORMATS = {".csv": csv, ".md": markdown, ".tex": latex, ".html": html}
