"""Faithfulness without curves, and how simple a heatmap is: closed forms, slow loops, passes."""

import math
from dataclasses import replace

import cells
import numpy as np
import pytest
import torch
from cells import start
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, spearmanr
from toys import (
    BLACK,
    Additive,
    Constant,
    Flat,
    OnePixel,
    Recorder,
    Smooth,
    batch_of,
    classifier,
    enlarge,
    images_of,
    protocol,
)

from benchmark.curves import Curve
from benchmark.hidden_parts import correlation, random_subsets, relevance_of_parts
from benchmark.interfaces import BadInput
from benchmark.segments import Grid, Slic
from benchmark.substrates import MeanColour
from metrics.complexity import Complexity
from metrics.confidence import Change, Confidence
from metrics.deletion_insertion import Deletion
from metrics.faithfulness_correlation import FaithfulnessCorrelation
from metrics.infidelity import Infidelity
from metrics.irof import IROF
from metrics.monotonicity import Monotonicity
from metrics.monotonicity_correlation import MonotonicityCorrelation
from metrics.sparseness import Sparseness

SIZE, GRID = 8, 4
CORRELATION = FaithfulnessCorrelation(grid=GRID, hidden=5, samples=30, substrate=BLACK)
INFIDELITY = Infidelity(grid=GRID, hidden=5, samples=30, substrate=BLACK)
RANKS = MonotonicityCorrelation(grid=GRID, substrate=BLACK)
SQUARES = IROF(segmenter=Grid(GRID), substrate=BLACK, least=0.01)
DROP, INCREASE = Confidence(Change.drop, BLACK), Confidence(Change.increase, BLACK)
PARTS = Grid(GRID)(torch.zeros(3, SIZE, SIZE))


def heatmaps_of(count, res, seed=0):
    return torch.randn(count, res, res, generator=torch.Generator().manual_seed(seed))


def additive(images, offset=0.1):
    """A classifier whose score is a weighted sum of pixels, and what each one adds, [B, H, W]."""
    weights = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 0.5 / 64
    model = classifier(Additive(weights, offset), input_size=SIZE, pass_batch=16)
    return model, (weights * images).sum(1)


def value(metric, model, batch, heatmaps):
    scores = metric(model, batch, heatmaps)
    assert scores.values.dtype == torch.float64
    assert scores.curves == {}
    return scores.values.tolist()


def in_squares(amounts):
    """Sum [H, W] over the squares of the grid, [GRID * GRID], by slicing."""
    step = SIZE // GRID
    return np.array(
        [
            float(amounts[row : row + step, column : column + step].double().sum())
            for row in range(0, SIZE, step)
            for column in range(0, SIZE, step)
        ]
    )


# An additive score, explained by what each pixel adds to it


def test_what_each_pixel_adds_is_perfectly_faithful():
    images = images_of(2, SIZE)
    model, amounts = additive(images)
    batch = batch_of(images)
    assert value(CORRELATION, model, batch, amounts) == pytest.approx([1, 1], abs=1e-4)
    assert value(CORRELATION, model, batch, -3 * amounts) == pytest.approx([-1, -1], abs=1e-4)
    assert value(RANKS, model, batch, amounts) == pytest.approx([1, 1])
    assert value(INFIDELITY, model, batch, 7 * amounts) == pytest.approx([0, 0], abs=1e-9)
    assert value(INFIDELITY, model, batch, -amounts) == pytest.approx([0, 0], abs=1e-9)
    rules = protocol(steps=64)
    assert value(Monotonicity(rules), model, batch, heatmaps_of(2, SIZE)) == [1, 1]


