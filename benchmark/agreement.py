"""How far rankings agree: ``python -m benchmark.agreement FOLDER [--only TEXT] [--write FILE]``.

Of all stored runs below a folder, or of an experiment (``python -m benchmark.agreement sensitivity
n=100``), whose columns are compared if they differ in nothing but the protocol: whether images
agree on the order of the methods (Krippendorff's alpha), metrics with each other, protocols and
substrates with each other (Kendall's tau), and how far a method's score and place move between
them. Nothing here computes a score or needs torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.collect import collect
from benchmark.contenders import Contender, depends_on, of_cells, of_folders
from benchmark.errors import BadInput
from benchmark.experiment import read
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.own_folder import add_folder
from benchmark.print_layout import broken
from benchmark.ranking_texts import lacking, sentences
from benchmark.rankings import by_protocol, comparisons_of, correlations

NOTES = {
    "images": "alpha: Krippendorff's, ordinal, of the places that each image gives the methods; 1 "
    "where all images agree, 0 where they do by chance; alpha of values: interval, of the scores",
    "metrics": "tau: Kendall's tau-b, of the orders that two metrics give the methods by their "
    "means: pairs of methods that one of the two gives equal means count neither way, and the sum "
    "is divided by the geometric mean of the numbers of pairs that each does order; turned: share "
    "of all pairs of methods that stand the other way round, which equal ones do not",
    "protocols": "the same of two protocols or substrates, by one metric",
    "methods": "a method's mean under all protocols that it was scored under, and its place; 1 is "
    "the best",
}
PICTURES, TEXTS = (".png", ".pdf", ".svg"), (".md", ".csv")
FEW = 4  # groups, of each of which something is said
INCHES = 0.42  # of a metric's row and column


def main() -> int:
    """Print what agrees with what, and write it as Markdown, CSV or a figure."""
    parser = argparse.ArgumentParser(prog="benchmark.agreement", description=__doc__)
    parser.add_argument("what", help="a folder of results, or an experiment such as sensitivity")
    parser.add_argument("overrides", nargs="*", help="what the experiment was run with: n=100 ...")
    add_folder(parser)
    parser.add_argument(
        "--only", default="", help="only runs whose data, model, protocol ... line has this text"
    )
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help=f"ends in {', '.join(TEXTS + PICTURES)}; a picture shows how metrics correlate",
    )
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, TEXTS + PICTURES)
        everything, missing = _found(arguments)
        contenders = [each for each in everything if arguments.only in each.group]
        if not contenders:
            raise BadInput(f"no run of {arguments.what} has {arguments.only!r} in its line")
        try:
            frames = comparisons_of(contenders)
        except BadInput as error:
            raise BadInput("; ".join([str(error), *missing])) from error
        by_name = not Path(arguments.what).is_dir()  # a folder's groups say what they depend on
        about = depends_on([each.facts for each in contenders]) if by_name else []
        write_then_show(
            arguments.write,
            lambda file: (
                _draw(correlations(contenders), file)
                if file.suffix in PICTURES
                else write_whole(file, _rendered(frames, file.suffix, [*about, *missing]))
            ),
            partial(_show, frames, about, missing),
        )
    except (BadInput, OSError) as error:
        print(f"benchmark.agreement: {error}", file=sys.stderr)
        return 2
    return 0


def _found(arguments: argparse.Namespace) -> tuple[list[Contender], list[str]]:
    """Take what is done, and say what an experiment lacks."""
    if not Path(arguments.what).is_dir():
        composed = read(arguments.what, arguments.overrides, arguments.config_dir)
        cells = collect(composed)
        contenders = by_protocol(of_cells(composed, cells), composed.experiment.title)
        return contenders, lacking(composed, cells)
    return of_folders([arguments.what, *arguments.overrides]), []


def correlation_figure(matrices: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw matrices of correlations in [-1, 1], one below the other, each with its group.

    Raises:
        BadInput: there is none.
    """
    if not matrices:
        raise BadInput("no run has two metrics to correlate")
    sizes = [len(each) for each in matrices.values()]
    wide = max(max(sizes) * INCHES + 2.6, 5.0)
    figure = Figure(figsize=(wide, sum(sizes) * INCHES + 2.2 * len(sizes)), layout="constrained")
    parts = figure.subfigures(len(sizes), 1, squeeze=False, height_ratios=[n + 5 for n in sizes])
    for part, (group, matrix) in zip(parts[:, 0], matrices.items(), strict=True):
        part.suptitle(broken(group, wide), fontsize=6, x=0.02, ha="left")
        panel = part.subplots()
        shown = panel.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1)
        names = [str(each) for each in matrix.columns]
        panel.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        panel.set_yticks(range(len(names)), names, fontsize=7)
        for (row, column), value in np.ndenumerate(matrix.to_numpy()):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            colour = "white" if abs(value) > 0.6 else "black"
            panel.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
        part.colorbar(shown, ax=panel, shrink=0.6).ax.tick_params(labelsize=7)
        part.supxlabel(
            "Spearman over image × method, each metric turned so that higher is better", fontsize=7
        )
    return figure


