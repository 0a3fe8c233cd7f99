"""What figures share: which results of which runs, on which images, and how their panels look."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from omegaconf import OmegaConf

from benchmark.building import build
from benchmark.errors import BadInput
from benchmark.records import Outcome, RunFolder
from benchmark.stages import Row, Stage

if TYPE_CHECKING:  # they need torch, and reading results does not
    from benchmark.interfaces import Dataset, Item

INCHES = 1.7  # side of one panel
CURVES = ("deletion", "insertion")
PICTURES = (".png", ".jpg", ".pdf", ".svg")  # what a figure can be written as
UNCHANGED = "no attack"  # what runs on the images as they are have in the place of an attack
ALIKE = ("data", "model", "target", "protocol")  # of runs whose scores may be compared
# Okabe & Ito's colours, which people with any common colour blindness tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
COLOUR_MAP = "inferno"  # of heatmaps; equal steps look equal
COLOUR_OF = {"deletion": COLOURS[1], "insertion": COLOURS[0]}


class Wanted(NamedTuple):
    """Which of the results that a run's folder holds to draw; None where any will do."""

    res: int | None = None
    protocol: str | None = None  # its name, or as captions have it, with what was changed about it
    metrics: Sequence[str] = ()

    def find(self, folder: RunFolder) -> Outcome:
        """Choose the newest native heatmaps, or else the finest.

        Raises:
            BadInput: the folder holds no such results; the message says what it holds.
        """
        known = folder.outcomes()[::-1]
        fitting = [each for each in known if self._fits(each)]
        if not fitting:
            held = "; ".join(
                f"{each.title} ({each.caption['protocol']}: {', '.join(each.stages)})"
                for each in known
            )
            raise BadInput(f"{folder.path} holds no {self._in_words()}, only {held}")
        native = [outcome for outcome in fitting if outcome.heatmaps == "heatmaps"]
        return native[0] if native else max(fitting, key=lambda each: each.res)

    def _fits(self, outcome: Outcome) -> bool:
        protocol = outcome.caption["protocol"]
        return (
            self.res in (None, outcome.res)
            and self.protocol in (None, protocol, protocol.partition(" ")[0])
            and set(self.metrics) <= outcome.stages.keys()
        )

    def _in_words(self) -> str:
        words = [" and ".join(self.metrics) or "heatmaps"]
        words += [f"at res {self.res}"] if self.res else []
        words += [f"under protocol {self.protocol}"] if self.protocol else []
        return " ".join(words)


