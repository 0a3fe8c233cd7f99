"""How alike heatmaps stay as layers become random, a curve per method."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmark.figure_parts import COLOURS, caption
from benchmark.stats import mean_band

ROWS = {
    "cascading": "random from the output down to …",
    "independent": "random is only …",
}
COLUMNS = {
    "rank": "rank correlation",
    "magnitude": "rank correlation of magnitudes",
    "ssim": "SSIM",
}


def sanity_figure(table: pd.DataFrame, facts: str) -> Figure:
    """Draw each method's mean similarity over layers with its pointwise 95 % bootstrap band.

    Args:
        table: the lines of ``benchmark.sanity.of_cell``, of one or several methods, with one at
            least of the checks cascading and independent.
        facts: what they depend on.
    """
    rows = [kind for kind in ROWS if kind in set(table["check"])]
    methods = list(dict.fromkeys(table["method"]))
    figure = Figure(figsize=(11, 3.4 * len(rows) + 0.3), layout="constrained")
    panels = figure.subplots(len(rows), len(COLUMNS), squeeze=False, sharey=True)
    styles = ("-", "--", ":", "-.")
    for row, kind in zip(panels, rows, strict=True):
        chosen = table[table["check"] == kind]
        layers = list(dict.fromkeys(chosen["layer"]))
        for panel, (name, heading) in zip(row, COLUMNS.items(), strict=True):
            for number, method in enumerate(methods):
                curves = chosen[chosen["method"] == method].pivot_table(
                    index="id", columns="step", values=name, sort=False, dropna=False
                )
                curves = curves.dropna()
                if curves.empty:
                    continue
                colour = COLOURS[number % len(COLOURS)]
                style = styles[number // len(COLOURS) % len(styles)]
                if kind == "cascading":  # nothing is random yet
                    curves.insert(0, 0, 1.0)
                band = mean_band(curves.to_numpy())
                across = list(curves.columns)
                panel.plot(
                    across,
                    band.value,
                    color=colour,
                    linestyle=style,
                    marker="o",
                    markersize=2.5,
                    linewidth=1.2,
                    label=f"{method} (n = {len(curves)})",
                )
                panel.fill_between(across, band.low, band.high, color=colour, alpha=0.15, lw=0)
            ticks = list(range(1, len(layers) + 1))
            names = [layer or "own parameters" for layer in layers]
            if kind == "cascading":
                ticks, names = [0, *ticks], ["original", *names]
            panel.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor")
            panel.set_title(heading, fontsize=8)
            panel.set_xlabel(ROWS[kind], fontsize=7)
            panel.tick_params(labelsize=7)
            panel.axhline(0, color="0.6", linewidth=0.6)
            panel.grid(alpha=0.3, linewidth=0.5)
    panels[0, 0].set_ylim(top=1.05)  # of all, and after all is drawn
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), fontsize=7
    )
    caption(figure, f"sanity checks · {facts} · mean, 95 % bootstrap band at each point")
    return figure