def _draw(matrices: Mapping[str, pd.DataFrame], file: Path) -> None:
    figure = correlation_figure(matrices)
    file.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"pdf.fonttype": 42}):  # letters as letters, which journals ask for
        figure.savefig(file, dpi=150)


def _show(frames: Mapping[str, pd.DataFrame], about: Sequence[str], missing: Sequence[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for name, frame in frames.items():
        console.print(*_screens(frame), Text(f"{name}: {NOTES[name]}", "dim"), "")
    for each in _said(frames):
        console.print(Text(each))
    for each in about:
        console.print(Text(each, "dim"), soft_wrap=True)
    for each in missing:
        console.print(Text(each, "red"), soft_wrap=True)


def _rendered(frames: Mapping[str, pd.DataFrame], suffix: str, notes: Sequence[str]) -> str:
    if suffix == ".csv":
        return pd.concat([frame.assign(table=name) for name, frame in frames.items()]).to_csv(
            index=False
        )
    lines = [f"- {each}." for each in _said(frames)] + [f"- {each}" for each in notes] + [""]
    for name, frame in frames.items():
        for group, part in _by_title(frame):
            shown = _texts(part)
            lines += [f"**{group}**", "", f"| {' | '.join(shown.columns)} |"]
            lines += ["|---" * shown.shape[1] + "|"]
            lines += [f"| {' | '.join(line)} |" for line in shown.itertuples(index=False)] + [""]
        lines += [f"{name}: {NOTES[name]}.", ""]
    return "\n".join(lines)


def _said(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say what was found, and of many protocols only how they agree with each other."""
    many = "protocols" in frames and frames["images"]["group"].nunique() > FEW
    across = {name: frames[name] for name in ("protocols", "methods") if name in frames}
    return sentences(across if many else frames)


def _screens(frame: pd.DataFrame) -> Iterator[Table]:
    """Show each group in a table of its own, with the group as its title."""
    for group, part in _by_title(frame):
        shown = Table(title=Text(group), title_justify="left")
        texts = _texts(part)
        for heading in texts.columns:
            shown.add_column(heading)
        for line in texts.itertuples(index=False):
            shown.add_row(*map(Text, line))
        yield shown


def _by_title(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Split lines by what they have in common, which then is no column any more."""
    titled = "group" if "group" in frame else "base"
    for group, part in frame.groupby(titled, sort=False):
        yield str(group), part.drop(columns=titled)


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Write a frame's numbers as texts."""
    shown = frame.copy()
    forms = {"turned": "{:.0%}", "tau": "{:+.2f}", "best rank": "{:g}", "worst rank": "{:g}"}
    forms |= {"alpha": "{:.2f}", "alpha of values": "{:.2f}"}
    for name in map(str, shown.select_dtypes("number")):
        form = forms.get(name, "{:d}" if shown[name].dtype.kind == "i" else "{:.4f}")
        shown[name] = ["–" if pd.isna(each) else form.format(each) for each in shown[name]]
    return shown


if __name__ == "__main__":
    sys.exit(main())
