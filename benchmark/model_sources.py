"""Where networks come from: torchvision, a file, the project's own two; or your own dataclass.

A model's YAML names one of these dataclasses, or any other with the same ``load``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import nn

from benchmark import scenes_networks
from benchmark.datasets.scene_rendering import SIDE
from benchmark.downloads import only_weights, verify
from benchmark.interfaces import BadInput
from benchmark.models import ImageClassifier, MemoryFormat, Precision

OWN_WEIGHTS = Path(__file__).resolve().parent / "weights"
RANDOM = "RANDOM WEIGHTS"
SUFFIXES = (".safetensors", ".pth", ".pth.tar")
SceneNetwork = Enum("SceneNetwork", "scenes_vgg scenes_resnet")


class ModelSource(Protocol):
    """What a model's ``_target_`` has to be: a frozen dataclass that loads a classifier."""

    def load(self, device: torch.device) -> ImageClassifier:
        """Read the weights and put the network on a device."""
        ...


@dataclass(frozen=True)
class TorchvisionModel:
    """Any classifier of torchvision by its name there.

    ``weights`` is ``auto``, a file, ``random``, or a name of torchvision's such as
    ``IMAGENET1K_V1``. ``auto`` takes ``<architecture>.safetensors`` or ``.pth`` from
    ``weights_root`` if such a file is there, and else torchvision's ``pretrained``, from its
    cache or by download. A file's path may be relative to ``weights_root``. Input size and
    normalisation are those of the named weights, and for a file those of ``pretrained``.
    """

    architecture: str
    weights: str
    pretrained: str
    weights_root: str | None
    precision: Precision
    memory_format: MemoryFormat
    pass_batch: dict[str, int]  # device type -> images sent through at once

    def load(self, device: torch.device) -> ImageClassifier:
        """Read the weights and put the network on a device.

        Raises:
            BadInput: no such architecture, weights or file, or they do not fit together.
        """
        models = _torchvision()
        names = models.list_models(module=models)
        if self.architecture not in names:
            raise BadInput(
                f"model.architecture={self.architecture} is not a classifier of torchvision; "
                f"it has {', '.join(names)}"
            )
        published = models.get_model_weights(self.architecture)
        named = self.weights if self.weights in published.__members__ else self.pretrained
        if named not in published.__members__:
            raise BadInput(
                f"model.pretrained={named} names no weights of {self.architecture}, whose size "
                f"and colours to use; torchvision has {', '.join(published.__members__)}"
            )
        entry = published[named]
        preset = entry.transforms()
        network, source = self._network(published)
        return ImageClassifier(
            network,
            mean=preset.mean,
            std=preset.std,
            input_size=preset.crop_size[0],
            class_names=entry.meta["categories"],
            weights=source,
            device=device,
            precision=self.precision,
            memory_format=self.memory_format,
            pass_batch=for_device(self.pass_batch, device),
        )

    def _network(self, published: Any) -> tuple[nn.Module, str]:
        if self.weights == "random":
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return self._empty(), RANDOM
        usual = [f"{self.architecture}{suffix}" for suffix in SUFFIXES]
        if file := find_weights(self.weights, self.weights_root, usual):
            network = self._empty()
            fill(network, read_weights(file), str(file.name))
            return network, file.name
        name = self.pretrained if self.weights == "auto" else self.weights
        if name not in published.__members__:
            raise BadInput(
                f"model.weights={name} is neither a file nor weights of {self.architecture}; "
                f"torchvision has {', '.join(published.__members__)}"
            )
        verify(published[name].url)
        try:
            with only_weights():
                network = _torchvision().get_model(self.architecture, weights=published[name])
        except (URLError, OSError, RuntimeError) as error:  # the last: not what was published
            looked = f" no {self.architecture}.safetensors or .pth in {self.weights_root} and"
            raise BadInput(
                f"{self.architecture}:{looked if self.weights_root else ''} torchvision could not "
                f"download {name} ({error}); put the weights into a folder and name it by "
                "WEIGHTS_ROOT or model.weights_root, or ask for model.weights=random"
            ) from error
        return network, f"torchvision {name}"

    def _empty(self) -> nn.Module:
        # torchvision sets this itself when it loads weights, and its files were trained so.
        inception = {"init_weights": False, "transform_input": True}
        extra = inception if self.architecture in {"googlenet", "inception_v3"} else {}
        network: nn.Module = _torchvision().get_model(self.architecture, weights=None, **extra)
        return network


@dataclass(frozen=True)
class ScenesModel:
    """One of the two small networks trained on the scenes, whose weights are in the project."""

    network: SceneNetwork
    precision: Precision
    memory_format: MemoryFormat
    pass_batch: dict[str, int]

    def load(self, device: torch.device) -> ImageClassifier:
        """Read the weights and put the network on a device."""
        network = getattr(scenes_networks, self.network.name)()
        file = OWN_WEIGHTS / f"{self.network.name}.safetensors"
        fill(network, read_weights(file), file.name)
        return ImageClassifier(
            network,
            mean=scenes_networks.MEAN,
            std=scenes_networks.STD,
            input_size=SIDE,
            class_names=[f"digit {number}" for number in range(10)],
            weights=file.name,
            device=device,
            precision=self.precision,
            memory_format=self.memory_format,
            pass_batch=for_device(self.pass_batch, device),
        )


def _torchvision() -> Any:
    """Import torchvision's models."""
    from torchvision import models  # noqa: PLC0415 - takes seconds, and the project's own need none

    return models


def find_weights(weights: str, weights_root: str | None, usual: Sequence[str]) -> Path | None:
    """Find a file of weights: the one that is named, or for ``auto`` a usual one in the root.

    Returns:
        None where ``auto`` finds none, or the name is not that of a file.

    Raises:
        BadInput: the file that is named, or the root, is not there.
    """
    root = Path(weights_root) if weights_root else None
    if root is not None and not root.is_dir():
        raise BadInput(f"model.weights_root={root} (or WEIGHTS_ROOT) is not a folder")
    if weights == "auto":
        places = [root / name for name in usual] if root else []
        return next((place for place in places if place.is_file()), None)
    if not weights.endswith(SUFFIXES):
        return None
    places = [Path(weights)] + ([root / weights] if root else [])
    for place in places:
        if place.is_file():
            return place
    raise BadInput(f"model.weights: there is no file {' nor '.join(map(str, places))}")


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from ``.safetensors``, or from torch's files without unpickling objects.

    Raises:
        BadInput: the file cannot be read as such.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes torch raises anything, down to IndexError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{file} cannot be read as weights: {reason}") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(each) for each in state.values()):
        raise BadInput(f"{file} is not a state dict: save network.state_dict(), not the network")
    return state


def fill(network: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Load a state dict; every entry has to fit.

    Raises:
        BadInput: entries are missing, unknown or of another shape.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"{name} does not fit the network: {reason}") from error


def weights_hash(network: nn.Module) -> str:
    """Hash every parameter and buffer by name: 64 hexadecimal digits."""
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def for_device(pass_batch: dict[str, int], device: torch.device) -> int:
    """Choose the number of images sent through at once on a device; 0 asks for the fastest.

    Raises:
        BadInput: there is none for it, or it is below 0.
    """
    size = pass_batch.get(device.type)
    if size is None or size < 0:
        raise BadInput(
            f"model.pass_batch.{device.type} must be a number of images, or 0 for the fastest"
        )
    return size
