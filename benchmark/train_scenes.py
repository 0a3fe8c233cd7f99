"""Train one of the small networks on the scenes: ``python -m benchmark.train_scenes``.

A network that is asked about a half-deleted digit must be able to say that it does not know, or
deletion and insertion would measure its guesses. So part of the training images show no digit or
only parts of one, and the target is the more uniform the less of the digit is visible. The same
goes for the tag of the tagged scenes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from benchmark import scenes_networks, tagged_network
from benchmark.datasets.scene_rendering import RENDERER, SIDE, Split, digits, render, source_of
from benchmark.datasets.tag_rendering import HUES, TAGGER, render_tagged, tag_of
from benchmark.memory import keep_freed_memory

BATCH = 64  # images of an optimiser step
EMPTY = 0.1  # share of the training scenes without a digit or tag
PARTIAL = 0.4  # share of a batch that has parts replaced

Drawn = tuple[NDArray[np.uint8], NDArray[np.bool_]]  # pixels [224, 224, 3], the cause [224, 224]


def digit_of(split: Split, index: int) -> int:
    """Say which class the digit of a scene is."""
    return int(digits()[1][source_of(split, index)])


def draw_digit(split: Split, index: int, empty: bool) -> Drawn:
    """Render a scene and its digit's mask, or without a digit."""
    return render(split, index, None if empty else source_of(split, index))


def draw_tag(split: Split, index: int, empty: bool) -> Drawn:
    """Render a tagged scene and its tag's mask, or without a tag."""
    scene = render_tagged(split, index, None if empty else tag_of(split, index))
    return scene.pixels, scene.tag


class Recipe(NamedTuple):
    """How a network is trained."""

    build: Callable[[], nn.Module]
    classes: int
    label: Callable[[Split, int], int]  # the class of a scene
    draw: Callable[[Split, int, bool], Drawn]
    renderer: str
    scenes: int  # rendered once, then augmented
    schedule: tuple[tuple[int, int], ...]  # (pixels of a crop, epochs); crops are cheaper, so first
    peak: float  # the learning rate's
    recolored: bool  # whether colours say nothing about the class, and are changed at random


def _digits(build: Callable[[], nn.Module], peak: float) -> Recipe:
    schedule = ((128, 12), (SIDE, 4))
    count = scenes_networks.CLASSES
    return Recipe(
        build, count, digit_of, draw_digit, f"{RENDERER}", 10_000, schedule, peak, recolored=True
    )


RECIPES = {
    "scenes_vgg": _digits(scenes_networks.scenes_vgg, 2e-3),
    "scenes_resnet": _digits(scenes_networks.scenes_resnet, 4e-3),
    tagged_network.NAME: Recipe(
        build=tagged_network.tagged_vgg,
        classes=len(HUES),
        label=tag_of,
        draw=draw_tag,
        renderer=f"{RENDERER}, tagger {TAGGER}",
        scenes=3_000,
        schedule=((128, 8), (SIDE, 4)),
        peak=1e-2,
        recolored=False,
    ),
}


class Rendered(NamedTuple):
    """Scenes in memory."""

    pixels: NDArray[np.uint8]  # [N, 224, 224, 3]
    masks: NDArray[np.bool_]  # [N, 224, 224]; nowhere true where there is no digit or tag
    labels: NDArray[np.int64]  # [N]; meaningless where there is none


def render_all(recipe: Recipe, split: Split, count: int, empty: float) -> Rendered:
    """Render the first scenes of a split in worker processes, the first share of them empty."""
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    masks = np.empty((count, SIDE, SIDE), bool)
    with Pool() as pool:
        jobs = ((recipe.draw, split, index, index < empty * count) for index in range(count))
        for index, result in enumerate(pool.imap(_render, jobs, chunksize=32)):
            pixels[index], masks[index] = result
    return Rendered(pixels, masks, np.array([recipe.label(split, each) for each in range(count)]))


