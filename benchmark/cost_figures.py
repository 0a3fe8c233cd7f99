"""What a metric costs: its mean against passes through the network, and against seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter, SymmetricalLogLocator
from omegaconf import OmegaConf

from benchmark.figure_parts import COLOURS, Run, Shared, caption
from benchmark.print_layout import Width, in_print, is_narrow, legend_below, two_panels
from benchmark.stats import Mean
from benchmark.summary import per_image, summary

SETTING = re.compile(r" ([\w.@]+)=\S+")  # as titles name what was changed about a method
MARKS = "osD^vP*X"


class Point(NamedTuple):
    """One run: what it took, and what came of it."""

    passes: float  # forward and backward, per image
    seconds: float  # per image
    mean: Mean
    name: str  # the value of the setting that its line goes along; empty for a line of one


class Line(NamedTuple):
    """The runs of one method, in the order of their passes."""

    label: str
    points: list[Point]


def cost_figure(common: Shared, metric: str, width: Width | None = None) -> Figure:
    """Draw each run's mean of a metric, with its interval, over passes and over seconds per image.

    Runs that differ in one setting of the same method are joined, in the order of what they cost.
    """
    lines = cost_lines(common, metric)
    figure, panels = two_panels(width, 3.2)
    for panel, cost in zip(panels, ("passes", "seconds"), strict=True):
        for number, line in enumerate(lines):
            colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
            _draw_line(panel, line, cost, colour, mark)
        costs = [getattr(point, cost) for line in lines for point in line.points]
        scale_costs(panel, costs)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3, linewidth=0.5)
    arrow = "↑" if common.runs[0].outcome.higher_is_better[metric] else "↓"
    for panel in panels if is_narrow(width) else panels[:1]:
        panel.set_ylabel(f"{metric} {arrow}, mean and 95 % interval", fontsize=7)
    panels[0].set_xlabel("passes per image, forward + backward", fontsize=7)
    devices = sorted({run.outcome.caption["device"] for run in common.runs})
    panels[1].set_xlabel(f"seconds per image ({'; '.join(devices)})", fontsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    legend_below(figure, handles, labels)
    counts = sorted({point.mean.n for line in lines for point in line.points})
    n = "–".join(map(str, sorted({counts[0], counts[-1]})))
    caption(figure, f"{common.facts} · n = {n} images{common.mixed}")
    return in_print(figure, width, 2.8)


def cost_lines(common: Shared, metric: str) -> list[Line]:
    """Average the runs over the images they share, and put those of one method together."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for run, (label, swept) in zip(common.runs, grouped(common.runs), strict=True):
        table = per_image(run.folder, run.outcome).set_index("id").loc[common.ids]
        means = summary(table, [metric])
        passes = means["forward_passes"].value + means["backward_passes"].value
        point = Point(passes, means["seconds"].value, means[metric], _setting(run, swept))
        groups.setdefault((label, swept), []).append(point)
    return [
        Line(f"{label}, by {swept}" if len(points) > 1 else label, sorted(points))
        for (label, swept), points in groups.items()
    ]


def grouped(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Find each run's line: its title without the setting that the line goes along, and which.

    Among runs of one method at one resolution it is the setting that takes the most values; one
    that a title does not name counts as a value. Empty for a run that has no such company.
    """
    titles = [run.outcome.title for run in runs]
    heads = [SETTING.sub("", title) for title in titles]
    found = []
    for title, head in zip(titles, heads, strict=True):
        company = [other for other, its in zip(titles, heads, strict=True) if its == head]
        values: dict[str, set[str]] = {}
        for other in company:
            for match in SETTING.finditer(other):
                values.setdefault(match[1], set()).add(match[0])
        for key, its in values.items():
            if any(f" {key}=" not in other for other in company):
                its.add("")
        swept = max(values, key=lambda key: len(values[key]), default="")
        if not swept or len(values[swept]) == 1:
            found.append((title, ""))
            continue
        rest = re.sub(rf" {re.escape(swept)}=\S+", "", title)
        found.append((rest, swept))
    return found


def _setting(run: Run, key: str) -> str:
    """Read the value of a setting, such as ``method.iterations``, that a run had."""
    if not key:
        return ""
    for match in SETTING.finditer(run.outcome.title):
        if match[1] == key:
            return match[0].partition("=")[2]
    value: Any = OmegaConf.select(OmegaConf.create(run.folder.started()["settings"]), key)
    return str(value)


def _draw_line(panel: Axes, line: Line, cost: str, colour: str, mark: str) -> None:
    points = sorted(line.points, key=lambda point: getattr(point, cost))
    costs = [getattr(point, cost) for point in points]
    means = np.array([point.mean[:3] for point in points])  # [points, value low high]
    away = np.abs(means[:, 1:] - means[:, :1]).T
    panel.errorbar(
        costs,
        means[:, 0],
        yerr=away,
        color=colour,
        marker=mark,
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=line.label,
    )
    if len(points) == 1:
        return
    for at, point in zip(costs, points, strict=True):
        panel.annotate(
            point.name, (at, point.mean.value), (3, 3), textcoords="offset points", fontsize=6.5
        )


def scale_costs(panel: Axes, costs: Sequence[float]) -> None:
    """Spread costs by their logarithms, with a place for 0 where a method needs no pass."""
    if min(costs) > 0:
        panel.set_xscale("log")
        near = max(costs) < 1000 * min(costs)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
        panel.xaxis.set_minor_formatter(NullFormatter())
    elif max(costs) > 0:
        panel.set_xscale("symlog", linthresh=1)
        few = (1, 2, 5) if max(costs) < 1000 else (1,)
        panel.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=few))
        panel.set_xlim(left=-0.2)
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
