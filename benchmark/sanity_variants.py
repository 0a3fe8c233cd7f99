"""What sanity checks explain beside the image itself: other weights, classes and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.attack import MIFGSM
from benchmark.images import generators
from benchmark.interfaces import Batch
from benchmark.models import ImageClassifier
from benchmark.redraw import mixed
from benchmark.shift import shifted

CHECKS = {  # name -> what is compared with the heatmap of the image as it is
    "cascading": "all weights random",
    "independent": "one layer random, mean over layers",
    "logit": "another class",
    "shift": "input shifted, first layer corrected",
    "noise": "small noise",
    "fgsm": "FGSM step that keeps the class",
}
RADIUS = 0.02  # of the noise, of a channel's range [0, 1]; captum's of sensitivity_max
DRAWS = 10  # of the noise; captum's
EPSILONS = (2.0, 1.0, 0.5, 0.25)  # of FGSM, 255ths of a channel's range; the first that keeps


class Variant(NamedTuple):
    """What is explained, and under which name."""

    check: str
    layer: str  # that has become random; nothing in the other checks
    step: int  # how many layers are random, which layer is, counted from the output, or which draw
    model: ImageClassifier
    batch: Batch
    valid: Sequence[bool]  # [B], whether there is such a variant of the image


def variants(
    model: ImageClassifier,
    batch: Batch,
    checks: Sequence[str],
    random: nn.Module,
    groups: Mapping[str, Sequence[str]],
) -> Iterator[Variant]:
    """Make what the checks ask for, one after the other.

    Args:
        model: the classifier.
        batch: the images; classes stay as they are but in ``logit``.
        checks: of ``CHECKS``; ``shift`` yields nothing where the network does not permit it.
        random: the network with all weights random.
        groups: layers from the input to the output, with the names of their modules.
    """
    every = [True] * len(batch.ids)
    upwards = list(groups.items())[::-1]
    if "cascading" in checks:
        names: list[str] = []
        for step, (layer, modules) in enumerate(upwards, start=1):
            names += modules
            network = mixed(model.network, random, names)
            yield Variant("cascading", layer, step, model.with_network(network), batch, every)
    if "independent" in checks:
        for step, (layer, modules) in enumerate(upwards, start=1):
            network = mixed(model.network, random, modules)
            yield Variant("independent", layer, step, model.with_network(network), batch, every)
    if "logit" in checks:
        targets = other_classes(batch, len(model.class_names))
        yield Variant("logit", "", 1, model, batch._replace(targets=targets), every)
    if "shift" in checks and (moved := shifted(model, batch.images)):
        yield Variant("shift", "", 1, moved[0], batch._replace(images=moved[1]), every)
    if "noise" in checks:
        for step, images in enumerate(noisy(batch, RADIUS, DRAWS), start=1):
            yield Variant("noise", "", step, model, batch._replace(images=images), every)
    if "fgsm" in checks:
        images, kept = fgsm_within_class(model, batch.images)
        yield Variant("fgsm", "", 1, model, batch._replace(images=images), kept.tolist())


def other_classes(batch: Batch, classes: int) -> Tensor:
    """Draw a class [B] for each image among the others, all as likely, from its seed.

    Source: Sixt et al. (2020), the random logit, which is drawn there likewise.
    """
    sources = generators(batch.seeds, torch.device("cpu"))
    steps = [torch.randint(1, classes, (), generator=source) for source in sources]
    return (batch.targets + torch.stack(steps).to(batch.targets)) % classes


def noisy(batch: Batch, radius: float, draws: int) -> Iterator[Tensor]:
    """Yield images [B, 3, H, W] in [0, 1] with uniform noise on each channel, as many as draws.

    Source: Yeh et al. (2019), max-sensitivity by Monte Carlo; each image's noise is of its seed.

    Args:
        batch: the images.
        radius: largest noise, of a channel's range [0, 1].
        draws: how many times.
    """
    sources = generators(batch.seeds, batch.images.device)
    shape = batch.images.shape[1:]
    for _ in range(draws):
        drawn = [torch.rand(shape, generator=each, device=each.device) for each in sources]
        yield (batch.images + radius * (2 * torch.stack(drawn) - 1)).clamp(0, 1)


def fgsm_within_class(model: ImageClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Lead images [B, 3, H, W] away from the class that is seen, so far that it still is.

    One step of FGSM (Goodfellow et al. 2015), as Ghorbani et al. (2019) attack explanations: the
    prediction stays. The step is the longest of ``EPSILONS`` that keeps it.

    Returns:
        Images of the same shape, and [B] whether any step keeps the class.
    """
    with torch.no_grad():
        seen = model(images).argmax(1)
    changed, kept = images, torch.zeros_like(seen, dtype=torch.bool)
    for epsilon in EPSILONS:
        stepped = MIFGSM(epsilon=epsilon, steps=1, momentum=0.0)(model, images, seen)
        with torch.no_grad():
            now = (model(stepped).argmax(1) == seen) & ~kept
        changed = torch.where(now[:, None, None, None], stepped, changed)
        kept = kept | now
    return changed, kept
