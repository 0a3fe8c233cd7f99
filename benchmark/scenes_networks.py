"""Two small networks for the embedded scenes, one like VGG and one like ResNet.

Both map normalised RGB [B, 3, 224, 224] to logits [B, 10] and end in a 14 x 14 map that is
averaged. Normalised means (x - 0.5) / 0.25 in every channel. Every ReLU is a module of its own,
used once and not in place, as libraries that hook modules (DeepLIFT, LRP) need.
"""

from __future__ import annotations

from torch import Tensor, nn

MEAN = (0.5, 0.5, 0.5)  # of RGB in [0, 1]
STD = (0.25, 0.25, 0.25)
CLASSES = 10


def scenes_vgg() -> nn.Module:
    """Build a plain stack of 3 x 3 convolutions and poolings, its weights random.

    The first convolution strides, so that an image costs 47 M multiply-adds.
    """
    return _VGG()


def scenes_resnet() -> nn.Module:
    """Build residual blocks with batch norm and global average pooling, its weights random."""
    return _ResNet()


class _VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_stage(3, 16, stride=2),  # 112
            nn.MaxPool2d(2),
            *_stage(16, 24),  # 56
            nn.MaxPool2d(2),
            *_stage(24, 32),  # 28
            *_stage(32, 32),
            nn.MaxPool2d(2),
            *_stage(32, 64),  # 14
            *_stage(64, 64),
            *_stage(64, 64),
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, 224, 224] to logits [B, 10]."""
        logits: Tensor = self.head(self.pool(self.features(images)).mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution, nn.ReLU()


class _ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, padding=1, bias=False),  # 112
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),  # 56
        )
        self.blocks = nn.Sequential(
            _Block(16, 16),
            _Block(16, 32, stride=2),  # 28
            _Block(32, 64, stride=2),  # 14
            _Block(64, 64),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, 224, 224] to logits [B, 10]."""
        logits: Tensor = self.head(self.pool(self.blocks(self.stem(images))).flatten(1))
        return logits


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

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
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.norm2(self.convolution2(self.relu1(self.norm1(self.convolution1(maps)))))
        result: Tensor = self.relu2(inner + self.shortcut(maps))
        return result