@pytest.mark.parametrize("res", [SIZE, 3])
def test_any_heatmap_of_an_additive_score_equals_the_slow_sums(res):
    images, heatmaps = images_of(2, SIZE), heatmaps_of(2, res)
    model, amounts = additive(images)
    batch = batch_of(images)
    got = {
        metric: value(metric, model, batch, heatmaps)
        for metric in (CORRELATION, INFIDELITY, RANKS, SQUARES)
    }
    for row in range(2):
        large = heatmaps[row] if res == SIZE else enlarge(heatmaps[row], SIZE)
        said, seen = in_squares(large), in_squares(amounts[row])
        hidden = 1 - random_subsets(GRID**2, 5, 30, int(batch.seeds[row])).double().numpy()
        sums, effects = hidden @ said, hidden @ seen
        expected = np.corrcoef(sums, effects)[0, 1]
        assert got[CORRELATION][row] == pytest.approx(expected, abs=1e-4)
        factor = (sums * effects).mean() / (sums**2).mean()
        expected = ((factor * sums - effects) ** 2).mean()
        assert got[INFIDELITY][row] == pytest.approx(expected, rel=1e-3)
        expected = spearmanr(np.abs(said), seen).statistic
        assert got[RANKS][row] == pytest.approx(expected, abs=1e-9)
        whole = 0.1 + seen.sum()
        left = [whole]
        for square in sorted(range(16), key=lambda each: -said[each]):
            left.append(left[-1] - seen[square])
        expected = 1 - np.trapezoid(np.array(left) / whole, dx=1 / 16)
        assert got[SQUARES][row] == pytest.approx(expected, abs=1e-5)


def test_no_scale_of_a_heatmap_changes_what_is_said_of_it():
    images, heatmaps = images_of(2, SIZE), heatmaps_of(2, 3)
    model, _ = additive(images)
    batch = batch_of(images)
    for metric in (CORRELATION, INFIDELITY, RANKS, SQUARES, DROP, INCREASE):
        one, other = (value(metric, model, batch, scale * heatmaps) for scale in (1, 40))
        assert one == pytest.approx(other, rel=1e-5, abs=1e-9)


# A constant score


def test_where_nothing_changes_the_score_no_heatmap_is_better_than_another():
    model, batch = classifier(Constant(0.3), input_size=SIZE), batch_of(images_of(2, SIZE))
    heatmaps = heatmaps_of(2, SIZE)
    for metric in (CORRELATION, RANKS):
        assert all(math.isnan(each) for each in value(metric, model, batch, heatmaps))
    for metric in (INFIDELITY, SQUARES, DROP, INCREASE):
        assert value(metric, model, batch, heatmaps) == pytest.approx([0, 0], abs=1e-9)
    assert value(Monotonicity(protocol()), model, batch, heatmaps) == [1, 1]


def test_a_heatmap_that_is_the_same_everywhere_says_nothing():
    images = images_of(1, SIZE)
    model, amounts = additive(images)
    batch, flat = batch_of(images), torch.full((1, 3, 3), 0.3)
    assert value(CORRELATION, model, batch, flat) == [0]
    assert value(RANKS, model, batch, flat) == [0]
    hidden = 1 - random_subsets(GRID**2, 5, 30, int(batch.seeds[0])).double().numpy()
    effects = hidden @ in_squares(amounts[0])
    (got,) = value(INFIDELITY, model, batch, torch.zeros(1, 3, 3))
    assert got == pytest.approx((effects**2).mean(), rel=1e-3)
    (got,) = value(INFIDELITY, model, batch, flat)  # all subsets are of one size
    assert got == pytest.approx(effects.var(), rel=1e-2)
    below = float(model.scores(torch.zeros_like(images), batch.targets))
    above = float(model.scores(images, batch.targets))
    assert value(DROP, model, batch, flat) == pytest.approx([1 - below / above], abs=1e-6)


# One pixel


