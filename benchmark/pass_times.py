"""How long a pass takes: through a classifier as methods ask for it, and the bare network's."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.devices import clock
from benchmark.models import ImageClassifier, Precision
from benchmark.tf32 import allowed


class PassTime(NamedTuple):
    """Seconds per image of a pass."""

    forward: float  # alone
    both: float  # forward, and back to the images

    @property
    def backward(self) -> float:
        """Seconds per image of the way back."""
        return max(self.both - self.forward, 0.0)


class Size(NamedTuple):
    """What passes of one size take."""

    batch: int  # images in a pass
    classifier: PassTime  # from images to logits as methods get them
    bare: PassTime  # of the network alone


class Best(NamedTuple):
    """The bare network's fastest series, each way in the batch that suits it best."""

    time: PassTime
    forward_batch: int
    both_batch: int


class Bare:
    """A classifier's network alone, on what the classifier gives it.

    Its input is normalised and laid out before, and without rows that pad. Where the classifier
    computes in half precision by autocast, the weights are in that precision, converted once and
    not in every pass.
    """

    def __init__(self, model: ImageClassifier, images: Tensor) -> None:
        """Take images [N, 3, H, W] in [0, 1], again from the first where a pass is larger."""
        self.model, self._images = model, images
        dtype = _shown(model, images[:1]).dtype
        self.network = (
            model.network if dtype == torch.float32 else copy.deepcopy(model.network).to(dtype)
        )

    def images(self, batch: int) -> Tensor:
        """So many images [batch, 3, H, W]."""
        return self._images[torch.arange(batch, device=self._images.device) % len(self._images)]

    def time(self, batch: int, repeats: int, series: float) -> PassTime:
        """Time passes of one size; ``repeats`` and ``series`` as in ``by_size``."""
        shown = _shown(self.model, self.images(batch))
        return PassTime(
            forward=self._seconds(shown, repeats, series, back=False),
            both=self._seconds(shown, repeats, series, back=True),
        )

    def at_best(self, sizes: Best, series: float) -> PassTime:
        """Time one series of passes each way, each of the size that suits it best."""
        forward, both = (
            _shown(self.model, self.images(each))
            for each in (sizes.forward_batch, sizes.both_batch)
        )
        return PassTime(
            forward=self._seconds(forward, 1, series, back=False),
            both=self._seconds(both, 1, series, back=True),
        )

    def _seconds(self, shown: Tensor, repeats: int, series: float, *, back: bool) -> float:
        with allowed(on=self.model.precision is Precision.tf32):
            return _fastest(self.model, self.network, shown, repeats, series, back=back)


def of_classifier(
    model: ImageClassifier, images: Tensor, repeats: int, series: float = 0.0
) -> PassTime:
    """Time passes of images [B, 3, H, W] in [0, 1] through a classifier, padding and all.

    Args:
        model: the classifier.
        images: of one pass.
        repeats: timed series of passes of each kind; the fastest counts.
        series: about how many seconds each lasts; 0 for a single pass.
    """

    def passed(images: Tensor) -> Tensor:
        model.begin_count(len(images))
        return model(images)

    return PassTime(
        forward=_fastest(model, passed, images, repeats, series, back=False),
        both=_fastest(model, passed, images, repeats, series, back=True),
    )


def by_size(
    model: ImageClassifier, images: Tensor, batches: Sequence[int], repeats: int, series: float
) -> Iterator[Size]:
    """Time passes of every size; larger ones than fit into a GPU's memory are left out.

    Args:
        model: the classifier.
        images: [N, 3, H, W] in [0, 1], taken again where a pass is larger.
        batches: images in a pass.
        repeats: timed series of passes of each size, after what warms up; the fastest counts.
        series: about how many seconds of passes follow each other, as they do in a method, at least
            one pass; how many these are is reckoned from the pass before.
    """
    bare = Bare(model, images)
    for batch in sorted(batches):
        try:
            yield Size(
                batch,
                classifier=of_classifier(model, bare.images(batch), repeats, series),
                bare=bare.time(batch, repeats, series),
            )
        except torch.OutOfMemoryError:
            if batch == min(batches):
                raise
            return


def best(sizes: Sequence[Size]) -> Best:
    """Choose the size of pass that takes the bare network the fewest seconds per image."""
    forward = min(sizes, key=lambda size: size.bare.forward)
    both = min(sizes, key=lambda size: size.bare.both)
    return Best(PassTime(forward.bare.forward, both.bare.both), forward.batch, both.batch)


def _fastest(
    model: ImageClassifier,
    passed: Callable[[Tensor], Tensor],
    images: Tensor,
    repeats: int,
    series: float,
    *,
    back: bool,
) -> float:
    """Seconds per image of a pass in the fastest of some series, after one that warms up."""
    images = images.clone().requires_grad_(back)

    def seconds(passes: int) -> float:
        started = clock(model)
        for _ in range(passes):
            logits = passed(images)
            if back:
                torch.autograd.grad(logits.sum(), images)
        return (clock(model) - started) / passes

    with torch.set_grad_enabled(back):
        seconds(1)
        count = max(1, math.ceil(series / seconds(1))) if series else 1
        return min(seconds(count) for _ in range(repeats)) / len(images)


def _shown(model: ImageClassifier, images: Tensor) -> Tensor:
    """Catch what a classifier gives its network for images [B, 3, H, W], in the pass's precision.

    Without the rows that pad.
    """
    caught: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kind = model.device.type
        half = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if half else inputs[0].dtype
        caught.append(inputs[0].detach().to(dtype))

    watch = model.network.register_forward_pre_hook(catch)
    try:
        with torch.no_grad():
            model.begin_count(len(images))
            model(images)
    finally:
        watch.remove()
    return caught[0][: len(images)]
