"""Integrated Gradients, and the controls it has to beat."""

from dataclasses import replace

import pytest
import torch
from scipy.ndimage import sobel
from toys import (
    BLACK,
    Additive,
    Constant,
    Flat,
    Recorder,
    Smooth,
    batch_of,
    classifier,
    explain,
    images_of,
)

from benchmark.attribution import Channels
from benchmark.interfaces import BadInput
from benchmark.substrates import Blur, MeanColour
from methods.controls import Centre, RandomHeatmap, SobelEdges
from methods.integrated_gradients import IntegratedGradients

MODEL = classifier(Constant(0.5))
SIGNED = IntegratedGradients(baseline=BLACK, steps=50, channels=Channels.signed)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def smooth(**settings):
    return classifier(Smooth(), classes=4, kind=Recorder, mean=MEAN, std=STD, **settings)


@pytest.mark.parametrize("baseline", [BLACK, MeanColour(), Blur(kernel=9, sigma=5.0)])
def test_a_signed_heatmap_sums_to_the_score_on_the_image_minus_that_on_the_baseline(baseline):
    model, batch = smooth(), batch_of(images_of(3, 16), torch.tensor([0, 1, 2]))
    heatmaps = explain(replace(SIGNED, baseline=baseline), model, batch)
    assert heatmaps.shape == (3, 16, 16)
    hidden = baseline(model, batch)
    expected = model.scores(batch.images, batch.targets) - model.scores(hidden, batch.targets)
    assert expected.abs().min() > 0.01
    torch.testing.assert_close(heatmaps.sum((1, 2)), expected, rtol=0, atol=1e-3)


def test_on_a_linear_score_each_pixel_gets_what_it_adds():
    weights = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.002
    model = classifier(Additive(weights, offset=0.5))
    images = images_of(2, 8)
    parts = weights * (images - 0.2)
    signed = explain(replace(SIGNED, baseline=Flat(0.2)), model, batch_of(images))
    torch.testing.assert_close(signed, parts.sum(1), rtol=1e-3, atol=1e-6)
    absolute = replace(SIGNED, baseline=Flat(0.2), channels=Channels.absolute)
    heatmaps = explain(absolute, model, batch_of(images))
    torch.testing.assert_close(heatmaps, parts.abs().sum(1), rtol=1e-3, atol=1e-6)
    assert (signed < 0).any()
    assert (heatmaps >= signed.abs() - 1e-6).all()


