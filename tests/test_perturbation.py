"""Occlusion, leave one out and RISE: hide parts of the image and look at the score."""

from dataclasses import replace

import numpy as np
import pytest
import torch
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

from benchmark.interfaces import BadInput
from benchmark.perturbation import numpy_seeded
from benchmark.segments import Grid, Slic
from benchmark.substrates import Blur, MeanColour
from methods.leave_one_out import LeaveOneOut, LeaveOneOutSuperpixels
from methods.occlusion import Occlusion
from methods.rise import RISE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OCCLUSION = Occlusion(patch=5, stride=3, baseline=Flat(0.3))
RISE_SMALL = RISE(samples=160, cells=7, keep=0.5, baseline=BLACK)


def smooth(**settings):
    return classifier(Smooth(), classes=4, kind=Recorder, mean=MEAN, std=STD, **settings)


def additive(size, seed=0, scale=0.004):
    """A score that is a sum over pixels, with what each one adds above a baseline of 0.2."""
    weights = scale * torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed))
    images = images_of(2, size)
    return classifier(Additive(weights, offset=0.5)), images, (weights * (images - 0.2)).sum(1)


def test_numpys_random_state_is_put_back_even_after_an_error():
    state = np.random.get_state()  # noqa: NPY002 - the global state is meant
    with numpy_seeded(7):
        first = np.random.rand(3)  # noqa: NPY002 - the global state is meant
    with pytest.raises(ValueError, match="on purpose"), numpy_seeded(7 + 2**32):
        assert (np.random.rand(3) == first).all()  # noqa: NPY002 - the global state is meant
        raise ValueError("on purpose")
    assert str(np.random.get_state()) == str(state)  # noqa: NPY002 - the global state is meant


# Occlusion


@pytest.mark.parametrize(("patch", "stride"), [(5, 3), (4, 4), (7, 1), (16, 16), (3, 2)])
def test_occlusion_equals_a_plain_loop_over_patches(patch, stride):
    model, batch = smooth(pass_batch=7), batch_of(images_of(2, 16), torch.tensor([0, 1]))
    heatmaps = explain(replace(OCCLUSION, patch=patch, stride=stride), model, batch)
    starts = [0]
    while starts[-1] + patch < 16:
        starts.append(starts[-1] + stride)
    for row, target in enumerate(batch.targets):
        drops, covers = torch.zeros(16, 16), torch.zeros(16, 16)
        whole = model(batch.images[row, None]).softmax(1)[0, target]
        for top in starts:
            for left in starts:
                image = batch.images[row].clone()
                image[:, top : top + patch, left : left + patch] = 0.3
                drop = whole - model(image[None]).softmax(1)[0, target]
                drops[top : top + patch, left : left + patch] += drop
                covers[top : top + patch, left : left + patch] += 1
        torch.testing.assert_close(heatmaps[row], drops / covers, rtol=0, atol=1e-6)


def test_occlusion_costs_a_pass_for_each_patch_and_one_for_the_image():
    model = smooth(pass_batch=7)
    explain(OCCLUSION, model, batch_of(images_of(3, 16)))
    assert model.forward_passes.tolist() == [26, 26, 26]
    assert max(len(call) for call in model.calls) <= 7


def test_a_patch_shows_the_baseline_and_the_rest_the_image():
    model, batch = smooth(), batch_of(images_of(1, 16))
    explain(replace(OCCLUSION, baseline=Blur(kernel=9, sigma=5.0)), model, batch)
    blurred = Blur(kernel=9, sigma=5.0)(model, batch)[0]
    shown = torch.stack([(model.seen == each).all(1) for each in (batch.images[0], blurred)])
    assert shown.any(0).all()
    assert (~shown[0]).sum((1, 2)).tolist()[:2] == [0, 25]


@pytest.mark.parametrize(("patch", "stride"), [(5, 0), (5, 6), (0, 0)])
def test_a_stride_that_skips_pixels_is_refused(patch, stride):
    with pytest.raises(BadInput, match=f"stride of at least 1 .* patch={patch} stride={stride}"):
        replace(OCCLUSION, patch=patch, stride=stride)


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(BadInput, match="patch of at most the image, 16: 17"):
        explain(replace(OCCLUSION, patch=17), smooth(), batch_of(images_of(1, 16)))


# Leave one out


@pytest.mark.parametrize("res", [2, 4, 16])
def test_on_an_additive_score_each_cell_loses_what_it_adds(res):
    model, images, parts = additive(16)
    heatmaps = explain(LeaveOneOut(res=res, baseline=Flat(0.2)), model, batch_of(images))
    side = 16 // res
    expected = parts.view(2, res, side, res, side).sum((2, 4))
    torch.testing.assert_close(heatmaps, expected, rtol=0, atol=1e-6)


def test_on_an_additive_score_each_superpixel_loses_what_it_adds():
    model, images, parts = additive(32)
    cut = Slic(count=20, compactness=10.0, sigma=0.0)
    method = LeaveOneOutSuperpixels(segmenter=cut, baseline=Flat(0.2))
    heatmaps = explain(method, model, batch_of(images))
    for image, added, heatmap in zip(images, parts, heatmaps, strict=True):
        numbers = cut(image)
        sums = torch.zeros(int(numbers.max()) + 1).index_add(0, numbers.flatten(), added.flatten())
        torch.testing.assert_close(heatmap, sums[numbers], rtol=0, atol=1e-6)


