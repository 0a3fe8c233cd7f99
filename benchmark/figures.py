"""Figures out of stored records.

``python -m benchmark.figures RUN [RUN ...] --images 6 --write heatmaps.png`` draws the heatmaps of
several runs over the same images, one run a column.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import OmegaConf

from benchmark.config import build
from benchmark.errors import BadInput, UnreadableImage
from benchmark.records import RunFolder

INCHES = 1.7  # side of one panel


def heatmap_grid(folders: Sequence[RunFolder], images: int) -> Figure:
    """Draw images x runs: the image, then each run's heatmap over it.

    Each heatmap is scaled to its own smallest and largest cell; below it stand its deletion and
    insertion scores where the run has them.

    Raises:
        BadInput: the runs share no image, or the data is no longer where it was.
    """
    outcomes = [folder.outcomes()[-1] for folder in folders]
    manifests = [
        folder.ids(outcome.manifest) for folder, outcome in zip(folders, outcomes, strict=True)
    ]
    shared = [each for each in manifests[0] if all(each in ids for ids in manifests)][:images]
    if not shared:
        raise BadInput("the runs have no image in common")
    dataset = build(OmegaConf.create(folders[0].started()["settings"]["dataset"]), "dataset")
    size = folders[0].started()["input_size"]
    width, height = len(folders) + 1, len(shared)
    figure = Figure(figsize=(INCHES * width, (INCHES + 0.25) * height + 0.3), layout="constrained")
    panels = figure.subplots(height, width, squeeze=False)
    for line, image_id in zip(panels, shared, strict=True):
        item = dataset.load(image_id, size)
        picture = item.image.permute(1, 2, 0).numpy()
        known = folders[0].stage("heatmaps").rows[image_id]
        name = str(dataset.class_names[known["target"]]).split(",")[0]
        line[0].imshow(picture)
        line[0].set_xlabel(f"{name} {known['score_on_image']:.2f}", fontsize=7)
        for panel, folder, outcome in zip(line[1:], folders, outcomes, strict=True):
            heatmap = folder.stage(outcome.heatmaps).array(image_id, "heatmap")
            panel.imshow(_overlay(picture, heatmap))
            scores = [
                f"{metric[:3]} {folder.stage(outcome.stages[metric]).rows[image_id]['value']:.3f}"
                for metric in ("deletion", "insertion")
                if metric in outcome.stages
            ]
            panel.set_xlabel("  ".join(scores), fontsize=7)
    for panel, title in zip(panels[0], ["image", *(each.title for each in outcomes)], strict=True):
        panel.set_title(title.replace(" at ", "\n", 1), fontsize=7)
    facts = outcomes[0].caption
    figure.suptitle(f"{facts['data']} · {facts['model']} · {facts['protocol']}", fontsize=7)
    for panel in panels.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    return figure


def _overlay(picture: NDArray[np.float32], heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay a heatmap [r, r] over a picture [H, W, 3], enlarged without smoothing its cells."""
    low, high = float(heatmap.min()), float(heatmap.max())
    scaled = (heatmap - low) / (high - low) if high > low else np.zeros_like(heatmap)
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
    parser.add_argument("--write", type=Path, required=True, help="a .png, .pdf or .svg file")
    arguments = parser.parse_args()
    try:
        for run in arguments.runs:
            if not (run / "settings.json").is_file() or not RunFolder(run).outcomes():
                raise BadInput(f"{run} is not the folder of a finished run")
        figure = heatmap_grid([RunFolder(run) for run in arguments.runs], arguments.images)
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(arguments.write, dpi=110)
    except (BadInput, UnreadableImage, OSError, ValueError) as error:
        print(f"benchmark.figures: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.write}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
