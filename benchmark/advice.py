"""What Hydra and OmegaConf refused, in one line, and what there is instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException

from benchmark.resolvers import CONF

# Hydra's launchers for other processes, and the extra of pyproject.toml that each is in.
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}

ALIKE = 0.7  # of difflib's ratio in [0, 1], above which a name may have been meant


def one_line(error: BaseException) -> str:
    """Say in one line what OmegaConf or Hydra said in several."""
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return _missing(group, choice, error.options)
    text = str(error)
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


def _missing(group: str, choice: str, options: Sequence[str] | None) -> str:
    """Say what there is instead of a choice."""
    if group == "hydra/launcher" and choice in EXTRAS:
        return f'hydra/launcher={choice} comes with pip install -e ".[{EXTRAS[choice]}]"'
    # Of a list, as of metrics, Hydra does not say what there is.
    known = options or sorted(each.stem for each in (CONF / group).glob("*.yaml"))
    also, others = "", list(EXTRAS) if group == "hydra/launcher" else []
    if group == "model":
        import torchvision  # noqa: PLC0415 - loaded by now: it was asked whether it has this one

        also = " or any classifier of torchvision"
        others = torchvision.models.list_models(module=torchvision.models)
    names = {name.lower(): name for name in (*known, *others)}
    near = difflib.get_close_matches(choice.lower(), names, n=3, cutoff=ALIKE)
    meant = f"did you mean {' or '.join(names[each] for each in near)}? There are"
    told = meant if near else "choose one of"
    return f"there is no {group}={choice}: {told} {', '.join(known)}{also}"
