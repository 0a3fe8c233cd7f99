"""How a masker is trained: what it is shown, and the loss it lowers.

Source: Dabkowski & Gal (2017), sections 3 and 4, with the values and the order of the public code
where the paper gives none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from benchmark.images import composite, upsample
from benchmark.interfaces import BadInput, Classifier, Dataset
from benchmark.masker import Masker, find_maps, watched
from benchmark.model_sources import ModelSource

REPORTS = 10  # how often a training says where it is


class Parts(NamedTuple):
    """What the loss is made of, for each image."""

    variation: Tensor  # [B], mean squared difference of neighbours, over rows plus over columns
    area: Tensor  # [B] in [0, 1], the mask's mean
    log_shown: Tensor  # [B], log of the target's probability where only the masked is shown
    log_removed: Tensor  # [B], the same where only the masked is hidden


@dataclass(frozen=True)
class Training:
    """How a masker is trained, for which classifier and on which images."""

    model: ModelSource
    dataset: Dataset
    out: str | None  # file; None is the project's own for this model
    device: str  # auto, cpu, cuda, cuda:1
    seed: int
    filter_steps: int  # of the optimiser, on the filter alone
    steps: int  # after them, on the whole masker
    batch_size: int  # images of a step
    learning_rate: float  # the highest
    weight_decay: float
    width: int  # channels at the mask's resolution
    fake: float  # share of images asked about a class they do not show
    smoothness: float  # weight of the mask's variation
    area: float  # weight of its mean
    removal: float  # weight of the target's probability where the masked is hidden
    removal_power: float  # of that probability; below 1 it counts down to the smallest
    blurred: float  # share of images that are hidden by blur, the others by a random colour
    blur_sigma: float  # of the Gaussian, as a share of the image's side
    noise_sd: float  # on the colour; RGB in [0, 1]

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "width", "learning_rate", "blur_sigma"):
            if getattr(self, name) <= 0:
                raise BadInput(f"{name} must be above 0, got {getattr(self, name)}")
        at_least_0 = ("seed", "filter_steps", "weight_decay", "noise_sd")
        for name in (*at_least_0, "smoothness", "area", "removal"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("fake", "blurred", "removal_power"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    def fit(self, model: Classifier, images: Tensor) -> tuple[Masker, dict[str, float]]:
        """Train a masker for a classifier on images [N, 3, H, W] of 8 bits.

        Returns:
            The masker, and what it reached in the last tenth of its training.
        """
        source = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            masker = Masker(find_maps(model), len(model.class_names), self.width)
        masker = masker.to(model.device).to(memory_format=torch.channels_last)
        examples = batches(images, self.batch_size, source)
        self._fit_filter(masker, model, examples, source)
        reached = self._fit_masks(masker, model, examples, source)
        return masker, reached

    def _fit_filter(
        self, masker: Masker, model: Classifier, examples: Iterator[Tensor], source: torch.Generator
    ) -> None:
        """Teach the filter which classes an image shows, as the public code does first."""
        optimizer = torch.optim.Adam(masker.filter.parameters(), self.learning_rate)
        for _ in range(self.filter_steps):
            images = next(examples).to(model.device)
            maps, logits = watched(model, images, masker.maps)
            targets, fake = ask(logits, 0.5, source)
            presence = masker.presence(maps[0][: len(images)], targets).mean((1, 2, 3))
            loss = functional.binary_cross_entropy_with_logits(presence, (~fake).float())
            _step(optimizer, loss)

    def _fit_masks(
        self, masker: Masker, model: Classifier, examples: Iterator[Tensor], source: torch.Generator
    ) -> dict[str, float]:
        optimizer = torch.optim.Adam(
            masker.parameters(), self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, self.steps, pct_start=0.2
        )
        every, seen, reached, start = -(-self.steps // REPORTS), [], {}, time.perf_counter()
        masker.train()
        for step in range(1, self.steps + 1):
            images = next(examples).to(model.device)
            maps, logits = watched(model, images, masker.maps)
            targets, fake = ask(logits, self.fake, source)
            masks = masker([each[: len(images)] for each in maps], targets)
            parts = self.parts(model, images, logits.argmax(1), masks, fake=fake, source=source)
            loss = self.loss(parts)
            _step(optimizer, loss.mean())
            schedule.step()
            seen.append(_summary(parts, loss, fake))
            if step % every == 0 or step == self.steps:
                reached = {name: _mean([each[name] for each in seen]) for name in seen[0]}
                shown = ", ".join(f"{name} {value:.3f}" for name, value in reached.items())
                print(f"{step}: {shown}, {time.perf_counter() - start:.0f} s", flush=True)
                seen.clear()
        masker.eval()
        return reached

    def parts(
        self,
        model: Classifier,
        images: Tensor,
        predicted: Tensor,
        masks: Tensor,
        *,
        fake: Tensor,
        source: torch.Generator,
    ) -> Parts:
        """Look at images [B, 3, H, W] through masks [B, 1, r, r].

        Where the masker was asked about a class that the image does not show, its mask has to be
        empty: what it leaves must show the predicted class, and what it takes must not.
        """
        enlarged = upsample(masks, images.shape[-1])
        shown = torch.where(fake[:, None, None, None], 1 - enlarged, enlarged)
        logs = [
            model.log_probabilities(
                model(composite(images, self.background(images, source), mask))
            ).gather(1, predicted[:, None])[:, 0]
            for mask in (shown, 1 - shown)
        ]
        rows, columns = (masks.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3))
        return Parts(rows + columns, masks.mean((1, 2, 3)), *logs)

    def loss(self, parts: Parts) -> Tensor:
        """Weigh the parts as the paper's equation 2 does; [B]."""
        return (
            self.smoothness * parts.variation
            + self.area * parts.area
            - parts.log_shown
            + self.removal * (self.removal_power * parts.log_removed).exp()
        )

    def background(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Draw what hides each image [B, 3, H, W]: its blur, or one colour with noise."""
        count, side = len(images), images.shape[-1]
        colour = torch.rand(count, 3, 1, 1, generator=source)
        noise = self.noise_sd * torch.randn(images.shape, generator=source)
        blurred = torch.rand(count, 1, 1, 1, generator=source) < self.blurred
        # A strong blur needs no fine grid.
        coarse = functional.adaptive_avg_pool2d(images, -(-side // 4))
        sigma = self.blur_sigma * coarse.shape[-1]
        reach = min(2 * round(2.5 * sigma) + 1, 2 * coarse.shape[-1] - 1)
        coarse = gaussian_blur(
            gaussian_blur(coarse, [1, reach], [sigma] * 2), [reach, 1], [sigma] * 2
        )
        blur = functional.interpolate(coarse, (side, side), mode="bilinear")
        flat = (colour + noise).clamp(0, 1)
        return torch.where(blurred.to(blur.device), blur, flat.to(blur.device))


def batches(images: Tensor, size: int, source: torch.Generator) -> Iterator[Tensor]:
    """Yield images [B, 3, H, W] in [0, 1] for ever, each image once before any comes again.

    A batch that does not fill up is left out, unless there are no others.
    """
    size = min(size, len(images))
    while True:
        order = torch.randperm(len(images), generator=source)
        for start in range(0, len(order) - size + 1, size):
            yield images[order[start : start + size]].float() / 255


def ask(logits: Tensor, fake: float, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose what to ask about each image: its predicted class, or any other.

    The predicted class, and not the label as in the paper: it is the classifier that is explained,
    and the images need no labels.

    Args:
        logits: [B, K].
        fake: how often any other.
        source: of the random numbers.

    Returns:
        Targets [B], and whether each of them is not the predicted class [B].
    """
    count, classes = logits.shape
    others = torch.rand(count, generator=source) < fake
    shift = torch.randint(1, classes, (count,), generator=source) * others
    return (logits.argmax(1) + shift.to(logits.device)) % classes, others.to(logits.device)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    optimizer.step()


def _summary(parts: Parts, loss: Tensor, fake: Tensor) -> dict[str, float]:
    """Average over a batch; masks of classes that are not there are counted by themselves."""
    real = (~fake).float()
    return {
        "loss": loss.mean().item(),
        "shown": parts.log_shown.exp().mean().item(),
        "removed": parts.log_removed.exp().mean().item(),
        "area": ((parts.area * real).sum() / real.sum()).item(),
        "fake_area": ((parts.area * fake).sum() / fake.sum()).item(),
    }


def _mean(values: Sequence[float]) -> float:
    """Average what is a number."""
    return torch.tensor(values, dtype=torch.float64).nanmean().item()
