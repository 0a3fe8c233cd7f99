"""Methods that follow a path to the image: IG's baselines, Blur IG, Guided IG, and IDGI."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import nn
from toys import (
    BLACK,
    Additive,
    Constant,
    Flat,
    OnePixel,
    Quadratic,
    Recorder,
    Smooth,
    batch_of,
    classifier,
    explain,
    images_of,
)

from benchmark.attribution import Channels, Score, gradients
from benchmark.interfaces import BadInput
from benchmark.paths import Weighting, shares, totals
from benchmark.substrates import Black, UniformNoise
from methods.blur_ig import BlurIG, Spacing, blur_matrix
from methods.guided_ig import GuidedIG
from methods.idgi import IDGI
from methods.integrated_gradients import AveragedIntegratedGradients, IntegratedGradients

GREY = Flat(0.4)
SIGNED, SOFTMAX = Channels.signed, Score.softmax
IG = IntegratedGradients(channels=SIGNED, baseline=GREY, steps=60)
STRAIGHT_IDGI = IDGI(channels=SIGNED, baseline=GREY, steps=40, score=SOFTMAX)
BLUR = BlurIG(
    channels=SIGNED,
    max_sigma=3.0,
    steps=60,
    spacing=Spacing.linear,
    weighting=Weighting.plain,
    score=SOFTMAX,
)
GUIDED = GuidedIG(
    channels=SIGNED,
    baseline=GREY,
    steps=60,
    fraction=0.25,
    max_dist=0.02,
    weighting=Weighting.plain,
    score=SOFTMAX,
)
BLUR_IDGI = replace(BLUR, weighting=Weighting.idgi)
GUIDED_IDGI = replace(GUIDED, weighting=Weighting.idgi)
METHODS = {
    "ig": IG,
    "idgi": STRAIGHT_IDGI,
    "blur_ig": BLUR,
    "blur_ig_idgi": BLUR_IDGI,
    "guided_ig": GUIDED,
    "guided_ig_idgi": GUIDED_IDGI,
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def smooth(**settings):
    return classifier(Smooth(), classes=4, kind=Recorder, mean=MEAN, std=STD, **settings)


def start_of(method, model, batch):
    """The image that a method's path begins at, computed by other means."""
    if not isinstance(method, BlurIG):
        return method.baseline(model, batch)
    blurred = gaussian_filter(batch.images.numpy(), (0, 0, method.max_sigma, method.max_sigma))
    return torch.from_numpy(blurred)


# What all of them promise


@pytest.mark.parametrize("score", Score)
@every
def test_attributions_sum_to_the_score_on_the_image_minus_that_at_the_paths_start(method, score):
    if score is Score.logit and method is IG:
        return  # always of the softmax
    model, batch = smooth(), batch_of(images_of(3, 16), torch.tensor([0, 1, 2]))
    own = method if method is IG else replace(method, score=score)
    attributions = own.attribute(model, batch)
    assert attributions.shape == (3, 3, 16, 16)
    starts = start_of(method, model, batch)
    if score is Score.softmax:
        change = model.scores(batch.images, batch.targets) - model.scores(starts, batch.targets)
    else:
        change = (model(batch.images) - model(starts))[torch.arange(3), batch.targets]
    assert change.abs().min() > 0.01
    near = {IG: 1e-3, BLUR: 2e-3, GUIDED: 0.02}.get(method, 1e-6)
    error = (attributions.sum((1, 2, 3)) - change).abs()
    assert (error < near * change.abs().clamp(min=1)).all()


@pytest.mark.parametrize("method", [IG, BLUR, GUIDED], ids=["ig", "blur_ig", "guided_ig"])
def test_on_a_linear_score_each_colour_gets_what_it_adds_whatever_the_path(method):
    weights = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.002
    model, batch = classifier(Additive(weights, offset=0.5)), batch_of(images_of(2, 8))
    expected = weights * (batch.images - start_of(method, model, batch))
    few = replace(method, steps=7)
    torch.testing.assert_close(few.attribute(model, batch), expected, rtol=1e-3, atol=1e-6)


@every
def test_a_pixel_that_the_score_does_not_depend_on_gets_nothing_and_the_one_it_does_all(method):
    model, images = classifier(OnePixel(3, 5)), images_of(2, 8)
    heatmaps = explain(method, model, batch_of(images))
    assert (heatmaps[:, 3, 5].abs() > 1e-3).all()
    heatmaps[:, 3, 5] = 0
    assert (heatmaps == 0).all()


