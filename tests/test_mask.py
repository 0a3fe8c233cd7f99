"""Mask against Adam written out by hand, a recorder, and properties."""

from dataclasses import replace

import pytest
import torch
from toys import (
    BLACK,
    Additive,
    Constant,
    InDouble,
    OnePixel,
    Recorder,
    Smooth,
    Tiny,
    batch_of,
    classifier,
    explain,
    images_of,
)

from benchmark.attribution import Score
from benchmark.interfaces import BadInput
from benchmark.masking import Noise
from benchmark.substrates import Blur
from methods.mask import Mask

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUIET = Mask(
    res=4,
    l1=0.1,
    tv=0.5,
    tv_exponent=3.0,
    baseline=Blur(kernel=9, sigma=5.0),
    iterations=12,
    learning_rate=0.1,
    noise=Noise.none,
    noise_sd=0.2,
    score=Score.softmax,
)
NOISY = replace(QUIET, noise=Noise.rgb)


def smooth(**settings):
    return classifier(Smooth(), classes=4, kind=Recorder, mean=MEAN, std=STD, **settings)


# Against a slow second implementation, in double precision


class Slow(InDouble):
    def __init__(self, model, batch, row, method):
        super().__init__(model, batch, row, method.baseline, method.res)
        self.method = method

    def objective(self, mask):
        res, power = len(mask), self.method.tv_exponent
        rows, others = range(res), range(res - 1)
        down = [abs(mask[i + 1, j] - mask[i, j]) ** power for i in others for j in rows]
        across = [abs(mask[i, j + 1] - mask[i, j]) ** power for i in rows for j in others]
        roughness = sum(down) / len(down) + sum(across) / len(across)
        size = (1 - mask).abs().sum() / res**2
        score = self.score(self.deleted(self.large(mask)))
        return score + self.method.l1 * size + self.method.tv * roughness

    def masks(self):
        """The masks [iterations + 1, r, r] that Adam goes through (Kingma and Ba 2015)."""
        mask = torch.ones(self.method.res, self.method.res, dtype=torch.float64)
        mean, square, visited = torch.zeros_like(mask), torch.zeros_like(mask), [mask]
        for step in range(1, self.method.iterations + 1):
            free = mask.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.objective(free), free)
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
            move = self.method.learning_rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
            mask = (mask - move).clamp(0, 1)
            visited.append(mask)
        return torch.stack(visited)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"res": 7, "l1": 0.02},
        {"res": 12, "l1": 0.02, "iterations": 5},
        {"tv_exponent": 2.0},
        {"tv": 5.0},
        {"learning_rate": 0.3},
    ],
    ids=str,
)
def test_mask_equals_a_slow_implementation_with_adam_written_out(changes):
    method, model = replace(QUIET, **changes), smooth()
    batch = batch_of(images_of(2, 12), torch.tensor([0, 2]))
    heatmaps = explain(method, model, batch)
    for row in range(2):
        masks = Slow(model, batch, row, method).masks()
        assert masks[-1].min() < 0.8
        torch.testing.assert_close(heatmaps[row].double(), 1 - masks[-1], rtol=0, atol=1e-4)


def test_the_slow_implementation_sees_masks_that_are_cut_off_at_both_ends():
    batch = batch_of(images_of(2, 12), torch.tensor([0, 2]))
    masks = [Slow(smooth(), batch, row, QUIET).masks() for row in range(2)]
    assert (torch.stack(masks)[:, 1:] == 0).any()
    assert (torch.stack(masks)[:, 1:] == 1).any()


def test_the_first_step_of_adam_goes_one_learning_rate_down_where_the_score_falls():
    weights = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    slopes = weights.sum(0) * 1e-3
    model = classifier(Additive(weights * 1e-3, offset=0.5))
    method = replace(QUIET, res=8, baseline=BLACK, iterations=1, l1=0.3)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 8, 8)))[0]
    assert 10 < (slopes > 0).sum() < 54
    torch.testing.assert_close(heatmap, 0.1 * (slopes > 0), rtol=0, atol=2e-4)


@pytest.mark.parametrize("row", [0, 1])
def test_the_objective_falls_far_below_its_start(row):
    batch = batch_of(images_of(2, 12), torch.tensor([0, 2]))
    method = replace(QUIET, l1=0.02, iterations=40)
    heatmap = explain(method, smooth(), batch)[row].double()
    slow = Slow(smooth(), batch, row, method)
    assert slow.objective(1 - heatmap) < slow.objective(torch.ones(4, 4).double()) - 0.05


# What the classifier is shown


