"""How an optimiser of masks converges: its objective, time and line search, by iteration.

``python -m benchmark.convergence method=igos res=28 dataset.limit=10 [--write FILE.png|FILE.csv]``
explains the images anew, with the settings of any run, and keeps nothing in the records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.stats import quantile_test

from benchmark.captions import caption, title
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.convergence_figures import convergence_figure
from benchmark.devices import clock
from benchmark.errors import BadInput, UnreadableImage
from benchmark.figure_parts import PICTURES
from benchmark.files import check_endings, write_then_show, write_whole
from benchmark.images import chunks
from benchmark.interfaces import Batch
from benchmark.iterates import Descent
from benchmark.models import ImageClassifier
from benchmark.own_folder import add_folder, with_folder

NOTE = (
    "iterations until near (with a 95 % interval) and seconds are medians, the rest means; passes "
    "forward + backward, without those that measure the objective"
)
NEAR = 0.01  # of the final objective: how far off still counts as there


class Summary(NamedTuple):
    """What a trace comes to; the first five over images, the rest over their iterations."""

    images: int
    needed: tuple[float, float, float]  # iterations until near for good: median and 95 % interval
    unmoved: float  # share of images that are near from the start
    unsettled: float  # share of images that are near at the last iteration only
    objective: tuple[float, float]  # mean at the start and at the end
    seconds: float  # of an iteration per image, the median
    forward: float  # passes of an iteration, the mean
    backward: float
    tests: float  # lengths that a line search tries, the mean; 0 where there is none
    gave_up: float  # share of line searches that took a length which failed; NaN without any


def trace(method: Descent, model: ImageClassifier, batch: Batch) -> pd.DataFrame:
    """Explain images and note each iteration.

    Returns:
        A line per image and iteration, 0 being the start. Columns: id; iteration; objective,
        measured there without path and noise, with the weights of the start; step, tests and
        gave_up of the line search, missing where there is none; forward_passes and
        backward_passes so far; seconds of this iteration per image. What measuring takes is not
        in the costs.
    """
    count = len(batch.ids)
    model.begin_count(count)
    parts, measuring = [], np.zeros(count)
    started = clock(model)
    l1 = None
    for number, iterate in enumerate(method.descend(model, batch)):
        seconds = clock(model) - started
        l1 = iterate.objective.l1 if l1 is None else l1
        forward = model.forward_passes.numpy().copy()
        columns = {
            "id": batch.ids,
            "iteration": number,
            "objective": iterate.value(l1).double().cpu().numpy(),
            "step": np.nan,
            "tests": np.nan,
            "gave_up": np.nan,
            "forward_passes": forward - measuring,
            "backward_passes": model.backward_passes.numpy().copy(),
            "seconds": seconds / count,
        }
        if iterate.search and iterate.search.tests.any():
            found = iterate.search._asdict().items()
            columns |= {name: each.double().cpu().numpy() for name, each in found}
        measuring += model.forward_passes.numpy() - forward
        parts.append(pd.DataFrame(columns))
        started = clock(model)
    return pd.concat(parts, ignore_index=True)


def traces(cell: Cell) -> Iterator[pd.DataFrame]:
    """Trace a cell's images, batch by batch.

    Raises:
        BadInput: the method does not show how it optimises a mask.
        UnreadableImage: an image cannot be decoded.
    """
    if not hasattr(cell.method, "descend"):
        raise BadInput(
            f"method={cell.settings.choices['method']} shows no iterations of a mask: use one that "
            "does, such as method=igos or method=mask"
        )
    ids = cell.dataset.ids()
    for part in chunks(len(ids), cell.settings.batch_size):
        yield trace(cast(Descent, cell.method), cell.model, cell.batch(ids[part]))


def needed(objective: ArrayLike) -> int:
    """Count the iterations after which an objective [iterations + 1] stays near its last value."""
    values = np.asarray(objective, dtype=float)
    away = np.abs(values - values[-1]) > NEAR * np.abs(values[-1])
    return int(away.nonzero()[0][-1]) + 1 if away.any() else 0


def summarise(table: pd.DataFrame) -> Summary:
    """Sum up the lines of ``trace``.

    The interval of the median needs six images, and takes for granted nothing of how they are
    distributed: its ends are two of them (scipy's ``quantile_test``).
    """
    curves = curves_of(table)
    iterations = curves.shape[1] - 1
    counts = [needed(curve) for curve in curves.to_numpy()]
    interval = quantile_test(counts, p=0.5).confidence_interval(0.95)
    moves = table[table["iteration"] > 0]
    cost = table[table["iteration"].isin([0, iterations])].set_index("iteration")
    passes = cost[["forward_passes", "backward_passes"]].groupby(level=0).mean().diff().iloc[-1]
    searches = moves.dropna(subset="tests")
    return Summary(
        images=len(curves),
        needed=(float(np.median(counts)), float(interval.low), float(interval.high)),
        unmoved=float(np.mean([count == 0 for count in counts])),
        unsettled=float(np.mean([count == iterations for count in counts])),
        objective=(float(curves[0].mean()), float(curves[iterations].mean())),
        seconds=float(moves["seconds"].median()),
        forward=float(passes["forward_passes"] / iterations),
        backward=float(passes["backward_passes"] / iterations),
        tests=float(searches["tests"].mean()) if len(searches) else 0.0,
        gave_up=float(searches["gave_up"].mean()) if len(searches) else np.nan,
    )


def curves_of(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange the objectives of ``trace`` as a line per image and a column per iteration."""
    return table.pivot_table(index="id", columns="iteration", values="objective", sort=False)


def show(title: str, summary: Summary, iterations: int) -> Table:
    """Lay a summary out for a person."""
    median, low, high = summary.needed
    interval = "" if np.isnan(low) else f" [{low:g}, {high:g}]"
    start, end = summary.objective
    shown = Table(title=Text(title), title_justify="left", title_style="bold", show_header=False)
    shown.add_row("images", str(summary.images))
    shown.add_row("iterations made", str(iterations))
    near = f"within {NEAR:.0%} of the end"
    shown.add_row(f"iterations until {near} for good", f"{median:g}{interval}")
    shown.add_row(f"images {near} from the start", f"{summary.unmoved:.0%}")
    shown.add_row(f"images {near} only in the last iteration", f"{summary.unsettled:.0%}")
    shown.add_row("objective at the start and at the end", f"{start:.4f}, {end:.4f}")
    shown.add_row("seconds per iteration and image", f"{summary.seconds:.3g}")
    shown.add_row("passes per iteration", f"{summary.forward:.1f} + {summary.backward:.1f}")
    if summary.tests:
        shown.add_row("step lengths tried per line search", f"{summary.tests:.2f}")
        shown.add_row("line searches that gave up", f"{summary.gave_up:.1%}")
    return shown


def main() -> int:
    """Trace, print what came of it, and write it where asked; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmark.convergence", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="as of python -m benchmark: method=igos ...")
    parser.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        help=f"{', '.join(PICTURES)} or, a line per image and iteration, .csv; may be repeated",
    )
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    try:
        check_endings(arguments.write, (*PICTURES, ".csv"))
        cell = Cell.open(load(*with_folder(arguments, arguments.overrides)))
        table = pd.concat(traces(cell), ignore_index=True)
        facts = " · ".join(f"{key} {value}" for key, value in caption(cell).items())
        write_then_show(
            arguments.write,
            lambda file: _write(file, table, f"{title(cell)} · {facts}"),
            partial(_show, title(cell), table, facts),
        )
    except (BadInput, UnreadableImage, OSError) as error:
        print(f"benchmark.convergence: {error}", file=sys.stderr)
        return 2
    return 0


def _write(file: Path, table: pd.DataFrame, heading: str) -> None:
    if file.suffix == ".csv":
        write_whole(file, table.to_csv(index=False))
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        convergence_figure(table, curves_of(table), heading).savefig(file, dpi=110)


def _show(name: str, table: pd.DataFrame, facts: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(show(name, summarise(table), int(table["iteration"].max())))
    console.print(Text(facts))
    console.print(Text(NOTE, "dim"))


if __name__ == "__main__":
    sys.exit(main())
