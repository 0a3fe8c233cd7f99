"""The loop: explain the images that have no heatmap yet, score what has no score yet."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from benchmark import loading
from benchmark.config import Resize, Settings, Target, build
from benchmark.identity import code_hash, environment, key_of
from benchmark.images import resize_heatmaps
from benchmark.interfaces import BadInput, Batch, Dataset, Item, Method, Metric, UnreadableImage
from benchmark.memory import keep_freed_memory
from benchmark.model_sources import RANDOM, ModelSource, weights_hash
from benchmark.models import ImageClassifier
from benchmark.records import RunFolder, Stage
from benchmark.substrates import Substrate

# These choose images or where they lie; they change no image's result.
CHOOSES_IMAGES = ("limit", "seed", "manifest", "root")
# These choose where weights lie, which their hash replaces, and how passes are cut up.
CHOOSES_WEIGHTS = ("weights", "weights_root", "pretrained", "pass_batch")


class Watcher(Protocol):
    """Told of what happens, to show it to a person."""

    def begin(self, title: str, done: int, total: int) -> None:
        """The run starts, with so many images already complete."""
        ...

    def advance(self, images: int) -> None:
        """So many more images are complete."""
        ...

    def warn(self, message: str) -> None:
        """Something the reader of the result has to know."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a run made, for the table's row."""

    folder: RunFolder
    ids: list[str]  # in the order of the manifest, the skipped ones left out
    stages: dict[str, str]  # metric -> the name of its stage in the folder
    higher_is_better: dict[str, bool]  # metric -> what its value means
    title: str
    caption: dict[str, str]  # what the numbers depend on
    warnings: list[str]


