"""What Hydra and OmegaConf refused, in one line, and what there is instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from benchmark.resolvers import CONF

# Hydra's launchers for other processes, and the extra of pyproject.toml that each is in.
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}

# With which Hydra and what it is made of refuse a configuration.
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError)

ALIKE = 0.7  # of difflib's ratio in [0, 1], above which a name may have been meant
VERY_ALIKE = 0.85  # likewise, for a name that is somewhere else


def one_line(error: BaseException) -> str:
    """Say in one line what OmegaConf, Hydra or YAML said in several."""
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return _missing(group, choice, error.options)
    if isinstance(error, MarkedYAMLError) and (place := error.problem_mark):
        return f"{place.name}, line {place.line + 1}: {error.problem}"
    text = str(error)
    cause = error.__cause__
    lost = re.match(r"Could not override '([^']+)'\.", text)
    if lost and isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        return _unknown(lost[1], cause)
    return _meant(text) or _shortened(text)


def _meant(text: str) -> str:
    """Say what to do about an error that many make; empty where it is none of these."""
    if lacking := re.match(r"Interpolation key 'method\.(\w+)' not found", text):
        return f"a setting is taken from method.{lacking[1]}, which this method has not"
    if several := re.match(r"Ambiguous value for argument '(\+*([\w/]+).*?)'\n", text):
        asked, key = several.groups()
        if key == "metric":
            return f"{asked}: several metrics are a list, metric=[{asked.partition('=')[2]}]"
        return f"{asked}: for a run of each type python -m benchmark --multirun {asked} ..."
    if bare := re.search(r"while evaluating '(.*?)': Unknown function", text):
        return f'a text with brackets needs quotes of its own, "{bare[1]}"'
    if text.startswith("Could not override 'experiment'"):
        _, _, asked = text.rpartition("use ")
        return f"{asked[1:]}: type python -m benchmark --multirun {asked}"
    return ""


def _shortened(text: str) -> str:
    """Leave out Hydra's and OmegaConf's own advice, and put the rest in one line."""
    for advice in ("Config search path:", "To append to your config"):
        text, _, _ = text.partition(advice)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    keys = [line.partition(":")[2].strip() for line in lines if line.startswith("full_key:")]
    text = " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=")))
    _, _, text = text.rpartition("while resolving interpolation: ")
    key = keys[0] if keys else ""
    return f"{key}: {text}" if key and key not in text else text


def near(asked: str, names: Iterable[str], alike: float = ALIKE) -> list[str]:
    """Return up to three names that may have been meant, nearest first, or the one that it is."""
    known = {name.lower(): name for name in names}
    if asked.lower() in known:
        return [known[asked.lower()]]
    return [known[each] for each in get_close_matches(asked.lower(), known, n=3, cutoff=alike)]


def did_you_mean(names: Sequence[str]) -> str:
    """Ask whether one of these was meant; empty where there is none."""
    return f"did you mean {' or '.join(names)}?" if names else ""


def _unknown(key: str, lacking: OmegaConfBaseException) -> str:
    """Say what there is instead of a setting that a node of the configuration lacks.

    First comes what is near among the node's own names, then any setting whose last name is nearly
    the same. Where a key goes on below what is no node, OmegaConf has put an empty one there.
    """
    node, found = cast(DictConfig, lacking.parent_node), str(lacking.full_key)
    root = cast(DictConfig, node._get_root())
    above, dot, name = found.rpartition(".")
    said = f"there is no setting {key}"
    if found == "experiment":
        return f"{said} without an experiment: add one, such as +experiment=smoke"
    rest = key.removeprefix(found)
    meant = [resolving(root, f"{above}{dot}{each}", rest) for each in near(name, _names(node))]
    choices = [] if meant or len(node) else _choices(above)
    if choices:
        return f"{said}: {above} is null: choose one first, as {above}={' or '.join(choices)}"
    if not meant and (not above or not rest):
        meant = _elsewhere(root, key.rpartition(".")[2])
    return f"{said}: {did_you_mean(meant)}" if meant else f"{said}; {_there(node, above, key)}"


def _there(node: DictConfig, above: str, key: str) -> str:
    """Say what a node has in place of a key that is like nothing."""
    if key.startswith("experiment.") and key.count(".") == 1:
        return f"one that an experiment's file leaves out is given as '+{key}=...'"
    if not len(node):
        return f"{above} is a value or taken from elsewhere, with nothing of its own below"
    return f"{above or 'a run'} has {', '.join(_names(node)) or 'nothing below it'}"


def _names(node: DictConfig) -> list[str]:
    """Name a node's settings."""
    return [each for each in map(str, node) if each != "hydra" and not each.startswith("_")]


def resolving(root: DictConfig, path: str, rest: str) -> str:
    """Return a path with the rest of what was asked, or without where there is no such setting."""
    return f"{path}{rest}" if f"{path}{rest}" in _paths(root) else path


def _elsewhere(root: DictConfig, last: str) -> list[str]:
    """Name up to three settings, wherever they are, whose last name is nearly this."""
    every = sorted(_paths(root), key=len)
    ends = [path.rpartition(".")[2] for path in every]
    return [
        path
        for each in near(last, ends, VERY_ALIKE)
        for path, end in zip(every, ends, strict=True)
        if end == each
    ][:3]


def _choices(group: str) -> list[str]:
    """Name what can be chosen for a group of the configuration; none where it is no group."""
    files = sorted((CONF / group).glob("*.yaml"))
    return [each.stem for each in files if "_target_" in OmegaConf.load(each)]


def _paths(node: DictConfig, above: str = "") -> Iterator[str]:
    """Name every setting below a node, in full, but those that are taken from elsewhere."""
    for key in _names(node):
        yield f"{above}{key}"
        known = not (OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key))
        if known and isinstance(node[key], DictConfig):
            yield from _paths(node[key], f"{above}{key}.")


def _missing(group: str, choice: str, options: Sequence[str] | None) -> str:
    """Say what there is instead of a choice."""
    if group == "hydra/launcher" and choice in EXTRAS:
        return f'hydra/launcher={choice} comes with pip install -e ".[{EXTRAS[choice]}]"'
    nearby = Path().glob(f"*/{group}/{choice}.yaml") if re.fullmatch(r"\w+", choice) else iter(())
    if mine := min(nearby, default=None):
        return f"there is no {group}={choice}, but {mine}: add --config-dir {mine.parts[0]}"
    # Of a list, as of metrics, Hydra does not say what there is.
    known = options or sorted(each.stem for each in (CONF / group).glob("*.yaml"))
    also, others = "", list(EXTRAS) if group == "hydra/launcher" else []
    if group == "model":
        import torchvision  # noqa: PLC0415 - loaded by now: it was asked whether it has this one

        also = " or any classifier of torchvision"
        others = torchvision.models.list_models(module=torchvision.models)
    meant = did_you_mean(near(choice, [*known, *others]))
    told = f"{meant} There are" if meant else "choose one of"
    return f"there is no {group}={choice}: {told} {', '.join(known)}{also}"