def test_each_iteration_is_one_pass_of_the_composite_and_no_more():
    method, batch = replace(QUIET, res=12), batch_of(images_of(3, 12), torch.tensor([0, 2, 1]))
    model = smooth()
    explain(method, model, batch)
    assert [len(call) for call in model.calls] == [3] * method.iterations
    assert model.forward_passes.tolist() == pytest.approx([method.iterations] * 3)
    assert model.backward_passes.tolist() == pytest.approx([method.iterations] * 3)
    torch.testing.assert_close(model.calls[0], batch.images, rtol=0, atol=1e-6)
    for row in range(3):
        slow = Slow(model, batch, row, method)
        for call, mask in zip(model.calls, slow.masks(), strict=False):
            torch.testing.assert_close(call[row].double(), slow.deleted(mask), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("noise", "levels"), [(Noise.rgb, (1, 1, 1)), (Noise.red, (2, 0, 0))])
def test_noise_is_fresh_in_each_iteration_and_has_its_level_in_normalised_units(noise, levels):
    model = classifier(Constant(0.3), kind=Recorder, mean=MEAN, std=STD)
    images = images_of(1, 32)
    explain(replace(NOISY, noise=noise, noise_sd=0.5, iterations=30), model, batch_of(images))
    drawn = (model.seen - images) / torch.tensor(STD).view(3, 1, 1)  # [30, 3, 32, 32]
    for channel, level in enumerate(levels):
        assert float(drawn[:, channel].std()) == pytest.approx(0.5 * level, rel=0.02, abs=1e-5)
    red = drawn[:, 0].flatten(1)
    likeness = torch.corrcoef(red).fill_diagonal_(0).abs()
    assert likeness.max() < 6 / 32


@pytest.mark.parametrize("pass_batch", [2, 3, 20])
def test_no_call_passes_more_images_than_the_classifier_asks_for(pass_batch):
    model = smooth(pass_batch=pass_batch)
    explain(replace(NOISY, iterations=2), model, batch_of(images_of(5, 12)))
    assert max(len(call) for call in model.calls) == min(5, pass_batch)
    assert model.forward_passes.tolist() == pytest.approx([2] * 5)


# Properties of the heatmap


@pytest.mark.parametrize("noise", Noise)
def test_mask_finds_the_only_pixel_that_matters(noise):
    model = classifier(OnePixel(8, 20), input_size=29)  # 28 / 7 = 4 pixels from cell to cell
    method = replace(QUIET, res=8, baseline=BLACK, noise=noise, noise_sd=0.01, iterations=60)
    method = replace(method, l1=0.05, tv=0.1)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 29, 29)))[0]
    assert heatmap.argmax() == 2 * 8 + 5
    assert heatmap[2, 5] > 0.9
    assert heatmap[6, 1] < 0.1


@pytest.mark.parametrize("res", [2, 7, 32])
def test_the_heatmap_of_a_constant_classifier_is_zero(res):
    model = classifier(Constant(0.3))
    heatmaps = explain(replace(NOISY, res=res), model, batch_of(images_of(2, 32)))
    assert heatmaps.shape == (2, res, res)
    assert (heatmaps == 0).all()


def test_without_noise_the_seed_does_not_matter_and_with_noise_it_does():
    images = images_of(2, 12)
    for method in (QUIET, NOISY):
        first = explain(method, smooth(), batch_of(images, seeds=[1, 2]))
        other = explain(method, smooth(), batch_of(images, seeds=[1, 3]))
        assert torch.equal(first[0], other[0])
        assert torch.equal(first[1], other[1]) == (method is QUIET)


@pytest.mark.parametrize("res", [4, 7, 32])
@pytest.mark.parametrize(("network", "classes"), [(Smooth, 4), (Tiny, 5)])
def test_a_heatmap_does_not_depend_on_the_rest_of_its_batch(network, classes, res):
    method = replace(NOISY, res=res, iterations=4, l1=0.0, tv=0.01)
    batch = batch_of(images_of(5, 32), targets=torch.tensor([0, 1, 2, 1, 0]))
    for pass_batch in (3, 20):
        model = classifier(network(), classes=classes, mean=MEAN, std=STD, pass_batch=pass_batch)
        whole = explain(method, model, batch)
        assert (whole.flatten(1).std(1) > 0).sum() >= 2
        for rows in ([4, 2, 0, 1, 3], [3], [2, 4]):
            assert torch.equal(explain(method, model, batch.select(rows)), whole[rows])


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"res": 1}, "mask needs res of at least 2 .* got res=1 iterations=12"),
        ({"iterations": 0}, "got res=4 iterations=0"),
        ({"l1": -1.0}, "l1, tv and noise_sd of at least 0"),
        ({"tv": -1.0}, "l1, tv and noise_sd of at least 0"),
        ({"noise_sd": -0.1}, "l1, tv and noise_sd of at least 0"),
        ({"tv_exponent": 0.5}, "tv_exponent of at least 1 .* got 0.5 and 0.1"),
        ({"learning_rate": 0.0}, "learning_rate above 0, got 3.0 and 0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        replace(QUIET, **changes)


def test_a_mask_finer_than_the_image_is_refused():
    with pytest.raises(BadInput, match="res=33 is finer than the image; mask works up to 32"):
        explain(replace(QUIET, res=33), smooth(), batch_of(images_of(1, 32)))
