"""The mask optimisers' objective as a metric of finished heatmaps."""

import pytest
import torch
from toys import BLACK, Constant, Flat, Smooth, batch_of, classifier, images_of

from benchmark.attribution import Score
from benchmark.interfaces import BadInput
from benchmark.masking import Noise, Objective, Term, total_variation
from benchmark.substrates import MeanColour
from metrics.objective import MaskObjective, Part


def measured(part, heatmaps, network=None, *, l1=0.5, tv=3.0, exponent=2.0):
    model = classifier(network or Smooth())
    batch = batch_of(images_of(len(heatmaps)))
    metric = MaskObjective(part=Part[part], l1=l1, tv=tv, tv_exponent=exponent, baseline=BLACK)
    return metric(model, batch, heatmaps).values


def test_a_mask_that_keeps_everything_costs_the_score_on_the_image():
    heatmaps = torch.zeros(3, 4, 4)
    model = classifier(Smooth())
    batch = batch_of(images_of(3))
    on_image = model.scores(batch.images, batch.targets).double()
    assert torch.equal(measured("total", heatmaps), on_image)


def test_a_mask_that_hides_everything_costs_the_score_on_the_baseline_and_its_size():
    values = measured("total", torch.ones(2, 4, 4), Constant(0.3), l1=0.5)
    torch.testing.assert_close(values, torch.full((2,), 0.3 + 0.5, dtype=torch.float64))


def test_one_cell_in_a_corner_has_the_roughness_of_its_two_neighbours():
    heatmap = torch.zeros(1, 3, 3)
    heatmap[0, 0, 0] = 0.5
    # of 6 vertical and of 6 horizontal neighbours, one pair each differs
    expected = 3.0 * 2 * 0.5**2 / 6
    assert measured("roughness", heatmap).item() == pytest.approx(expected, rel=1e-12)
    assert measured("roughness", heatmap, exponent=3.0).item() == pytest.approx(expected / 2)
    assert measured("size", heatmap).item() == pytest.approx(0.5 * 0.5 / 9, rel=1e-12)


def test_the_parts_sum_to_the_whole():
    heatmaps = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(0))
    parts = sum(measured(part, heatmaps) for part in ("score", "size", "roughness"))
    torch.testing.assert_close(parts, measured("total", heatmaps))


def test_it_is_what_the_optimisers_minimise():
    heatmaps = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(0))
    model, batch = classifier(Smooth()), batch_of(images_of(4))
    model.begin_count(4)
    objective = Objective(
        model,
        batch,
        [Term(masks=(0,), insertion=False, weight=1.0)],
        baseline=BLACK,
        l1=0.5,
        tv=3.0,
        roughness=lambda masks, _: total_variation(masks),
        noise=Noise.none,
        noise_sd=0.0,
        score=Score.softmax,
    )
    masks, rows = 1 - heatmaps[:, None], objective.all_rows
    expected = objective.losses(masks, rows) + objective.penalty(masks, rows)
    torch.testing.assert_close(measured("total", heatmaps).float(), expected)


def test_weights_of_nothing_leave_the_score_and_an_exponent_of_one_the_differences():
    heatmaps = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    score = measured("score", heatmaps)
    assert torch.equal(measured("total", heatmaps, l1=0.0, tv=0.0), score)
    down, across = (heatmaps.double().diff(dim=dim).abs().mean((1, 2)) for dim in (1, 2))
    got = measured("roughness", heatmaps, exponent=1.0)
    torch.testing.assert_close(got, 3.0 * (down + across))


def test_a_baseline_may_ask_the_classifier_for_its_mean_colour():
    model, batch = classifier(Smooth(), mean=(0.25, 0.25, 0.25)), batch_of(images_of(2))
    heatmaps = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    got, expected = (
        MaskObjective(Part.score, l1=0.0, tv=0.0, tv_exponent=2.0, baseline=baseline)(
            model, batch, heatmaps
        ).values
        for baseline in (MeanColour(), Flat(0.25))
    )
    assert torch.equal(got, expected)


@pytest.mark.parametrize("change", [{"l1": -0.1}, {"tv": -1.0}, {"exponent": 0.5}])
def test_weights_without_meaning_are_refused(change):
    with pytest.raises(BadInput, match=r"^objective needs l1 and tv of at least 0 and tv_exponent"):
        measured("total", torch.zeros(1, 2, 2), **change)


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_heatmap_that_is_no_mask_is_refused(value):
    with pytest.raises(BadInput, match=r"^objective needs heatmaps in \[0, 1\]"):
        measured("total", torch.full((1, 2, 2), value))
