"""Rank runs, with what they cost beside: ``python -m benchmark.leaderboard FOLDER`` or ``table1``.

All runs below a folder that may be compared, or the columns of an experiment. Nothing here computes
a score or needs torch.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.contenders import of_experiment, of_folders
from benchmark.errors import BadInput
from benchmark.experiment import Average, read
from benchmark.figure_parts import PICTURES
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.formats import HTML, MARKDOWN, PAGE, TERMINAL
from benchmark.layout import NOTHING, Style
from benchmark.own_folder import add_folder
from benchmark.standing_figures import standing_figure
from benchmark.standings import Board, Standing, boards

AHEAD = "◆"
NOTES = (
    "Ordered by the mean of the ranks over the metrics shown; who lacks one comes last. Ranks and "
    "means with 95 % bootstrap intervals over images; 1 is the best.",
    f"{AHEAD} on the Pareto front: no other run has as good a mean for as few passes, and a better "
    "one or fewer.",
    "control: a heatmap that knows nothing of the classifier's reasons, for others to beat. Passes "
    "forward + backward per image.",
)


def main() -> int:
    """Print the boards, or write them."""
    parser = argparse.ArgumentParser(prog="benchmark.leaderboard", description=__doc__)
    parser.add_argument("what", help="a folder of results, or an experiment such as table1")
    parser.add_argument("overrides", nargs="*", help="what the experiment was run with: n=100 ...")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        help="which to show and to rank by, in place of all; may be given several times",
    )
    add_folder(parser)
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"ends in {', '.join([*FORMATS, *PICTURES])}; may be given several times",
    )
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, [*FORMATS, *PICTURES])
        found = _found(arguments)
        write_then_show(arguments.write, partial(_write, found), partial(_show, found))
    except (BadInput, OSError) as error:
        print(f"benchmark.leaderboard: {error}", file=sys.stderr)
        return 2
    return 0


def _write(found: Sequence[Board], file: Path) -> None:
    if file.suffix in PICTURES:
        file.parent.mkdir(parents=True, exist_ok=True)
        standing_figure(found).savefig(file)
    else:
        write_whole(file, FORMATS[file.suffix](found))


def _show(found: Sequence[Board]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for board in found:
        console.print(_screen(board), *map(Text, board.facts), "", sep="\n")
    console.print(*(Text(note, "dim") for note in NOTES), sep="\n")


def _found(arguments: argparse.Namespace) -> list[Board]:
    if not Path(arguments.what).is_dir():
        composed = read(arguments.what, arguments.overrides, arguments.config_dir)
        return boards(of_experiment(composed), arguments.metric, composed.experiment.mean)
    contenders = of_folders([arguments.what, *arguments.overrides])
    return boards(contenders, arguments.metric, Average.images)


def grid(board: Board, style: Style) -> pd.DataFrame:
    """Lay a board out as texts, a line for each run."""
    lines = []
    for place, each in enumerate(board.standings, start=1):
        mark = style.text(" (control)") if each.control else ""
        line = {"": str(place), "run": style.text(each.name) + mark}
        line["mean rank"] = NOTHING if math.isnan(each.mean_rank) else f"{each.mean_rank:.3g}"
        for metric, higher in board.metrics.items():
            line[f"{metric} {'↑' if higher else '↓'}"] = _cell(each, metric, style)
        line["passes"] = f"{each.forward:.0f} + {each.backward:.0f}"
        line["s/image"] = f"{each.seconds:.3g}"
        line["n"] = str(each.images)
        lines.append(line)
    return pd.DataFrame(lines)


def _cell(each: Standing, metric: str, style: Style) -> str:
    """Write a mean, its interval and its rank, and its own n where some images have no value."""
    mean, rank = each.means.get(metric), each.ranks.get(metric)
    if mean is None or rank is None or not mean.n:
        return NOTHING
    parts = [f"{mean.value:.4f}{f' {AHEAD}' if metric in each.front else ''}"]
    if not math.isnan(mean.low):
        parts.append(style.small(f"[{mean.low:.4f}, {mean.high:.4f}]"))
    if rank.n:
        parts.append(style.small(f"rank {rank.value:g} [{rank.low:g}, {rank.high:g}]"))
    if mean.n != each.images:
        parts.append(style.small(f"n = {mean.n}"))
    return style.lines(parts)


def _screen(board: Board) -> Table:
    shown = Table(title=Text(board.title), title_justify="left", show_lines=True)
    table = grid(board, TERMINAL)
    for heading in map(str, table.columns):
        shown.add_column(heading, justify="left" if heading == "run" else "right")
    for line in table.itertuples(index=False):
        shown.add_row(*map(Text, line))
    return shown


def _markdown(found: Sequence[Board]) -> str:
    text: list[str] = []
    for board in found:
        table = grid(board, MARKDOWN)
        text += [f"**{MARKDOWN.text(board.title)}**", "", f"| {' | '.join(table.columns)} |"]
        text.append("|---:|---|" + "---:|" * (table.shape[1] - 2))
        text += [f"| {' | '.join(line)} |" for line in table.itertuples(index=False)]
        text += ["", *(f"- {MARKDOWN.text(line)}" for line in board.facts), ""]
    return "\n".join([*text, *(f"- {note}" for note in NOTES)]) + "\n"


def _html(found: Sequence[Board]) -> str:
    parts = []
    for board in found:
        facts = "<br>".join(map(escape, board.facts))
        table = grid(board, HTML).set_index(["", "run"]).rename_axis([None, None])
        parts.append(
            f'<h2 style="font-size: 1.1em">{escape(board.title)}</h2>'
            f"{table.to_html(escape=False, border=0)}<p>{facts}</p>"
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in NOTES)
    return PAGE.format(title="Leaderboard", table="".join(parts), notes=notes)


def _csv(found: Sequence[Board]) -> str:
    return pd.DataFrame([line for board in found for line in _lines(board)]).to_csv(index=False)


def _lines(board: Board) -> Iterator[dict[str, object]]:
    """Give every number of a board, a line for each run."""
    for place, each in enumerate(board.standings, start=1):
        line: dict[str, object] = {"board": board.title, "place": place, "run": each.name}
        line |= {"control": each.control, "mean_rank": each.mean_rank}
        for metric in board.metrics:
            for prefix, value in (("", each.means.get(metric)), ("_rank", each.ranks.get(metric))):
                if value is not None:
                    line |= {f"{metric}{prefix}": value.value, f"{metric}{prefix}_low": value.low}
                    line |= {f"{metric}{prefix}_high": value.high, f"{metric}{prefix}_n": value.n}
            line[f"{metric}_front"] = metric in each.front
        line |= {"forward_passes": each.forward, "backward_passes": each.backward}
        yield line | {
            "seconds": each.seconds,
            "images": each.images,
            "facts": "; ".join(board.facts),
        }


FORMATS: dict[str, Callable[[Sequence[Board]], str]] = {
    ".md": _markdown,
    ".csv": _csv,
    ".html": _html,
}


if __name__ == "__main__":
    sys.exit(main())
