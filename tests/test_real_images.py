"""Real images through a real network, where IMAGENET_ROOT and WEIGHTS_ROOT say they are."""

import os

import pytest
import torch

import benchmark

pytestmark = pytest.mark.skipif(
    not (os.environ.get("IMAGENET_ROOT") and os.environ.get("WEIGHTS_ROOT")),
    reason="IMAGENET_ROOT and WEIGHTS_ROOT name no real images and weights",
)

# Golden values: Grad-CAM by captum and the authors' second public code for the curves, SqueezeNet
# 1.1 in fp32, the central 224 pixels of 227-pixel images, about 50 steps, trapezoid rule.
# id -> score on the image, deletion, insertion
PUBLIC_CODE = {
    "ILSVRC2012_val_00000347": (0.97384, 0.23549, 0.61329),
    "ILSVRC2012_val_00000355": (0.78392, 0.04496, 0.41071),
    "ILSVRC2012_val_00000361": (0.99999, 0.08864, 0.93187),
    "ILSVRC2012_val_00000657": (0.98079, 0.18670, 0.79150),
}
REAL = ("dataset=imagenet", "model=squeezenet1_1")


@pytest.fixture(scope="module", autouse=True)
def has_the_images_of_the_golden_values() -> None:
    try:
        known = set(benchmark.load(*REAL).dataset.ids())
    except benchmark.errors.BadInput as error:
        pytest.skip(f"squeezenet1_1 or the images are not at hand: {error}")
    if not known.issuperset(PUBLIC_CODE):
        pytest.skip("IMAGENET_ROOT has other images than the golden values are of")


def test_gradcam_scores_what_public_code_scores() -> None:
    cell = benchmark.load(
        *REAL, "method=gradcam", "res=13", "dataset.preprocess=crop", "protocol.steps=50"
    )
    batch = cell.batch(list(PUBLIC_CODE))
    expected = torch.tensor(list(PUBLIC_CODE.values()))
    on_image = cell.model.scores(batch.images, batch.targets)
    torch.testing.assert_close(on_image, expected[:, 0], atol=2e-4, rtol=0)
    heatmaps = cell.method(cell.model, batch)
    deletion, insertion = (
        cell.metrics[name](cell.model, batch, heatmaps).values.float()
        for name in ("deletion", "insertion")
    )
    torch.testing.assert_close(deletion, expected[:, 1], atol=6e-3, rtol=0)
    torch.testing.assert_close(insertion, expected[:, 2], atol=6e-3, rtol=0)


def test_the_network_is_as_accurate_as_its_weights_promise() -> None:
    cell = benchmark.load(*REAL, "dataset.preprocess=crop")
    ids = cell.dataset.ids()[:100]
    correct = [
        (batch.targets == batch.labels).float().mean().item()
        for batch in (cell.batch(ids[start : start + 20]) for start in range(0, 100, 20))
    ]
    # 72.6 % on the 1,300 images these come from; 100 of them give or take 4.5 % (one sigma).
    assert 0.58 < sum(correct) / len(correct) < 0.87


def test_igos_beats_chance_by_far_on_real_images() -> None:
    cell = benchmark.load(*REAL, "method=igos", "res=7", "method.iterations=5")
    chance = benchmark.load(*REAL, "method=random", "res=7")
    batch = cell.batch(list(PUBLIC_CODE)[1:3])
    heatmaps = [each.method(cell.model, batch) for each in (cell, chance)]
    for name, sign in (("deletion", -1), ("insertion", 1)):
        ours, theirs = (
            cell.metrics[name](cell.model, batch, each).values.mean() for each in heatmaps
        )
        assert sign * (ours - theirs) > 0.1, name