def _render(job: tuple[Callable[[Split, int, bool], Drawn], Split, int, bool]) -> Drawn:
    draw, split, index, empty = job
    return draw(split, index, empty)


def batches(scenes: Rendered, side: int, random: np.random.Generator) -> Iterator[list[Tensor]]:
    """Yield one epoch: images [B, 3, side, side] in [0, 1], masks [B, 1, side, side], labels [B].

    A crop shows the whole digit or tag.
    """
    order = random.permutation(len(scenes.labels))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        rows = order[start : start + BATCH]
        corners = [_corner(scenes.masks[row], side, random) for row in rows]
        windows = [
            np.s_[row, y : y + side, x : x + side]
            for row, (y, x) in zip(rows, corners, strict=True)
        ]
        images = torch.from_numpy(np.stack([scenes.pixels[window] for window in windows]))
        masks = torch.from_numpy(np.stack([scenes.masks[window] for window in windows]))
        labels = torch.from_numpy(scenes.labels[rows])
        yield [images.permute(0, 3, 1, 2).float() / 255, masks[:, None].float(), labels]


def _corner(mask: NDArray[np.bool_], side: int, random: np.random.Generator) -> tuple[int, int]:
    """Draw the top left corner of a window that holds all of the mask."""
    corner = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis))
        first, last = (used[0], used[-1]) if len(used) else (SIDE, 0)
        low, high = max(0, last + 1 - side), min(first, SIDE - side)
        corner.append(int(random.integers(low, high + 1)))
    return corner[0], corner[1]


def recolor(images: Tensor) -> Tensor:
    """Permute the channels, scale and shift them, and invert every third image; [B, 3, H, W]."""
    count = len(images)
    channels = torch.rand(count, 3).argsort(1)  # [B, 3]
    images = images.gather(1, channels[:, :, None, None].expand_as(images))
    scale, shift = torch.rand(count, 3, 1, 1) * 0.5 + 0.75, torch.rand(count, 3, 1, 1) * 0.2 - 0.1
    images = torch.where(torch.rand(count, 1, 1, 1) < 1 / 3, 1 - images, images)
    return ((images - 0.5) * scale + 0.5 + shift).clamp(0, 1)


