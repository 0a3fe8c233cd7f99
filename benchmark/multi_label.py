"""The public VGG16 and ResNet50 that tell which classes of VOC2007 or COCO an image shows.

They were trained in Caffe for excitation backprop (Zhang et al. 2016), with a logistic loss for
each class, and converted by TorchRay (Fong et al. 2019). Their files hold Caffe's order of colours
and of layers; this turns them into torchvision's networks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torchvision.models import resnet50, vgg16

from benchmark.datasets import class_names
from benchmark.interfaces import BadInput
from benchmark.model_sources import RANDOM, fill, find_weights, for_device, read_weights
from benchmark.models import Activation, ImageClassifier, MemoryFormat, Precision

Network = Enum("Network", "vgg16 resnet50")
Classes = Enum("Classes", "voc coco")

PLACE = "https://dl.fbaipublicfiles.com/torchray/"
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # of RGB, subtracted in training
# The networks were trained on colours up to 255. The classifier divides by the usual deviations
# instead and the first layer multiplies by 255 of them: the logits are the same, and noise that a
# method measures in normalised colours is as strong as for networks trained on ImageNet.
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class MultiLabelModel:
    """One of the four networks, from a file of the user's; nothing is downloaded.

    ``weights`` is ``auto``, which takes the ``pretrained`` file in ``weights_root``; a file, its
    path maybe relative to ``weights_root``; or ``random``.
    """

    network: Network
    classes: Classes
    weights: str
    pretrained: str
    weights_root: str | None
    precision: Precision
    memory_format: MemoryFormat
    pass_batch: dict[str, int]  # device type -> images sent through at once

    def load(self, device: torch.device) -> ImageClassifier:
        """Read the weights and put the network on a device.

        Raises:
            BadInput: there is no such file, or it does not fit the network.
        """
        names = class_names.VOC if self.classes is Classes.voc else class_names.COCO
        network, source = self._network(len(names))
        return ImageClassifier(
            network,
            mean=MEAN,
            std=STD,
            input_size=224,
            class_names=names,
            weights=source,
            device=device,
            precision=self.precision,
            memory_format=self.memory_format,
            pass_batch=for_device(self.pass_batch, device),
            activation=Activation.sigmoid,
        )

    def _network(self, classes: int) -> tuple[nn.Module, str]:
        random = self.weights == "random"
        usual = [self.pretrained]
        file = None if random else find_weights(self.weights, self.weights_root, usual)
        if file is None and not random:
            raise BadInput(
                f"model.weights={self.weights}: there is no {self.pretrained} in "
                f"{self.weights_root or 'WEIGHTS_ROOT, which is not set'}; download it from "
                f"{PLACE}{self.pretrained}, and name its folder by WEIGHTS_ROOT or the file by "
                "model.weights"
            )
        vgg = self.network is Network.vgg16
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = empty_vgg16(classes) if vgg else empty_resnet50(classes)
        if file is None:
            return network, RANDOM
        state = read_weights(file)
        fill(network, vgg16_state(state) if vgg else resnet50_state(state), file.name)
        return network, file.name


def empty_vgg16(classes: int) -> nn.Module:
    """Build torchvision's VGG16 with as many logits, pooling as Caffe does."""
    return _pooled_as_caffe(vgg16(num_classes=classes))


def empty_resnet50(classes: int) -> nn.Module:
    """Build torchvision's ResNet50 with as many logits, where strides and pooling are Caffe's."""
    network = resnet50(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3)
    network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2)
    for layer in (network.layer2, network.layer3, network.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return _pooled_as_caffe(network)


def vgg16_state(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of a VGG16 without dropout and with convolutions as dense layers."""
    state = {}
    for key, value in given.items():
        name, kept = key, value
        if found := re.fullmatch(r"classifier\.([024])\.(weight|bias)", key):
            name = f"classifier.{int(found[1]) * 3 // 2}.{found[2]}"
            kept = value.flatten(1) if found[2] == "weight" else value
        state[name] = kept
    return _first_layer(state, "features.0.weight")


def resnet50_state(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of a ResNet50 whose normalisation is one layer and its scaling another."""
    pair = re.compile(r"(bn\d|downsample\.1)\.[01]\.(?=[^.]+$)")
    return _first_layer(
        {pair.sub(r"\1.", key): value for key, value in given.items()}, "conv1.weight"
    )


def _first_layer(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    """Let the first layer take RGB in units of the deviations instead of BGR up to 255."""
    if (weight := state.get(key)) is not None and weight.ndim == 4 and weight.shape[1] == 3:
        state[key] = weight.flip(1) * (255 * torch.tensor(STD).view(1, 3, 1, 1))
    return state


def _pooled_as_caffe(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
    return network
