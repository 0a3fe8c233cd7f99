"""Typed configuration: YAML composed by Hydra, and the settings of one run, checked at the door."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.advice import REFUSALS, one_line
from benchmark.building import check_texts, checked
from benchmark.errors import BadInput
from benchmark.resolvers import CONF, register_resolvers
from benchmark.shards import Shard
from benchmark.torchvision_configs import TorchvisionConfigs

SEARCHED = "hydra.searchpath in command-line"  # Hydra's word for where ``places`` makes it look
GROUPS = ("method", "model", "dataset", "protocol", "attack")
OF_EXPERIMENTS = ("experiment", "n", "cell")  # what a sweep's table is made of, which no cell sees

PREDICTED, LABEL = "predicted", "label"  # targets that differ from image to image
LONGEST = 86_400  # seconds of a time limit: a day
Resize = Enum("Resize", "refuse area bilinear")


@dataclass(frozen=True)
class Settings:
    """One run: what to explain, how, and how to score it. Values live in ``conf/``."""

    method: DictConfig
    model: DictConfig
    dataset: DictConfig
    protocol: DictConfig
    metric: DictConfig
    baseline: DictConfig  # of the run: what score_on_baseline is measured on
    attack: DictConfig | None  # what is done to the images before one is explained
    runtime: DictConfig | None  # how to time the method instead of storing and scoring heatmaps
    res: int  # cells along a side of the heatmap that is stored and scored
    resize: Resize  # what to do with a heatmap of another resolution
    target: str  # the class to explain: predicted, label, or a class's number
    seed: int
    batch_size: int  # images explained together
    timeout: float | None  # seconds for an image after which a method has failed
    shards: int  # parts of the images, for as many processes
    shard: int | None  # which of them to explain, from 0 on; None: there is one
    claims: DictConfig  # how processes on one cell keep out of each other's way
    device: str  # auto, cpu, cuda, cuda:1
    deterministic: bool  # whether a GPU must give the same bits every time
    results: str
    wandb: DictConfig  # how results are logged to Weights & Biases; no result depends on it
    report: bool  # whether an experiment's sweep ends with a report; no result depends on it
    choices: dict[str, str]  # config group -> the file chosen in it
    overrides: list[str]  # as the user gave them
    again: list[str]  # what follows python -m benchmark to do all images of the cell, or the rest

    def __post_init__(self) -> None:
        for name, least in (("res", 1), ("seed", 0), ("batch_size", 1), ("shards", 1)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.timeout is not None and not 0 < self.timeout <= LONGEST:
            raise BadInput(f"timeout must be above 0 and up to {LONGEST}, got {self.timeout}")
        if self.shard is None and self.shards > 1:
            every = ",".join(map(str, range(min(self.shards, 4)))) + ",..." * (self.shards > 4)
            raise BadInput(
                f"shards={self.shards} needs shard=, a number from 0 to {self.last}, or "
                f"shard={every} with --multirun; an experiment takes them all by itself"
            )
        if self.shard is not None and not 0 <= self.shard <= self.last:
            raise BadInput(
                f"shard={self.shard} must be from 0 to {self.last} for shards={self.shards}"
            )
        self._check_places()
        if self.target not in (PREDICTED, LABEL) and not self.target.isdecimal():
            raise BadInput(f"target={self.target} is none of predicted, label or a class's number")

    def _check_places(self) -> None:
        """Refuse names that lead out of the folder of results, and a method without cells."""
        if not self.results:
            raise BadInput("results is empty: name the folder to keep them in, as results/runs")
        names = {f"a metric's name, {name}": name for name in map(str, self.metric)}
        if (data := self.dataset.get("name")) is not None:
            names[f"dataset.name={data}"] = str(data)
        for told, name in names.items():
            if name in ("", ".", "..") or "/" in name:
                raise BadInput(f"{told}: it names files of the results, so it has no / in it")
        cells = self.method.get("res")
        if isinstance(cells, int) and cells < 1:
            raise BadInput(f"method.res must be at least 1, got {cells}")

    @property
    def last(self) -> int:
        """The number of the last shard."""
        return self.shards - 1

    @property
    def part(self) -> Shard:
        """Which of the chosen images to explain."""
        return Shard(self.shard or 0, self.shards)

    def check_resolution(self, native: int) -> None:
        """Refuse heatmaps of ``native`` cells where others are asked for and no way is named.

        Raises:
            BadInput: with the resolutions that can be had.
        """
        finer = native < self.res
        allowed = self.resize is Resize.bilinear or (self.resize is Resize.area and not finer)
        if native != self.res and not allowed:
            other = "resize=bilinear" if finer else "resize=area or resize=bilinear"
            raise BadInput(
                f"method={self.choices['method']} makes {native} x {native} heatmaps of this "
                f"model: for res={self.res} add {other}, or use res={native}"
            )


def load(*overrides: str, folder: str | Path = "") -> Settings:
    """Compose settings as the command line would: ``load("method=igos", "res=28")``.

    ``folder`` is that of ``--config-dir``, where configuration files may lie too.

    Raises:
        BadInput: a choice, key or value is wrong; the message says which.
    """
    return settings_of(*composed("config", searching(folder, overrides)))


def places(folder: str | Path) -> list[str]:
    """Return the override that lets configuration files lie in another folder, too.

    Raises:
        BadInput: there is no such folder, or a file in it has a name that the project uses.
    """
    if not str(folder):
        return []
    place = Path(folder).resolve()
    if not place.is_dir():
        raise BadInput(f"there is no folder {folder} with configuration files")
    check_names(place)
    quoted = str(place).replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}','torchvision://models']"]


def searching(folder: str | Path, overrides: Sequence[str]) -> list[str]:
    """Put what lets configuration files lie in another folder before overrides.

    Raises:
        BadInput: as of ``places``, or the overrides name folders themselves.
    """
    place = places(folder)
    if place and any(each.lstrip("+~").startswith("hydra.searchpath=") for each in overrides):
        raise BadInput("--config-dir and hydra.searchpath=... name folders both: give one of them")
    return [*place, *overrides]


def check_names(folder: Path, conf: Path = CONF) -> None:
    """Refuse a folder of one's own in which a file would never be read: the project's come first.

    ``conf`` is the project's, of this checkout or another.

    Raises:
        BadInput: a file differs from the project's of the same name.
    """
    for file in sorted(conf.rglob("*.yaml")):
        name = file.relative_to(conf)
        own = folder / name
        if own.is_file() and own.read_bytes() != file.read_bytes():
            raise BadInput(
                f"{own} would not be read: {name.with_suffix('')} is the project's own; give "
                "yours another name"
            )


def composed(name: str, overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """Compose a primary file of ``conf/``, such as ``config``; return it and Hydra's own node.

    Raises:
        BadInput: a choice, key or value is wrong; the message says which.
    """
    prepare()
    with _without_hydra(), initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose(name, list(overrides), return_hydra_config=True)
        except (*REFUSALS, ValueError) as error:
            raise BadInput(one_line(error)) from error
    return config, config.hydra


@contextmanager
def _without_hydra() -> Iterator[None]:
    """Compose inside a job of Hydra's as anywhere else: it allows one composition at a time."""
    state = GlobalHydra.instance()
    held, state.hydra = state.hydra, None
    try:
        yield
    finally:
        state.hydra = held


