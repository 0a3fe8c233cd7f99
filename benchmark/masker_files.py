"""The files of masking networks: each belongs to the classifier whose weights it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.interfaces import BadInput, Classifier
from benchmark.masker import FeatureMap, Masker
from benchmark.model_sources import OWN_WEIGHTS, weights_hash

COMMAND = "python -m benchmark.train_masker"


def save(masker: Masker, model: Classifier, file: Path, made: dict[str, Any]) -> None:
    """Write a masker with the classifier it belongs to and how it was made."""
    facts = {
        "classifier_sha256": weights_hash(model.network),
        "maps": [list(each) for each in masker.maps],
        "classes": masker.classes,
        "width": masker.width,
        **made,
    }
    state = {name: value.cpu().contiguous() for name, value in masker.state_dict().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    # One entry: safetensors writes several in an order that differs from time to time.
    save_file(state, file, metadata={"masker": json.dumps(facts)})


def own_file(model: Classifier, name: str) -> Path:
    """Name the project's own file for these very weights of a classifier that is called so."""
    return OWN_WEIGHTS / f"masker-{name}-{_digest(model)[:8]}.safetensors"


def find_file(model: Classifier, given: str | None) -> Path:
    """Return the masker's file that was trained for these very weights of a classifier.

    Args:
        model: the classifier.
        given: a file; None looks among the project's own.

    Raises:
        BadInput: it cannot be read or belongs to another classifier, or there is none.
    """
    digest = _digest(model)
    if given is None:
        for file in OWN_WEIGHTS.glob(f"masker-*-{digest[:8]}.safetensors"):
            if _facts(file)["classifier_sha256"] == digest:
                return file
        known = "no masker is there"
    else:
        owner = str(_facts(Path(given))["classifier_sha256"])
        if owner == digest:
            return Path(given)
        known = f"{given} is for {owner[:8]}, not"
    raise BadInput(
        f"{known} for a classifier with the weights {digest[:8]}: train one with {COMMAND} "
        "model=... dataset=..."
    )


def load(model: Classifier, file: Path) -> Masker:
    """Read a masker and put it on the classifier's device.

    Raises:
        BadInput: the file is no masker, or damaged.
    """
    return _loaded(file, file.stat().st_mtime_ns, model.device)


@lru_cache(maxsize=4)
def _loaded(file: Path, _written: int, device: torch.device) -> Masker:
    facts = _facts(file)
    maps = [FeatureMap(*each) for each in facts["maps"]]
    with torch.device("meta"):  # draws nothing
        masker = Masker(maps, facts["classes"], facts["width"])
    try:
        masker.load_state_dict(load_file(file), assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise BadInput(f"{file} does not hold a masker's weights: train it anew") from error
    masker = masker.eval().requires_grad_(False).to(device)
    return masker.to(memory_format=torch.channels_last)


def _facts(file: Path) -> dict[str, Any]:
    """Read what a masker's file says of itself."""
    try:
        with safe_open(file, "pt") as opened:
            facts: dict[str, Any] = json.loads(opened.metadata()["masker"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is not a masker: {COMMAND} writes them") from error
    return facts


# Hashing hundreds of megabytes takes seconds. A tensor counts what is written to it.
_digests: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], str]] = WeakKeyDictionary()


def _digest(model: Classifier) -> str:
    """Hash a classifier's weights, once for as long as they stay as they are."""
    state = tuple(_versions(model.network))
    known = _digests.get(model.network)
    if known is None or known[0] != state:
        known = _digests[model.network] = (state, weights_hash(model.network))
    return known[1]


def _versions(network: nn.Module) -> Iterator[int]:
    for tensor in network.state_dict(keep_vars=True).values():
        yield id(tensor)
        yield tensor._version