class TwoLayers(nn.Module):
    """Two classes from ReLU units; ``order`` permutes them, and repeats some at less weight."""

    def __init__(self, order):
        super().__init__()
        source = torch.Generator().manual_seed(3)
        first = torch.randn(6, 3 * 8 * 8, generator=source) * 0.2
        second = torch.randn(2, 6, generator=source)
        repeats = torch.bincount(torch.tensor(order), minlength=6)
        self.first = nn.Parameter(first[order])
        self.second = nn.Parameter((second / repeats)[:, order])

    def forward(self, images):
        return torch.relu(images.flatten(1) @ self.first.T) @ self.second.T


@every
def test_networks_that_compute_the_same_get_the_same_attributions(method):
    batch = batch_of(images_of(2, 8))
    one = classifier(TwoLayers([0, 1, 2, 3, 4, 5]))
    other = classifier(TwoLayers([5, 3, 3, 0, 4, 2, 1, 0, 3]))
    torch.testing.assert_close(one(batch.images), other(batch.images))
    first, second = method.attribute(one, batch), method.attribute(other, batch)
    assert first.abs().max() > 1e-3
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("pass_batch", [3, 20, 120])
@pytest.mark.parametrize("steps", [1, 7, 25])
@every
def test_every_point_is_one_pass_forward_and_one_back(method, steps, pass_batch):
    model, batch = smooth(pass_batch=pass_batch), batch_of(images_of(3, 8))
    explain(replace(method, steps=steps), model, batch)
    points = steps if method is IG else steps + 1
    assert model.forward_passes.tolist() == pytest.approx([points] * 3)
    assert model.backward_passes.tolist() == pytest.approx([points] * 3)
    assert len(model.seen) == 3 * points
    assert max(len(call) for call in model.calls) <= pass_batch


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (STRAIGHT_IDGI, {"steps": 0}, "idgi needs steps of at least 1, got 0"),
        (BLUR, {"max_sigma": 0.0}, r"max_sigma above 0 .* got max_sigma=0\.0 steps=60"),
        (BLUR, {"steps": 0}, r"steps of at least 1, got max_sigma=3\.0 steps=0"),
        (GUIDED, {"fraction": 0.0}, r"0 < fraction <= 1 .*fraction=0\.0"),
        (GUIDED, {"max_dist": 1.5}, r"max_dist <= 1, got .*max_dist=1\.5"),
        (GUIDED, {"steps": 0}, "guided_ig needs steps of at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_make_no_path_are_refused(method, changes, message):
    with pytest.raises(BadInput, match=message):
        replace(method, **changes)


# Baselines of integrated gradients


def test_on_a_quadratic_score_integrated_gradients_are_the_closed_form():
    weights = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    model, batch = classifier(Quadratic(weights, colour=0.2)), batch_of(images_of(2, 8))
    per_cell = 0.8 * weights / weights.numel()
    expected = per_cell * ((batch.images - 0.2).square() - 0.2**2)
    found = replace(IG, baseline=Black()).attribute(model, batch)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


def test_black_is_the_absence_of_light_whatever_the_network_subtracts():
    batch = batch_of(images_of(2, 8))
    assert torch.equal(Black()(smooth(), batch), BLACK(None, batch))


def test_noise_is_uniform_and_each_images_own():
    batch = batch_of(images_of(3, 64))
    noise = UniformNoise()(smooth(), batch)
    assert torch.equal(noise[[2]], UniformNoise()(smooth(), batch.select([2])))
    values = noise.flatten().sort().values
    assert (values - torch.linspace(0, 1, len(values))).abs().max() < 0.01
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.05


def test_an_average_over_baselines_starts_with_the_images_own_and_draws_the_others_afresh():
    model, batch = smooth(), batch_of(images_of(2, 8))
    single = IntegratedGradients(channels=SIGNED, baseline=UniformNoise(), steps=5)
    drawn = [single.attribute(model, batch._replace(seeds=batch.seeds ^ k)) for k in range(3)]
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3
    for samples in (1, 3):
        averaged = AveragedIntegratedGradients(**vars(single), samples=samples)
        expected = torch.stack(drawn[:samples]).mean(0)
        torch.testing.assert_close(averaged.attribute(model, batch), expected)


def test_an_average_over_nothing_is_refused():
    with pytest.raises(BadInput, match="samples of at least 1, got 0"):
        AveragedIntegratedGradients(**vars(IG), samples=0)


# Blur IG


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 4.7, 50.0])
def test_the_blur_is_scipys_with_a_mirrored_border(sigma):
    line = torch.rand(13, generator=torch.Generator().manual_seed(0)).double()
    expected = gaussian_filter1d(line.numpy(), sigma, mode="reflect") if sigma else line.numpy()
    np.testing.assert_allclose((blur_matrix(13, sigma) @ line).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("spacing", Spacing)
def test_blur_ig_shows_the_network_ever_less_blurred_images_and_the_image_itself(spacing):
    model, batch = smooth(), batch_of(images_of(1, 16))
    replace(BLUR, steps=4, spacing=spacing).attribute(model, batch)
    widths = {Spacing.linear: [3, 2.25, 1.5, 0.75, 0], Spacing.sqrt: [3, 2.598, 2.1213, 1.5, 0]}
    image = batch.images[0].numpy()
    expected = [gaussian_filter(image, (0, w, w)) if w else image for w in widths[spacing]]
    np.testing.assert_allclose(model.seen.numpy(), np.stack(expected), atol=1e-4)
    assert torch.equal(model.seen[-1], batch.images[0])


def test_blur_ig_is_the_integral_over_sigma_of_the_gradient_times_the_images_derivative():
    model, batch = smooth(), batch_of(images_of(1, 16))
    fine, width, total = 400, 3.0 / 400, torch.zeros(3, 16, 16, dtype=torch.float64)
    image = batch.images[0].double().numpy()

    def blurred(sigma):
        return gaussian_filter(image, (0, sigma, sigma), truncate=6)

    for k in range(fine):
        sigma = (k + 0.5) * width
        point = torch.from_numpy(blurred(sigma)).float()[None]
        slopes, _ = gradients(model, point, batch.targets, SOFTMAX)
        derivative = (blurred(sigma + 1e-3) - blurred(max(sigma - 1e-3, 0))) / 2e-3
        total -= slopes[0] * torch.from_numpy(derivative) * width
    found = replace(BLUR, steps=300).attribute(model, batch)[0]
    error = float((found - total).norm() / total.norm())
    assert error < 0.02


@pytest.mark.parametrize("method", [BLUR, BLUR_IDGI], ids=["plain", "idgi"])
def test_blur_ig_finds_nothing_on_an_image_of_one_colour(method):
    images = torch.tensor([0.2, 0.7, 0.4]).view(1, 3, 1, 1).expand(1, 3, 16, 16).contiguous()
    assert explain(method, smooth(), batch_of(images)).abs().max() < 1e-6


# Guided IG


def guided_by_hand(method, model, batch, row):
    """One image's Guided IG as the paper tells it, in the space of images, feature by feature."""
    start = method.baseline(model, batch)[row].double().flatten().numpy()
    end = batch.images[row].double().flatten().numpy()
    distance = np.abs(end - start).sum()
    image, found = start.copy(), np.zeros_like(start)
    for step in range(method.steps):
        share = (step + 1) / method.steps
        point = torch.from_numpy(image).float().view(1, *batch.images.shape[1:])
        slopes, _ = gradients(model, point, batch.targets[row : row + 1], method.score)
        slopes = slopes.flatten().numpy()
        bound = start + min(share + method.max_dist, 1) * (end - start)
        behind = start + max(share - method.max_dist, 0) * (end - start)
        before = image.copy()
        late = np.abs(image - start) < np.abs(behind - start)
        image[late] = behind[late]
        while np.abs(end - image).sum() - distance * (1 - share) > 1e-9:
            magnitudes = np.abs(slopes).astype(np.float64)
            magnitudes[np.isclose(image, bound, rtol=0, atol=1e-12)] = np.inf
            limit = np.quantile(magnitudes, method.fraction, method="lower")
            chosen = (magnitudes <= limit) & np.isfinite(magnitudes)
            reach = np.abs(bound - image)[chosen].sum()
            need = np.abs(end - image).sum() - distance * (1 - share)
            image[chosen] += min(1.0, need / reach) * (bound - image)[chosen]
        found += slopes * (image - before)
    return torch.from_numpy(found).view(batch.images.shape[1:]).float()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("max_dist", [0.02, 0.2, 1.0])
def test_guided_ig_equals_a_slow_computation_from_the_paper(fraction, max_dist):
    method = replace(GUIDED, steps=15, fraction=fraction, max_dist=max_dist, baseline=BLACK)
    model, batch = smooth(), batch_of(images_of(3, 8), torch.tensor([0, 1, 2]))
    found = method.attribute(model, batch)
    expected = torch.stack([guided_by_hand(method, model, batch, row) for row in range(3)])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def gone(model, batch, baseline):
    """The share of the way that each colour of each pixel has gone at every recorded point."""
    start = baseline(None, batch)
    return (model.seen - start) / (batch.images - start)


def test_guided_ig_comes_nearer_by_equal_steps_within_its_bounds_and_ends_at_the_image():
    model, batch = smooth(), batch_of(images_of(1, 16))
    replace(GUIDED, baseline=BLACK, steps=40, max_dist=0.1).attribute(model, batch)
    left = (batch.images - model.seen).abs().sum((1, 2, 3)) / batch.images.abs().sum()
    torch.testing.assert_close(left, torch.linspace(1, 0, 41), rtol=0, atol=1e-5)
    ahead = gone(model, batch, BLACK) - torch.linspace(0, 1, 41).view(-1, 1, 1, 1)
    assert ahead.abs().max() < 0.1 + 1e-4
    assert (ahead[20].abs() > 0.09).float().mean() > 0.5  # it makes use of them
    assert torch.equal(model.seen[-1], batch.images[0])


def test_guided_ig_moves_the_flattest_quarter_first():
    model, batch = smooth(), batch_of(images_of(1, 16))
    free = replace(GUIDED, baseline=BLACK, max_dist=1.0, steps=20)
    free.attribute(model, batch)
    slopes, _ = gradients(model, BLACK(None, batch), batch.targets, SOFTMAX)
    moved = gone(model, batch, BLACK)[1] > 1e-6
    steepness = slopes[0].abs()
    assert steepness[moved].max() <= steepness[~moved].min()
    assert float(moved.float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("changes", [{"fraction": 1.0}, {"max_dist": 0.0}], ids=str)
def test_guided_ig_without_freedom_walks_the_straight_line(changes):
    model, batch = smooth(), batch_of(images_of(2, 8))
    replace(GUIDED, baseline=BLACK, **changes).attribute(model, batch)
    shares_gone = gone(model, batch.select([0]), BLACK)[0::2]
    line = torch.linspace(0, 1, 61).view(-1, 1, 1, 1).expand_as(shares_gone)
    torch.testing.assert_close(shares_gone, line, rtol=0, atol=1e-5)


def test_guided_ig_of_an_image_that_is_its_own_baseline_is_nothing():
    images = torch.full((1, 3, 8, 8), 0.4)
    assert explain(GUIDED, smooth(), batch_of(images)).abs().max() == 0


def test_guided_ig_ends_even_where_gradients_are_not_numbers():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.stack([images.sum((1, 2, 3)).sub(1e9).sqrt(), images.sum((1, 2, 3))], 1)

    heatmaps = explain(GUIDED, classifier(Broken()), batch_of(images_of(1, 8)))
    assert heatmaps.isnan().all()


# IDGI


def test_a_steps_shares_have_the_sign_of_its_change_and_sum_to_it():
    source = torch.Generator().manual_seed(0)
    slopes, moves = torch.randn(2, 5, 4, 3, 8, 8, generator=source)
    changes = torch.randn(5, 4, generator=source)
    found = shares(Weighting.idgi, slopes, moves, changes)
    assert (found * changes[..., None, None, None] >= 0).all()
    torch.testing.assert_close(totals(found), changes)
    expected = slopes[2, 1].square() / slopes[2, 1].square().sum() * changes[2, 1]
    torch.testing.assert_close(found[2, 1], expected)


def test_the_shares_of_a_saturated_score_neither_vanish_nor_blow_up():
    slopes = torch.tensor([1e-30, 2e-30, 0.0]).view(3, 1, 1)
    change = torch.tensor(0.5)
    found = shares(Weighting.idgi, slopes, slopes, change).flatten()
    torch.testing.assert_close(found, torch.tensor([0.1, 0.4, 0.0]))
    assert (shares(Weighting.idgi, 0 * slopes, slopes, change) == 0).all()


def test_idgi_equals_a_slow_computation_on_a_quadratic_score():
    weights = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    model, batch = classifier(Quadratic(weights.float(), 0.2)), batch_of(images_of(2, 8))
    found = replace(STRAIGHT_IDGI, steps=9, baseline=BLACK).attribute(model, batch)

    def score(image):
        return 0.1 + 0.8 * (weights * (image - 0.2) ** 2).mean()

    for image, own in zip(batch.images.double(), found, strict=True):
        expected = torch.zeros_like(image)
        for step in range(9):
            here, there = image * step / 9, image * (step + 1) / 9
            slope = 1.6 * weights * (here - 0.2) / weights.numel()
            expected += slope**2 / (slope**2).sum() * (score(there) - score(here))
        torch.testing.assert_close(own.double(), expected, rtol=1e-3, atol=1e-6)


def test_idgi_finds_nothing_where_nothing_changes():
    assert explain(STRAIGHT_IDGI, classifier(Constant(0.5)), batch_of(images_of(2, 8))).max() == 0


def test_totals_are_sums_over_one_image():
    values = torch.randn(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(totals(values), values.sum((-3, -2, -1)))