def test_leaving_out_squares_as_superpixels_is_leaving_out_cells():
    model, batch = smooth(), batch_of(images_of(2, 16), torch.tensor([0, 1]))
    cells = explain(LeaveOneOut(res=4, baseline=BLACK), model, batch)
    model.forget()
    pixels = explain(LeaveOneOutSuperpixels(segmenter=Grid(4), baseline=BLACK), model, batch)
    assert torch.equal(pixels, cells.repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert torch.equal(model.seen[0], batch.images[0])
    hidden = (model.seen[1:17] == 0).all(1)
    assert torch.equal(hidden, torch.stack([Grid(4)(batch.images[0]) == n for n in range(16)]))
    assert torch.equal((model.seen[1:17] == batch.images[0]).all(1), ~hidden)
    assert model.forward_passes.tolist() == [17, 17]


@pytest.mark.parametrize("res", [0, 1])
def test_a_grid_of_one_cell_is_refused(res):
    with pytest.raises(BadInput, match=f"res of at least 2, got {res}"):
        LeaveOneOut(res=res, baseline=BLACK)


# RISE


def enlargement(cells, size):
    """Weights [size, cells] of a bilinear enlargement with pixels at the centres of their cells."""
    places = ((np.arange(size) + 0.5) * cells / size - 0.5).clip(0, cells - 1)
    weights = 1 - np.abs(places[:, None] - np.arange(cells))
    return torch.from_numpy(weights.clip(0))


@pytest.mark.parametrize("keep", [0.5, 0.2])
def test_on_an_additive_score_rise_converges_to_its_expectation(keep):
    # The score is linear in the mask, so the mean of score times mask is made of the masks'
    # second moments: of cells that are kept independently, enlarged and shifted evenly.
    base, cells, step = 0.1, 2, 4
    weights = torch.zeros(3, 8, 8)
    weights[:, :3, 4:] = 0.8 / 12 / 3
    model = classifier(Additive(weights, offset=base), pass_batch=200)
    method = RISE(samples=6000, cells=cells, keep=keep, baseline=BLACK)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 8, 8)))[0]
    large = enlargement(cells, (cells + 1) * step)
    near = sum(large[at : at + 8] @ large[at : at + 8].T for at in range(step)) / step  # [8, 8]
    moments = keep**2 + keep * (1 - keep) * torch.einsum("ij,kl->ikjl", near, near)
    expected = base + torch.einsum("ik,ikjl->jl", weights.sum(0).double(), moments) / keep
    assert expected.max() - expected.min() > 0.15
    torch.testing.assert_close(heatmap.double(), expected, rtol=0, atol=0.03)


@pytest.fixture(scope="module")
def masks():
    """All masks that a white image on black was shown under, [N, H, W]."""
    model = classifier(Constant(0.5), kind=Recorder, pass_batch=7)
    explain(RISE_SMALL, model, batch_of(torch.ones(1, 3, 28, 28)))
    assert torch.equal(model.seen[:, 0], model.seen[:, 2])
    return model.seen[:, 0].double()


def test_each_mask_is_cut_out_of_an_enlarged_grid_of_zeros_and_ones(masks):
    large = enlargement(7, 32)
    found = {}
    for down in range(4):
        for across in range(4):
            rows, columns = large[down : down + 28], large[across : across + 28]
            grids = torch.linalg.pinv(rows) @ masks @ torch.linalg.pinv(columns).T
            errors = (rows @ grids @ columns.T - masks).abs().amax((1, 2))
            fit = (errors < 1e-5).nonzero()[:, 0]
            torch.testing.assert_close(grids[fit], grids[fit].round(), rtol=0, atol=1e-4)
            assert set(grids[fit].round().unique().tolist()) <= {0, 1}
            found[down, across] = set(fit.tolist())
    assert set.union(*found.values()) == set(range(160))
    assert all(2 < len(each) < 25 for each in found.values())  # ten of each shift expected


@pytest.mark.parametrize("keep", [0.5, 0.2])
def test_the_masks_keep_the_same_share_of_every_pixel(keep):
    model = classifier(Constant(0.5), kind=Recorder, pass_batch=500)
    method = replace(RISE_SMALL, samples=4000, keep=keep)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 14, 14)))[0]
    share = model.seen[:, 0].mean(0)
    torch.testing.assert_close(share, torch.full_like(share, keep), rtol=0, atol=0.03)
    # On a score that is 0.5 always the heatmap is 0.5 times the mean mask over keep.
    torch.testing.assert_close(heatmap, 0.5 * share / keep, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pass_batch", [1, 3, 200])
def test_the_masks_do_not_depend_on_how_many_pass_at_once(pass_batch, masks):
    model = classifier(Constant(0.5), kind=Recorder, pass_batch=pass_batch)
    explain(RISE_SMALL, model, batch_of(torch.ones(1, 3, 28, 28)))
    assert torch.equal(model.seen[:, 0].double(), masks)
    assert model.forward_passes.tolist() == [160]
    assert max(len(call) for call in model.calls) <= pass_batch


def test_a_masked_image_is_mixed_with_the_mean_colour(masks):
    model, batch = smooth(), batch_of(images_of(1, 28))
    explain(replace(RISE_SMALL, baseline=MeanColour()), model, batch)
    mean, kept = torch.tensor(MEAN).view(3, 1, 1), masks[:, None].float()
    expected = kept * batch.images[0] + (1 - kept) * mean
    torch.testing.assert_close(model.seen, expected, rtol=0, atol=1e-6)


def test_rise_keeps_whole_images_where_nothing_is_hidden():
    model = classifier(Constant(0.25))
    heatmaps = explain(replace(RISE_SMALL, keep=1.0), model, batch_of(images_of(2, 10)))
    torch.testing.assert_close(heatmaps, torch.full((2, 10, 10), 0.25), rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", [{"samples": 0}, {"cells": 0}, {"keep": 0.0}, {"keep": 1.5}])
def test_masks_that_cannot_be_drawn_are_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(BadInput, match=f"rise needs .* got .*{name}={value}"):
        replace(RISE_SMALL, **change)
