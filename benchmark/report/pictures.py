"""Pictures of a report: strips of thumbnails, and what the browser makes composites out of."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmark.composites import Remake
from benchmark.curves import Imputer, Order, Protocol, removal_order, removed_counts
from benchmark.errors import BadInput
from benchmark.figure_parts import COLOUR_MAP, CURVES, Run, Shared, overlay, shown
from benchmark.images import upsample
from benchmark.interfaces import Item
from benchmark.report.scripts import script

THUMB = 96  # pixels along a side
QUALITY = 80  # of the strips' JPEG


class Album:
    """Pictures that views name by their numbers: equal ones are kept once, each in a script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers: dict[str, int] = {}

    def add(self, pixels: NDArray[np.uint8]) -> int:
        """Keep pixels [H, W, 3] or [H, W] as a PNG; return its number."""
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        if key not in self.numbers:
            number = self.numbers[key] = len(self.numbers)
            write(self.folder / f"{number}.js", script(f"pictures/{number}", png(pixels)))
        return self.numbers[key]


class Painter:
    """Makes the pictures of one image after the other, for all runs of a group."""

    def __init__(self, common: Shared, album: Album) -> None:
        self.common, self.album = common, album
        self.remakes: dict[tuple[int, str], Remake] = {}
        self.hidden: dict[tuple[str, int, int], int] = {}  # of the image in hand, by what makes it

    def strip(self, picture: NDArray[np.float32], image_id: str, file: Path) -> None:
        """Write the image and every run's overlay beside each other, as a JPEG."""
        heatmaps = [run.heatmap(image_id) for run in self.common.runs]
        tiles = [picture, *(overlay(picture, heatmap) for heatmap in heatmaps)]
        joined = Image.new("RGB", (THUMB * len(tiles), THUMB))
        for place, tile in enumerate(tiles):
            small = Image.fromarray(bytes_of(tile)).resize((THUMB, THUMB), Image.Resampling.BOX)
            joined.paste(small, (THUMB * place, 0))
        file.parent.mkdir(parents=True, exist_ok=True)
        joined.save(file, quality=QUALITY)

    def view(self, item: Item, picture: NDArray[np.float32]) -> dict[str, Any]:
        """Describe one image to the browser: pictures by number, curves, maps of steps."""
        self.hidden.clear()
        methods = []
        for place, run in enumerate(self.common.runs):
            told: dict[str, Any] = {"heatmap": png(bytes_of(shown(run.heatmap(item.id))))}
            for metric in CURVES:
                if metric in run.outcome.stages:
                    told[metric] = self._curve(place, run, metric, item)
            methods.append(told)
        return {"image": self.album.add(bytes_of(picture)), "methods": methods}

    def _curve(self, place: int, run: Run, metric: str, item: Item) -> dict[str, Any]:
        scores, fractions = run.curve(metric, [item.id])
        told = {
            "value": run.rows(metric)[item.id]["value"],
            "scores": [round(float(each), 4) for each in scores[0]],
            "fractions": [round(float(each), 5) for each in fractions],
        }
        if (place, metric) not in self.remakes:
            self.remakes[place, metric] = Remake.of(run, metric, self.common.dataset)
        remake = self.remakes[place, metric]
        try:
            hidden = self._hidden(remake, metric, item, run.rows()[item.id]["target"])
            order = steps(
                torch.from_numpy(run.heatmap(item.id)), remake.protocol, item.image.shape[-1]
            )
            if int(order.max()) != len(fractions) - 1:
                raise BadInput(f"{metric} was scored at other points than are made now")
        except BadInput as error:  # the curve is worth showing without
            return told | {"without": str(error)}
        return told | {"substrate": hidden, "steps": self.album.add(two(order))}

    def _hidden(self, remake: Remake, metric: str, item: Item, target: int) -> int:
        """Keep what stands where the image was taken away, made once for all runs; its number.

        Raises:
            BadInput: it asks the network, which records cannot.
        """
        protocol = remake.protocol
        substrate = (
            protocol.insertion_substrate if metric == "insertion" else protocol.deletion_substrate
        )
        if isinstance(substrate, Imputer):
            raise BadInput("what is removed is filled in anew at each step")
        key = (repr(substrate), remake.seed, target)
        if key not in self.hidden:
            made: Tensor = substrate(remake.witness, remake.batch(item, target))[0]
            self.hidden[key] = self.album.add(bytes_of(made.permute(1, 2, 0).numpy()))
        return self.hidden[key]


def write(file: Path, text: str) -> None:
    """Write one of thousands of files, without waiting for the disk: lost ones are made again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def steps(heatmap: Tensor, protocol: Protocol, size: int) -> Tensor:
    """Say for each cell of a heatmap [r, r] at which point of a curve it is first taken.

    Where the protocol ranks pixels, these are the cells: [size, size], else [r, r]; from 1 on.
    """
    if protocol.order is Order.pixels:
        heatmap = upsample(heatmap[None, None], size)[0, 0]
    ranks = removal_order(heatmap[None])[0]
    counts = removed_counts(ranks.numel(), protocol.steps)
    return torch.searchsorted(counts, ranks, right=True).view(heatmap.shape)


def two(order: Tensor) -> NDArray[np.uint8]:
    """Write whole numbers below 65,536 as two bytes of a colour, red the higher: [r, r, 3]."""
    values = order.numpy()
    return np.stack([values >> 8, values & 255, np.zeros_like(values)], 2).astype(np.uint8)


def bytes_of(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round values in [0, 1] to whole numbers from 0 to 255."""
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> str:
    """Write pixels [H, W, 3] or [H, W] as the data URL of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def colours() -> str:
    """Return the heatmaps' colour map: 256 colours as six hexadecimal digits each."""
    table = mpl.colormaps[COLOUR_MAP](np.arange(256), bytes=True)[:, :3]
    return bytes(table.astype(np.uint8)).hex()
