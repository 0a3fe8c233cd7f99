"""I-GOS against the protocol page: a slow second implementation, a recorder, and properties."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from toys import (
    BLACK,
    Constant,
    Flat,
    Quadratic,
    Recorder,
    Smooth,
    Tiny,
    batch_of,
    bilinear_matrix,
    classifier,
    explain,
    images_of,
)

from benchmark.attribution import Score
from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput
from benchmark.mask_descent import LineSearch
from benchmark.masking import Noise
from benchmark.substrates import Blur
from methods.igos import IGOS, relaxed_l1

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUIET = IGOS(
    res=4,
    l1=0.1,
    tv=0.5,
    baseline=Blur(kernel=9, sigma=5.0),
    iterations=6,
    points=5,
    first_points=None,
    noise=Noise.none,
    noise_sd=0.2,
    line_search=LineSearch.clean,
    step_upper=200.0,
    step_factor=0.2,
    step_lower=1e-5,
    armijo=1e-4,
    adaptive_l1=False,
    score=Score.softmax,
)
NOISY = replace(QUIET, noise=Noise.rgb)


def smooth(kind=Recorder, **settings):
    return classifier(Smooth(), classes=4, kind=kind, mean=MEAN, std=STD, **settings)


# A slow second implementation: one image, one path point, one trial at a time, double precision


class Slow:
    """I-GOS without noise as the protocol page states it, in plain loops."""

    def __init__(self, model, image, target, method):
        self.method, self.target = method, target
        self.network = deepcopy(model.network).double()
        self.mean = torch.tensor(MEAN).double().view(3, 1, 1)
        self.std = torch.tensor(STD).double().view(3, 1, 1)
        self.image = image.double()
        self.baseline = method.baseline(model, batch_of(image[None]))[0].double()
        self.matrix = bilinear_matrix(image.shape[-1], method.res)
        self.l1, self.points = method.l1, method.points
        self.taken = None  # length of the last step

    def score(self, image):
        logits = self.network(((image - self.mean) / self.std)[None])[0]
        if self.method.score is Score.logit:
            return logits[self.target]
        return logits.exp()[self.target] / logits.exp().sum()

    def shown(self, mask, share=1.0):
        kept = share * (self.matrix @ mask @ self.matrix.T)
        return self.image * kept + self.baseline * (1 - kept)

    def penalty(self, mask):
        res = len(mask)
        rows, others = range(res), range(res - 1)
        down = [(mask[i + 1, j] - mask[i, j]) ** 2 for i in others for j in rows]
        across = [(mask[i, j + 1] - mask[i, j]) ** 2 for i in rows for j in others]
        total_variation = sum(down) / len(down) + sum(across) / len(across)
        return self.l1 * (1 - mask).abs().mean() + self.method.tv * total_variation

    def path_mean(self, mask):
        points = self.points
        return sum(self.score(self.shown(mask, s / points)) for s in range(1, points + 1)) / points

    def measure(self, mask):
        on_path = self.method.line_search is LineSearch.path
        return (self.path_mean(mask) if on_path else self.score(self.shown(mask))) + self.penalty(
            mask
        )

    def gradient(self, mask):
        free = mask.clone().requires_grad_()
        return torch.autograd.grad(self.path_mean(free) + self.penalty(free), free)[0]

    def step(self, mask):
        gradient, alpha = self.gradient(mask), self.method.step_upper
        if self.method.line_search is LineSearch.carried and self.taken:
            alpha = min(alpha, self.taken / self.method.step_factor)
        trials = 0
        while True:
            trial = (mask - alpha * gradient).clamp(0, 1)
            trials += 1
            bound = self.measure(mask) - self.method.armijo * alpha * (gradient**2).sum()
            if (
                self.method.line_search is LineSearch.fixed
                or self.measure(trial) <= bound
                or alpha < self.method.step_lower
            ):
                self.taken = alpha
                return trial, trials
            alpha *= self.method.step_factor

    def run(self):
        res = self.method.res
        mask = torch.ones(res, res, dtype=torch.float64)
        untouched = self.score(self.shown(mask))
        trials, divided = 0, []
        for iteration in range(self.method.iterations):
            first = self.method.first_points if iteration == 0 else None
            self.points = first or self.method.points
            if self.method.adaptive_l1:
                moved = abs(untouched - self.score(self.shown(mask)))
                if iteration == 7 and moved <= 0.001:
                    self.l1 /= 10
                    divided.append(iteration)
                if iteration == 12 and moved <= 0.01:
                    self.l1 /= 5
                    divided.append(iteration)
            mask, count = self.step(mask)
            trials += count
        return Answer(1 - mask.detach(), trials, divided)


class Answer(NamedTuple):
    heatmap: torch.Tensor
    trials: int
    divided: list[int]  # iterations at which l1 was reduced


VARIANTS = {
    "as it is": {},
    "at another resolution": {"res": 7, "l1": 0.05},
    "at the image's own resolution": {"res": 12, "l1": 0.02},
    "without total variation": {"tv": 0.0},
    "without l1": {"l1": 0.0},
    "with one point": {"points": 1},
    "with more points at first": {"first_points": 9, "points": 2},
    "with more points at first, searched on": {
        "first_points": 9,
        "points": 2,
        "line_search": LineSearch.path,
    },
    "with steps carried over": {"line_search": LineSearch.carried},
    "with steps carried over from short ones": {
        "line_search": LineSearch.carried,
        "step_upper": 50.0,
        "step_factor": 0.5,
        "armijo": 0.3,
    },
    "with the search on the path": {"line_search": LineSearch.path},
    "with a fixed step": {"line_search": LineSearch.fixed, "step_upper": 2.0},
    "with the logit": {"score": Score.logit, "l1": 1.0},
    "with another search": {"step_upper": 50.0, "step_factor": 0.5, "armijo": 0.3},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_igos_equals_a_slow_implementation_of_the_protocol_page(changes):
    method = replace(QUIET, **changes)
    images, targets = images_of(2, 12), torch.tensor([0, 2])
    model = smooth()
    heatmaps = explain(method, model, batch_of(images, targets))
    for row in range(2):
        slow = Slow(model, images[row], int(targets[row]), method).run()
        assert slow.heatmap.max() > 0.05
        torch.testing.assert_close(heatmaps[row].double(), slow.heatmap, rtol=0, atol=2e-4)


def test_the_slow_implementation_sees_masks_of_every_kind():
    answers = [
        Slow(smooth(), images_of(2, 12)[row], target, replace(QUIET, **changes)).run()
        for changes in ({}, {"tv": 0.0})
        for row, target in ((0, 0), (1, 2))
    ]
    values = torch.stack([answer.heatmap for answer in answers])
    assert (values == 0).any()
    assert (values == 1).any()
    assert ((values > 0) & (values < 1)).any()
    assert all(answer.trials > QUIET.iterations for answer in answers)


def test_adaptive_l1_weakens_l1_for_each_image_whose_score_has_hardly_moved():
    method = replace(QUIET, l1=2.0, iterations=15, line_search=LineSearch.fixed, step_upper=0.5)
    method = replace(method, adaptive_l1=True)
    images, targets = images_of(4, 12)[[0, 1, 1]], torch.tensor([0, 1, 0])
    model, batch = smooth(), batch_of(images, targets)
    heatmaps = explain(method, model, batch)
    plain = explain(replace(method, adaptive_l1=False), model, batch)
    for row, divided in enumerate([[7, 12], [12], []]):
        slow = Slow(model, images[row], int(targets[row]), method).run()
        assert slow.divided == divided
        torch.testing.assert_close(heatmaps[row].double(), slow.heatmap, rtol=0, atol=2e-5)
        assert torch.equal(heatmaps[row], plain[row]) == (not divided)


def test_l1_is_divided_twice_and_where_the_score_has_moved_by_no_more_than_the_bound():
    weights = torch.tensor([6.0, 6.0, 6.0, 6.0], dtype=torch.float64)
    moved = torch.tensor([0.001, 0.0011, 0.01, 0.0101], dtype=torch.float64)
    for iteration in range(15):
        expected = {7: [0.6, 6.0, 6.0, 6.0], 12: [1.2, 1.2, 1.2, 6.0]}.get(iteration, [6.0] * 4)
        assert relaxed_l1(weights, iteration, moved).tolist() == pytest.approx(expected)


def test_adaptive_l1_frees_a_mask_that_a_clean_search_could_not_move():
    method = replace(QUIET, l1=2.0, adaptive_l1=True)
    batch = batch_of(images_of(4, 12)[1:2], 1)
    for iterations in (1, 6, 7):
        assert explain(replace(method, iterations=iterations), smooth(), batch).max() < 1e-5
    assert explain(replace(method, iterations=8), smooth(), batch).max() > 0.5


# The proposition of the paper's supplement


@pytest.mark.parametrize("points", [2, 5, 20])
def test_on_a_quadratic_with_its_optimum_at_the_baseline_the_path_only_rescales_the_gradient(
    points,
):
    weights = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = classifier(Quadratic(weights, colour=0.2))
    method = replace(
        QUIET,
        baseline=Flat(0.2),
        l1=0.0,
        tv=0.0,
        iterations=1,
        line_search=LineSearch.fixed,
        step_upper=20.0,
    )
    batch = batch_of(images_of(2, 16))
    gradient = explain(
        replace(method, points=1), model, batch
    )  # one step from M = 1: 1 - M = step * g
    integrated = explain(replace(method, points=points), model, batch)
    assert gradient.min() > 0
    assert 0.1 < gradient.max() < 1
    factor = (points + 1) * (2 * points + 1) / (6 * points**2)  # the mean of (s/S)^2
    torch.testing.assert_close(integrated, factor * gradient, rtol=1e-4, atol=1e-6)


# What the classifier is shown


def walked(method, images, model=None):
    """Run on one image; return its path points [iterations, S, 3, H, W] and the trials of each."""
    model = model or smooth(pass_batch=20)
    heatmaps = explain(method, model, batch_of(images))
    assert len(model.calls[0]) == 1  # the untouched image's score
    paths, trials = [], []
    for call in model.calls[1:]:
        if len(call) == method.points:
            paths.append(call)
            trials.append([])
        else:
            trials[-1].append(call[0])
    assert len(paths) == method.iterations
    return torch.stack(paths), trials, heatmaps


@pytest.mark.parametrize("points", [2, 5, 20])
def test_path_points_lie_on_the_line_from_the_baseline_at_their_share_of_the_way(points):
    method, image = replace(QUIET, points=points), images_of(1, 32)
    paths, trials, _ = walked(method, image)
    baseline = method.baseline(smooth(), batch_of(image))[0]
    for iteration, path in enumerate(paths):
        composite = image[0] if iteration == 0 else trials[iteration - 1][-1]
        torch.testing.assert_close(path[-1], composite, rtol=0, atol=1e-6)
        for point in range(points):
            share = (point + 1) / points
            expected = baseline + share * (composite - baseline)
            torch.testing.assert_close(path[point], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pass_batch", [4, 20, 64])
def test_the_first_iteration_alone_has_its_own_number_of_path_points(pass_batch):
    fixed = {"line_search": LineSearch.fixed, "step_upper": 2.0}
    method = replace(QUIET, first_points=14, points=4, iterations=5, **fixed)
    batch = batch_of(images_of(3, 12), torch.tensor([0, 2, 1]))
    model, whole = smooth(pass_batch=pass_batch), explain(method, smooth(pass_batch=64), batch)
    model.begin_count(3)
    torch.testing.assert_close(explain(method, model, batch), whole, rtol=0, atol=1e-6)
    assert model.backward_passes.tolist() == [14 + 4 * 4] * 3
    assert model.forward_passes.tolist() == [1 + 14 + 4 * 4] * 3  # one for where it starts
    for points in (4, 14):
        other = explain(replace(method, first_points=None, points=points), model, batch)
        assert (other - whole).abs().max() > 1e-3


def noise_of(method, iterations=4, seed=7):
    """The noise on each path point [iterations * S, 3, H, W] of a constant classifier."""
    model = classifier(Constant(0.3), kind=Recorder, mean=MEAN, std=STD, pass_batch=64)
    images = images_of(1, 32)
    method = replace(method, points=20, iterations=iterations)
    explain(method, model, batch_of(images, seeds=[seed]))
    baseline = method.baseline(model, batch_of(images))
    shares = (torch.arange(1, 21) / 20).view(-1, 1, 1, 1)
    line = baseline + shares * (images - baseline)  # the mask of a constant classifier stays at 1
    paths = torch.stack([call for call in model.calls if len(call) == 20])
    assert len(paths) == iterations
    return (paths - line).flatten(0, 1)


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_noise_on_all_channels_has_its_level_in_normalised_units(level):
    noise = noise_of(replace(NOISY, noise_sd=level)) / torch.tensor(STD).view(3, 1, 1)
    for channel in range(3):
        assert float(noise[:, channel].std()) == pytest.approx(level, rel=0.02)
        assert float(noise[:, channel].mean()) == pytest.approx(0, abs=0.02 * level)


def test_red_noise_has_twice_the_level_on_the_red_channel_alone():
    noise = noise_of(replace(NOISY, noise=Noise.red)) / torch.tensor(STD).view(3, 1, 1)
    assert float(noise[:, 0].std()) == pytest.approx(0.4, rel=0.02)
    assert noise[:, 1:].abs().max() < 2e-6


def test_noise_is_normal():
    noise = noise_of(NOISY)[:, 0] / (0.2 * STD[0])
    for bound, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert float((noise.abs() < bound).float().mean()) == pytest.approx(share, abs=0.01)


def test_noise_is_fresh_on_every_point_channel_and_iteration():
    noise = noise_of(NOISY).flatten(2)
    draws = noise.flatten(0, 1)
    draws = draws / draws.norm(dim=1, keepdim=True)
    likeness = (draws @ draws.T).fill_diagonal_(0).abs()
    assert likeness.max() < 6 / 32  # 6 standard deviations of independent draws of 32 x 32


def test_without_noise_the_path_is_exact():
    assert noise_of(QUIET).abs().max() < 1e-6


def test_noise_is_on_the_path_and_not_on_the_trials():
    model = classifier(Constant(0.3), kind=Recorder, mean=MEAN, std=STD, pass_batch=20)
    images = images_of(1, 32)
    explain(NOISY, model, batch_of(images))
    for call in model.calls:
        if len(call) == 1:
            torch.testing.assert_close(call, images, rtol=0, atol=1e-6)
        else:
            assert (call[-1] - images[0]).abs().max() > 0.01


def test_a_search_on_the_path_looks_at_noisy_points():
    model = classifier(Constant(0.3), kind=Recorder, mean=MEAN, std=STD, pass_batch=20)
    explain(
        replace(NOISY, line_search=LineSearch.path, iterations=2), model, batch_of(images_of(1, 32))
    )
    assert [len(call) for call in model.calls] == [1, 5, 5, 5, 5]
    draws = torch.stack(model.calls[1:])
    for first in range(4):
        for second in range(first):
            assert (draws[first] - draws[second]).abs().max() > 0.01


# The line search, with masks that can be read off the inputs: a white image over black


def white(method):
    """Run on a white image over a black baseline at its own resolution: the input is the mask."""
    method = replace(method, res=8, baseline=BLACK)
    image, model = torch.ones(1, 3, 8, 8), smooth(pass_batch=20)
    paths, trials, heatmaps = walked(method, image, model)
    masks = [path[-1, 0].double() for path in paths]
    tried = [[trial[0].double() for trial in each] for each in trials]
    return Slow(model, image[0], 0, method), masks, tried, heatmaps[0].double()


@pytest.mark.parametrize("changes", [{}, {"armijo": 0.3, "step_factor": 0.5}, {"tv": 20.0}])
def test_each_accepted_step_fulfils_the_armijo_condition_and_each_refused_one_does_not(changes):
    method = replace(QUIET, l1=0.3, iterations=8, **changes)
    slow, masks, tried, heatmap = white(method)
    refused = 0
    for iteration, mask in enumerate(masks):
        gradient, before = slow.gradient(mask), slow.measure(mask)
        for number, trial in enumerate(tried[iteration]):
            alpha = method.step_upper * method.step_factor**number
            expected = (mask - alpha * gradient).clamp(0, 1)
            torch.testing.assert_close(trial, expected, rtol=0, atol=1e-6 * max(alpha, 1))
            excess = slow.measure(trial) - (before - method.armijo * alpha * gradient.norm() ** 2)
            if number < len(tried[iteration]) - 1:
                assert excess > -1e-6
                refused += 1
            elif alpha >= method.step_lower:
                assert excess <= 1e-6
        after = tried[iteration][-1]
        reached = masks[iteration + 1] if iteration + 1 < len(masks) else 1 - heatmap
        torch.testing.assert_close(reached, after, rtol=0, atol=1e-6)
    assert refused > len(masks)


def test_the_objective_never_rises_under_a_clean_search():
    slow, masks, tried, _ = white(replace(QUIET, l1=0.3, iterations=8))
    values = [float(slow.measure(mask)) for mask in [*masks, tried[-1][-1]]]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(values))
    assert values[-1] < values[0] - 0.01


def test_a_search_that_finds_no_decrease_ends_below_the_lowest_step():
    # No step reaches a decrease of a thousand times what the gradient promises.
    method = replace(QUIET, armijo=1000.0, iterations=2)
    _, _, tried, _ = white(method)
    steps = 1 + next(n for n in range(99) if 200.0 * 0.2**n < 1e-5)
    assert [len(each) for each in tried] == [steps, steps]


def test_a_fixed_step_is_taken_without_looking():
    model, image = smooth(), images_of(1, 32)
    method = replace(QUIET, line_search=LineSearch.fixed, step_upper=2.0)
    model.begin_count(1)
    explain(method, model, batch_of(image))
    assert model.forward_passes.tolist() == [6 * 5 + 1]
    assert model.backward_passes.tolist() == [6 * 5]


# Passes


@pytest.mark.parametrize("pass_batch", [3, 20, 64])
@pytest.mark.parametrize("line_search", LineSearch)
def test_every_pass_is_counted_for_the_image_it_was_made_for(line_search, pass_batch):
    method = replace(NOISY, line_search=line_search, l1=0.3, step_upper=50.0)
    batch = batch_of(images_of(3, 12), torch.tensor([0, 2, 1]))
    shown = []
    for row in range(3):
        alone = smooth(pass_batch=pass_batch)
        explain(method, alone, batch.select([row]))
        assert alone.forward_passes.tolist() == [len(alone.seen)]
        shown.append(len(alone.seen))
    if line_search is LineSearch.fixed:
        assert shown == [6 * 5 + 1] * 3
    else:
        assert len(set(shown)) == 3
        assert min(shown) > 6 * 5 + 1
    model = smooth(pass_batch=pass_batch)
    explain(method, model, batch)
    assert model.forward_passes.tolist() == pytest.approx(shown)
    assert model.backward_passes.tolist() == pytest.approx([6 * 5] * 3)
    assert len(model.seen) == sum(shown)


@pytest.mark.parametrize("score", Score)
@pytest.mark.parametrize("line_search", LineSearch)
def test_no_call_passes_more_images_than_the_classifier_asks_for(line_search, score):
    model = smooth(pass_batch=3)
    method = replace(NOISY, line_search=line_search, score=score, iterations=2, step_upper=2.0)
    explain(method, model, batch_of(images_of(5, 12)))
    assert max(len(call) for call in model.calls) <= 3


# Properties of the heatmap


@pytest.mark.parametrize("res", [2, 7, 32])
def test_the_heatmap_of_a_constant_classifier_is_zero(res):
    model = classifier(Constant(0.3), pass_batch=20)
    heatmaps = explain(replace(NOISY, res=res), model, batch_of(images_of(2, 32)))
    assert heatmaps.shape == (2, res, res)
    assert (heatmaps == 0).all()


@pytest.mark.parametrize("line_search", LineSearch)
def test_masks_stay_between_zero_and_one_and_reach_both(line_search):
    method = replace(NOISY, line_search=line_search, l1=0.02, tv=0.0)
    heatmaps = explain(method, smooth(), batch_of(images_of(3, 32)))
    assert heatmaps.min() == 0
    assert heatmaps.max() == 1


def test_a_larger_l1_removes_less_and_a_larger_tv_is_smoother():
    def roughness(heatmaps):
        return heatmaps.diff(dim=1).square().mean() + heatmaps.diff(dim=2).square().mean()

    batch = batch_of(images_of(3, 32))
    method = replace(QUIET, res=7, iterations=10, l1=0.02, tv=0.1)
    sizes = [explain(replace(method, l1=l1), smooth(), batch).mean() for l1 in (0.02, 0.2, 2.0)]
    assert sizes[0] > sizes[1] > sizes[2]
    rough = [roughness(explain(replace(method, tv=tv), smooth(), batch)) for tv in (0.0, 0.1, 10.0)]
    assert rough[0] > rough[1] > rough[2]


def test_removing_what_the_heatmap_marks_lowers_the_score():
    model, batch = smooth(), batch_of(images_of(3, 32), torch.tensor([1, 0, 0]))
    method = replace(QUIET, l1=0.01, iterations=10)
    kept = 1 - torch.nn.functional.interpolate(
        explain(method, model, batch)[:, None], 32, mode="bilinear", align_corners=True
    )
    removed = batch.images * kept + method.baseline(model, batch) * (1 - kept)
    assert (
        model.scores(removed, batch.targets) < model.scores(batch.images, batch.targets) - 0.02
    ).all()


def test_the_same_seed_gives_the_same_heatmap_and_another_seed_another_one():
    images = images_of(2, 32)
    first = explain(NOISY, smooth(), batch_of(images, seeds=[1, 2]))
    again = explain(NOISY, smooth(), batch_of(images, seeds=[1, 2]))
    other = explain(NOISY, smooth(), batch_of(images, seeds=[1, 3]))
    assert torch.equal(first, again)
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_without_noise_the_seed_does_not_matter():
    images = images_of(1, 32)
    first = explain(QUIET, smooth(), batch_of(images, seeds=[1]))
    assert torch.equal(first, explain(QUIET, smooth(), batch_of(images, seeds=[2])))


@pytest.mark.parametrize("res", [4, 7, 32])
@pytest.mark.parametrize("line_search", LineSearch)
@pytest.mark.parametrize(("network", "classes"), [(Smooth, 4), (Tiny, 5)])
def test_a_heatmap_does_not_depend_on_the_rest_of_its_batch(network, classes, line_search, res):
    method = replace(
        NOISY, res=res, line_search=line_search, iterations=3, step_upper=20.0, l1=0.05
    )
    batch = batch_of(images_of(5, 32), targets=torch.tensor([0, 1, 2, 1, 0]))
    for pass_batch in (3, 20):  # a part of one path at once, and the paths of four images
        model = classifier(network(), classes=classes, mean=MEAN, std=STD, pass_batch=pass_batch)
        whole = explain(method, model, batch)
        assert (whole.flatten(1).std(1) > 0).sum() >= 3
        for rows in ([4, 2, 0, 1, 3], [3], [2, 4]):
            assert torch.equal(explain(method, model, batch.select(rows)), whole[rows])


def test_how_many_images_pass_at_once_changes_no_more_than_rounding():
    method, batch = replace(NOISY, iterations=2), batch_of(images_of(3, 32))
    whole = explain(method, smooth(pass_batch=64), batch)
    for pass_batch in (1, 3, 5, 20):
        torch.testing.assert_close(
            explain(method, smooth(pass_batch=pass_batch), batch), whole, rtol=0, atol=1e-4
        )


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"res": 1}, "got res=1 iterations=6 points=5 first_points=5"),
        ({"iterations": 0}, "got res=4 iterations=0 points=5 first_points=5"),
        ({"points": 0}, "got res=4 iterations=6 points=0 first_points=0"),
        ({"first_points": 0}, "got res=4 iterations=6 points=5 first_points=0"),
        ({"l1": -1.0}, "l1, tv, noise_sd and armijo of at least 0"),
        ({"tv": -1.0}, "l1, tv, noise_sd and armijo of at least 0"),
        ({"noise_sd": -0.1}, "l1, tv, noise_sd and armijo of at least 0"),
        ({"armijo": -0.1}, "l1, tv, noise_sd and armijo of at least 0"),
        ({"step_lower": 0.0}, "0 < step_lower <= step_upper"),
        ({"step_upper": 1e-6}, "0 < step_lower <= step_upper"),
        ({"step_factor": 0.0}, "0 < step_factor < 1"),
        ({"step_factor": 1.0}, "0 < step_factor < 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        replace(QUIET, **changes)


def test_adaptive_l1_is_refused_where_the_search_looks_at_noisy_scores():
    with pytest.raises(BadInput, match=r"^igos needs line_search=clean or fixed for adaptive_l1"):
        replace(QUIET, adaptive_l1=True, line_search=LineSearch.path)


def test_a_mask_finer_than_the_image_is_refused():
    with pytest.raises(BadInput, match="res=33 is finer than the image; igos works up to 32"):
        explain(replace(QUIET, res=33), smooth(), batch_of(images_of(1, 32)))


@pytest.mark.parametrize(("res", "passes"), [(224, 30), (112, 60), (28, 30), (14, 30), (7, 30)])
def test_the_fast_setting_takes_the_passes_that_its_worth_was_measured_with(res, passes):
    method = build(load("method=igos_fast", f"res={res}").method, "method")
    model = classifier(Tiny(), input_size=224)
    model.begin_count(1)
    method(model, batch_of(images_of(1, 224)))
    assert model.backward_passes.tolist() == [passes]
