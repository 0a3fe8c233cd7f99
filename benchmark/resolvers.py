"""What the YAML files may call: ``${by_res:...}``, ``${methods:}``, ``${conf:...}`` and others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmark.errors import BadInput
from benchmark.gpus import workers

ABOUT = "_about_"  # what a method's YAML says of it to people; no result depends on it
CONF = Path(__file__).resolve().parent.parent / "conf"


def register_resolvers() -> None:
    """Make them known to OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("by_res", _by_res, replace=True)
    OmegaConf.register_new_resolver("methods", _methods, replace=True)
    OmegaConf.register_new_resolver("wandb_mode", _wandb_mode, replace=True)
    OmegaConf.register_new_resolver("conf", lambda name: str(CONF / name), replace=True)
    OmegaConf.register_new_resolver("cells", _cells, replace=True)
    OmegaConf.register_new_resolver("workers", workers, replace=True)
    OmegaConf.register_new_resolver("each_shard", _each_shard, replace=True)


def _by_res(res: int, values: DictConfig, *, _node_: Any) -> Any:
    """Choose a value by the run's resolution: ``${by_res:${res},{28: 1, 14: 2}}``."""
    if not isinstance(res, int):
        raise BadInput(f"res has to be a whole number, got {res}")
    table = dict(values)
    if res in table:
        return table[res]
    known = ", ".join(str(each) for each in table)
    key = _node_._get_full_key(None)
    raise BadInput(f"{key} has no value for res={res}: use res={known}, or give {key}=...")


def _wandb_mode(named: str) -> str:
    """Translate the older names that Weights & Biases takes in WANDB_MODE."""
    return {"dryrun": "offline", "run": "online"}.get(named, named)


def _cells(node: DictConfig, given: Sequence[str]) -> str:
    """Number the cells of an experiment as a sweep: ``0,1,2``; ``given`` is the command line."""
    from benchmark.experiment import check_free, experiment_of  # noqa: PLC0415 - it imports this

    experiment = experiment_of(OmegaConf.create({"experiment": node}))
    check_free(experiment, given)
    return ",".join(str(number) for number, _ in enumerate(experiment.cells()))


def _each_shard(shards: int, given: Sequence[str]) -> str:
    """Number the shards of every cell of a sweep, unless the command line names some itself."""
    named = any(each.startswith("shard=") for each in given)
    if named or not isinstance(shards, int) or shards == 1:
        return "null"
    return ",".join(map(str, range(shards)))


def about_methods(folder: str = "") -> dict[str, dict[str, str]]:
    """Read what each method's YAML says of it: its name, its paper, and a line; by choice.

    Nothing where the YAML says nothing. ``folder`` is one of the user's own, whose come last.

    Raises:
        BadInput: a file cannot be read, or what it says of itself is no mapping.
    """
    files = sorted((CONF / "method").glob("*.yaml"))
    if folder:
        files += sorted((Path(folder) / "method").glob("*.yaml"))
    return {file.stem: _about(file) for file in files}


def _about(file: Path) -> dict[str, str]:
    try:
        node = OmegaConf.load(file)
    except (OSError, OmegaConfBaseException, YAMLError) as error:
        raise BadInput(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    told = node.get(ABOUT) if isinstance(node, DictConfig) else ""
    if told is None:
        return {}
    if not isinstance(told, DictConfig):
        raise BadInput(f"{file}: {ABOUT} has to be a mapping, of name, paper and line")
    return cast(dict[str, str], OmegaConf.to_container(told))


def _methods() -> str:
    """List the methods for ``--help``."""
    about = about_methods()
    width = max(map(len, about))
    told = {name: "{name} ({paper}): {line}".format(**each) for name, each in about.items() if each}
    return "\n".join(f"  {name:{width}}  {told.get(name, '')}".rstrip() for name in about)
