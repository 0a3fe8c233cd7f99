"""What the explorer's page does: one image, explained by several methods, one after the other."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.models import list_models

from benchmark.building import build
from benchmark.cell import Cell
from benchmark.config import load, places, searching
from benchmark.devices import clock
from benchmark.errors import BadInput, UnreadableImage
from benchmark.figure_parts import COLOUR_OF, CURVES, INCHES, draw_axes, overlay, without_ticks
from benchmark.images import resize_heatmaps
from benchmark.interfaces import Dataset
from benchmark.model_sources import SUFFIXES
from benchmark.models import ImageClassifier
from benchmark.pass_sizes import load_model
from benchmark.resolution import native_resolution

OWN = ("scenes_vgg", "scenes_resnet")  # models that come with the project
TOP = 5  # classes offered


class Picture(NamedTuple):
    """Which image is explained: what a command line has to say of it."""

    overrides: tuple[str, ...]
    id: str


class Result(NamedTuple):
    """What one method made of the image."""

    method: str
    command: str  # does the same again
    error: str  # why there is nothing else; empty where there is
    heatmap: NDArray[np.float32] | None = None  # [r, r]
    curves: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] | None = None  # x, y
    values: dict[str, float] | None = None
    seconds: float = 0.0
    passes: tuple[float, float] = (0.0, 0.0)  # forward, backward; of the heatmap alone


def models(weights_root: str | None, own: str = "") -> list[str]:
    """List models that need no download: the project's, those with weights, the user's own.

    ``own`` is the folder of ``--config-dir``.
    """
    root = Path(weights_root).expanduser() if weights_root else None
    files = sorted(root.iterdir()) if root and root.is_dir() else []
    names = {each.name.partition(".")[0] for each in files if each.name.endswith(SUFFIXES)}
    theirs = sorted(each.stem for each in (Path(own) / "model").glob("*.yaml")) if own else []
    return [*OWN, *sorted(names & set(list_models()) - set(theirs)), *theirs]


class Explorer:
    """Explains images with a user's settings; keeps uploads and nothing else."""

    def __init__(self, overrides: Sequence[str], folder: Path, own: str = "") -> None:
        """Prepare.

        Args:
            overrides: as for ``python -m benchmark``: device, protocol and the like.
            folder: where uploaded images are kept, so that the command lines shown find them.
            own: the folder of ``--config-dir``, where configuration files may lie too.
        """
        if load(*overrides, folder=own).attack:
            raise BadInput("the explorer shows images as they are: leave out attack=...")
        self.own = str(Path(own).resolve()) if own else ""
        self.overrides = tuple(searching(own, overrides))
        self.folder = folder

    def examples(self, model: str) -> list[str]:
        """List images of the data set that comes with a model's classes."""
        return self._dataset(self._given(model)).ids()[:40]

    def example(self, model: str, image_id: str) -> Picture:
        """Choose an image of that data set."""
        return self._picture(self._given(model), image_id)

    def upload(self, image: Image.Image) -> Picture:
        """Keep an image of the user's.

        Raises:
            BadInput: it has no pixels.
        """
        if min(image.size) < 1:
            raise BadInput("the image has no pixels")
        upright = ImageOps.exif_transpose(image).convert("RGB")
        content = repr(upright.size).encode() + upright.tobytes()
        name = hashlib.sha256(content).hexdigest()[:12] + ".png"
        self.folder.mkdir(parents=True, exist_ok=True)
        upright.save(self.folder / name)
        given = ("dataset=folder", f"dataset.root={_quoted(self.folder)}")
        return self._picture(given, name)

    def _given(self, model: str) -> tuple[str, ...]:
        return ("dataset=scenes",) if model in OWN else ("dataset=imagenet",)

    def _picture(self, given: tuple[str, ...], image_id: str) -> Picture:
        manifest = self.folder / f"{hashlib.sha256(image_id.encode()).hexdigest()[:12]}.txt"
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest.write_text(f"{image_id}\n", encoding="utf-8")
        chosen = (f"dataset.manifest={_quoted(manifest)}", "dataset.limit=null")
        return Picture((*given, *chosen), image_id)

    def _dataset(self, given: Sequence[str]) -> Dataset:
        dataset: Dataset = build(load(*self.overrides, *given).dataset, "dataset")
        return dataset

    def pixels(self, model: str, picture: Picture) -> NDArray[np.float32]:
        """Decode an image as the model sees it, [H, W, 3] in [0, 1]."""
        size = self._model(model).input_size
        item = self._dataset(picture.overrides).load(picture.id, size)
        shown: NDArray[np.float32] = item.image.permute(1, 2, 0).numpy()
        return shown

    def classes(self, model: str, picture: Picture) -> list[tuple[int, str, float]]:
        """Return the most probable classes: number, name, probability."""
        network = self._model(model)
        item = self._dataset(picture.overrides).load(picture.id, network.input_size)
        with torch.no_grad():
            probabilities = network.probabilities(network(item.image[None].to(network.device)))[0]
        values, places = probabilities.topk(min(TOP, len(probabilities)))
        names = network.class_names
        return [
            (place, str(names[place]).split(",")[0], value)
            for value, place in zip(values.tolist(), places.tolist(), strict=True)
        ]

    def _model(self, name: str) -> ImageClassifier:
        return _loaded(name, self.overrides)

    def explain(
        self, model: str, picture: Picture, methods: Sequence[str], *, res: int, target: int
    ) -> Iterator[Result]:
        """Explain one class of an image by each method; each result comes when it is there."""
        for method in methods:
            given = [*self.overrides, *picture.overrides, f"model={model}", f"method={method}"]
            given += [f"res={res}", f"target={target}", "metric=[deletion,insertion]"]
            try:
                cell = Cell.open(load(*given))
                native = native_resolution(cell.method, cell.model) or res
                if native != res:
                    how = "area" if native > res else "bilinear"
                    given.append(f"resize={how}")
                yield self._explained(cell, picture, method, given, res)
            except (BadInput, UnreadableImage, RuntimeError) as error:  # such as out of memory
                yield Result(method, self._command(given), str(error))

    def _command(self, given: Sequence[str]) -> str:
        """Write the command line that does the same again."""
        options = ["--config-dir", self.own] if self.own else []
        settings = given[len(places(self.own)) :]  # the options say where these look
        return shlex.join(["python", "-m", "benchmark", *options, *settings])

    def _explained(
        self, cell: Cell, picture: Picture, method: str, given: Sequence[str], res: int
    ) -> Result:
        batch = cell.batch([picture.id])
        cell.model.begin_count(1)
        begin = clock(cell.model)
        heatmaps = cell.method(cell.model, batch)
        seconds = clock(cell.model) - begin
        passes = float(cell.model.forward_passes[0]), float(cell.model.backward_passes[0])
        if heatmaps.shape[-1] != res:
            heatmaps = resize_heatmaps(heatmaps, res, given[-1].removeprefix("resize="))
        curves, values = {}, {}
        for name in CURVES:
            scores = cell.metrics[name](cell.model, batch, heatmaps)
            values[name] = float(scores.values[0])
            curves[name] = (
                scores.curves["fractions"][0].float().cpu().numpy(),
                scores.curves["scores"][0].float().cpu().numpy(),
            )
        shown = heatmaps[0].float().cpu().numpy()
        return Result(method, self._command(given), "", shown, curves, values, seconds, passes)


