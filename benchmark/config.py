"""Typed configuration: YAML composed by Hydra, checked at the door, turned into objects."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.errors import BadInput
from benchmark.resolvers import ABOUT, CONF, register_resolvers
from benchmark.setting_values import check_text, check_value
from benchmark.shards import Shard
from benchmark.torchvision_configs import TorchvisionConfigs

GROUPS = ("method", "model", "dataset", "protocol", "attack")
OF_EXPERIMENTS = ("experiment", "n", "cell")  # what a sweep's table is made of, which no cell sees

# Hydra's launchers for other processes, and the extra of pyproject.toml that each is in.
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}
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
    return settings_of(*composed("config", [*places(folder), *overrides]))


def places(folder: str | Path) -> list[str]:
    """Return the override that lets configuration files lie in another folder, too.

    Raises:
        BadInput: there is no such folder.
    """
    if not str(folder):
        return []
    place = Path(folder).resolve()
    if not place.is_dir():
        raise BadInput(f"there is no folder {folder} with configuration files")
    quoted = str(place).replace("'", "\\'")
    return [f"hydra.searchpath=['torchvision://models','file://{quoted}']"]


def composed(name: str, overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """Compose a primary file of ``conf/``, such as ``config``; return it and Hydra's own node.

    Raises:
        BadInput: a choice, key or value is wrong; the message says which.
    """
    prepare()
    with _without_hydra(), initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose(name, list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
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
    if lost := [key for key in OF_EXPERIMENTS if key in config and "experiment" not in config]:
        raise BadInput(f"{lost[0]}={config[lost[0]]} is for experiments: add +experiment=...")
    try:
        values = {str(key): config[key] for key in config if key not in ("hydra", *OF_EXPERIMENTS)}
        values["choices"] = {group: str(hydra.runtime.choices[group]) for group in GROUPS}
        values["overrides"] = list(hydra.overrides.task)
        folder = folder_of(hydra)
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
            _check_texts(key, node)
    settings: Settings = _checked(Settings, values, "", {})
    return settings


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and value >= 1)


def folder_of(hydra: DictConfig) -> str:
    """Return what ``--config-dir`` named; empty where it was not given."""
    given = [each for each in hydra.runtime.config_sources if each.provider == "command-line"]
    return str(given[0].path) if given else ""


def whole(overrides: Sequence[str]) -> list[str]:
    """Leave out into how many parts a cell is divided, and which of them is asked for."""
    return [each for each in overrides if not each.startswith(("shard=", "shards="))]


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as the records keep them."""
    node = OmegaConf.to_container(OmegaConf.create(vars(settings)), enum_to_str=True)
    values: dict[str, Any] = json.loads(json.dumps(node))
    return values


def build(node: DictConfig, key: str) -> Any:
    """Make the object that a node's ``_target_`` names, out of the node's other values.

    Nested nodes with a ``_target_`` are built first. The target has to be a dataclass: its fields
    are the schema, so a wrong type, an unknown key and a missing value are refused by name. The key
    is where the node stands, empty for the whole of a file.

    Raises:
        BadInput: with the key, such as ``method.res``, what came and what was expected.
    """
    _check_texts(key, node)
    try:
        values = _items(node) if isinstance(node, DictConfig) else {}
    except OmegaConfBaseException as error:  # what a value refers to is not there
        raise BadInput(one_line(error)) from error
    values.pop(ABOUT, None)
    target = values.pop("_target_", None)
    if not isinstance(target, str):
        raise BadInput(f"{key} needs a _target_, the dataclass it stands for; got {_short(node)}")
    prefix = f"{key}." if key else ""
    built = {
        name: build(value, f"{prefix}{name}")
        for name, value in values.items()
        if isinstance(value, DictConfig) and "_target_" in value
    }
    try:
        return _checked(_find(target, key), values, prefix, built)
    except OmegaConfBaseException as error:  # a value within a value is missing
        raise BadInput(one_line(error)) from error


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