def settings_of(config: DictConfig, hydra: DictConfig) -> Settings:
    """Check a composed configuration and type it; ``hydra`` is Hydra's own node."""
    if not _is_count(config.get("n")):
        raise BadInput(f"n={config.n} is no number of images: a whole one from 1 on, or null")
    if not config.get("metric"):
        raise BadInput("no metric is named: give one or more, as metric=[deletion,insertion]")
    if lost := [key for key in OF_EXPERIMENTS if key in config and "experiment" not in config]:
        raise BadInput(f"{lost[0]}={config[lost[0]]} is for experiments: add +experiment=...")
    try:
        values = {str(key): config[key] for key in config if key not in ("hydra", *OF_EXPERIMENTS)}
        values["choices"] = {group: str(hydra.runtime.choices[group]) for group in GROUPS}
        values["overrides"] = list(hydra.overrides.task)
        folder = folder_of(hydra)
        if folder:
            check_names(Path(folder))
        place = ["--config-dir", folder] if folder else []
        values["again"] = [*place, *whole(hydra.overrides.task)]
    except OmegaConfBaseException as error:
        raise BadInput(one_line(error)) from error
    for key, node in values.items():
        try:
            if OmegaConf.is_config(node):
                OmegaConf.resolve(node)
        except OmegaConfBaseException as error:
            text = one_line(error)
            raise BadInput(text if key in text else f"{key}: {text}") from error
        if key not in ("overrides", "again"):  # what they came to is among the other values
            check_texts(key, node)
    settings: Settings = checked(Settings, values, "", {})
    return settings


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and value >= 1)


def folder_of(hydra: DictConfig) -> str:
    """Return what ``--config-dir`` named; empty where it was not given."""
    given = [
        each
        for each in hydra.runtime.config_sources
        if each.provider == "command-line"
        or (each.provider == SEARCHED and Path(each.path).is_absolute())  # else the user's own
    ]
    return str(given[0].path) if given else ""


def whole(overrides: Sequence[str]) -> list[str]:
    """Leave out into how many parts a cell is divided, and which of them is asked for."""
    return [each for each in overrides if not each.startswith(("shard=", "shards="))]


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as the records keep them."""
    node = OmegaConf.to_container(OmegaConf.create(vars(settings)), enum_to_str=True)
    values: dict[str, Any] = json.loads(json.dumps(node))
    return values


def prepare() -> None:
    """Register what the YAML files use; may be called again.

    Raises:
        BadInput: another distribution's ``methods`` or ``metrics`` hides the project's own.
    """
    for name in ("methods", "metrics"):
        found = importlib.util.find_spec(name)
        places = list(found.submodule_search_locations or []) if found else []
        if [Path(place).resolve() for place in places] != [CONF.parent / name]:
            raise BadInput(
                f"Python finds the package {name} in {' and '.join(places) or 'no place'}, not in "
                f"{CONF.parent}: run there after pip install -e ., or uninstall the other"
            )
    register_resolvers()
    Plugins.instance().register(TorchvisionConfigs)