@lru_cache(maxsize=2)
def _loaded(name: str, overrides: tuple[str, ...]) -> ImageClassifier:
    settings = load(*overrides, f"model={name}")
    return load_model(settings)


def _quoted(path: Path) -> str:
    """Write a path as Hydra takes it: in quotes where it is not plain."""
    return str(path) if re.fullmatch(r"[\w./-]+", str(path)) else f"'{path}'"


def side_by_side(picture: NDArray[np.float32], results: Sequence[Result]) -> Figure:
    """Draw the image, each heatmap over it, and below each its two curves."""
    done = [each for each in results if each.heatmap is not None and each.curves and each.values]
    width = len(done) + 1
    figure = Figure(figsize=(INCHES * 1.4 * width, INCHES * 2.9), layout="constrained")
    panels = figure.subplots(2, width, squeeze=False)
    panels[0, 0].imshow(picture)
    panels[0, 0].set_title("image", fontsize=8)
    panels[1, 0].set_axis_off()
    for (above, below), result in zip(panels[:, 1:].T, done, strict=True):
        if result.heatmap is None or result.curves is None or result.values is None:
            continue
        above.imshow(overlay(picture, result.heatmap))
        cost = f"{result.seconds:.2g} s, {result.passes[0]:.0f} + {result.passes[1]:.0f} passes"
        above.set_title(f"{result.method}\n{cost}", fontsize=8)
        for name, (across, scores) in result.curves.items():
            label = f"{name} {result.values[name]:.3f}"
            below.plot(across, scores, color=COLOUR_OF[name], label=label)
        draw_axes(below, "cells removed or shown")
        below.legend(fontsize=7)
    without_ticks(panels[:1])
    return figure
