"""How far each metric can be relied on: under perturbations, and where the cause is known."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.figure_parts import COLOURS, caption
from benchmark.verdicts import Judged, chance_of

SIDES = {"NR": "noise resilience (NR)", "AR": "adversary reactivity (AR)"}
MARKERS = ("o", "s")  # of inputs and weights


def metaeval_figure(metrics: Sequence[Judged], facts: str) -> Figure:
    """Draw a row per metric: NR, AR, MC, and how often it prefers the cause.

    Args:
        metrics: as of ``judged``, the best first.
        facts: what they depend on.
    """
    known = any(each.hardest for each in metrics)
    names = [*SIDES, "MC", "cause"] if known else [*SIDES, "MC"]
    figure = Figure(figsize=(2.6 * len(names) + 1.4, 0.24 * len(metrics) + 1.7))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    rows = range(len(metrics))
    for panel, name in zip(panels, names, strict=True):
        if name in SIDES:
            _side(panel, metrics, name)
        elif name == "MC":
            panel.barh(rows, [each.mc for each in metrics], color=COLOURS[0], height=0.6)
            panel.set_xlabel("meta-consistency (MC)", fontsize=7)
        else:
            _cause(panel, metrics)
        panel.set_xlim(-0.03, 1.03)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3, linewidth=0.5)
        panel.set_axisbelow(True)
    panels[0].set_yticks(rows, [f"{each.metric}: {each.verdict}" for each in metrics], fontsize=7)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=7)
    caption(figure, f"meta-evaluation of metrics · {facts}")
    return figure


def _side(panel: Axes, metrics: Sequence[Judged], side: str) -> None:
    """Draw NR or AR under perturbed inputs and weights."""
    chance = chance_of(side, metrics[0].methods)
    panel.axvline(chance, color="0.5", linestyle="--", linewidth=1, label="random values")
    tests = list(dict.fromkeys(test for each in metrics for test in each.sides[side]))
    for test, marker, colour in zip(tests, MARKERS, COLOURS[1:], strict=False):
        shift = 0.14 * (2 * tests.index(test) - 1)  # so that equal values do not hide each other
        values = [each.sides[side].get(test, float("nan")) for each in metrics]
        places = [at + shift for at in range(len(metrics))]
        panel.plot(values, places, marker, color=colour, markersize=4, label=f"of {test}")
    panel.set_xlabel(SIDES[side], fontsize=7)


def _cause(panel: Axes, metrics: Sequence[Judged]) -> None:
    """Draw how often the cause is preferred to the wrong map that is hardest to tell from it."""
    panel.axvline(0.5, color="0.5", linestyle="--", linewidth=1)
    for at, each in enumerate(metrics):
        if each.hardest:
            _, share, low, high = each.hardest
            panel.plot([low, high], [at, at], color=COLOURS[2], linewidth=1.2)
            panel.plot(share, at, "D", color=COLOURS[2], markersize=4)
    panel.set_xlabel("prefers the cause to the hardest\nwrong map, share of images", fontsize=7)