def one_line(error: BaseException) -> str:
    """Say in one line what OmegaConf or Hydra said in several."""
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return _missing(group, choice, error.options)
    text = str(error)
    if lacking := re.match(r"Interpolation key 'method\.(\w+)' not found", text):
        return f"a setting is taken from method.{lacking[1]}, which this method has not"
    if several := re.match(r"Ambiguous value for argument '(\+*([\w/]+).*?)'\n", text):
        asked, key = several.groups()
        if key == "metric":
            return f"{asked}: several metrics are a list, metric=[{asked.partition('=')[2]}]"
        return f"{asked}: for a run of each type python -m benchmark --multirun {asked} ..."
    if text.startswith("Could not override 'experiment'"):
        _, _, asked = text.rpartition("use ")
        return f"{asked[1:]}: type python -m benchmark --multirun {asked}"
    for advice in ("Config search path:", "To append to your config"):
        text, _, _ = text.partition(advice)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    keys = [line.partition(":")[2].strip() for line in lines if line.startswith("full_key:")]
    text = " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=")))
    _, _, text = text.rpartition("while resolving interpolation: ")
    key = keys[0] if keys else ""
    return f"{key}: {text}" if key and key not in text else text


def _missing(group: str, choice: str, options: Sequence[str] | None) -> str:
    """Say what there is instead of a choice."""
    if group == "hydra/launcher" and choice in EXTRAS:
        return f'hydra/launcher={choice} comes with pip install -e ".[{EXTRAS[choice]}]"'
    also = " or any classifier of torchvision" if group == "model" else ""
    # Of a list, as of metrics, Hydra does not say what there is.
    known = options or sorted(each.stem for each in (CONF / group).glob("*.yaml"))
    return f"there is no {group}={choice}: choose one of {', '.join(known)}{also}"


def _check_texts(key: str, value: Any) -> None:
    check_text(key, _plain(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value))


def _plain(value: Any) -> Any:
    """Leave out what is said of a method to people, which may have lines."""
    if not isinstance(value, dict):
        return value
    return {name: _plain(each) for name, each in value.items() if name != ABOUT}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _items(node: DictConfig) -> dict[str, Any]:
    return {str(key): node[key] for key in node if not OmegaConf.is_missing(node, key)}


def _find(target: str, key: str) -> type:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{key}._target_={target} cannot be imported: {error}") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise BadInput(f"{key}._target_={target} is not a dataclass")
    return found


def _checked(cls: type, values: dict[str, Any], prefix: str, built: dict[str, Any]) -> Any:
    """Validate values against the fields of a dataclass and make one."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    if unknown := [name for name in values if name not in names]:
        raise BadInput(
            f"{prefix}{unknown[0]} is not a setting of {cls.__name__}; it has {', '.join(names)}"
        )
    if missing := [
        field.name
        for field in dataclasses.fields(cls)
        if field.init
        and field.name not in values
        and field.default is field.default_factory is dataclasses.MISSING
    ]:
        raise BadInput(f"{prefix}{missing[0]} is missing: {cls.__name__} needs a value for it")
    plain = {name: value for name, value in values.items() if _is_plain(hints[name])}
    for name, value in plain.items():
        if isinstance(hints[name], type) and issubclass(hints[name], Enum):
            choices = [choice.name for choice in hints[name]]
            if not isinstance(value, hints[name]) and value not in choices:
                raise BadInput(f"{prefix}{name}={value} is none of {', '.join(choices)}")
        check_value(f"{prefix}{name}", value, hints[name])
    schema = dataclasses.make_dataclass("Schema", [(name, hints[name]) for name in plain])
    try:
        node = OmegaConf.merge(OmegaConf.structured(schema), plain)
        typed = OmegaConf.to_container(node)
    except OmegaConfBaseException as error:
        raise BadInput(prefix + one_line(error)) from error
    for name, value in cast(dict[str, Any], typed).items():
        check_value(f"{prefix}{name}", value, hints[name])  # a text may have become a number
    rest = {name: built.get(name, value) for name, value in values.items() if name not in plain}
    for name, value in rest.items():
        if name not in built and not _is_node(hints[name], value):
            raise BadInput(
                f"{prefix}{name} needs a _target_, the dataclass it stands for; got {_short(value)}"
            )
    return cls(**cast(dict[str, Any], typed), **rest)


def _is_node(hint: Any, value: Any) -> bool:
    """Whether a value is the node, or the absence of one, that a field takes as it is."""
    if hint is DictConfig:
        return isinstance(value, DictConfig)
    return hint == (DictConfig | None) and (value is None or isinstance(value, DictConfig))


def _is_plain(hint: Any) -> bool:
    """Whether OmegaConf can check values of this type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, UnionType, list, dict):
        return all(_is_plain(each) for each in arguments if each is not NoneType)
    return hint in (int, float, str, bool) or (isinstance(hint, type) and issubclass(hint, Enum))