def hide_parts(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Replace random parts of some images by blur, by their mean colour or by black.

    Returns:
        The images [B, 3, H, W], and how sure [B] one can be of the class: 0 where less than a
        quarter of the digit's ink or of the tag is visible or there is none, 1 from three quarters
        on.
    """
    count, _, height, width = images.shape
    cells = (4, 7, 14)[int(torch.randint(3, ()))]
    size = (height, width)
    noise = functional.interpolate(torch.rand(count, 1, cells, cells), size, mode="bilinear")
    lowest, highest = noise.amin((2, 3), True), noise.amax((2, 3), True)
    share = torch.rand(count, 1, 1, 1) * 1.3 - 0.25  # of the range that is kept; below 0 is none
    whole = torch.rand(count, 1, 1, 1) >= PARTIAL
    kept = (((noise - lowest) / (highest - lowest) < share) | whole).float()
    coarse = functional.avg_pool2d(images, 8)
    coarse = functional.avg_pool2d(coarse, 7, 1, 3, count_include_pad=False)
    blurred = functional.interpolate(coarse, size, mode="bilinear")
    kind = torch.rand(count, 1, 1, 1)
    flat = images.mean((2, 3), True) * (kind < 0.9)
    hidden = torch.where(kind < 0.8, blurred, flat)
    visible = (kept * masks).sum((1, 2, 3)) / masks.sum((1, 2, 3)).clamp(min=1)
    return kept * images + (1 - kept) * hidden, ((visible - 0.25) / 0.5).clamp(0, 1)


def train(network: nn.Module, scenes: Rendered, recipe: Recipe, seed: int) -> None:
    """Fit the network in place; the learning rate rises to its peak and falls to nothing."""
    random = np.random.default_rng(seed)
    steps = len(scenes.labels) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    total = steps * sum(epochs for _, epochs in recipe.schedule)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak, total, pct_start=0.2)
    network.train()
    for side in [side for side, epochs in recipe.schedule for _ in range(epochs)]:
        start, losses = time.perf_counter(), []
        for images, masks, labels in batches(scenes, side, random):
            shown, sure = hide_parts(recolor(images) if recipe.recolored else images, masks)
            exact = functional.one_hot(labels, recipe.classes)
            targets = sure[:, None] * exact + (1 - sure[:, None]) / recipe.classes
            shown = shown.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(_normalise(shown)), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - start
        print(f"{side} px: loss {np.mean(losses):.3f}, {seconds:.0f} s", flush=True)


def _normalise(images: Tensor) -> Tensor:
    mean, std = torch.tensor(scenes_networks.MEAN), torch.tensor(scenes_networks.STD)
    return (images - mean[:, None, None]) / std[:, None, None]


@torch.inference_mode()
def evaluate(network: nn.Module, scenes: Rendered) -> dict[str, float]:
    """Measure accuracy, and the true class's probability on the scenes and on strong blurs."""
    network.eval()
    clean, blurred, right = [], [], []
    for start in range(0, len(scenes.labels), 50):
        images = (
            torch.from_numpy(scenes.pixels[start : start + 50]).permute(0, 3, 1, 2).float() / 255
        )
        labels = torch.from_numpy(scenes.labels[start : start + 50])
        scores = network(_normalise(images)).softmax(1)
        right.append(scores.argmax(1) == labels)
        clean.append(scores.gather(1, labels[:, None]))
        rows = gaussian_blur(images, [1, 51], [50.0, 50.0])  # one axis at a time is fast
        without = gaussian_blur(rows, [51, 1], [50.0, 50.0])
        blurred.append(network(_normalise(without)).softmax(1).gather(1, labels[:, None]))
    return {
        "test_accuracy": torch.cat(right).double().mean().item(),
        "median_score": torch.cat(clean).median().item(),
        "mean_score_blurred": torch.cat(blurred).mean().item(),
    }


def main() -> None:
    """Train, evaluate on all test scenes and write the weights with how they were made."""
    parser = argparse.ArgumentParser(description="Train a network on the embedded scenes.")
    parser.add_argument("--network", choices=sorted(RECIPES), required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    keep_freed_memory()
    start = time.perf_counter()
    recipe = RECIPES[chosen.network]
    scenes = render_all(recipe, Split.train, recipe.scenes, EMPTY)
    print(f"{recipe.scenes} scenes rendered in {time.perf_counter() - start:.0f} s", flush=True)
    torch.manual_seed(chosen.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # so that the weights do not depend on the number of cores
    network = recipe.build()
    plain = not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    if plain:
        network = scenes_networks.with_batch_norm(network)
    network = network.to(memory_format=torch.channels_last)  # three times as fast on a CPU
    train(network, scenes, recipe, chosen.seed)
    if plain:
        network = scenes_networks.fold_batch_norm(network)
    results = evaluate(network, render_all(recipe, Split.test, 1_000, 0))
    print(results, f"{time.perf_counter() - start:.0f} s in all", flush=True)
    made = {
        "architecture": f"{recipe.build.__module__}.{chosen.network}",
        "command": f"python -m benchmark.train_scenes --network {chosen.network}",
        "seed": str(chosen.seed),
        "scenes": f"train 00000 to {recipe.scenes - 1:05}, renderer {recipe.renderer}",
        "epochs": ", ".join(f"{epochs} at {side} px" for side, epochs in recipe.schedule),
        "torch": torch.__version__,
        **{name: f"{value:.4f}" for name, value in results.items()},
    }
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    chosen.out.mkdir(parents=True, exist_ok=True)
    save_file(state, chosen.out / f"{chosen.network}.safetensors", metadata=made)


if __name__ == "__main__":
    main()
