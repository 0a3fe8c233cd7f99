"""Which metrics deserve belief: ``python -m benchmark.metaeval [setting=...] [--write FILE]``.

Methods explain images and networks as they are, perturbed a little, and perturbed until the
prediction is another. A metric worth believing scores alike in the first case and worse in the
second (noise resilience and adversary reactivity, Hedström et al. 2023). Where a mask says what
the cause is, it is also asked whether it prefers it, as by ``benchmark.trust``. Settings are those
of a run, from ``conf/metaeval.yaml`` unless given; nothing is kept in the records.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import captions, trust
from benchmark.advice import one_line
from benchmark.building import build
from benchmark.consistency import consistency
from benchmark.constructed_maps import WRONG, ConstructedMaps
from benchmark.errors import BadInput, UnreadableImage
from benchmark.figure_parts import PICTURES
from benchmark.files import write_then_show, write_whole
from benchmark.metaeval_figures import metaeval_figure
from benchmark.perturbed_scores import Perturbations, passes_alone, perturbed_scores
from benchmark.sanity import cells_of
from benchmark.usual_settings import asked, not_asked, usual
from benchmark.verdicts import Judged, chance_of, judged, sentences, thresholds
from benchmark.wording import number_of

TEXTS = (".md", ".csv")
NOTE = (
    "NR: noise resilience, AR: adversary reactivity, of perturbed inputs / weights; MC: the mean of"
    " all; 1 is best; a metric of random values has NR {nr:.2f} and AR {ar:.2f}, one that never "
    "changes NR 1 and AR 0. Verdicts: {verdicts}; MC only orders the table. NR and AR rest on "
    "p-values, which depend on the number of images: compare metrics, never runs of other numbers "
    "of images. Prefers the cause: share of images, to the "
    "wrong map that is hardest to tell from it; metrics that are given the mask or its box have "
    "to. Passes: of the metric by itself, per image"
)


class MetaEvaluation(NamedTuple):
    """What came of it."""

    parts: pd.DataFrame  # as of ``consistency``
    judged: list[Judged]  # metrics, the highest MC first
    methods: list[str]
    caption: str  # what it depends on
    left_out: str  # metrics that were not asked; empty where the user has chosen

    @property
    def note(self) -> str:
        """Say how to read the table."""
        methods = len(self.methods)
        told = NOTE.format(
            nr=chance_of("NR", methods),
            ar=chance_of("AR", methods),
            verdicts=thresholds(methods),
        )
        return "; ".join(filter(None, [told, self.left_out]))


def evaluate(overrides: Sequence[str]) -> MetaEvaluation:
    """Evaluate the metrics of a run.

    Args:
        overrides: of ``conf/metaeval.yaml``: ``perturbations.draws=5``, and any setting of a run,
            with several methods as ``method=gradcam,gradient``.

    Raises:
        BadInput: a setting is wrong, or fewer than two methods are named.
    """
    config, given = usual("metaeval", overrides)
    perturbations: Perturbations = build(config.perturbations, "perturbations")
    cells = cells_of(given)
    if len(cells) < 2:
        raise BadInput("ranks need two methods at least, such as method=gradcam,gradient")
    first = cells[0]
    better = {name: metric.higher_is_better for name, metric in first.metrics.items()}
    parts = consistency(perturbed_scores(cells, perturbations), better)
    maps: ConstructedMaps = build(usual("trust", ())[0].maps, "maps")
    preferred = trust.prefer(first, maps)
    methods = [captions.title(cell) for cell in cells]
    told = [f"{key} {value}" for key, value in captions.caption(first).items()]
    images = number_of(len(first.dataset.ids()), "image")
    done = (
        f"{number_of(perturbations.draws, 'draw')}, noise {perturbations.minor_noise:g} / "
        f"{perturbations.disruptive_noise:g}, factor sd {perturbations.minor_factor_sd:g} / "
        f"{perturbations.disruptive_factor_sd:g}"
        + ("" if perturbations.explain_again else ", perturbed images keep their heatmaps")
    )
    chosen = any(each.startswith("metric=") for each in overrides)
    method = first.settings.choices["method"]
    left_out = "" if chosen else not_asked(first.metrics, first.settings.method, method)
    return MetaEvaluation(
        parts,
        judged(parts, preferred, passes_alone(first), WRONG, len(cells)),
        methods,
        " · ".join([", ".join(methods), *told, images, done]),
        left_out,
    )


def table_of(found: MetaEvaluation) -> pd.DataFrame:
    """Write the table as texts, a row per metric."""
    rows = []
    for each in found.judged:
        row = {"metric": each.metric, "MC": _number(each.mc)}
        for name in ("NR", "AR"):
            values = [_number(each.sides[name][test]) for test in each.sides[name]]
            row[f"{name}: {' / '.join(each.sides[name])}"] = " / ".join(values)
        cause = each.hardest
        row["prefers the cause"] = (
            f"{cause.share:.0%} [{cause.low:.0%}, {cause.high:.0%}] to {cause.rival}"
            if cause
            else "–"
        )
        rows.append(row | {"passes": f"{each.passes:.0f}", "verdict": each.verdict})
    return pd.DataFrame(rows)


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def markdown(found: MetaEvaluation) -> str:
    """Write the table, its note and the sentences as Markdown."""
    shown = table_of(found)
    lines = [f"| {' | '.join(shown.columns)} |", "|---" * shown.shape[1] + "|"]
    lines += [f"| {' | '.join(line)} |" for line in shown.itertuples(index=False)]
    said = [f"- {each}." for each in sentences(found.judged)]
    return "\n".join([*lines, "", f"{found.caption}; {found.note}.", "", *said, ""])


def main() -> int:
    """Print which metrics deserve belief, and write it as Markdown, CSV or a figure."""
    try:
        settings, files = asked("benchmark.metaeval", __doc__, TEXTS + PICTURES)
        found = evaluate(settings)
        write_then_show(files, partial(_write, found), partial(_show, found))
    except (BadInput, UnreadableImage, OSError) as error:
        print(f"benchmark.metaeval: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _write(found: MetaEvaluation, file: Path) -> None:
    if file.suffix == ".csv":
        write_whole(file, found.parts.to_csv(index=False))
    elif file.suffix == ".md":
        write_whole(file, markdown(found))
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure = metaeval_figure(found.judged, found.caption)
        figure.savefig(file, dpi=110)


def _show(found: MetaEvaluation) -> None:
    shown = table_of(found)
    table = Table(*shown.columns)
    for line in shown.itertuples(index=False):
        table.add_row(*map(Text, line))
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    said = sentences(found.judged)
    console.print(table, f"{found.caption}; {found.note}", "", *said, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
