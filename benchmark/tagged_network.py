"""The network of the tagged scenes, for ``dataset=tagged``, and where its weights are.

A few thousand parameters are enough to tell six hues apart; the rest is that of the scenes'
networks: the same normalisation, a 14 x 14 map at the end, every ReLU a module of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.datasets.scene_rendering import SIDE
from benchmark.datasets.tag_rendering import HUES
from benchmark.model_sources import OWN_WEIGHTS, fill, for_device, read_weights
from benchmark.models import ImageClassifier, MemoryFormat, Precision
from benchmark.scenes_networks import MEAN, STD

NAME = "tagged_vgg"


def tagged_vgg() -> nn.Module:
    """Build the network, its weights random; an image costs 7 M multiply-adds."""
    return TaggedVGG()


class TaggedVGG(nn.Module):
    """Plain convolutions and poolings, their averages into one dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, padding=1),  # 112
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, padding=1),  # 56
            nn.ReLU(),
            nn.MaxPool2d(2),  # 28
            nn.Conv2d(16, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 14
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(24, len(HUES))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, 224, 224] to logits [B, 6]."""
        logits: Tensor = self.head(self.pool(self.features(images)).mean((2, 3)))
        return logits


@dataclass(frozen=True)
class TaggedModel:
    """The small network trained on the tagged scenes, whose weights are in the project."""

    precision: Precision
    memory_format: MemoryFormat
    pass_batch: dict[str, int]  # device type -> images sent through at once

    def load(self, device: torch.device) -> ImageClassifier:
        """Read the weights and put the network on a device."""
        network = tagged_vgg()
        file = OWN_WEIGHTS / f"{NAME}.safetensors"
        fill(network, read_weights(file), file.name)
        return ImageClassifier(
            network,
            mean=MEAN,
            std=STD,
            input_size=SIDE,
            class_names=[f"{hue} tag" for hue in HUES],
            weights=file.name,
            device=device,
            precision=self.precision,
            memory_format=self.memory_format,
            pass_batch=for_device(self.pass_batch, device),
        )