def test_more_steps_are_closer_to_the_integral():
    model, batch = smooth(), batch_of(images_of(1, 16))
    expected = float(model.scores(batch.images, batch.targets)[0])
    expected -= float(model.scores(torch.zeros_like(batch.images), batch.targets)[0])
    errors = [
        abs(float(explain(replace(SIGNED, steps=steps), model, batch).sum()) - expected)
        for steps in (1, 5, 50)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("pass_batch", [3, 20, 120])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_every_step_is_one_pass_forward_and_one_back_for_each_image(steps, pass_batch):
    model, batch = smooth(pass_batch=pass_batch), batch_of(images_of(3, 16))
    explain(replace(SIGNED, steps=steps), model, batch)
    assert model.forward_passes.tolist() == pytest.approx([steps] * 3)
    assert model.backward_passes.tolist() == pytest.approx([steps] * 3)
    assert len(model.seen) == 3 * steps
    assert max(len(call) for call in model.calls) <= pass_batch


def test_every_input_lies_on_the_line_from_the_baseline_to_the_image():
    model, image = smooth(), images_of(1, 16)
    explain(replace(SIGNED, baseline=Flat(0.2)), model, batch_of(image))
    way = image[0] - 0.2
    shares = ((model.seen - 0.2) * way).sum((1, 2, 3)) / way.square().sum()
    expected = 0.2 + shares.view(-1, 1, 1, 1) * way
    torch.testing.assert_close(model.seen, expected, rtol=0, atol=1e-5)
    assert shares.min() > 0
    assert shares.max() < 1
    assert float(shares.mean()) == pytest.approx(0.5, abs=1e-4)


def test_a_path_without_steps_is_refused():
    with pytest.raises(BadInput, match="steps of at least 1, got 0"):
        replace(SIGNED, steps=0)


# Controls


@pytest.mark.parametrize("res", [2, 7, 13, 14, 28, 112, 224])
def test_the_centre_is_symmetric_and_largest_in_the_middle(res):
    heatmap = Centre(res=res, sigma=0.25)(MODEL, batch_of(images_of(2, 8)))[0]
    for other in (heatmap.T, heatmap.flip(0), heatmap.flip(1)):
        torch.testing.assert_close(heatmap, other, rtol=0, atol=1e-6)
    middle = [(res - 1) // 2, res // 2]
    assert all(abs(heatmap[i, j] - heatmap.max()) < 1e-6 for i in middle for j in middle)
    inward = heatmap[: middle[0] + 1].diff(dim=0)
    assert (inward > 0).all()
    assert heatmap.min() > 0
    assert heatmap.max() <= 1


def test_the_centre_falls_to_its_value_at_one_sigma():
    # Cell 5 of 10 is centred 0.05 from the middle, cell 7 at 0.25: one sigma.
    heatmap = Centre(res=10, sigma=0.25)(MODEL, batch_of(images_of(1, 8)))[0]
    ratio = torch.exp(torch.tensor(-0.5 * (0.25**2 - 0.05**2) / 0.25**2))
    assert float(heatmap[7, 5] / heatmap[5, 5]) == pytest.approx(float(ratio), abs=1e-6)


def test_a_centre_without_a_width_is_refused():
    with pytest.raises(BadInput, match=r"sigma above 0, got 0\.0"):
        Centre(res=7, sigma=0.0)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.7, 1.0])
def test_a_flat_image_has_no_edges(value):
    images = torch.full((2, 3, 32, 32), value)
    assert SobelEdges(res=7)(MODEL, batch_of(images)).max() < 1e-6


def test_edges_equal_scipys():
    images = images_of(2, 28)
    heatmaps = SobelEdges(res=7)(MODEL, batch_of(images))
    for image, heatmap in zip(images.double(), heatmaps, strict=True):
        grey = (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]).numpy()
        squares = (
            sobel(grey, axis=0, mode="nearest") ** 2 + sobel(grey, axis=1, mode="nearest") ** 2
        )
        cells = torch.from_numpy(squares**0.5).view(7, 4, 7, 4).mean((1, 3))
        torch.testing.assert_close(heatmap.double(), cells, rtol=0, atol=1e-5)


def test_an_edge_is_marked_where_it_is():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 12:] = 1.0
    heatmap = SobelEdges(res=8)(MODEL, batch_of(image))[0]
    assert (heatmap[:, 2:4] > 0).all()
    assert (heatmap[:, [0, 1, 4, 5, 6, 7]] == 0).all()


def test_edges_finer_than_the_image_are_refused():
    with pytest.raises(BadInput, match="res=33 is finer than the image: 32"):
        SobelEdges(res=33)(MODEL, batch_of(images_of(1, 32)))


def test_random_heatmaps_are_uniform_and_independent_of_each_other():
    heatmaps = RandomHeatmap(res=100)(MODEL, batch_of(images_of(4, 8)))
    assert heatmaps.min() >= 0
    assert heatmaps.max() < 1
    values = heatmaps.flatten(1).sort(dim=1).values
    assert (values - torch.linspace(0, 1, 10_000)).abs().max() < 0.03
    likeness = torch.corrcoef(heatmaps.flatten(1)).fill_diagonal_(0)
    assert likeness.abs().max() < 0.05


@pytest.mark.parametrize(
    "method", [RandomHeatmap(res=7), Centre(res=7, sigma=0.25), SobelEdges(res=7)]
)
def test_controls_do_not_ask_the_classifier(method):
    model = classifier(Constant(0.5), kind=Recorder)
    method(model, batch_of(images_of(2, 8)))
    assert model.calls == []