@dataclass(frozen=True)
class Run:
    """One run's results, read once, and what tells them apart from the others' in a figure."""

    folder: RunFolder
    outcome: Outcome
    label: str
    _opened: dict[str, Stage] = field(default_factory=dict, repr=False, compare=False)

    def stage(self, name: str) -> Stage:
        """Open one kind of result."""
        if name not in self._opened:
            self._opened[name] = self.folder.stage(name)
        return self._opened[name]

    def rows(self, metric: str = "") -> dict[str, Row]:
        """Read each image's row: of a metric, or what is known without one."""
        return self.stage(self.outcome.stages[metric] if metric else "heatmaps").rows

    def heatmap(self, image_id: str) -> NDArray[np.float32]:
        """Read the heatmap that was scored, [r, r]."""
        return self.stage(self.outcome.heatmaps).array(image_id, "heatmap")

    @cached_property
    def started(self) -> Row:
        """Read the settings, versions and command of the latest start."""
        return self.folder.started()

    def curve(
        self, metric: str, ids: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read stored curves: scores [images, points], and fractions [points] of the cells.

        Raises:
            BadInput: the metric stores no curves.
        """
        stage = self.stage(self.outcome.stages[metric])
        if not {"scores", "fractions"} <= stage.rows[ids[0]]["arrays"].keys():
            raise BadInput(f"{self.folder.path}: {metric} has no curves")
        scores = np.stack(list(stage.arrays_of(ids, "scores")))
        return scores, stage.array(ids[0], "fractions")

    @property
    def images(self) -> str:
        """Say in words what was done to the images; runs with the same words saw the same ones."""
        known = self.outcome.caption
        return f"{known['attack']} on {known['model']}" if "attack" in known else UNCHANGED


@dataclass(frozen=True)
class Shared:
    """What several runs have in common, and what each made of it."""

    runs: list[Run]
    ids: list[str]  # of the images that every run has
    facts: str  # what all of it depends on
    same_targets: bool  # every run explains the same model's same classes

    @property
    def mixed(self) -> str:
        """What a reader has to know where the heatmaps are not all of one resolution."""
        if len({run.outcome.res for run in self.runs}) == 1:
            return ""
        return " · resolutions differ: a coarser heatmap has an easier insertion"

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, to decode images of."""
        dataset: Dataset = build(
            OmegaConf.create(self.runs[0].started["settings"]["dataset"]), "dataset"
        )
        return dataset

    def item(self, run: Run, image_id: str) -> Item:
        """Decode an image as a run saw it: where it was attacked, what the run has stored.

        Raises:
            BadInput: it is another than the runs were made on.
            UnreadableImage: it is no longer where it was.
        """
        sizes = {run.started["input_size"] for run in self.runs}
        if len(sizes) > 1:
            raise BadInput(f"the runs' models see images of {sizes} pixels: draw them one by one")
        digest = self.dataset.digest(image_id)
        for each in self.runs:
            if each.rows()[image_id]["digest"] != digest:
                raise BadInput(f"{image_id} has changed since {each.folder.path} was made")
        item = self.dataset.load(image_id, sizes.pop())
        if run.images == UNCHANGED:
            return item
        attacked = run.folder.stage("attacked").array(image_id, "image")
        return item._replace(image=item.image.new_tensor(attacked))

    def picture(self, run: Run, image_id: str) -> NDArray[np.float32]:
        """Decode an image as a run saw it, [H, W, 3] in [0, 1]."""
        pixels: NDArray[np.float32] = self.item(run, image_id).image.permute(1, 2, 0).numpy()
        return pixels

    def class_name(self, number: int) -> str:
        """Name a class in short, or number it where the data set names none."""
        names = self.dataset.class_names
        return str(names[number]).split(",")[0] if names else f"class {number}"


def shared(paths: Sequence[Path], wanted: Wanted, alike: Sequence[str] = ()) -> Shared:
    """Find what runs have in common.

    Args:
        paths: their folders.
        wanted: which of each folder's results.
        alike: what has to be the same for all, of the keys of a caption: data, model, target,
            protocol, device. What else differs stands in each run's label.

    Raises:
        BadInput: a folder holds no finished run or not what is wanted, or the runs share no image
            or are not alike.
    """
    for path in paths:
        if not (path / "settings.json").is_file() or not RunFolder(path).outcomes():
            raise BadInput(f"{path} is not the folder of a finished run")
    folders = [RunFolder(path) for path in paths]
    outcomes = [wanted.find(folder) for folder in folders]
    captions = [{"attack": UNCHANGED, **outcome.caption} for outcome in outcomes]
    shown = {"data": "", "attack": "", "model": "", "target": "target ", "protocol": "protocol "}
    shown |= {key: "" for key in alike if key not in shown}
    differing = [key for key in shown if len({caption[key] for caption in captions}) > 1]
    for key in alike:
        if key in differing:
            values = sorted({caption[key] for caption in captions})
            raise BadInput(f"the runs differ in {key} ({'; '.join(values)}): draw them one by one")
    manifests = [
        folder.ids(outcome.manifest) for folder, outcome in zip(folders, outcomes, strict=True)
    ]
    others = [set(manifest) for manifest in manifests[1:]]
    ids = [each for each in manifests[0] if all(each in other for other in others)]
    if not ids:
        raise BadInput("the runs have no image in common")
    labels = [
        " · ".join([outcome.title, *(known[key] for key in differing)])
        for outcome, known in zip(outcomes, captions, strict=True)
    ]
    same = [key for key in shown if key not in differing and captions[0][key] != UNCHANGED]
    facts = [f"{shown[key]}{captions[0][key]}" for key in same]
    return Shared(
        runs=[Run(*each) for each in zip(folders, outcomes, labels, strict=True)],
        ids=ids,
        facts=" · ".join(facts),
        same_targets=not {"model", "target", "attack"} & set(differing),
    )


def caption(figure: Figure, text: str) -> None:
    """Put a text above a figure, in as many lines as its width asks for."""
    figure.suptitle(textwrap.fill(text, int(figure.get_figwidth() * 17)), fontsize=7)


def heading(label: str) -> str:
    """Break a run's label into lines that fit above or beside a panel."""
    parts = label.replace(" at ", "\n", 1).replace(" · ", "\n").splitlines()
    return "\n".join(textwrap.fill(part, 26, break_long_words=False) for part in parts)


def without_ticks(panels: NDArray[Any]) -> None:
    """Take the ticks from panels that show pictures."""
    for panel in panels.flat:
        panel.set_xticks([])
        panel.set_yticks([])


def draw_axes(panel: Axes, across: str) -> None:
    """Prepare a panel for curves of a score in [0, 1] over a fraction of the cells."""
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.set_xlabel(across, fontsize=7)
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.3, linewidth=0.5)


def overlay(picture: NDArray[np.float32], heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay a heatmap [r, r] over a picture [H, W, 3], enlarged without smoothing its cells."""
    brightness = shown(heatmap)
    size, res = picture.shape[0], heatmap.shape[0]
    cell = np.minimum(np.arange(size) * res // size, res - 1)
    colours = mpl.colormaps[COLOUR_MAP](brightness[cell][:, cell])[..., :3]
    grey = picture.mean(2, keepdims=True)
    mixed: NDArray[np.float32] = (0.35 * grey + 0.65 * colours).astype(np.float32)
    return mixed


def shown(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a heatmap [r, r] to the brightness at which its cells are shown, in [0, 1].

    The dark end is the smallest cell, or 0 where some speak against the target; the bright end is
    the value that one cell in 200 reaches.
    """
    low, high = max(0.0, float(heatmap.min())), float(np.quantile(heatmap, 0.995))
    if high <= low:
        low, high = float(heatmap.min()), float(heatmap.max())
    spread = high - low
    return np.clip((heatmap - low) / spread, 0, 1) if spread > 0 else np.zeros_like(heatmap)
