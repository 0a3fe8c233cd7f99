"""Figures out of stored records: ``python -m benchmark.figures KIND RUN [RUN ...] --write FILE``.

A KIND is heatmaps, curves, frames, failures or cost; ``KIND --help`` says what else it takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmark.cost_figures import cost_figure
from benchmark.curve_figures import curve_figure
from benchmark.errors import BadInput, UnreadableImage
from benchmark.failure_figures import failure_figure
from benchmark.figure_parts import ALIKE, CURVES, PICTURES, Wanted, shared
from benchmark.films import FILMS, write_film
from benchmark.frame_figures import film, frame_strip
from benchmark.heatmap_figures import contact_sheet, heatmap_grid
from benchmark.print_layout import Width


def heatmaps(arguments: argparse.Namespace) -> None:
    """Draw a grid or a contact sheet."""
    common = shared(arguments.runs, _wanted(arguments), ("data",))
    if arguments.sheet:
        figure = contact_sheet(common, arguments.images, arguments.sheet, arguments.width)
    else:
        options = (arguments.images, arguments.deleted, arguments.curves)
        figure = heatmap_grid(common, *options, arguments.width)
    _save(figure, arguments)


def curves(arguments: argparse.Namespace) -> None:
    """Draw mean deletion and insertion curves."""
    common = shared(arguments.runs, _wanted(arguments, *CURVES), ALIKE)
    _save(curve_figure(common, arguments.width), arguments)


def frames(arguments: argparse.Namespace) -> None:
    """Draw a strip of composites, or film all of them."""
    common = shared(arguments.runs, _wanted(arguments, *CURVES))
    image_id = arguments.image or common.ids[0]
    if arguments.write.suffix in FILMS:
        if arguments.width:
            raise BadInput(f"--width is for print; a film such as {arguments.write} has none")
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        write_film(film(common, image_id), arguments.write)
    else:
        _save(frame_strip(common, image_id, arguments.frames, arguments.width), arguments)


def failures(arguments: argparse.Namespace) -> None:
    """Draw a run's worst images."""
    common = shared(arguments.runs, _wanted(arguments, *CURVES))
    _save(failure_figure(common, arguments.images, arguments.width), arguments)


def cost(arguments: argparse.Namespace) -> None:
    """Draw a metric over what it took."""
    common = shared(arguments.runs, _wanted(arguments, arguments.metric), ALIKE)
    _save(cost_figure(common, arguments.metric, arguments.width), arguments)


def _wanted(arguments: argparse.Namespace, *metrics: str) -> Wanted:
    return Wanted(arguments.res, arguments.protocol, metrics)


def _save(figure: Figure, arguments: argparse.Namespace) -> None:
    arguments.write.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"pdf.fonttype": 42}):  # letters as letters, which journals ask for
        figure.savefig(arguments.write, dpi=300 if arguments.width else 110)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="benchmark.figures", description=__doc__)
    kinds = top.add_subparsers(required=True, metavar="KIND")
    grid = _kind(kinds, heatmaps, "the heatmaps of runs over the same images, a run a column")
    grid.add_argument("--images", type=_count, default=6, help="how many of the shared images (6)")
    either = grid.add_mutually_exclusive_group()
    either.add_argument(
        "--sheet", type=_count, metavar="BLOCKS", help="a run a row, in so many blocks side by side"
    )
    either.add_argument(
        "--deleted",
        type=_percentage,
        metavar="PERCENT",
        help="also each image without the cells that the heatmap puts first, and the score left",
    )
    either.add_argument(
        "--curves", action="store_true", help="also each image's deletion and insertion curves"
    )
    _kind(kinds, curves, "mean deletion and insertion curves of runs, with their areas")
    steps = _kind(kinds, frames, "how deletion and insertion go on one image", runs=1)
    steps.add_argument("--image", metavar="ID", help="which image; the run's first unless given")
    steps.add_argument("--frames", type=_count, default=6, help="how many in a picture's row (6)")
    worst = _kind(kinds, failures, "the images with the lowest insertion minus deletion", runs=1)
    worst.add_argument("--images", type=_count, default=6, help="how many (6)")
    over = _kind(kinds, cost, "a metric's mean over passes and seconds per image, a run a point")
    over.add_argument("--metric", default="deletion", help="any that the runs have (deletion)")
    return top


def _kind(kinds: Any, draw: Callable[..., None], does: str, runs: int | str = "+") -> Any:
    """Add a kind of figure, with what all of them take."""
    kind = kinds.add_parser(draw.__name__, help=does, description=f"Draw {does}.")
    kind.set_defaults(draw=draw)
    kind.add_argument("runs", metavar="RUN", type=Path, nargs=runs, help="folder of a finished run")
    kind.add_argument("--res", type=_count, help="of the heatmaps, where a folder holds several")
    kind.add_argument("--protocol", help="likewise, such as rise")
    kind.add_argument(
        "--width",
        type=_width,
        metavar="one|two",
        help="of a printed page: 3.3 or 7 inches",
    )
    films = f", {', '.join(FILMS)} for a film of every step" if draw is frames else ""
    kind.add_argument(
        "--write", type=Path, metavar="FILE", required=True, help=f"{', '.join(PICTURES)}{films}"
    )
    return kind


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _width(text: str) -> Width:
    if text not in Width.__members__:
        raise argparse.ArgumentTypeError(f"{text} is neither one nor two columns")
    return Width[text]


def _percentage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage from 0 to 100")
    return value


def main() -> int:
    """Draw the figure that the command line asks for."""
    arguments = parser().parse_args()
    allowed = PICTURES + FILMS if arguments.draw is frames else PICTURES
    try:
        if arguments.write.suffix not in allowed:
            raise BadInput(
                f"--write takes a file that ends in one of {', '.join(allowed)}, "
                f"got {arguments.write}"
            )
        arguments.draw(arguments)
    except (BadInput, UnreadableImage, OSError) as error:
        print(f"benchmark.figures: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.write}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
