"""iGOS+ and iGOS++ against slow code in double precision, closed forms, and I-GOS itself."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from toys import (
    BLACK,
    Additive,
    Constant,
    Flat,
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
from benchmark.mask_descent import LineSearch
from benchmark.masking import BilateralVariation, Noise, Objective, Term, total_variation
from benchmark.substrates import Blur
from methods.igos import IGOS
from methods.igos_plus import IGOSPlus
from methods.igos_plus_plus import IGOSPlusPlus

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHARED = {
    "res": 4,
    "l1": 0.1,
    "tv": 0.5,
    "baseline": Blur(kernel=9, sigma=5.0),
    "iterations": 4,
    "points": 5,
    "first_points": None,
    "noise": Noise.none,
    "noise_sd": 0.2,
    "line_search": LineSearch.clean,
    "step_upper": 200.0,
    "step_factor": 0.2,
    "step_lower": 1e-5,
    "armijo": 1e-4,
    "score": Score.softmax,
}
PLAIN = IGOS(**SHARED, adaptive_l1=False)
PLUS = IGOSPlus(**SHARED, insertion=1.0, sigma=0.3)
PLUS_PLUS = IGOSPlusPlus(**SHARED, weight=0.5, sigma=0.3)
BOTH = pytest.mark.parametrize("method", [PLUS, PLUS_PLUS], ids=["igos_plus", "igos_plus_plus"])
DELETION, INSERTION = Term((0,), False, 1.0), Term((0,), True, 1.0)
TERMS = {PLUS: 2, PLUS_PLUS: 4}


def smooth(kind=Recorder, **settings):
    return classifier(Smooth(), classes=4, kind=kind, mean=MEAN, std=STD, **settings)


def noisy(method, **changes):
    return replace(method, noise=Noise.rgb, **changes)


# A slow second implementation, in double precision


def variation(mask, weight=lambda _here, _there: 1.0):
    """Mean weighted squared difference of vertical plus of horizontal neighbours, by loops."""
    size, total = len(mask), 0.0
    for down, across in ((1, 0), (0, 1)):
        pairs = [
            ((i, j), (i + down, j + across))
            for i in range(size - down)
            for j in range(size - across)
        ]
        squares = [
            weight(here, there) * (mask[there] - mask[here]).square() for here, there in pairs
        ]
        total = total + sum(squares) / len(pairs)
    return total


def likeness(image, sigma):
    """How alike two pixels of a normalised image [3, H, W] are, from 0 to 1."""
    colours = image.permute(1, 2, 0).tolist()

    def weight(here, there):
        pairs = zip(colours[here[0]][here[1]], colours[there[0]][there[1]], strict=True)
        return sum(torch.exp(torch.tensor(-((a - b) ** 2) / sigma)).item() for a, b in pairs) / 3

    return weight


class Slow(InDouble):
    """One image; masks [m, r, r]."""

    def __init__(self, model, batch, row, method):
        super().__init__(model, batch, row, method.baseline, method.res)
        self.method, self.points = method, method.first_points or method.points
        self.weight = likeness(self.image / self.std, method.sigma)

    def terms(self, masks, share=1.0):
        def deletion(kept):
            return self.score(self.deleted(share * kept))

        def insertion(kept):
            return -self.score(self.inserted(share * kept))

        large = [self.large(mask) for mask in masks]
        if len(masks) == 1:
            return deletion(large[0]) + self.method.insertion * insertion(large[0])
        product = large[0] * large[1]
        parts = deletion(large[0]), insertion(large[1]), deletion(product), insertion(product)
        return self.method.weight * sum(parts)

    def penalty(self, masks):
        product = masks.prod(0)
        own, enlarged = variation(product), variation(self.large(product), self.weight)
        return self.method.l1 * (1 - product).abs().mean() + self.method.tv * (own + enlarged) / 2

    def objective(self, masks):
        return self.terms(masks) + self.penalty(masks)

    def path_mean(self, masks):
        points = self.points
        return sum(self.terms(masks, s / points) for s in range(1, points + 1)) / points

    def gradient(self, masks):
        free = masks.clone().requires_grad_()
        return torch.autograd.grad(self.path_mean(free) + self.penalty(free), free)[0]

    def measure(self, masks):
        on_path = self.method.line_search is LineSearch.path
        return (self.path_mean(masks) if on_path else self.terms(masks)) + self.penalty(masks)

    def step(self, masks):
        gradient, alpha = self.gradient(masks), self.method.step_upper
        before = self.measure(masks)
        while True:
            trial = (masks - alpha * gradient).clamp(0, 1)
            bound = before - self.method.armijo * alpha * gradient.square().sum()
            if self.measure(trial) <= bound or alpha < self.method.step_lower:
                self.points = self.method.points
                return trial
            alpha *= self.method.step_factor


def start(method):
    count = 2 if isinstance(method, IGOSPlusPlus) else 1
    return torch.ones(count, method.res, method.res, dtype=torch.float64)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"res": 7, "l1": 0.02},
        {"points": 1, "sigma": 0.01},
        {"points": 2, "first_points": 9},
        {"points": 2, "first_points": 9, "line_search": LineSearch.path},
        {"line_search": LineSearch.path, "l1": 0.3},
        {"step_upper": 50.0, "step_factor": 0.5, "armijo": 0.3},
    ],
    ids=str,
)
@BOTH
def test_two_iterations_equal_a_slow_implementation(method, changes):
    method, model = replace(method, iterations=2, **changes), smooth()
    batch = batch_of(images_of(2, 12), torch.tensor([0, 2]))
    heatmaps = explain(method, model, batch)
    for row in range(2):
        slow, masks = Slow(model, batch, row, method), start(method)
        for _ in range(2):
            masks = slow.step(masks)
        expected = 1 - masks.prod(0)
        assert expected.max() > 0.05
        torch.testing.assert_close(heatmaps[row].double(), expected, rtol=0, atol=2e-4)


@BOTH
def test_every_weight_of_the_objective_counts(method):
    batch = batch_of(images_of(2, 12), torch.tensor([0, 2]))
    heatmaps = explain(method, smooth(), batch)
    name = "insertion" if method is PLUS else "weight"
    for change in ({name: 0.2}, {"l1": 0.5}, {"tv": 5.0}, {"sigma": 1e-4}):
        other = explain(replace(method, **change), smooth(), batch)
        assert (other - heatmaps).abs().max() > 1e-3


# The objective's parts


def objective(terms, model, batch, *, l1=0.0, tv=0.0):
    return Objective(
        model,
        batch,
        terms,
        baseline=Blur(kernel=9, sigma=5.0),
        l1=l1,
        tv=tv,
        roughness=lambda masks, _: total_variation(masks),
        noise=Noise.none,
        noise_sd=0.2,
        score=Score.softmax,
    )


@pytest.mark.parametrize("places", [(0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("insertion", [False, True])
def test_with_one_point_and_no_noise_each_terms_gradient_is_the_scores_own(insertion, places):
    model, batch = smooth(), batch_of(images_of(2, 12), torch.tensor([0, 2]))
    term = Term(places, insertion, 0.7)
    masks = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    part = objective([term], model, batch)
    gradient, on_path = part.path_gradient(masks, points=1)
    torch.testing.assert_close(on_path, part.losses(masks, part.all_rows))
    torch.testing.assert_close(on_path, part.path_losses(masks, part.all_rows, points=1))
    for row in range(2):
        slow, free = Slow(model, batch, row, PLUS), masks[row].double().requires_grad_()
        kept = torch.stack([slow.large(free[place]) for place in places]).prod(0)
        shown = slow.inserted(kept) if insertion else slow.deleted(kept)
        loss = (-0.7 if insertion else 0.7) * slow.score(shown)
        expected = torch.autograd.grad(loss, free)[0]
        assert float(on_path[row]) == pytest.approx(float(loss.detach()), abs=1e-6)
        assert expected.abs().max() > 1e-3
        assert (expected == 0).flatten(1).all(1).tolist() == [each not in places for each in (0, 1)]
        torch.testing.assert_close(gradient[row].double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("points", [1, 4, 20])
def test_on_a_linear_score_the_path_rescales_the_slope_and_insertion_equals_deletion(points):
    weights = 1e-3 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    model, batch = classifier(Additive(weights, offset=0.5)), batch_of(images_of(2, 16))
    masks = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    baseline = Blur(kernel=9, sigma=5.0)(model, batch)
    slope = (weights * (batch.images - baseline)).sum(1, keepdim=True)
    for term in (DELETION, INSERTION):
        gradient, _ = objective([term], model, batch).path_gradient(masks, points)
        expected = slope * (points + 1) / (2 * points)  # the mean of s/S
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-7)


def test_terms_and_penalties_add_up():
    model, batch = smooth(), batch_of(images_of(3, 12), torch.tensor([0, 2, 1]))
    masks = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    terms = [Term((0,), False, 0.7), Term((1,), True, 0.4), Term((0, 1), True, 0.5)]
    whole = objective(terms, model, batch, l1=0.2, tv=0.3)
    bare = [objective([term], model, batch) for term in terms]
    free = masks.clone().requires_grad_()
    rows = whole.all_rows
    penalty = whole.penalty(free, rows)
    product = free[:, :1] * free[:, 1:]
    expected = 0.2 * (1 - product).mean((1, 2, 3)) + 0.3 * total_variation(product)
    torch.testing.assert_close(penalty, expected)
    gradient = torch.autograd.grad(penalty.sum(), free)[0]
    gradient = gradient + sum(part.path_gradient(masks, 3)[0] for part in bare)
    torch.testing.assert_close(whole.path_gradient(masks, 3)[0], gradient)
    for measure, points in (("losses", {}), ("path_losses", {"points": 3})):
        parts = sum(getattr(part, measure)(masks, rows, **points) for part in bare)
        torch.testing.assert_close(getattr(whole, measure)(masks, rows, **points), parts)


@pytest.mark.parametrize(("res", "size"), [(4, 12), (7, 9), (9, 9)])
def test_bilateral_variation_equals_a_loop_over_neighbours(res, size):
    images, model = images_of(3, size), smooth()
    masks = torch.rand(2, 1, res, res, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor([2, 0])
    values = BilateralVariation(images, model.std, 0.3)(masks, rows)
    plain = total_variation(masks)
    for value, plainly, mask, row in zip(values, plain, masks, rows, strict=True):
        slow = InDouble(model, batch_of(images), int(row), BLACK, res)
        cells = mask[0].double()
        weight = likeness(slow.image / slow.std, 0.3)
        expected = (variation(cells) + variation(slow.large(cells), weight)) / 2
        assert float(value) == pytest.approx(float(expected), rel=1e-5)
        assert float(plainly) == pytest.approx(float(variation(cells)), rel=1e-5)


def test_bilateral_variation_forgives_a_step_where_the_image_has_one():
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1.0
    measure = BilateralVariation(image, torch.ones(3), 0.01)
    rows, plain = torch.tensor([0]), float(total_variation(mask))
    assert plain == pytest.approx(1 / 7)
    assert float(measure(mask, rows)) == pytest.approx(plain / 2)
    assert float(measure(mask.mT, rows)) == pytest.approx(plain)
    flat = BilateralVariation(torch.full((1, 3, 8, 8), 0.4), torch.ones(3), 0.01)
    assert float(flat(mask, rows)) == pytest.approx(plain)


# What the classifier is shown


def test_insertion_walks_from_the_image_to_what_the_mask_takes_away():
    model, batch = smooth(pass_batch=20), batch_of(images_of(1, 32))
    masks = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    both = objective([DELETION, INSERTION], model, batch)
    both.path_gradient(masks, points=5)
    slow = InDouble(model, batch, 0, Blur(kernel=9, sigma=5.0), 4)
    kept = slow.large(masks[0, 0].double())
    ends = [(slow.baseline, slow.deleted(kept)), (slow.image, slow.inserted(kept))]
    assert [len(call) for call in model.calls] == [5, 5]
    for call, (first, last) in zip(model.calls, ends, strict=True):
        for point in range(5):
            expected = first + (point + 1) / 5 * (last - first)
            torch.testing.assert_close(call[point].double(), expected, rtol=0, atol=1e-5)


@BOTH
def test_every_term_draws_noise_of_its_own_on_every_path(method):
    model, images = classifier(Constant(0.3), kind=Recorder, mean=MEAN, std=STD), images_of(1, 32)
    explain(noisy(method, points=20), model, batch_of(images))
    paths = [call for call in model.calls if len(call) == 20]
    assert len(paths) == TERMS[method] * method.iterations
    baseline = method.baseline(model, batch_of(images))
    shares = (torch.arange(1, 21) / 20).view(-1, 1, 1, 1)
    lines = [  # the masks of a constant classifier stay at 1
        baseline + shares * (images - baseline),
        images + shares * (baseline - images),
    ]
    kinds = [0, 1] if method is PLUS else [0, 1, 0, 1]
    noise = torch.stack(
        [path - lines[kind] for path, kind in zip(paths, kinds * method.iterations, strict=True)]
    ) / torch.tensor(STD).view(3, 1, 1)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    draws = noise[:, :, 0].flatten(0, 1).flatten(1)
    assert torch.corrcoef(draws).fill_diagonal_(0).abs().max() < 6 / 32


@BOTH
@pytest.mark.parametrize("pass_batch", [3, 20])
@pytest.mark.parametrize("line_search", LineSearch)
def test_every_pass_is_counted_for_the_image_it_was_made_for(method, line_search, pass_batch):
    method = noisy(method, line_search=line_search, step_upper=50.0, iterations=3)
    batch = batch_of(images_of(3, 12), torch.tensor([0, 2, 1]))
    terms = TERMS[PLUS if isinstance(method, IGOSPlus) else PLUS_PLUS]
    shown = []
    for row in range(3):
        alone = smooth(pass_batch=pass_batch)
        explain(method, alone, batch.select([row]))
        shown.append(len(alone.seen))
        if line_search is LineSearch.fixed:
            assert shown[-1] == terms * (3 * 5 + 1)
    model = smooth(pass_batch=pass_batch)
    explain(method, model, batch)
    assert model.forward_passes.tolist() == pytest.approx(shown)
    assert model.backward_passes.tolist() == pytest.approx([terms * 3 * 5] * 3)
    assert max(len(call) for call in model.calls) <= pass_batch


# How the methods are related


@pytest.mark.parametrize("line_search", LineSearch)
def test_without_insertion_and_smoothness_igos_plus_is_igos(line_search):
    batch = batch_of(images_of(3, 32), torch.tensor([0, 2, 1]))
    method = noisy(PLUS, line_search=line_search, insertion=0.0, tv=0.0)
    plain = noisy(PLAIN, line_search=line_search, tv=0.0)
    heatmaps = explain(method, smooth(), batch)
    assert heatmaps.max() > 0.05
    assert torch.equal(heatmaps, explain(plain, smooth(), batch))


def test_on_a_linear_score_one_step_of_igos_plus_plus_is_three_slopes_on_each_mask():
    weights = 1e-3 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = classifier(Additive(weights, offset=0.5))
    method = replace(PLUS_PLUS, res=8, baseline=BLACK, iterations=1, step_upper=100.0)
    method = replace(method, line_search=LineSearch.fixed, weight=0.25)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 8, 8)))[0]
    step = 100.0 * 3 * 0.25 * weights.sum(0) * 6 / 10  # the mean of s/S for five points
    torch.testing.assert_close(heatmap, 1 - (1 - step).square(), rtol=1e-3, atol=1e-5)


def test_image_and_baseline_change_places_between_deletion_and_insertion():
    model, dark = smooth(), Flat(0.1)
    images = images_of(2, 12)
    masks = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def of(term, shown, hidden):
        batch = batch_of(shown, torch.tensor([0, 2]))
        part = objective([term], model, batch)
        part.baseline = hidden
        return part.path_gradient(masks, points=3)

    flat = dark(model, batch_of(images))
    deleted, inserted = of(DELETION, images, flat), of(INSERTION, flat, images)
    assert torch.equal(deleted[0], -inserted[0])
    assert torch.equal(deleted[1], -inserted[1])


# Properties


@BOTH
def test_a_clean_search_never_raises_the_objective(method):
    model, batch = smooth(), batch_of(images_of(2, 12), torch.tensor([0, 2]))
    method = replace(method, l1=0.3)
    terms = [DELETION, INSERTION]
    if method.name == "igos_plus_plus":
        terms = [
            Term((0,), False, 0.5),
            Term((1,), True, 0.5),
            Term((0, 1), False, 0.5),
            Term((0, 1), True, 0.5),
        ]
    smoothness = BilateralVariation(batch.images, model.std, method.sigma)
    stated = method.objective(model, batch, terms, smoothness)
    masks, losses = method.start(stated, count=len(start(method)))
    slows = [Slow(model, batch, row, method) for row in range(2)]
    values, search = [], None
    for _ in range(6):
        values.append(losses + stated.penalty(masks, stated.all_rows))
        for row, slow in enumerate(slows):
            expected = float(slow.objective(masks[row].double()))
            assert float(values[-1][row]) == pytest.approx(expected, abs=1e-5)
        masks, losses, search = method.step(stated, masks, losses, search)
    assert all((later <= earlier + 1e-6).all() for earlier, later in pairwise(values))
    assert (values[-1] < values[0] - 0.01).all()


@BOTH
@pytest.mark.parametrize("line_search", [LineSearch.clean, LineSearch.path])
def test_the_only_pixel_that_matters_is_found(method, line_search):
    model = classifier(OnePixel(8, 20), input_size=29)  # 28 / 7 = 4 pixels from cell to cell
    method = noisy(method, res=8, baseline=BLACK, noise_sd=0.01, tv=0.1, line_search=line_search)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 29, 29)))[0]
    assert heatmap.argmax() == 2 * 8 + 5
    assert heatmap[2, 5] > 0.5
    assert heatmap[6, 1] < 0.1


@BOTH
def test_showing_only_what_the_heatmap_marks_raises_the_score_and_removing_it_lowers_it(method):
    model, batch = smooth(), batch_of(images_of(3, 32), torch.tensor([1, 0, 0]))
    heatmaps = explain(replace(method, l1=0.01, tv=0.01, iterations=8), model, batch)
    baseline = method.baseline(model, batch)
    marked = torch.nn.functional.interpolate(
        heatmaps[:, None], 32, mode="bilinear", align_corners=True
    )
    only = batch.images * marked + baseline * (1 - marked)
    without = batch.images * (1 - marked) + baseline * marked
    image, blurred = (model.scores(each, batch.targets) for each in (batch.images, baseline))
    assert (model.scores(without, batch.targets) < image - 0.02).all()
    assert (model.scores(only, batch.targets) > blurred + 0.02).all()


@BOTH
@pytest.mark.parametrize("res", [2, 7, 32])
def test_the_heatmap_of_a_constant_classifier_is_zero(method, res):
    heatmaps = explain(
        noisy(method, res=res), classifier(Constant(0.3)), batch_of(images_of(2, 32))
    )
    assert heatmaps.shape == (2, res, res)
    assert (heatmaps == 0).all()


@BOTH
def test_without_noise_the_seed_does_not_matter_and_with_noise_it_does(method):
    images = images_of(2, 32)
    for each in (method, noisy(method)):
        first = explain(each, smooth(), batch_of(images, seeds=[1, 2]))
        other = explain(each, smooth(), batch_of(images, seeds=[1, 3]))
        assert torch.equal(first[0], other[0])
        assert torch.equal(first[1], other[1]) == (each is method)


@BOTH
@pytest.mark.parametrize("line_search", [LineSearch.clean, LineSearch.path])
@pytest.mark.parametrize(("network", "classes", "res"), [(Tiny, 5, 7), (Smooth, 4, 32)])
def test_a_heatmap_does_not_depend_on_the_rest_of_its_batch(
    method, network, classes, res, line_search
):
    method = noisy(method, res=res, line_search=line_search, iterations=2, step_upper=20.0, l1=0.05)
    batch = batch_of(images_of(5, 32), targets=torch.tensor([0, 1, 2, 1, 0]))
    for pass_batch in (3, 20):  # a part of one path at once, and the paths of four images
        model = classifier(network(), classes=classes, mean=MEAN, std=STD, pass_batch=pass_batch)
        whole = explain(method, model, batch)
        assert (whole.flatten(1).std(1) > 0).sum() >= 3
        for rows in ([4, 2, 0, 1, 3], [3], [2, 4]):
            assert torch.equal(explain(method, model, batch.select(rows)), whole[rows])


# Refusals


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            PLUS,
            {"res": 1},
            "igos_plus needs res of at least 2 .* got res=1 .* first_points=5",
        ),
        (PLUS, {"insertion": -1.0}, "igos_plus needs insertion of at least 0 .* got -1.0 and 0.3"),
        (PLUS, {"sigma": 0.0}, "igos_plus needs .* sigma above 0, got 1.0 and 0.0"),
        (
            PLUS_PLUS,
            {"points": 0},
            "igos_plus_plus needs res .* points=0 first_points=0",
        ),
        (PLUS_PLUS, {"weight": 0.0}, "igos_plus_plus needs weight and sigma above 0, got 0.0 and"),
        (PLUS_PLUS, {"sigma": -1.0}, "igos_plus_plus needs weight and sigma above 0, got 0.5 and"),
        (PLUS_PLUS, {"tv": -1.0}, "igos_plus_plus needs l1, tv, noise_sd and armijo of at least 0"),
        (PLUS_PLUS, {"step_factor": 1.0}, "igos_plus_plus needs 0 < step_lower <= step_upper and"),
    ],
)
def test_settings_that_mean_nothing_are_refused(method, changes, message):
    with pytest.raises(BadInput, match=message):
        replace(method, **changes)


@BOTH
def test_a_mask_finer_than_the_image_is_refused(method):
    with pytest.raises(BadInput, match=f"finer than the image; {method.name} works up to 32"):
        explain(replace(method, res=33), smooth(), batch_of(images_of(1, 32)))