def test_the_one_pixel_that_matters_is_found_or_missed():
    model = classifier(OnePixel(2, 5), input_size=SIZE, pass_batch=256)
    batch, right = batch_of(torch.ones(1, 3, SIZE, SIZE)), torch.zeros(1, SIZE, SIZE)
    right[0, 2, 5] = 1.0
    wrong = right.flip(2)
    assert value(CORRELATION, model, batch, right) == pytest.approx([1])
    assert value(RANKS, model, batch, right) == pytest.approx([1])
    assert value(RANKS, model, batch, wrong) == pytest.approx([-1 / 15])
    assert value(INFIDELITY, model, batch, right) == pytest.approx([0], abs=1e-9)
    # All but 1/9 of the score goes with the first square or with the last (equal ones: by index).
    assert value(SQUARES, model, batch, right) == pytest.approx([8 / 9 * (1 - 1 / 32)], abs=1e-6)
    assert value(SQUARES, model, batch, -right) == pytest.approx([8 / 9 / 32], abs=1e-6)
    assert value(DROP, model, batch, right) == pytest.approx([0], abs=1e-6)
    assert value(DROP, model, batch, wrong) == pytest.approx([8 / 9], abs=1e-6)
    assert value(INCREASE, model, batch, right) == [0]


# Confidence


def test_confidence_is_asked_of_the_image_times_its_scaled_heatmap():
    images, heatmaps = images_of(2, SIZE), heatmaps_of(2, 3)
    model = classifier(Smooth(), classes=4, kind=Recorder, input_size=SIZE, pass_batch=8)
    batch = batch_of(images, targets=torch.tensor([1, 2]))
    drops, rises = (value(metric, model, batch, heatmaps) for metric in (DROP, INCREASE))
    for row in range(2):
        low, high = heatmaps[row].min(), heatmaps[row].max()
        mask = enlarge((heatmaps[row] - low) / (high - low), SIZE)
        product = (images[row].double() * mask).float()
        torch.testing.assert_close(model.calls[1][row], product, rtol=0, atol=1e-6)
        whole, explained = (
            float(model.scores(each[None], batch.targets[row : row + 1]))
            for each in (images[row], product)
        )
        assert drops[row] == pytest.approx(max(0, whole - explained) / whole, abs=1e-5)
        assert rises[row] == float(explained > whole)


@pytest.mark.parametrize(("colour", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_confidence_rises_where_hiding_helps(colour, expected):
    model = classifier(OnePixel(2, 5), input_size=SIZE)
    batch, heatmap = batch_of(torch.full((1, 3, SIZE, SIZE), 0.5)), torch.rand(1, SIZE, SIZE)
    heatmap[0, 2, 5] = 0.0
    assert value(Confidence(Change.increase, Flat(colour)), model, batch, heatmap) == [expected]
    (drop,) = value(Confidence(Change.drop, Flat(colour)), model, batch, heatmap)
    assert (drop > 0) == (expected == 0)
    assert INCREASE.higher_is_better
    assert not DROP.higher_is_better


def test_an_image_without_any_score_has_nothing_to_lose_or_to_win():
    model, batch = classifier(Constant(0.0), input_size=SIZE), batch_of(images_of(1, SIZE))
    assert value(DROP, model, batch, heatmaps_of(1, SIZE)) == [0]
    assert value(INCREASE, model, batch, heatmaps_of(1, SIZE)) == [0]


# Monotonicity


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.5, 0.2, 0.0], 1),
        ([0.9, 0.5, 0.5, 0.6], 2 / 3),
        ([0.1, 0.2, 0.3, 0.4], 0),
        ([0.4, 0.4, 0.4, 0.4], 1),
    ],
)
def test_monotonicity_is_the_share_of_deletions_steps_that_do_not_rise(scores, expected):
    curve = Curve(torch.tensor([scores]), torch.linspace(0, 1, 4))
    assert float(Monotonicity(protocol()).from_curves(curve).values) == pytest.approx(expected)


# IROF


