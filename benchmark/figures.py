"""Figures out of stored records.

``python -m benchmark.figures RUN [RUN ...] --images 6 --write heatmaps.png`` draws the heatmaps of
several runs over the same images, one run a column; ``--sheet BLOCKS`` draws a row for each run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import OmegaConf

from benchmark.config import build
from benchmark.errors import BadInput, UnreadableImage
from benchmark.records import Outcome, RunFolder

if TYPE_CHECKING:
    from benchmark.interfaces import Dataset  # imports torch, which only some data sets need

INCHES = 1.7  # side of one panel


class Shared(NamedTuple):
    """What several runs have in common, and what each made of it."""

    runs: list[tuple[RunFolder, Outcome]]
    ids: list[str]
    dataset: Dataset
    size: int  # pixels along a side of an image

    def picture(self, image_id: str) -> NDArray[np.float32]:
        """Decode an image, [H, W, 3] in [0, 1]."""
        pixels: NDArray[np.float32] = (
            self.dataset.load(image_id, self.size).image.permute(1, 2, 0).numpy()
        )
        return pixels

    def facts(self) -> str:
        """Say what all of it depends on."""
        caption = self.runs[0][1].caption
        return " · ".join(caption[key] for key in ("data", "model", "target", "protocol"))


def shared(folders: Sequence[RunFolder], images: int) -> Shared:
    """Find the first images that all runs explained.

    Raises:
        BadInput: the runs share no image.
    """
    outcomes = [_shown(folder) for folder in folders]
    manifests = [
        folder.ids(outcome.manifest) for folder, outcome in zip(folders, outcomes, strict=True)
    ]
    ids = [each for each in manifests[0] if all(each in ids for ids in manifests)][:images]
    if not ids:
        raise BadInput("the runs have no image in common")
    started = folders[0].started()
    dataset = build(OmegaConf.create(started["settings"]["dataset"]), "dataset")
    return Shared(list(zip(folders, outcomes, strict=True)), ids, dataset, started["input_size"])


def _shown(folder: RunFolder) -> Outcome:
    """Choose what to draw of a run: the newest native heatmaps, or else the finest."""
    newest = folder.outcomes()[::-1]
    native = [outcome for outcome in newest if outcome.heatmaps == "heatmaps"]
    return native[0] if native else max(newest, key=lambda each: each.res)


def heatmap_grid(folders: Sequence[RunFolder], images: int) -> Figure:
    """Draw images x runs: the image, then each run's heatmap over it.

    Each heatmap is scaled on its own; below it stand its deletion and insertion scores where the
    run has them.

    Raises:
        BadInput: the runs share no image, or the data is no longer where it was.
    """
    common = shared(folders, images)
    width, height = len(folders) + 1, len(common.ids)
    figure = Figure(figsize=(INCHES * width, (INCHES + 0.25) * height + 0.3), layout="constrained")
    panels = figure.subplots(height, width, squeeze=False)
    for line, image_id in zip(panels, common.ids, strict=True):
        _draw_image(line[0], common, image_id)
        for panel, run in zip(line[1:], common.runs, strict=True):
            _draw_heatmap(panel, common, run, image_id)
    titles = ["image", *(outcome.title for _, outcome in common.runs)]
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title.replace(" at ", "\n", 1), fontsize=7)
    figure.suptitle(common.facts(), fontsize=7)
    _without_ticks(panels)
    return figure


def contact_sheet(folders: Sequence[RunFolder], images: int, blocks: int) -> Figure:
    """Draw runs x images, the runs one below the other in so many blocks side by side.

    Raises:
        BadInput: the runs share no image, or the data is no longer where it was.
    """
    common = shared(folders, images)
    columns, height = len(common.ids), 1 + -(-len(folders) // blocks)
    size = (INCHES * 0.75 * columns * blocks, (INCHES * 0.75 + 0.2) * height + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(height, columns * blocks, squeeze=False)
    for block in range(blocks):
        own = panels[:, block * columns : (block + 1) * columns]
        for panel, image_id in zip(own[0], common.ids, strict=True):
            _draw_image(panel, common, image_id)
        runs = common.runs[block * (height - 1) : (block + 1) * (height - 1)]
        for line, run in zip(own[1:], runs, strict=False):
            for panel, image_id in zip(line, common.ids, strict=True):
                _draw_heatmap(panel, common, run, image_id)
            line[0].set_ylabel(run[1].title.replace(" at ", "\n", 1), fontsize=7)
        for line in own[1 + len(runs) :]:
            for panel in line:
                panel.set_axis_off()
    figure.suptitle(common.facts(), fontsize=7)
    _without_ticks(panels)
    return figure


def _draw_image(panel: Axes, common: Shared, image_id: str) -> None:
    known = common.runs[0][0].stage("heatmaps").rows[image_id]
    name = str(common.dataset.class_names[known["target"]]).split(",")[0]
    panel.imshow(common.picture(image_id))
    panel.set_xlabel(f"{name} {known['score_on_image']:.2f}", fontsize=7)


def _draw_heatmap(
    panel: Axes, common: Shared, run: tuple[RunFolder, Outcome], image_id: str
) -> None:
    folder, outcome = run
    heatmap = folder.stage(outcome.heatmaps).array(image_id, "heatmap")
    panel.imshow(_overlay(common.picture(image_id), heatmap))
    scores = [
        f"{metric[:3]} {folder.stage(outcome.stages[metric]).rows[image_id]['value']:.3f}"
        for metric in ("deletion", "insertion")
        if metric in outcome.stages
    ]
    panel.set_xlabel("  ".join(scores), fontsize=7 if len(common.ids) < 4 else 6)


def _without_ticks(panels: NDArray[Any]) -> None:
    for panel in panels.flat:
        panel.set_xticks([])
        panel.set_yticks([])


def _overlay(picture: NDArray[np.float32], heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay a heatmap [r, r] over a picture [H, W, 3], enlarged without smoothing its cells.

    The dark end is the smallest cell, or 0 where some speak against the target; the bright end is
    the value that one cell in 200 reaches.
    """
    low, high = max(0.0, float(heatmap.min())), float(np.quantile(heatmap, 0.995))
    if high <= low:
        low, high = float(heatmap.min()), float(heatmap.max())
    spread = high - low
    scaled = np.clip((heatmap - low) / spread, 0, 1) if spread > 0 else np.zeros_like(heatmap)
    size, res = picture.shape[0], heatmap.shape[0]
    cell = np.minimum(np.arange(size) * res // size, res - 1)
    colours = mpl.colormaps["inferno"](scaled[cell][:, cell])[..., :3]
    grey = picture.mean(2, keepdims=True)
    mixed: NDArray[np.float32] = (0.35 * grey + 0.65 * colours).astype(np.float32)
    return mixed


def main() -> int:
    """Draw the grid that the command line asks for."""
    parser = argparse.ArgumentParser(prog="benchmark.figures", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--images", type=int, default=6, help="how many of the shared images")
    parser.add_argument(
        "--sheet", type=int, metavar="BLOCKS", help="a row per run, in so many blocks side by side"
    )
    parser.add_argument("--write", type=Path, required=True, help="a .png, .pdf or .svg file")
    arguments = parser.parse_args()
    try:
        for run in arguments.runs:
            if not (run / "settings.json").is_file() or not RunFolder(run).outcomes():
                raise BadInput(f"{run} is not the folder of a finished run")
        folders = [RunFolder(run) for run in arguments.runs]
        figure = (
            contact_sheet(folders, arguments.images, arguments.sheet)
            if arguments.sheet
            else heatmap_grid(folders, arguments.images)
        )
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(arguments.write, dpi=110)
    except (BadInput, UnreadableImage, OSError, ValueError) as error:
        print(f"benchmark.figures: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.write}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
