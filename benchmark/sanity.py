"""Sanity checks of methods: what must change a heatmap, and what must not.

``python -m benchmark.sanity method=gradcam,gradient res=14 resize=area dataset.limit=10
[--check cascading,shift] [--write FILE.png|FILE.csv|FILE.md]`` explains images anew, with the
settings of any run, and keeps nothing in the records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.captions import caption
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.errors import BadInput, UnreadableImage
from benchmark.figure_parts import PICTURES
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.own_folder import add_folder, with_folder
from benchmark.sanity_checks import of_cell
from benchmark.sanity_figures import sanity_figure
from benchmark.sanity_variants import CHECKS
from benchmark.stats import Mean, mean_interval

SAME = 0.5  # a mean correlation of magnitudes above it, with all weights random, is a failure
STAY = ("shift", "noise", "fgsm")  # checks under which the heatmap should stay
HEADINGS = {"rank": "rank correlation", "magnitude": "… of magnitudes", "ssim": "SSIM"}
CHANGE = "change"
NOTE = (
    "means over images with 95 % bootstrap intervals; random weights are one draw, seed= chooses "
    "it; change is |difference| / |heatmap|, under noise the largest of the draws (max-sensitivity)"
)


def summarise(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Mean]]:
    """Sum up the lines of ``of_cell``, by method and by what was done, in the order of both.

    Of the cascade only its end counts, where all weights are random. Over layers and draws each
    image is averaged first, but for ``change``, whose largest value counts.
    """
    found: dict[tuple[str, str], dict[str, Mean]] = {}
    for key, lines in table.groupby(["method", "check"], sort=False):
        method, kind = map(str, key)
        chosen = lines[lines["step"] == lines["step"].max()] if kind == "cascading" else lines
        images = chosen.groupby("id", sort=False)
        values = images[list(HEADINGS)].mean()
        values[CHANGE] = images[CHANGE].max()
        found[method, kind] = {str(name): mean_interval(values[name]) for name in values}
    return found


def unmoved(summary: dict[tuple[str, str], dict[str, Mean]]) -> list[str]:
    """Name the methods that fail: all weights are random and the heatmaps are much the same.

    That is where the interval's lower end (of one image, its value) of the rank correlation of
    magnitudes lies above ``SAME``.
    """
    ends = {m: each["magnitude"] for (m, kind), each in summary.items() if kind == "cascading"}
    return [m for m, mean in ends.items() if (mean.low if mean.n > 1 else mean.value) > SAME]


def lines_of(summary: dict[tuple[str, str], dict[str, Mean]]) -> pd.DataFrame:
    """Lay a summary out, as text."""
    return pd.DataFrame(
        [
            {"method": method, "heatmaps compared": CHECKS[kind]}
            | {heading: _text(means[name]) for name, heading in HEADINGS.items()}
            | {CHANGE: _text(means[CHANGE]) if kind in STAY else "–"}
            | {"n": str(means["rank"].n)}
            for (method, kind), means in summary.items()
        ]
    )


def _text(mean: Mean) -> str:
    if mean.n == 0:
        return "–"
    return f"{mean.value:.2f}" + (f" [{mean.low:.2f}, {mean.high:.2f}]" if mean.n > 1 else "")


def verdicts(table: pd.DataFrame, checks: Sequence[str]) -> list[str]:
    """Say which methods fail, and what could not be checked."""
    said = [
        f"fails: {method} stays much the same when all weights are random (correlation of "
        f"magnitudes above {SAME})"
        for method in unmoved(summarise(table))
    ]
    if "shift" in checks and "shift" not in set(table["check"]):
        said.append("no input shift: the first layer cannot take it away, not at this precision")
    return said


def cells_of(overrides: Sequence[str]) -> list[Cell]:
    """Open a cell for each method that is named, by ``method=a,b`` or ``method=a method=b``."""
    named = [each.partition("=")[2] for each in overrides if each.startswith("method=")]
    others = [each for each in overrides if not each.startswith("method=")]
    methods = [method for each in named for method in each.split(",")]
    if not methods:
        raise BadInput("name the methods to check, such as method=gradcam,gradient")
    if twice := [method for method in methods if methods.count(method) > 1]:
        raise BadInput(f"method={twice[0]} is named twice")
    return [Cell.open(load(f"method={method}", *others)) for method in methods]


def chosen_checks(text: str) -> list[str]:
    """Read names of checks, separated by commas.

    Raises:
        BadInput: one is unknown.
    """
    names = text.split(",")
    if strange := [name for name in names if name not in CHECKS]:
        raise BadInput(f"--check={strange[0]} is unknown: there are {', '.join(CHECKS)}")
    return [name for name in CHECKS if name in names]


def main() -> int:
    """Check, print what came of it, and write it where asked; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmark.sanity", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="as of python -m benchmark: method=igos ...")
    parser.add_argument(
        "--check", default=",".join(CHECKS), help=f"some of {', '.join(CHECKS)}; else all"
    )
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help=f"{', '.join(PICTURES)}, .md or, a line per image and variant, .csv; may be repeated",
    )
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, (*PICTURES, ".csv", ".md"))
        checks = chosen_checks(arguments.check)
        if any(file.suffix in PICTURES for file in arguments.write) and not (
            {"cascading", "independent"} & set(checks)
        ):
            raise BadInput("a picture shows layers: --check has to name cascading or independent")
        cells = cells_of(with_folder(arguments, arguments.overrides))
        table = pd.concat([of_cell(cell, checks) for cell in cells], ignore_index=True)
        told = {key: text for key, text in caption(cells[0]).items() if key != "protocol"}
        facts = " · ".join(f"{key} {value}" for key, value in told.items())
        write_then_show(
            arguments.write,
            lambda file: _write(file, table, checks, facts),
            partial(_print, table, checks, facts),
        )
    except (BadInput, UnreadableImage, OSError) as error:
        print(f"benchmark.sanity: {error}", file=sys.stderr)
        return 2
    return 0


def _print(table: pd.DataFrame, checks: Sequence[str], facts: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    lines = lines_of(summarise(table))
    shown = Table(title=Text("sanity checks"), title_justify="left", title_style="bold")
    for heading in lines.columns:
        shown.add_column(
            heading, justify="left" if heading in lines.columns[:2] else "right", no_wrap=False
        )
    for line in lines.itertuples(index=False):
        shown.add_row(*map(Text, line))
    console.print(shown, Text(facts), Text(NOTE, "dim"), sep="\n")
    for verdict in verdicts(table, checks):
        console.print(Text(verdict, "red"))


def _write(file: Path, table: pd.DataFrame, checks: Sequence[str], facts: str) -> None:
    if file.suffix == ".csv":
        write_whole(file, table.to_csv(index=False))
    elif file.suffix == ".md":
        lines = lines_of(summarise(table))
        text = [f"| {' | '.join(lines.columns)} |", "|---|---|" + "---:|" * (lines.shape[1] - 2)]
        text += [f"| {' | '.join(line)} |" for line in lines.itertuples(index=False)]
        text += ["", f"{facts}; {NOTE}.", "", *(f"- {each}." for each in verdicts(table, checks))]
        write_whole(file, "\n".join(text) + "\n")
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        sanity_figure(table, facts).savefig(file, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