def device_of(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device.

    Raises:
        BadInput: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"device={name} is unknown: use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"device={name}: there are {torch.cuda.device_count()} CUDA devices here")
    return device


def run(settings: Settings, watcher: Watcher) -> Outcome:
    """Explain and score every chosen image that is not yet in the records.

    Raises:
        BadInput: a setting, the data, the model or a method's output cannot be used.
    """
    keep_freed_memory()
    torch.set_flush_denormal(True)
    cell = Cell.open(settings)
    try:
        with FileLock(cell.folder.path / ".lock", timeout=0):
            return cell.complete(watcher)
    except Timeout as error:
        raise BadInput(
            f"another process is writing to {cell.folder.path}: wait for it to end"
        ) from error


@dataclass
class Cell:
    """One method on one model and data set at one resolution, with its place in the records."""

    settings: Settings
    model: ImageClassifier
    method: Method
    dataset: Dataset
    baseline: Substrate
    metrics: dict[str, Metric]
    stages: dict[str, str]  # metric -> the name of its stage in the folder
    folder: RunFolder
    skipped: dict[str, str] = field(default_factory=dict)  # image id -> why
    timed: bool = False  # whether a batch was explained since the start

    def __post_init__(self) -> None:
        self.heatmaps = self.folder.stage("heatmaps")
        self.scores = {name: self.folder.stage(stage) for name, stage in self.stages.items()}

    @classmethod
    def open(cls, settings: Settings) -> Cell:
        """Build the objects, and find or create the folder of these exact settings."""
        dataset: Dataset = build(settings.dataset, "dataset")
        method: Method = build(settings.method, "method")
        baseline: Substrate = build(settings.baseline, "baseline")
        metrics = {
            name: build(settings.metric[name], f"metric.{name}")
            for name in map(str, settings.metric)
        }
        dataset.ids()  # what is wrong with the data is said before a network is loaded
        source: ModelSource = build(settings.model, "model")
        model = source.load(device_of(settings.device))
        if len(dataset.class_names) != len(model.class_names):
            raise BadInput(
                f"model={settings.choices['model']} knows {len(model.class_names)} classes and "
                f"dataset={settings.choices['dataset']} has {len(dataset.class_names)}"
            )
        identity = {
            "method": _plain(settings.method),
            "res": settings.res,
            "resize": settings.resize.name,
            "target": settings.target.name,
            "seed": settings.seed,
            "baseline": _plain(settings.baseline),
            "dataset": _plain(settings.dataset, CHOOSES_IMAGES),
            "model": _plain(settings.model, CHOOSES_WEIGHTS),
            "weights_sha256": weights_hash(model.network),
            "device": model.device.type,
            "code": code_hash(*map(_module, (method, dataset, baseline, source, model))),
        }
        stages = {}
        for name, metric in metrics.items():
            made_by = {"metric": _plain(settings.metric[name]), "code": code_hash(_module(metric))}
            stages[name] = f"scores/{name}-{settings.choices['protocol']}-{key_of(made_by)}"
        place = Path(settings.results) / dataset.name / _model_name(settings, model)
        shape = f"{settings.res}" + (
            "" if settings.resize is Resize.refuse else f"-{settings.resize.name}"
        )
        name = f"{settings.choices['method']}-{shape}-{key_of(identity)}"
        folder = RunFolder.at(place / name, identity)
        return cls(settings, model, method, dataset, baseline, metrics, stages, folder)

    def complete(self, watcher: Watcher) -> Outcome:
        """Do what is missing, batch by batch, each written before the next is begun."""
        chosen = self.dataset.ids()
        ids = self._unchanged(chosen, watcher)
        self.folder.log({"event": "start", **self.provenance(), **environment()})
        stages = [self.heatmaps, *self.scores.values()]
        todo = [each for each in ids if any(each not in stage.rows for stage in stages)]
        watcher.begin(self.folder.path.name, len(ids) - len(todo), len(ids))
        skip = partial(self._skip, watcher)
        size = self.settings.batch_size
        stream = loading.items(self.dataset, todo, self.model.input_size, 2 * size, skip)
        for group in loading.grouped(stream, size):
            batch = self._batch(group)
            if missing := _missing(batch, self.heatmaps):
                self._explain(batch.select(missing))
            for name in self.metrics:
                if missing := _missing(batch, self.scores[name]):
                    self._score(name, batch.select(missing))
            watcher.advance(len(batch.ids))
        return self._finish(chosen)

    def provenance(self) -> dict[str, Any]:
        """Return every setting of this start, and what they resolved to."""
        settings = OmegaConf.to_container(OmegaConf.create(vars(self.settings)), enum_to_str=True)
        return {
            "settings": settings,
            "weights": self.model.weights,
            "device": str(self.model.device),
            "torch_threads": torch.get_num_threads(),
            "stages": self.stages,
        }

    def _unchanged(self, chosen: Sequence[str], watcher: Watcher) -> list[str]:
        """Drop unreadable images; refuse results that were made from other images."""
        ids = []
        for image_id in chosen:
            try:
                known = self.heatmaps.rows.get(image_id)
                if known and known["digest"] != self.dataset.digest(image_id):
                    raise BadInput(
                        f"{image_id} or its annotation is not what {self.folder.path} was made "
                        "from: give this copy of the data a name of its own with dataset.name=..."
                    )
                ids.append(image_id)
            except UnreadableImage as error:
                self._skip(watcher, image_id, str(error))
        return ids

    def _skip(self, watcher: Watcher, image_id: str, reason: str) -> None:
        self.skipped[image_id] = reason
        watcher.warn(f"skipped {image_id}: {reason}")

    def _batch(self, group: Sequence[Item]) -> Batch:
        """Stack images with their targets: those explained before, or chosen now."""
        known = [self.heatmaps.rows.get(item.id) for item in group]
        if all(known):
            targets = torch.tensor([row["target"] for row in known if row])
        elif self.settings.target is Target.label:
            targets = torch.tensor([item.label for item in group])
            if unlabelled := [item.id for item in group if item.label < 0]:
                raise BadInput(f"target=label, but {unlabelled[0]} has none: use target=predicted")
        else:
            targets = self._logits(group).argmax(1)
        return loading.batch_of(group, targets, self.settings.seed, self.model.device)

    def _logits(self, group: Sequence[Item]) -> Tensor:
        with torch.no_grad():
            logits = self.model(loading.images_of(group, self.model.device))
        if logits.shape[1] != len(self.model.class_names):
            raise BadInput(
                f"the model returns {logits.shape[1]} scores but names "
                f"{len(self.model.class_names)} classes"
            )
        finite = logits.isfinite().all(1)
        if not finite.all():
            which = group[int(finite.logical_not().nonzero()[0])].id
            raise BadInput(f"the model returned NaN or infinity for {which}: check its weights")
        return logits

    def _explain(self, batch: Batch) -> None:
        """Make and store the heatmaps of images that have none."""
        model, started = self.model, self._clock()
        model.begin_count(len(batch.ids))
        heatmaps = self._resized(self.method(model, batch), batch)
        seconds = self._clock() - started
        forward, backward = model.forward_passes.tolist(), model.backward_passes.tolist()
        with torch.no_grad():
            predicted = model(batch.images).argmax(1)
            on_image = model.scores(batch.images, batch.targets).tolist()
            on_baseline = model.scores(self.baseline(model, batch), batch.targets).tolist()
        rows = [
            {
                "id": image_id,
                "digest": self.dataset.digest(image_id),
                "target": int(batch.targets[row]),
                "label": int(batch.labels[row]),
                "predicted": int(predicted[row]),
                "correct": bool(predicted[row] == batch.labels[row]),
                "score_on_image": on_image[row],
                "score_on_baseline": on_baseline[row],
                "forward_passes": forward[row],
                "backward_passes": backward[row],
            }
            for row, image_id in enumerate(batch.ids)
        ]
        self.heatmaps.append(rows, [{"heatmap": each.numpy()} for each in heatmaps])
        self.folder.time(batch.ids, seconds, self._peak_memory(), first=not self.timed)
        self.timed = True

    def _resized(self, heatmaps: Tensor, batch: Batch) -> Tensor:
        """Check a method's heatmaps and bring them to the resolution asked for, on the CPU."""
        settings, name = self.settings, self.settings.choices["method"]
        native = heatmaps.shape[-1]
        if heatmaps.shape != (len(batch.ids), native, native):
            raise BadInput(
                f"method={name} returned shape {tuple(heatmaps.shape)} for {len(batch.ids)} "
                "images: a heatmap is [B, r, r]"
            )
        if not heatmaps.isfinite().all():
            raise BadInput(f"method={name} returned NaN or infinity for one of {batch.ids}")
        if native != settings.res:
            if settings.resize is Resize.refuse or (
                settings.resize is Resize.area and native < settings.res
            ):
                raise BadInput(
                    f"method={name} makes {native} x {native} heatmaps of this model, not "
                    f"res={settings.res}: use res={native}, or for a coarser res resize=area, or "
                    "resize=bilinear"
                )
            heatmaps = resize_heatmaps(heatmaps, settings.res, settings.resize.name)
        return heatmaps.detach().float().cpu()

    def _score(self, name: str, batch: Batch) -> None:
        """Score stored heatmaps of images by one metric."""
        stored = [self.heatmaps.array(image_id, "heatmap") for image_id in batch.ids]
        heatmaps = torch.from_numpy(np.stack(stored)).to(self.model.device)
        values, curves = self.metrics[name](self.model, batch, heatmaps)
        for curve in curves.values():
            if not curve.isfinite().all():
                raise BadInput(f"{name}: the model returned NaN or infinity for one of {batch.ids}")
        rows = [
            {"id": image_id, "value": float(value)}
            for image_id, value in zip(batch.ids, values, strict=True)
        ]
        arrays = [
            {key: curve[row].cpu().numpy() for key, curve in curves.items()}
            for row in range(len(batch.ids))
        ]
        self.scores[name].append(rows, arrays)

    def _finish(self, chosen: Sequence[str]) -> Outcome:
        done = [each for each in chosen if each not in self.skipped]
        if not done:
            raise BadInput(f"none of the {len(chosen)} chosen images can be read")
        manifest = self.folder.write_manifest(done)
        directions = {name: metric.higher_is_better for name, metric in self.metrics.items()}
        self.folder.log({"event": "end", "manifest": manifest, "skipped": self.skipped})
        return Outcome(
            self.folder,
            done,
            self.stages,
            directions,
            self._title(),
            self._caption(),
            self._warnings(),
        )

    def _title(self) -> str:
        """Name the method with whatever was changed about it."""
        settings = self.settings
        changed = [each for each in settings.overrides if each.startswith(("method.", "baseline."))]
        resized = "" if settings.resize is Resize.refuse else f" (resize={settings.resize.name})"
        shape = f"{settings.choices['method']} at {settings.res} x {settings.res}"
        return " ".join([shape + resized, *changed])

    def _warnings(self) -> list[str]:
        """Say what a reader of the row must not overlook."""
        warnings = []
        if self.model.weights == RANDOM:
            warnings.append(f"{RANDOM}: this network was never trained; its numbers mean nothing")
        if self.skipped:
            warnings.append(f"{len(self.skipped)} of the chosen images could not be read: skipped")
        return warnings

    def _caption(self) -> dict[str, str]:
        """Say in words what a row's numbers depend on."""
        settings = self.settings
        dataset = settings.dataset
        return {
            "data": f"{self.dataset.name} ({dataset.get('preprocess', dataset.get('split', ''))})",
            "model": f"{settings.choices['model']} ({self.model.weights})",
            "target": f"{settings.target.name} class",
            "protocol": settings.choices["protocol"],
            "device": f"{self.model.device}, {settings.model.get('precision', 'fp32')}",
        }

    def _clock(self) -> float:
        """Seconds, once the device has done what it was told."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter()

    def _peak_memory(self) -> int:
        """Bytes at most in use so far: of the device, or of this process on a CPU."""
        if self.model.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.model.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _missing(batch: Batch, stage: Stage) -> list[int]:
    return [row for row, image_id in enumerate(batch.ids) if image_id not in stage.rows]


def _plain(node: DictConfig, without: Sequence[str] = ()) -> dict[str, Any]:
    """Turn a node into plain values, leaving some out."""
    return {
        str(key): OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in node.items()
        if key not in without
    }


def _module(thing: object) -> str:
    return type(thing).__module__


def _model_name(settings: Settings, model: ImageClassifier) -> str:
    name = settings.choices["model"]
    if name == "torchvision":
        name = str(settings.model.architecture)
    return f"{name}-random" if model.weights == RANDOM else name
