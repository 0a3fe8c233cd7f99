"""A network with its normalisation, precision and pass counts, and where networks come from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.cam_layer import find_cam_layer
from benchmark.images import chunks
from benchmark.interfaces import BadInput

Precision = Enum("Precision", "fp32 tf32 bf16 fp16")
MemoryFormat = Enum("MemoryFormat", "channels_last contiguous")
Activation = Enum("Activation", "softmax sigmoid")

# On a CPU the matrix kernels treat the last few rows of a batch differently when their number is
# not a multiple of four; padded, an image's logits are the same bits in every batch, except that
# one thread alone may choose other kernels for few images than for many.
CPU_PADDING = 4


class ImageClassifier:
    """A network that takes RGB images in [0, 1], in evaluation mode and with frozen weights."""

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: int,
        class_names: Sequence[str],
        weights: str,
        device: torch.device,
        precision: Precision = Precision.fp32,
        memory_format: MemoryFormat = MemoryFormat.channels_last,
        pass_batch: int = 20,
        activation: Activation = Activation.softmax,
    ) -> None:
        """Prepare a network for the benchmark.

        Args:
            network: maps normalised images [B, 3, H, W] to logits [B, K].
            mean: of each colour in [0, 1], subtracted first.
            std: of each colour; divided by.
            input_size: H = W in pixels.
            class_names: K names, in the order of the logits.
            weights: what the weights are, for people; their hash is taken from the network.
            device: where to compute.
            precision: fp32; tf32 (CUDA only); bf16 and fp16 run under autocast.
            memory_format: the layout of images in memory; channels_last is the fast one.
            pass_batch: images sent through at once by methods and metrics.
            activation: what makes probabilities of logits; softmax where classes exclude each
                other, sigmoid where an image may show several.
        """
        if precision is Precision.tf32 and device.type != "cuda":
            raise BadInput(f"precision=tf32 needs a CUDA device, this run is on {device.type}")
        layout = {
            MemoryFormat.channels_last: torch.channels_last,
            MemoryFormat.contiguous: torch.contiguous_format,
        }[memory_format]
        self.network = network.eval().requires_grad_(False).to(device).to(memory_format=layout)
        self.mean = torch.tensor(list(mean), dtype=torch.float32, device=device)
        self.std = torch.tensor(list(std), dtype=torch.float32, device=device)
        self.input_size = input_size
        self.class_names: Sequence[str] = list(class_names)
        self.weights = weights
        self.device = device
        self.pass_batch = pass_batch
        self.activation = activation
        self._layout = layout
        self.precision = precision
        torch.backends.cuda.matmul.allow_tf32 = precision is Precision.tf32
        torch.backends.cudnn.allow_tf32 = precision is Precision.tf32
        self.begin_count(1)

    def __call__(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] in [0, 1] to logits [B, K] in float32; counts the passes."""
        count, rows = len(images), self._rows
        self._count(self.forward_passes, rows, count)
        normalised = (images - self.mean.view(1, 3, 1, 1)).div_(self.std.view(1, 3, 1, 1))
        if self.device.type == "cpu" and count % CPU_PADDING:
            extra = CPU_PADDING - count % CPU_PADDING
            normalised = torch.cat([normalised, normalised[-1:].expand(extra, -1, -1, -1)])
        half = {Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}.get(self.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            output = self.network(normalised.contiguous(memory_format=self._layout))
        logits: Tensor = output[:count].float()
        if logits.requires_grad:
            count_backward = partial(self._count, self.backward_passes, rows, count)
            logits.register_hook(lambda _: count_backward())  # type: ignore[no-untyped-call]  # torch's
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits [B, K] into probabilities [B, K]; under softmax a row sums to 1."""
        return logits.softmax(1) if self.activation is Activation.softmax else logits.sigmoid()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits [B, K] into logarithms of probabilities [B, K], even of tiny ones."""
        if self.activation is Activation.softmax:
            return logits.log_softmax(1)
        return functional.logsigmoid(logits)

    def scores(self, images: Tensor, targets: Tensor) -> Tensor:
        """Probabilities [B] of targets [B], at most ``pass_batch`` images at a time."""
        parts = [
            self.probabilities(self(images[part])).gather(1, targets[part, None])[:, 0]
            for part in chunks(len(images), self.pass_batch)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def cam_layer(self) -> nn.Module:
        """The last layer with a spatial map.

        Raises:
            BadInput: the network has none, as a vision transformer.
        """
        blank = torch.zeros(CPU_PADDING, 3, self.input_size, self.input_size, device=self.device)
        blank = blank.contiguous(memory_format=self._layout)
        return find_cam_layer(self.network, blank, len(self.class_names))

    def with_network(self, network: nn.Module) -> ImageClassifier:
        """Return the same classifier around another network, counting into the same numbers."""
        other = copy.copy(self)
        other.network = network
        other.__dict__.pop("cam_layer", None)
        return other

    def begin_count(self, images: int) -> None:
        """Start counting passes anew for a batch of so many images."""
        self.forward_passes = torch.zeros(images, dtype=torch.float64)
        self.backward_passes = torch.zeros(images, dtype=torch.float64)
        self._rows: Tensor | None = None

    @contextmanager
    def passes_of(self, rows: Tensor) -> Iterator[None]:
        """Count the passes inside the block for these rows of the batch only.

        A row that is named twice gets two shares. In a block within a block, rows are places in
        the outer one's rows, so that a method which calls another names the images of each input.
        """
        rows = rows.cpu() if self._rows is None else self._rows[rows.cpu()]
        if (needed := int(rows.max()) + 1) > len(self.forward_passes):
            self.begin_count(needed)  # used without a run, where nobody reads the counts
        outer, self._rows = self._rows, rows
        try:
            yield
        finally:
            self._rows = outer

    @staticmethod
    def _count(passes: Tensor, rows: Tensor | None, images: int) -> None:
        if rows is None:
            passes += images / len(passes)
        else:
            share = torch.full((len(rows),), images / len(rows), dtype=passes.dtype)
            passes.index_add_(0, rows, share)  # a row may be named several times