def test_irof_removes_superpixels_by_their_mean_relevance_not_their_sum():
    images = torch.rand(1, 3, SIZE, SIZE)
    model = classifier(Constant(0.3), kind=Recorder, input_size=SIZE, pass_batch=64)

    class Halves:
        """A first part of one row, and a second of the rest."""

        def __call__(self, _image):
            return (torch.arange(SIZE)[:, None] > 0).expand(SIZE, SIZE).long()

    heatmap = torch.full((1, SIZE, SIZE), 0.4)
    heatmap[0, 0] = 1.0  # sum 8 in the first row, 22.4 below
    value(IROF(Halves(), BLACK, 0.01), model, batch_of(images), heatmap)
    first = images.clone()
    first[:, :, 0] = 0
    assert torch.equal(model.seen[:3], torch.cat([images, first, torch.zeros_like(images)]))


def test_irof_needs_a_score_to_lose():
    model, batch = classifier(Constant(0.05), input_size=SIZE), batch_of(images_of(1, SIZE))
    (got,) = value(IROF(Grid(2), BLACK, 0.1), model, batch, heatmaps_of(1, SIZE))
    assert math.isnan(got)


def test_irof_asks_for_the_least_score_of_the_whole_image_and_takes_exactly_that():
    batch = batch_of(torch.ones(1, 3, SIZE, SIZE))
    heatmap = torch.zeros(1, SIZE, SIZE)
    heatmap[0, 2, 5] = 1.0
    model = classifier(OnePixel(2, 5), input_size=SIZE)  # 0.9, and 0.1 without its pixel
    (got,) = value(IROF(Grid(GRID), BLACK, 0.5), model, batch, heatmap)
    assert got == pytest.approx(8 / 9 * (1 - 1 / 32), abs=1e-6)
    half = classifier(Constant(0.5), input_size=SIZE)
    assert float(half.scores(batch.images, batch.targets)) == 0.5
    assert value(IROF(Grid(GRID), BLACK, 0.5), half, batch, heatmap) == [0]


# What is shared


@pytest.mark.parametrize(
    "make",
    [
        lambda substrate: replace(CORRELATION, substrate=substrate),
        lambda substrate: replace(INFIDELITY, substrate=substrate),
        lambda substrate: replace(RANKS, substrate=substrate),
        lambda substrate: replace(SQUARES, substrate=substrate),
        lambda substrate: replace(DROP, substrate=substrate),
    ],
)
def test_a_substrate_may_ask_the_classifier_for_its_mean_colour(make):
    images, heatmaps = images_of(2, SIZE), heatmaps_of(2, 3)
    model = classifier(Smooth(), classes=4, input_size=SIZE, mean=(0.25, 0.25, 0.25))
    batch = batch_of(images, targets=torch.tensor([1, 2]))
    got, expected, black = (
        value(make(substrate), model, batch, heatmaps)
        for substrate in (MeanColour(), Flat(0.25), BLACK)
    )
    assert got == expected
    assert got != black


def test_relevance_is_summed_over_parts_of_the_enlarged_heatmap():
    heatmaps = heatmaps_of(2, 3)
    got = relevance_of_parts(heatmaps, PARTS)
    for row in range(2):
        expected = in_squares(enlarge(heatmaps[row], SIZE))
        np.testing.assert_allclose(got[row].numpy(), expected, atol=1e-5)


@given(st.integers(2, 30), st.integers(0, 2**40), st.data())
@settings(max_examples=20, deadline=None)
def test_subsets_hide_exactly_so_many_parts_and_hang_on_the_seed_alone(parts, seed, data):
    hidden = data.draw(st.integers(1, parts))
    kept = random_subsets(parts, hidden, 50, seed)
    assert ((kept == 0) | (kept == 1)).all()
    assert (kept.sum(1) == parts - hidden).all()
    assert torch.equal(kept, random_subsets(parts, hidden, 50, seed))
    if hidden < parts:
        assert len(kept.unique(dim=0)) > 1


def test_every_part_is_hidden_as_often_as_any_other():
    kept = random_subsets(16, 4, 4000, 0)
    assert ((1 - kept).mean(0) - 0.25).abs().max() < 0.03


