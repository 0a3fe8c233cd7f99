"""Sobol and HSIC attribution: indices of sensitivity and of dependence of a score on cells."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import qmc
from toys import (
    BLACK,
    Additive,
    Constant,
    Flat,
    Recorder,
    Scored,
    Smooth,
    batch_of,
    classifier,
    explain,
    images_of,
)

from benchmark.attribution import Score
from benchmark.interfaces import BadInput
from methods.hsic import HSIC, binary_masks, dependence
from methods.sobol import Sobol, designs, replicated, total_indices

SOBOL = Sobol(grid=3, samples=512, baseline=BLACK, score=Score.softmax)
HSIC_ = HSIC(grid=3, samples=400, baseline=BLACK, score=Score.softmax)
SIDE = 6  # pixels; a cell of a grid of 3 is 2 x 2 of them
WORTH = torch.tensor([[0.05, 0.2, 0.0], [-0.1, 0.0, 0.3], [0.1, -0.05, 0.0]])  # of each cell


def additive(**settings):
    """Score = 0.3 + the worth of each cell times how much of it is kept, on a white image."""
    weights = WORTH.repeat_interleave(2, 0).repeat_interleave(2, 1).expand(3, -1, -1) / 12
    return classifier(Additive(weights.contiguous(), offset=0.3), pass_batch=600, **settings)


def white(count=1):
    return batch_of(torch.ones(count, 3, SIDE, SIDE))


class Product(Scored):
    """Score = 0.1 + 0.8 times the product of the brightness of the first and the last pixel."""

    def score(self, images):
        return 0.1 + 0.8 * images[:, 0, 0, 0] * images[:, 0, -1, -1]


# Sobol


def test_in_a_sum_a_cells_total_index_is_its_share_of_the_squared_weights():
    heatmap = explain(SOBOL, additive(), white())[0]
    torch.testing.assert_close(heatmap, WORTH**2 / (WORTH**2).sum(), rtol=0, atol=0.005)
    assert (heatmap[WORTH == 0] < 1e-9).all()


def test_in_a_product_of_two_cells_each_has_four_sevenths_of_the_variance():
    # V = 1/9 - 1/16 = 7/144, and a factor's total effect is E[m^2] V[m] = 1/36.
    model = classifier(Product(), pass_batch=600)
    heatmap = explain(SOBOL, model, white())[0]
    assert float(heatmap[0, 0]) == pytest.approx(4 / 7, abs=0.01)
    assert float(heatmap[2, 2]) == pytest.approx(4 / 7, abs=0.01)
    assert heatmap.flatten()[1:-1].max() < 1e-9


def test_the_total_indices_of_ishigamis_function_are_found():
    masks = replicated(*designs(2048, 3, seed=0))
    x, y, z = ((2 * masks - 1) * math.pi).unbind(-1)
    found = total_indices(x.sin() + 7 * y.sin() ** 2 + 0.1 * z**4 * x.sin())
    expected = torch.tensor([0.5576, 0.4424, 0.2437], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_sobol_equals_a_slow_computation_from_the_masks():
    model = classifier(Smooth(), classes=4)
    batch = batch_of(images_of(2, 12), torch.tensor([0, 2]))
    heatmaps = explain(replace(SOBOL, samples=8, baseline=Flat(0.4)), model, batch)
    for row in range(2):
        rng = np.random.default_rng(int(batch.seeds[row]))
        points = qmc.Sobol(18, scramble=True, rng=rng).random(8)

        def score(mask, row=row):
            large = torch.from_numpy(np.kron(mask.reshape(3, 3), np.ones((4, 4)))).float()
            image = batch.images[row] * large + 0.4 * (1 - large)
            return float(model(image[None]).softmax(1)[0, batch.targets[row]])

        first = np.array([score(point[:9]) for point in points])
        for cell in range(9):
            squares = 0.0
            for point, before in zip(points, first, strict=True):
                mask = point[:9].copy()
                mask[cell] = point[9 + cell]
                squares += (before - score(mask)) ** 2
            expected = squares / (2 * 8) / first.var(ddof=1)
            assert float(heatmaps[row].flatten()[cell]) == pytest.approx(expected, rel=1e-3)


def test_each_replicated_design_differs_from_the_first_in_its_own_cell_only():
    model = additive(kind=Recorder)
    explain(replace(SOBOL, samples=4), model, white())
    cells = model.seen[:, 0, ::2, ::2].reshape(10, 4, 9)
    changed = (cells[1:] != cells[0]).any(1)  # [cell, cell]
    assert torch.equal(changed, torch.eye(9, dtype=torch.bool))
    assert cells.min() >= 0
    assert cells.max() < 1


@pytest.mark.parametrize("pass_batch", [7, 100])
def test_sobol_takes_a_pass_for_every_sample_of_the_first_and_each_replicated_design(pass_batch):
    model = classifier(Smooth(), classes=4, kind=Recorder, pass_batch=pass_batch)
    explain(replace(SOBOL, samples=4), model, batch_of(images_of(2, 12)))
    assert model.forward_passes.tolist() == [40, 40]
    assert len(model.seen) == 80
    assert max(map(len, model.calls)) <= pass_batch


@pytest.mark.parametrize("method", [SOBOL, HSIC_], ids=["sobol", "hsic"])
def test_a_score_that_never_changes_depends_on_no_cell(method):
    heatmap = explain(method, classifier(Constant(0.4), pass_batch=600), white())
    assert torch.equal(heatmap, torch.zeros(1, 3, 3))


@pytest.mark.parametrize("samples", [0, 1, 3, 30])
def test_a_number_of_samples_that_a_sobol_sequence_is_not_balanced_for_is_refused(samples):
    with pytest.raises(BadInput, match=rf"sobol needs samples to be a power of two .*{samples}$"):
        replace(SOBOL, samples=samples)


def test_a_sobol_grid_without_cells_is_refused():
    with pytest.raises(BadInput, match="sobol needs a grid of at least 2, got 1"):
        replace(SOBOL, grid=1)


@pytest.mark.parametrize("method", [SOBOL, HSIC_], ids=["sobol", "hsic"])
def test_a_grid_finer_than_the_image_is_refused(method):
    with pytest.raises(BadInput, match="a grid of 7 cells is finer than the image: 6"):
        explain(replace(method, grid=7), additive(), white())


# HSIC


def test_the_dependence_equals_a_double_loop_over_all_pairs():
    samples, cells = 30, 4
    source = torch.Generator().manual_seed(0)
    masks = (torch.rand(samples, cells, generator=source) < 0.4).float()
    scores = torch.rand(samples, generator=source) * (0.2 + masks[:, 1])
    found = dependence(masks, scores)

    y = scores.double().tolist()
    apart = sorted(abs(y[i] - y[j]) for i in range(samples) for j in range(samples) if i != j)
    width = apart[(len(apart) - 1) // 2]
    right = [[math.exp(-((a - b) ** 2) / (2 * width**2)) for b in y] for a in y]
    for cell in range(cells):
        m = masks[:, cell].tolist()
        left = [[float(a == b) for b in m] for a in m]
        sums = [sum(line) for line in right]
        total = 0.0
        for i in range(samples):
            for j in range(samples):
                centred = right[i][j] - (sums[i] + sums[j]) / samples + sum(sums) / samples**2
                total += left[i][j] * centred
        assert float(found[cell]) == pytest.approx(total / (samples - 1) ** 2, rel=1e-6)


def test_a_score_of_one_cell_alone_has_a_dependence_known_by_hand():
    # Scores are two, one width apart: the kernel is 1 within and exp(-1/2) between two halves.
    class First(Scored):
        def score(self, images):
            return 0.2 + 0.6 * images[:, 0, 0, 0]

    heatmap = explain(HSIC_, classifier(First(), pass_batch=400), white())[0].flatten()
    expected = (1 - math.exp(-0.5)) / 4 * (400 / 399) ** 2
    assert float(heatmap[0]) == pytest.approx(expected, rel=1e-5)
    assert heatmap[1:].max() < 0.03 * heatmap[0]


def test_cells_of_a_sum_are_ranked_by_the_size_of_their_weights():
    heatmap = explain(replace(HSIC_, samples=1500), additive(), white())[0]
    worth = WORTH.abs()
    for smaller, larger in ((0.0, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.3)):
        below, above = (heatmap[(worth - value).abs() < 1e-6] for value in (smaller, larger))
        assert below.max() < above.min()
    assert heatmap[worth == 0].max() < 0.01 * heatmap.max()


def test_the_scale_of_the_score_does_not_matter():
    masks = binary_masks(50, 4, seed=0)
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0)) + masks[:, 2]
    torch.testing.assert_close(dependence(masks, scores), dependence(masks, 3 - 100 * scores))


def test_masks_are_binary_and_keep_each_cell_in_half_of_them():
    model = additive(kind=Recorder)
    explain(HSIC_, model, white())
    cells = model.seen[:, 0, ::2, ::2]
    assert set(cells.flatten().tolist()) == {0.0, 1.0}
    assert (cells.sum(0) == 200).all()
    assert model.forward_passes.tolist() == [400]
    likeness = torch.corrcoef(cells.flatten(1).T).fill_diagonal_(0)
    assert likeness.abs().max() < 0.2


@pytest.mark.parametrize(("grid", "samples"), [(1, 400), (3, 1)])
def test_hsic_without_cells_or_pairs_is_refused(grid, samples):
    with pytest.raises(BadInput, match=f"of at least 2, got grid={grid} samples={samples}"):
        replace(HSIC_, grid=grid, samples=samples)
