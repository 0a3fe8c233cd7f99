"""Two small networks for the embedded scenes, one like VGG and one like ResNet.

Both map normalised RGB [B, 3, 224, 224] to logits [B, 10] and end in a 14 x 14 map that is
averaged. Normalised means (x - 0.5) / 0.25 in every channel. Every ReLU is a module of its own,
used once and not in place, as libraries that hook modules (DeepLIFT, LRP) need.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MEAN = (0.5, 0.5, 0.5)  # of RGB in [0, 1]
STD = (0.25, 0.25, 0.25)
CLASSES = 10


def scenes_vgg() -> nn.Module:
    """Build a plain stack of 3 x 3 convolutions and poolings, its weights random.

    The first two convolutions stride, so that an image costs 45 M multiply-adds.
    """
    return VGG()


def scenes_resnet() -> nn.Module:
    """Build residual blocks with batch norm and global average pooling, its weights random.

    An image costs 57 M multiply-adds.
    """
    return ResNet()


class VGG(nn.Module):
    """Plain convolutions and poolings, their averages into one dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 8, stride=2),  # 112
            *_convolution(8, 24, stride=2),  # 56
            nn.MaxPool2d(2),
            *_convolution(24, 40),  # 28
            *_convolution(40, 40),
            nn.MaxPool2d(2),
            *_convolution(40, 64),  # 14
            *_convolution(64, 64),
            *_convolution(64, 64),
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, 224, 224] to logits [B, 10]."""
        logits: Tensor = self.head(self.pool(self.features(images)).mean((2, 3)))
        return logits


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU()


def with_batch_norm(network: nn.Module) -> nn.Module:
    """Put a batch norm behind each convolution of a plain network, in place, to train it."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            setattr(network, name, _Normed(child, nn.BatchNorm2d(child.out_channels)))
        else:
            with_batch_norm(child)
    return network


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Undo ``with_batch_norm`` in place: a convolution alone computes what both do in eval mode."""
    for name, child in list(network.named_children()):
        if isinstance(child, _Normed):
            setattr(network, name, fuse_conv_bn_eval(child.convolution.eval(), child.norm.eval()))
        else:
            fold_batch_norm(child)
    return network


class _Normed(nn.Module):
    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.norm(self.convolution(maps))
        return result


class ResNet(nn.Module):
    """Residual blocks, their averages into one dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, padding=1, bias=False),  # 112
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            _Block(8, 16, stride=2),  # 56
            _Block(16, 40, stride=2),  # 28
            _Block(40, 64, stride=2),  # 14
            _Block(64, 64),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, 224, 224] to logits [B, 10]."""
        logits: Tensor = self.head(self.pool(self.blocks(self.stem(images))).flatten(1))
        return logits


class _Block(nn.Module):
    """Two convolutions beside a shortcut; where the shape changes it pools and mixes channels."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.convolution2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            # Pooling first, rather than a strided convolution, lets every pixel through.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.norm2(self.convolution2(self.relu1(self.norm1(self.convolution1(maps)))))
        result: Tensor = self.relu2(inner + self.shortcut(maps))
        return result