def test_a_correlation_of_rounding_is_none():
    said, seen = torch.rand(20), torch.rand(20)
    assert math.isnan(correlation(said, 0.3 + 1e-7 * seen))
    assert correlation(5 + 1e-7 * said, seen) == 0
    assert correlation(torch.zeros(20), seen) == 0
    expected = np.corrcoef(said.numpy(), seen.numpy())[0, 1]
    assert correlation(said, seen) == pytest.approx(expected, abs=1e-6)


# How simple a heatmap is


@pytest.mark.parametrize("res", [1, 3, 7])
def test_one_cell_alone_is_sparsest_and_least_complex(res):
    heatmap = torch.zeros(1, res, res)
    heatmap[0, 0, res - 1] = -2.0
    model, batch = classifier(Constant(0.5)), batch_of(images_of(1, SIZE))
    assert value(Sparseness(), model, batch, heatmap) == pytest.approx([1 - 1 / res**2])
    assert value(Complexity(), model, batch, heatmap) == [0]
    for flat in (torch.zeros(1, res, res), torch.full((1, res, res), -0.3)):
        assert value(Sparseness(), model, batch, flat) == pytest.approx([0], abs=1e-12)
        assert value(Complexity(), model, batch, flat) == pytest.approx([2 * math.log(res)])


@given(st.lists(st.integers(-9, 9), min_size=9, max_size=9).filter(any))
@settings(max_examples=30, deadline=None)
def test_sparseness_and_complexity_equal_independent_formulas(values):
    heatmap = torch.tensor(values, dtype=torch.float32).view(1, 3, 3)
    model, batch = classifier(Constant(0.5)), batch_of(images_of(1, SIZE))
    sizes = np.abs(values)
    # The Gini index is half the mean difference of two cells, relative to the mean.
    gini = np.abs(sizes[:, None] - sizes).mean() / (2 * sizes.mean())
    assert value(Sparseness(), model, batch, heatmap) == pytest.approx([gini], abs=1e-9)
    assert value(Complexity(), model, batch, heatmap) == pytest.approx([entropy(sizes)], abs=1e-9)


@pytest.mark.parametrize("metric", [Sparseness(), Complexity()], ids=["sparseness", "complexity"])
def test_how_simple_a_heatmap_is_does_not_depend_on_its_scale(metric):
    model, batch = classifier(Constant(0.5)), batch_of(images_of(2, SIZE))
    heatmaps = heatmaps_of(2, 5)
    expected = value(metric, model, batch, heatmaps)
    for scale in (2.0**-40, 2.0**40):
        assert value(metric, model, batch, scale * heatmaps) == pytest.approx(expected, rel=1e-12)


# Passes, and what does not matter


