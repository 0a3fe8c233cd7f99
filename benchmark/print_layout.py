"""Figures at the width of a column or a page, with letters of one size as they are printed."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from benchmark.errors import BadInput

POINTS = 7  # of every letter in print
PER_INCH = 17  # letters of that size
MARGIN = 0.3  # inches for what stands beside the first panel


class Width(Enum):
    """How wide a printed figure is, in inches: one column of two, or both."""

    one = 3.3
    two = 7.0


def side_of(width: Width | None, columns: float, usual: float, least: float, fewer: str) -> float:
    """Return the side of a panel in inches, where so many have to stand side by side.

    Args:
        width: of the figure; None is as wide as it comes out.
        columns: panels side by side.
        usual: side of a panel where the width is free.
        least: side of the smallest panel whose texts can be read.
        fewer: what to do about it where they do not fit.

    Raises:
        BadInput: they do not fit.
    """
    if width is None:
        return usual
    side = (width.value - MARGIN) / columns
    if side < least:
        raise BadInput(f"--width {width.name} ({width.value} inches) is too narrow: {fewer}")
    return side


def is_narrow(width: Width | None) -> bool:
    """Whether two panels with axes have to stand one below the other."""
    return width is Width.one


def two_panels(width: Width | None, height: float) -> tuple[Figure, NDArray[Any]]:
    """Begin a figure of two panels with axes, beside or in one column below each other.

    Args:
        width: of the figure.
        height: of the figure in inches without a legend, where they stand beside each other.
    """
    rows, columns = (2, 1) if is_narrow(width) else (1, 2)
    inches = 8 if width is None else width.value
    tall = 4.6 if is_narrow(width) else height
    figure = Figure(figsize=(inches, tall), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=True)


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Put a legend below the panels, a line of the figure's width or more for each label."""
    fitting = [broken(label, figure.get_figwidth() - 0.6) for label in labels]
    lines = sum(label.count("\n") + 1 for label in fitting)
    figure.set_figheight(figure.get_figheight() + 0.16 * lines)
    figure.legend(handles, fitting, fontsize=6.5, loc="outside lower center", frameon=False)


def broken(text: str, inches: float) -> str:
    """Break a text into lines that fit: at two spaces or a dot, else at a space or after =."""
    letters = max(6, int(inches * PER_INCH))
    lines = [
        part
        for line in text.splitlines()
        for part in (re.split("  | · ", line) if len(line) > letters else [line])
    ]
    fitting = [textwrap.fill(line.replace("=", "=\0 "), letters) for line in lines]
    return "\n".join(fitting).replace("\0 ", "").replace("\0", "")


def in_print(
    figure: Figure, width: Width | None, inches: float, panels: Iterable[Axes] | None = None
) -> Figure:
    """Give all letters of a figure one size, and break what is wider than its panel.

    Args:
        figure: drawn, of the right width.
        width: None leaves the figure as it is.
        inches: width of a panel.
        panels: that are so wide; all unless given.
    """
    if width is None:
        return figure
    for panel in panels or figure.axes:
        for text in _beside(panel):
            text.set_text(broken(text.get_text(), inches))
    for text in figure.findobj(Text):
        text.set_fontsize(POINTS)
    return figure


def _beside(panel: Axes) -> list[Text]:
    return [panel.title, panel.xaxis.label, panel.yaxis.label]
