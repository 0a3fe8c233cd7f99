"""One method on one model and data set at one resolution: its objects, and where it is kept."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from benchmark.attack import Attack
from benchmark.building import build
from benchmark.config import LABEL, PREDICTED, Resize, Settings, plain
from benchmark.curves import Imputer, Protocol
from benchmark.devices import use_exact_operations
from benchmark.downloads import one_at_a_time
from benchmark.files import file_digest
from benchmark.identity import code_hash, fingerprints_of, key_of, library_versions, modules_of
from benchmark.interfaces import BadInput, Batch, Dataset, Item, Method, Metric
from benchmark.items import check_item
from benchmark.loading import batch_of, images_of
from benchmark.memory import keep_freed_memory
from benchmark.model_sources import RANDOM, weights_hash
from benchmark.models import ImageClassifier
from benchmark.pass_sizes import load_model
from benchmark.records import RunFolder
from benchmark.resolution import native_resolution
from benchmark.resolvers import ABOUT
from benchmark.substrates import Substrate

# These choose images or where they lie, or name classes; they change no image's result.
CHOOSES_IMAGES = ("limit", "seed", "manifest", "root", "classes")
# These choose where weights lie; in the key stands what was found there.
CHOOSES_WEIGHTS = ("weights", "weights_root", "pretrained", "pass_batch")
CHOOSES_FILES = ("masker",)  # of a method, likewise


@dataclass(frozen=True)
class Cell:
    """One method on one model and data set at one resolution, with its place in the records."""

    settings: Settings
    model: ImageClassifier
    method: Method
    dataset: Dataset
    baseline: Substrate
    attack: Attack | None
    metrics: dict[str, Metric]
    heatmaps: str  # the stage of the heatmaps that are scored; "heatmaps" unless resized
    stages: dict[str, str]  # metric -> the name of its stage in the folder
    protocol: Protocol
    audit: str  # the stage of what is left where all is replaced; empty where no metric has curves
    folder: RunFolder
    identity: dict[str, Any]  # every setting, weight and line of code that can change a number

    @classmethod
    def open(cls, settings: Settings, say: Callable[[str], None] = lambda _: None) -> Cell:
        """Build the objects, and name the folder of these exact settings; nothing is written.

        ``say`` is told where other than the asked number of images pass at once.

        Raises:
            BadInput: a setting, the data or the weights cannot be used, or do not fit together.
        """
        keep_freed_memory()
        if settings.deterministic:
            use_exact_operations()
        dataset: Dataset = build(settings.dataset, "dataset")
        method: Method = build(settings.method, "method")
        baseline: Substrate = build(settings.baseline, "baseline")
        _one_image("baseline", baseline)
        _one_image("method.baseline", getattr(method, "baseline", None))
        attack: Attack | None = build(settings.attack, "attack") if settings.attack else None
        metrics = {
            name: build(settings.metric[name], f"metric.{name}")
            for name in map(str, settings.metric)
        }
        for name, metric in metrics.items():
            _one_image(f"metric.{name}.substrate", getattr(metric, "substrate", None))
        dataset.ids()  # what is wrong with the data is said before a network is loaded
        with one_at_a_time():
            model = load_model(settings, say)
        if dataset.class_names and len(dataset.class_names) != len(model.class_names):
            raise BadInput(
                f"model={settings.choices['model']} knows {len(model.class_names)} classes and "
                f"dataset={settings.choices['dataset']} has {len(dataset.class_names)}"
            )
        attacks = [] if attack is None else [attack]
        source = build(settings.model, "model")
        things = (method, dataset, baseline, source, model, *attacks)
        own = [] if type(model) is ImageClassifier else modules_of(model)  # as TF32's
        made_of = ("benchmark.loading", *modules_of(*things), *own)
        if settings.target.isdecimal() and int(settings.target) >= len(model.class_names):
            raise BadInput(
                f"target={settings.target}: model={settings.choices['model']} has the classes 0 "
                f"to {len(model.class_names) - 1}"
            )
        identity = {
            "method": plain_node(settings.method, CHOOSES_FILES),
            "target": settings.target,
            "seed": settings.seed,
            "baseline": plain_node(settings.baseline),
            "dataset": plain_node(settings.dataset, CHOOSES_IMAGES),
            "model": plain_node(settings.model, CHOOSES_WEIGHTS),
            "weights_sha256": weights_hash(model.network),
            "mean": model.mean.tolist(),
            "std": model.std.tolist(),
            "input_size": model.input_size,
            "activation": model.activation.name,
            "pass_batch": model.pass_batch,  # where sums over passes are cut, hence rounded
            "device": model.device.type,
            "packages": library_versions(*made_of),
            "code": code_hash(*made_of),
        }
        if settings.deterministic and model.device.type != "cpu":  # there it changes nothing
            identity["deterministic"] = True
        if data := fingerprints_of(model, method, baseline):  # what the settings do not name
            identity["method_data"] = data
        if settings.attack:
            identity["attack"] = plain_node(settings.attack)
        native = native_resolution(method, model)
        for cells in (settings.res, native or 1):
            if not 1 <= cells <= model.input_size:
                raise BadInput(
                    f"res={cells} cannot be: a heatmap has 1 to {model.input_size} cells along a "
                    f"side, as many as model={settings.choices['model']} sees pixels"
                )
        resized = settings.resize is not Resize.refuse and native != settings.res
        stages = {}
        for name, metric in metrics.items():
            made_by: dict[str, Any] = {
                "metric": plain_node(settings.metric[name]),
                "code": code_hash(*modules_of(metric)),
                "packages": library_versions(*modules_of(metric)),
                "resized": [settings.res, settings.resize.name] if resized else None,
            }
            if data := fingerprints_of(model, metric):
                made_by["data"] = data
            stages[name] = f"scores/{name}-{settings.choices['protocol']}-{key_of(made_by)}"
        protocol: Protocol = build(settings.protocol, "protocol")
        curved = any(hasattr(metric, "walks") for metric in metrics.values())
        place = Path(settings.results) / dataset.name / _model_name(settings, model)
        own = [str(settings.method.res)] if "res" in settings.method else []
        name = "-".join([settings.choices["method"], *own, key_of(identity)])
        return cls(
            settings=settings,
            model=model,
            method=method,
            dataset=dataset,
            baseline=baseline,
            attack=attack,
            metrics=metrics,
            heatmaps=f"heatmaps-{settings.res}-{settings.resize.name}" if resized else "heatmaps",
            stages=stages,
            protocol=protocol,
            audit=_audit(settings, model, protocol) if curved else "",
            folder=RunFolder(place / name),
            identity=identity,
        )

    def check_resolution(self) -> None:
        """Refuse a method that makes heatmaps of another resolution than the settings allow.

        One that says of its cells only by its heatmaps is not refused here.

        Raises:
            BadInput: with the resolutions that can be had.
        """
        native = native_resolution(self.method, self.model)
        if native is not None:
            self.settings.check_resolution(native)

    def batch(self, ids: Sequence[str]) -> Batch:
        """Load images of the data set by their ids, with the targets these settings ask for.

        Where the settings name an attack, they are its images.

        Raises:
            UnreadableImage: one cannot be decoded.
        """
        items = [self.dataset.load(image_id, self.model.input_size) for image_id in ids]
        if self.attack:
            items = [item for item, _ in self.attacked(items, self.attack)]
        return self.batch_of(items, {})

    def attacked(self, items: Sequence[Item], attack: Attack) -> list[tuple[Item, int]]:
        """Lead images away from the classes that the model sees in them, which stand beside."""
        clean = self.logits(items).argmax(1)
        images = attack(self.model, images_of(items, self.model.device), clean).cpu()
        return [
            (item._replace(image=image), seen)
            for item, image, seen in zip(items, images, clean.tolist(), strict=True)
        ]

    def batch_of(self, items: Sequence[Item], known: Mapping[str, int]) -> Batch:
        """Stack images with their targets: those known by id, or chosen now."""
        for item in items:
            check_item(item, len(self.model.class_names))
        targets = dict(known)
        if new := [item for item in items if item.id not in known]:
            predicted = self.logits(new).argmax(1).tolist()
            by_label = self.settings.target == LABEL
            if by_label and (unlabelled := [item.id for item in new if item.label < 0]):
                raise BadInput(f"target=label, but {unlabelled[0]} has none: use target=predicted")
            if by_label:
                chosen = [item.label for item in new]
            elif self.settings.target == PREDICTED:
                chosen = predicted
            else:
                chosen = [int(self.settings.target)] * len(new)
            targets |= dict(zip([item.id for item in new], chosen, strict=True))
        return batch_of(
            items,
            torch.tensor([targets[item.id] for item in items]),
            self.settings.seed,
            self.model.device,
        )

    def logits(self, items: Sequence[Item]) -> Tensor:
        """Show the network images: logits [B, K].

        Raises:
            BadInput: they are not finite, or not as many as there are classes.
        """
        with torch.no_grad():
            logits = self.model(images_of(items, self.model.device))
        if logits.shape[1] != len(self.model.class_names):
            raise BadInput(
                f"the model returns {logits.shape[1]} scores but names "
                f"{len(self.model.class_names)} classes"
            )
        finite = logits.isfinite().all(1)
        if not finite.all():
            which = items[int(finite.logical_not().nonzero()[0])].id
            raise BadInput(f"the model returned NaN or infinity for {which}: check its weights")
        return logits

    def provenance(self) -> dict[str, Any]:
        """Return every setting of this start, and what they resolved to."""
        manifest = self.settings.dataset.get("manifest")
        return {
            "settings": plain(self.settings),
            "manifest_sha256": file_digest(Path(manifest)) if manifest else "",
            "weights": self.model.weights,
            "device": str(self.model.device),
            "input_size": self.model.input_size,
            "torch_threads": torch.get_num_threads(),
            "pass_batch": self.model.pass_batch,
            "stages": self.stages,
        }


def _audit(settings: Settings, model: ImageClassifier, protocol: Protocol) -> str:
    """Name the stage of what is left where a protocol has replaced all of the image."""
    substrates = (protocol.deletion_substrate, protocol.insertion_substrate)
    made_of = ("benchmark.audit", *modules_of(*substrates))
    made_by = {
        "substrates": [
            plain_node(settings.protocol[f"{each}_substrate"]) for each in ("deletion", "insertion")
        ],
        "data": fingerprints_of(model, *substrates),
        "code": code_hash(*made_of),
        "packages": library_versions(*made_of),
    }
    return f"scores/audit-{settings.choices['protocol']}-{key_of(made_by)}"


def _one_image(place: str, substrate: object) -> None:
    """Refuse a substrate that depends on what is left where one image is asked for."""
    if isinstance(substrate, Imputer):
        raise BadInput(
            f"{place}={type(substrate).__name__} is another image for each mask: it can be "
            "substrate@protocol.deletion_substrate=... or ...insertion_substrate=..."
        )


def plain_node(node: DictConfig, without: Sequence[str] = ()) -> dict[str, Any]:
    """Turn a node into plain values, leaving out some, and whatever is only said to people."""
    values = typing.cast(dict[str, Any], OmegaConf.to_container(node))
    return {key: _bare(value, key) for key, value in values.items() if key not in (*without, ABOUT)}


def _bare(value: Any, name: str) -> Any:
    """Leave out what is only said to people, and where the images of a method's data set lie."""
    if not isinstance(value, dict):
        return value
    without = (ABOUT, *CHOOSES_IMAGES) if name == "dataset" else (ABOUT,)
    return {key: _bare(each, key) for key, each in value.items() if key not in without}


def architecture(settings: Settings) -> str:
    """Name the network."""
    return str(settings.model.get("architecture", settings.choices["model"]))


def _model_name(settings: Settings, model: ImageClassifier) -> str:
    name = architecture(settings)
    return f"{name}-random" if model.weights == RANDOM else name