@pytest.mark.parametrize(
    ("metric", "passes"),
    [
        (CORRELATION, 30),
        (INFIDELITY, 31),
        (RANKS, GRID**2 + 1),
        (SQUARES, GRID**2 + 1),
        (DROP, 2),
        (INCREASE, 2),
        (Monotonicity(protocol(steps=8)), 10),
        (Sparseness(), 0),
        (Complexity(), 0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_each_metric_makes_the_passes_it_says(metric, passes):
    model, batch = classifier(Smooth(), classes=4, input_size=32), batch_of(images_of(2, 32))
    model.begin_count(2)
    metric(model, batch, heatmaps_of(2, 5))
    assert model.forward_passes.tolist() == [passes, passes]
    assert model.backward_passes.tolist() == [0, 0]


def test_irof_of_superpixels_makes_as_many_passes_as_there_are_and_one_more():
    model, batch = classifier(Smooth(), classes=4, input_size=32), batch_of(images_of(2, 32))
    segmenter = Slic(count=9, compactness=10.0, sigma=0.0)
    model.begin_count(2)
    IROF(segmenter, BLACK, 0.01)(model, batch, heatmaps_of(2, 5))
    found = [int(segmenter(image).max()) + 1 for image in batch.images]
    assert model.forward_passes.tolist() == [count + 1 for count in found]


@pytest.mark.parametrize(
    "metric", [CORRELATION, INFIDELITY, RANKS, SQUARES, DROP], ids=lambda each: type(each).__name__
)
def test_an_image_is_scored_by_itself_however_many_pass_at_once(metric):
    images, heatmaps = images_of(3, 16), heatmaps_of(3, 5)
    batch = batch_of(images, targets=torch.tensor([0, 1, 2]))
    whole = metric(classifier(Smooth(), classes=4, pass_batch=20), batch, heatmaps).values
    for pass_batch, rows in ((3, [2]), (64, [1, 2, 0])):
        model = classifier(Smooth(), classes=4, pass_batch=pass_batch)
        part = metric(model, batch.select(rows), heatmaps[rows]).values
        torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-9)


def test_a_run_reads_monotonicity_off_deletion_and_explains_nothing_again(tmp_path):
    cells.make_images(tmp_path / "images", 4)
    cells.make_conf(tmp_path / "conf")
    start(tmp_path, "metric=[deletion]")
    explained = len(cells.CALLS)
    names = "deletion,monotonicity,average_drop,sparseness,complexity,faithfulness_correlation"
    made, _ = start(tmp_path, f"metric=[{names}]")
    assert len(cells.CALLS) == explained
    for name in names.split(","):
        assert len(made.folder.stage(made.stages[name]).rows) == 4
    kept = made.folder.stage(made.stages["deletion"])
    rows = made.folder.stage(made.stages["monotonicity"]).rows
    for each in made.ids:
        falls = np.diff(kept.array(each, "scores")) <= 0
        assert rows[each]["value"] == pytest.approx(falls.mean())
    assert not Deletion.higher_is_better


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FaithfulnessCorrelation(1, 1, 30, BLACK), "grid of at least 2, .*grid=1"),
        (lambda: FaithfulnessCorrelation(4, 16, 30, BLACK), "and all squares but one, .*hidden=16"),
        (lambda: FaithfulnessCorrelation(4, 0, 30, BLACK), "and all squares but one, .*hidden=0"),
        (lambda: FaithfulnessCorrelation(4, 5, 2, BLACK), "samples of at least 3, .*samples=2"),
        (lambda: Infidelity(0, 1, 30, BLACK), "grid and samples of at least 1, .*grid=0"),
        (lambda: Infidelity(4, 17, 30, BLACK), "between 1 and all squares, .*hidden=17"),
        (lambda: Infidelity(4, 0, 30, BLACK), "between 1 and all squares, .*hidden=0"),
        (lambda: Infidelity(4, 5, 0, BLACK), "grid and samples of at least 1, .*samples=0"),
        (lambda: IROF(Grid(4), BLACK, 0.0), "needs least between 0 and 1, got 0"),
        (lambda: IROF(Grid(4), BLACK, 1.0), "needs least between 0 and 1, got 1"),
        (lambda: MonotonicityCorrelation(1, BLACK), "needs a grid of at least 2, got 1"),
    ],
)
def test_settings_that_make_no_metric_are_refused(make, message):
    with pytest.raises(BadInput, match=f"^[a-z].*{message}"):
        make()


def test_the_least_and_the_most_that_a_metric_may_be_asked_for_are_taken():
    for hidden in (1, GRID**2 - 1):
        assert FaithfulnessCorrelation(GRID, hidden, 3, BLACK).hidden == hidden
    for hidden in (1, GRID**2):
        assert Infidelity(GRID, hidden, 1, BLACK).hidden == hidden
    assert FaithfulnessCorrelation(2, 1, 3, BLACK).grid == MonotonicityCorrelation(2, BLACK).grid
    assert Infidelity(1, 1, 1, BLACK).grid == 1
