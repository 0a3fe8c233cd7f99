"""Extremal perturbations: the smooth mask, its area, the blur under it, and the ascent."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from toys import Constant, Recorder, Smooth, batch_of, classifier, explain, images_of

from benchmark.attribution import Score
from benchmark.interfaces import BadInput
from methods.extremal_perturbation import (
    ExtremalPerturbation,
    area_penalty,
    blur_pyramid,
    gaussian,
    perturb,
    smooth_masks,
)

METHOD = ExtremalPerturbation(
    areas=[0.1],
    iterations=100,
    rate=0.01,
    momentum=0.9,
    area_weight=300.0,
    area_growth=1.0035,
    step=3,
    sigma=6.0,
    temperature=0.05,
    levels=8,
    max_blur=6.0,
    flip=False,
    smooth=0.0,
    score=Score.logit,
)
SIZE = 32
PLACE = (slice(6, 14), slice(18, 26))  # rows and columns of the toy's only place


class Contrast(nn.Module):
    """The logit of class 0 is the contrast within one place; that of class 1 is 0."""

    def forward(self, images):
        logit = 40 * (images[:, :, PLACE[0], PLACE[1]] - 0.5).square().mean((1, 2, 3))
        return torch.stack([logit, 0 * logit], dim=1)


def chequered(count=1):
    place = torch.arange(SIZE)
    board = ((place[:, None] + place) % 2).float()
    return batch_of(board.expand(count, 3, -1, -1).contiguous())


def contrast(**settings):
    return classifier(Contrast(), kind=Recorder, **settings)


# The mask


def slow_mask(parameters, size, step, sigma, temperature):
    """The smooth maximum at every pixel, parameter by parameter."""
    reach = math.ceil(sigma / step) + 1
    cells = len(parameters)
    mask = torch.zeros(size, size, dtype=torch.float64)
    for row in range(size):
        for column in range(size):
            above = below = 0.0
            for i in range(row // step - reach, row // step + reach + 1):
                for j in range(column // step - reach, column // step + reach + 1):
                    inside = 0 <= i < cells and 0 <= j < cells
                    height = float(parameters[i, j]) if inside else 0.0
                    down, across = row - (i + 0.5) * step + 0.5, column - (j + 0.5) * step + 0.5
                    beyond = max(0.0, math.hypot(down, across) / sigma - 0.5)
                    height *= math.exp(-2 * beyond**2)
                    above += height * math.exp(height / temperature)
                    below += math.exp(height / temperature)
            mask[row, column] = above / below
    return mask


@pytest.mark.parametrize(("step", "sigma", "temperature"), [(3, 6.0, 0.05), (4, 5.0, 0.3)])
def test_a_mask_equals_a_slow_smooth_maximum_over_bumps(step, sigma, temperature):
    parameters = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    method = replace(METHOD, step=step, sigma=sigma, temperature=temperature)
    masks = smooth_masks(parameters, method, 13)
    for mask, own in zip(masks, parameters, strict=True):
        expected = slow_mask(own, 13, step, sigma, temperature)
        torch.testing.assert_close(mask.double(), expected, rtol=0, atol=1e-5)


def test_a_masks_slopes_are_those_of_its_formula():
    parameters = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    method = replace(METHOD, step=2, sigma=3.0, temperature=0.2)
    free = parameters.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: smooth_masks(given, method, 5), free)


def test_a_mask_is_0_where_all_parameters_are_and_nearly_1_where_they_are_1():
    assert torch.equal(smooth_masks(torch.zeros(1, 11, 11), METHOD, SIZE), torch.zeros(1, 32, 32))
    ones = smooth_masks(torch.ones(1, 11, 11), METHOD, SIZE)
    assert ones.min() > 0.85
    assert ones.max() <= 1


def test_one_parameter_makes_a_bump_that_is_flat_and_then_falls():
    parameters = torch.zeros(1, 11, 11)
    parameters[0, 5, 5] = 1.0
    line = smooth_masks(parameters, replace(METHOD, temperature=0.02), 33)[0, 16, 16:]
    assert line[:4].min() > 0.999  # sigma / 2 is 3 pixels
    assert (line[3:9].diff() < 0).all()
    assert float(line[6]) == pytest.approx(math.exp(-0.5), abs=1e-3)


# The area


def test_a_binary_mask_of_the_right_area_is_not_penalised_wherever_it_lies():
    mask = torch.zeros(3, 10, 10)
    mask[0, :2, :5] = 1
    mask[1].view(-1)[torch.randperm(100, generator=torch.Generator().manual_seed(0))[:10]] = 1
    mask[2, :2, :6] = 1
    penalties = area_penalty(mask, torch.tensor([0.1, 0.1, 0.1]))
    torch.testing.assert_close(penalties, torch.tensor([0.0, 0.0, 0.02]))


def test_the_penalty_is_the_mean_squared_distance_of_ranked_values_from_the_template():
    mask = torch.tensor([[[0.9, 0.2], [0.6, 0.1]]])
    for area, template in ((0.25, [0, 0, 0, 1]), (0.5, [0, 0, 1, 1]), (0.75, [0, 1, 1, 1])):
        ranked = [0.1, 0.2, 0.6, 0.9]
        expected = sum((a - b) ** 2 for a, b in zip(ranked, template, strict=True)) / 4
        assert float(area_penalty(mask, torch.tensor([area]))) == pytest.approx(expected)


# The blur


def test_a_blur_equals_scipys_with_the_weights_beyond_the_border_given_to_those_within():
    image = images_of(1, 20)[0].double()
    options = {"sigma": 4.0, "mode": "constant", "truncate": 20.0, "axes": (1, 2)}
    spread = gaussian_filter(image.numpy(), **options)
    inside = gaussian_filter(torch.ones_like(image).numpy(), **options)
    expected = torch.from_numpy(spread / inside)
    torch.testing.assert_close(gaussian(image, 4.0), expected, rtol=0, atol=1e-9)


def test_a_flat_image_stays_flat_under_every_blur():
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert (blur_pyramid(flat, 8, 20.0) - 0.3).abs().max() < 1e-6


def test_a_mask_of_ones_shows_the_image_and_one_of_zeros_the_strongest_blur():
    images, rows = images_of(2, 16), torch.tensor([0, 1])
    pyramid = blur_pyramid(images, 5, 8.0)
    assert torch.equal(perturb(pyramid, rows, torch.ones(2, 16, 16)), images)
    blurred = torch.stack([gaussian(image, 8.0) for image in images])
    assert torch.equal(perturb(pyramid, rows, torch.zeros(2, 16, 16)), blurred)


def test_a_mask_in_between_lies_between_the_two_nearest_blurs_at_each_pixel():
    images = images_of(2, 16)
    pyramid = blur_pyramid(images, 5, 8.0)
    masks = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    masks[0, 0] = 0.5  # exactly the middle of five levels
    shown = perturb(pyramid, torch.tensor([1]), masks)[0]
    torch.testing.assert_close(shown[:, 0], gaussian(images[1], 4.0)[:, 0])
    for row, column in ((3, 4), (7, 15), (15, 0)):
        at = float(masks[0, row, column]) * 4
        sharper = math.floor(at) + 1
        ends = [gaussian(images[1], 8.0 * (1 - k / 4)) for k in (sharper - 1, sharper)]
        share = at - math.floor(at)
        expected = (1 - share) * ends[0] + share * ends[1]
        torch.testing.assert_close(shown[:, row, column], expected[:, row, column])


# The ascent


@pytest.mark.parametrize("area", [0.06, 0.2])
def test_the_mask_covers_the_one_place_that_matters_and_has_the_area_asked_for(area):
    # The place is 0.0625 of the image; the weight grows fast, for there are few iterations.
    method = replace(METHOD, areas=[area], step=2, sigma=3.0, area_growth=1.04)
    mask = explain(method, contrast(), chequered())[0]
    assert float(mask.mean()) == pytest.approx(area, rel=0.1)
    assert ((mask - 0.5).abs() > 0.4).float().mean() > 0.85  # nearly binary
    inside = float(mask[PLACE].mean())
    assert inside > 0.8
    rest = (float(mask.mean()) - 0.0625 * inside) / (1 - 0.0625)
    assert rest == pytest.approx(max(0.0, area - 0.0625), abs=0.02)


def test_the_objective_falls():
    batch, model = chequered(), contrast()
    pyramid = blur_pyramid(batch.images, METHOD.levels, METHOD.max_blur)

    def objective(iterations):
        mask = explain(replace(METHOD, iterations=iterations, area_growth=1.0), model, batch)
        logit = model(perturb(pyramid, torch.tensor([0]), mask))[0, 0]
        return float(300 * area_penalty(mask, torch.tensor([0.1]))[0] - logit)

    values = [objective(iterations) for iterations in (1, 10, 20, 50)]
    assert all(later < earlier for earlier, later in pairwise(values))


def test_the_first_steps_follow_the_running_mean_of_slopes():
    model, batch = classifier(Smooth(), classes=4), batch_of(images_of(1, 12), 1)
    method = replace(METHOD, iterations=3, areas=[0.3], area_growth=1.1)
    pyramid = blur_pyramid(batch.images, method.levels, method.max_blur)
    parameters, mean = torch.ones(1, 4, 4), torch.zeros(1, 4, 4)
    for weight in (300, 330, 363):
        free = parameters.clone().requires_grad_()
        mask = smooth_masks(free, method, 12)
        image = perturb(pyramid, torch.tensor([0]), mask)
        loss = weight * area_penalty(mask, torch.tensor([0.3])) - model(image)[:, 1]
        (slope,) = torch.autograd.grad(loss.sum(), free)
        mean = slope if weight == 300 else 0.9 * mean + 0.1 * slope
        parameters = (parameters - 0.01 * mean).clamp(0, 1)
    expected = smooth_masks(parameters, method, 12)
    assert expected.min() < 0.9
    torch.testing.assert_close(explain(method, model, batch), expected, rtol=0, atol=1e-5)


def test_masks_of_several_areas_are_summed_and_do_not_meet():
    model, batch = contrast(pass_batch=3), chequered(2)
    method = replace(METHOD, iterations=20)
    alone = [explain(replace(method, areas=[area]), model, batch) for area in (0.1, 0.3)]
    together = explain(replace(method, areas=[0.1, 0.3]), model, batch)
    assert torch.equal(together, alone[0] + alone[1])


@pytest.mark.parametrize("pass_batch", [1, 3, 20])
def test_every_iteration_is_one_pass_forward_and_back_for_each_area(pass_batch):
    model = contrast(pass_batch=pass_batch)
    explain(replace(METHOD, iterations=5, areas=[0.1, 0.2]), model, chequered(3))
    assert model.forward_passes.tolist() == pytest.approx([10] * 3)
    assert model.backward_passes.tolist() == pytest.approx([10] * 3)
    assert max(map(len, model.calls)) <= pass_batch


def test_every_other_image_is_mirrored():
    model = classifier(Constant(0.5), kind=Recorder)
    batch = batch_of(images_of(1, 12))
    pyramid = blur_pyramid(batch.images, 8, 6.0)
    untouched = perturb(pyramid, torch.tensor([0]), smooth_masks(torch.ones(1, 4, 4), METHOD, 12))
    explain(replace(METHOD, iterations=4, area_weight=0.0, flip=True), model, batch)
    for number, call in enumerate(model.calls):
        torch.testing.assert_close(call, untouched.flip(-1) if number % 2 == 0 else untouched)


def test_the_last_blur_is_a_share_of_the_side():
    method = replace(METHOD, iterations=20)
    sharp = explain(method, contrast(), chequered())[0]
    smoothed = explain(replace(method, smooth=0.125), contrast(), chequered())[0]
    torch.testing.assert_close(smoothed, gaussian(sharp, 4.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"areas": []}, r"areas between 0 and 1, got \[\]"),
        ({"areas": [0.1, 1.0]}, r"areas between 0 and 1, got \[0\.1, 1\.0\]"),
        ({"iterations": 0}, "levels of at least 2, got 0, 3 and 8"),
        ({"levels": 1}, "levels of at least 2, got 100, 3 and 1"),
        ({"sigma": 0.0}, "above 0, got .* 0.0, 6.0 and"),
        ({"temperature": 0.01}, "temperature of at least 0.02, got 0.01"),
        ({"momentum": 1.0}, r"momentum in \[0, 1\), got 300.0, 0.0 and 1.0"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(BadInput, match=f"extremal_perturbation needs .*{message}"):
        replace(METHOD, **changes)
