"""Kernel SHAP and Partition SHAP: credit that is shared out fairly and to the last bit."""

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from toys import (
    BLACK,
    Additive,
    Flat,
    Recorder,
    Scored,
    Smooth,
    batch_of,
    classifier,
    explain,
    images_of,
)

from benchmark.interfaces import BadInput
from benchmark.segments import Grid, Slic
from benchmark.substrates import Blur
from methods.kernel_shap import KernelSHAP
from methods.shap_partition import PartitionSHAP

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SLIC = Slic(50, compactness=30.0, sigma=0.0)
KERNEL = KernelSHAP(segmenter=SLIC, samples=300, baseline=Flat(0.2))
BLUR = PartitionSHAP(hide="blur(3,3)", evaluations=60, together=20)
INPAINT = replace(BLUR, hide="inpaint_telea")


class Together(Scored):
    """Score = 0.1 + 0.8 times the product of two places, one colour of a pixel each."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def score(self, images):
        return 0.1 + 0.8 * images[:, *self.first] * images[:, *self.second]


def smooth(**settings):
    return classifier(Smooth(), classes=4, kind=Recorder, mean=MEAN, std=STD, **settings)


def eight_bit(count, size):
    return (images_of(count, size) * 255).round() / 255


def blurred(image):
    """An image [3, H, W] under the blur that the tests hide with, by OpenCV."""
    return torch.from_numpy(cv2.blur(image.permute(1, 2, 0).numpy(), (3, 3))).permute(2, 0, 1)


# Kernel SHAP


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_on_an_additive_score_each_part_gets_what_it_adds(cells):
    weights = 0.002 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    images, side = images_of(2, 16), 16 // cells
    model = classifier(Additive(weights, offset=0.5))
    heatmaps = explain(replace(KERNEL, segmenter=Grid(cells)), model, batch_of(images))
    added = (weights * (images - 0.2)).sum(1).view(2, cells, side, cells, side).sum((2, 4))
    expected = added.repeat_interleave(side, 1).repeat_interleave(side, 2)
    torch.testing.assert_close(heatmaps, expected, rtol=0, atol=1e-6)


def test_two_parts_that_matter_only_together_share_the_credit():
    model = classifier(Together((0, 0, 0), (0, 7, 7)))
    method = replace(KERNEL, segmenter=Grid(2), baseline=BLACK)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 8, 8)))[0]
    torch.testing.assert_close(heatmap[::4, ::4], 0.4 * torch.eye(2), rtol=0, atol=1e-6)


def test_few_parts_get_their_exact_shapley_values():
    model, batch = smooth(), batch_of(images_of(1, 18))
    heatmap = explain(replace(KERNEL, segmenter=Grid(3), samples=2000), model, batch)[0]
    assert model.forward_passes.tolist() == [2**9]  # every coalition once
    parts, values = Grid(3)(batch.images[0]), {}
    for size in range(10):
        for coalition in itertools.combinations(range(9), size):
            shown = torch.isin(parts, torch.tensor(coalition, dtype=torch.int64))
            image = torch.where(shown, batch.images[0], 0.2)
            values[frozenset(coalition)] = float(model(image[None]).softmax(1)[0, 0])
    for part in range(9):
        gains = [
            math.factorial(len(others)) * math.factorial(8 - len(others)) / math.factorial(9)
            * (values[others | {part}] - values[others])
            for others in values if part not in others
        ]  # fmt: skip
        assert float(heatmap[parts == part].mean()) == pytest.approx(sum(gains), abs=1e-5)


@pytest.mark.parametrize("samples", [1, 400])
def test_the_parts_values_sum_to_the_score_on_the_image_minus_that_on_the_baseline(samples):
    model, batch = smooth(pass_batch=7), batch_of(images_of(2, 48), torch.tensor([0, 1]))
    method = replace(KERNEL, samples=samples, baseline=Blur(kernel=9, sigma=5.0))
    heatmaps = explain(method, model, batch)
    assert max(len(call) for call in model.calls) <= 7
    hidden = method.baseline(model, batch)
    expected = model.scores(batch.images, batch.targets) - model.scores(hidden, batch.targets)
    for row, image in enumerate(batch.images):
        parts = method.segmenter(image)
        count = int(parts.max()) + 1
        sums = torch.zeros(count).index_add(0, parts.flatten(), heatmaps[row].flatten())
        assert float((sums / parts.flatten().bincount()).sum()) == pytest.approx(
            float(expected[row]), abs=1e-5
        )
        assert model.forward_passes[row] >= max(samples, 4 * count)
        assert heatmaps[row].abs().max() < 1


def test_a_part_is_present_as_it_is_or_absent_as_the_baseline():
    model, batch = smooth(), batch_of(images_of(1, 16))
    explain(replace(KERNEL, segmenter=Grid(4)), model, batch)
    present = (model.seen == batch.images[0]).all(1)
    assert (present ^ (model.seen == 0.2).all(1)).all()
    assert not present[0].any()
    assert present[1].all()
    whole = present[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.equal(present, whole)
    assert model.forward_passes.tolist() == [302]


def test_kernel_shap_without_samples_is_refused():
    with pytest.raises(BadInput, match="kernel_shap needs samples of at least 1, got 0"):
        replace(KERNEL, samples=0)


# Partition SHAP


def test_on_an_additive_score_each_pixel_gets_what_it_adds():
    weights = 0.02 * torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    images = images_of(2, 2)
    model = classifier(Additive(weights, offset=0.5))
    heatmaps = explain(replace(BLUR, evaluations=10_000), model, batch_of(images))
    for image, heatmap in zip(images, heatmaps, strict=True):
        expected = (weights * (image - blurred(image))).sum(0)
        torch.testing.assert_close(heatmap, expected, rtol=0, atol=1e-5)


def test_two_pixels_that_matter_only_together_share_the_credit():
    # Each is 1 where it is shown and lower where it is blurred; of what both add, each gets what
    # it adds to the other's lower value, and half of the rest.
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0, 0, 0] = image[0, 0, 1, 0] = 1.0
    first, second = blurred(image[0])[0, :, 0]
    method = replace(BLUR, evaluations=10_000)
    heatmap = explain(method, classifier(Together((0, 0, 0), (0, 1, 0))), batch_of(image))[0]
    expected = torch.zeros(2, 2)
    expected[0, 0] = 0.8 * (1 - first) * (second + (1 - second) / 2)
    expected[1, 0] = 0.8 * (1 - second) * (first + (1 - first) / 2)
    assert expected.max() > 0.2
    torch.testing.assert_close(heatmap, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("evaluations", [4, 64])
@pytest.mark.parametrize("method", [BLUR, INPAINT], ids=["blur", "inpaint"])
def test_the_values_sum_to_the_score_on_the_image_minus_that_on_the_hidden_one(method, evaluations):
    model, batch = smooth(pass_batch=7), batch_of(eight_bit(2, 16), torch.tensor([0, 1]))
    heatmaps = explain(replace(method, evaluations=evaluations), model, batch)
    assert model.forward_passes.tolist() == [evaluations] * 2
    assert max(len(call) for call in model.calls) <= 7
    for row, target in enumerate(batch.targets):
        image = batch.images[row]
        hidden = blurred(image) if method is BLUR else image.mean((1, 2), True).expand(3, 16, 16)
        whole, none = model(torch.stack([image, hidden])).softmax(1)[:, target]
        torch.testing.assert_close(heatmaps[row].sum(), whole - none, rtol=0, atol=1e-5)


def test_what_is_not_divided_is_shared_evenly_by_a_rectangle():
    heatmap = explain(replace(BLUR, evaluations=4), smooth(), batch_of(images_of(1, 16)))[0]
    # shap's tree halves the rows first
    assert heatmap.unique().numel() == 2
    torch.testing.assert_close(heatmap[:8], heatmap[0, 0].expand(8, 16))
    torch.testing.assert_close(heatmap[8:], heatmap[15, 0].expand(8, 16))


@pytest.mark.parametrize("side", [16, 15])
def test_a_rectangle_is_shown_as_it_is_or_blurred(side):
    model, batch = smooth(), batch_of(images_of(2, side))
    explain(BLUR, model, batch)
    for row, image in enumerate(batch.images):
        seen = model.seen[row * 60 : (row + 1) * 60]
        kept, hidden = seen == image, seen == blurred(image)
        assert (kept | hidden).all()
        assert hidden[0].all()
        assert kept[1].all()
        assert 0.2 < kept[2:].float().mean() < 0.8


def test_what_is_left_of_an_image_is_not_changed_by_inpainting():
    model, batch = smooth(), batch_of(eight_bit(1, 16))
    explain(INPAINT, model, batch)
    mean = batch.images[0].mean((1, 2)).view(3, 1, 1).expand(3, 16, 16)
    torch.testing.assert_close(model.seen[0], mean, rtol=0, atol=1e-5)
    assert torch.equal(model.seen[1], batch.images[0])
    kept = (model.seen == batch.images[0]).all(1)
    assert 0.2 < kept[2:].float().mean() < 0.9
    # Nothing but a known rectangle is inpainted: give OpenCV what was not kept.
    pixels = (batch.images[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    halves = torch.arange(16).view(16, 1).expand(16, 16) < 8
    for shown in (halves, ~halves):
        filled = cv2.inpaint(pixels, (~shown).numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA)
        expected = torch.from_numpy(filled).permute(2, 0, 1) / 255
        assert (model.seen[2:4] == expected).all((1, 2, 3)).any()


def test_an_image_is_rounded_to_whole_levels_before_inpainting():
    model, batch = smooth(), batch_of(images_of(1, 16))
    explain(INPAINT, model, batch)
    assert torch.equal(model.seen[1], (batch.images[0] * 255).round() / 255)


def test_nothing_is_printed(capfd):
    for method in (KERNEL, BLUR):
        explain(method, smooth(), batch_of(images_of(1, 32)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("hide", ["blur", "blur(0,3)", "blur(3, 3)", "inpaint", "0.5"])
def test_what_shap_cannot_hide_with_is_refused(hide):
    with pytest.raises(BadInput, match=r"shap_partition needs hide=blur\(128,128\) .* got "):
        replace(BLUR, hide=hide)


@pytest.mark.parametrize("change", [{"evaluations": 3}, {"together": 1}])
def test_a_budget_that_halves_nothing_is_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(BadInput, match=f"shap_partition needs .* got .*{name}={value}"):
        replace(BLUR, **change)
